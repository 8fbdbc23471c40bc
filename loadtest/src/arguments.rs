//! The command line. Its texts are the manual.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use crate::abuse::Attack;
use crate::plan::Plan;
use crate::schedule::Spacing;
use crate::target::reads::Kind;

/// Put a Sigstore server under open-loop load, verify everything it acknowledges, and compare it with the limit
///
/// Requests leave on schedule whatever the server does, and each is timed from when it was due, so a stalled server
/// cannot hide. Afterwards every acknowledgement is verified offline and held against the server's final signed
/// state. What the server needed is printed as a ratio to the cryptography that cannot be avoided, measured in the same
/// run
#[derive(Debug, Parser)]
#[command(
    name = "chancery-loadtest",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 everything acknowledged is there, 1 a promise does not hold, 2 could not run"
)]
pub(crate) struct Arguments {
    /// What to put under load
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How
    #[command(flatten)]
    pub(crate) load: Load,
}

/// What to put under load.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything that a Chancery server of this build does: starts one in a folder of its own, and an issuer
    #[command(name = "self")]
    Own {
        /// Only these [default: all that the server has]
        #[arg(long, value_name = "TARGETS", value_delimiter = ',', value_enum)]
        only: Vec<Which>,
        /// Let the logs take only certificates of the server's own authority, as those of a new instance do; it costs
        /// them the verification of a chain [default: any, as Rekor]
        #[arg(long)]
        own_ca: bool,
        /// Folder with chancery-server and chancery-dev-issuer [default: that of this program]
        #[arg(long, value_name = "DIR")]
        binaries: Option<PathBuf>,
        /// Where to make the server's folder: choose the disk that you want to know about [default: the system's
        /// temporary folder]
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// Entries that the Rekor v2 log is filled with before; with several sizes everything is done on a new server of
        /// each, and compared with the first: whether the cost of an entry depends on how many there are
        #[arg(long, value_name = "SIZES", value_delimiter = ',')]
        prefill: Vec<u64>,
        #[command(flatten)]
        reading: Reading,
    },
    /// What a hostile client costs another one: starts a server of this build with the limits of an exposed
    /// one
    ///
    /// A client at 127.0.0.3 adds entries to the Rekor v2 log, 20 a second unless `--rates` says otherwise,
    /// for `--seconds` alone and then beside each attack from 127.0.0.2. Printed are its latencies, its 99th
    /// percentile beside each attack as a multiple of the undisturbed one, and the memory of the server. Exit
    /// code 1 says that one of its requests was not accepted
    Abuse {
        /// Attacks, one after the other [default: all]
        #[arg(long, value_name = "ATTACKS", value_delimiter = ',', value_enum)]
        attacks: Vec<Attack>,
        /// Folder with chancery-server and chancery-dev-issuer [default: that of this program]
        #[arg(long, value_name = "DIR")]
        binaries: Option<PathBuf>,
        /// Where to make the server's folder [default: the system's temporary folder]
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Fill a log of a new instance with millions of entries, to find out what size costs
    ///
    /// Takes the Rekor v2 log of an instance that `chancery-server init` made and that does not run. The entries are of
    /// 460 bytes, with made-up signatures, and go through all that the engine does before it signs a head, so
    /// `chancery-server fsck` finds the log sound. A log with more than its first entry is not touched
    Fill {
        /// Folder of the instance
        #[arg(value_name = "DIR")]
        instance: PathBuf,
        /// Name of the log
        #[arg(long, value_name = "NAME", default_value = "rekor-v2")]
        log: String,
        /// Entries that it has afterwards; 10 million take some 5 GB
        #[arg(long, value_name = "COUNT")]
        entries: u64,
    },
    /// Entries of a Rekor v1 log: hashedrekord with the certificate of a GitHub workflow
    ///
    /// With identity tokens the certificate comes from the authority at URL, for logs that take no others. Such a
    /// certificate lives ten minutes
    V1 {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        tokens: Tokens,
        /// Where the log serves C2SP tiles, if it does [default: URL/rekor-v1]. Without tiles every entry is read again
        #[arg(long, value_name = "URL")]
        tiles: Option<Url>,
    },
    /// Entries of a Rekor v2 log: hashedrekord with the certificate of a GitHub workflow
    ///
    /// With identity tokens the certificate comes from the authority at URL, for logs that take no others. Such a
    /// certificate lives ten minutes
    V2 {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        tokens: Tokens,
        /// Where the log serves its tiles [default: URL]
        #[arg(long, value_name = "URL")]
        tiles: Option<Url>,
    },
    /// Certificates of a Fulcio certificate authority, each for a fresh P-256 key
    Ca {
        #[command(flatten)]
        service: Service,
        #[command(flatten)]
        tokens: Tokens,
        /// Where the issuance log is served, up to /ct/v1/ [default: URL/ct]
        #[arg(long, value_name = "URL", conflicts_with = "without_ct_log")]
        ct_log: Option<Url>,
        /// The authority has no issuance log: ask no timestamp of its certificates
        #[arg(long)]
        without_ct_log: bool,
    },
    /// Timestamps of an RFC 3161 authority at URL/api/v1/timestamp
    Tsa {
        #[command(flatten)]
        service: Service,
    },
    /// Reads of a log: checkpoint, tiles, entry bundles; and entries by id, if it has Rekor's v1 API
    Reads {
        #[command(flatten)]
        service: Service,
        /// Where the log serves its tiles [default: URL, and URL/rekor-v1 if there is none]
        #[arg(long, value_name = "URL")]
        tiles: Option<Url>,
        #[command(flatten)]
        reading: Reading,
    },
}

/// What is read.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Kinds of reads, one after the other; packed bundles and mixtures have no ceiling
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_enum, default_value = "mix")]
    pub(crate) kinds: Vec<Kind>,
}

/// A name of something to put under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Rekor v1 entries
    V1,
    /// Rekor v2 entries
    V2,
    /// Certificates
    Ca,
    /// Timestamps
    Tsa,
    /// Reads
    Reads,
}

impl Which {
    /// All, in the order in which they run: reads find what the others wrote.
    pub(crate) const ALL: [Self; 5] = [Self::V1, Self::V2, Self::Ca, Self::Tsa, Self::Reads];
}

/// A server that runs already.
#[derive(Debug, Args)]
pub(crate) struct Service {
    /// Address of the server
    #[arg(long, value_name = "URL")]
    pub(crate) against: Url,
    /// Its keys, as a trusted root [default: what a Chancery server publishes of itself]
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Its process id, if it runs on this machine: its processor time is measured
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// A folder on the disk that it writes to, if it runs on this machine: fdatasync is measured there
    #[arg(long, value_name = "DIR")]
    pub(crate) disk: Option<PathBuf>,
}

impl Service {
    /// Its address without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        self.against.as_str().trim_end_matches('/')
    }
}

/// Where identity tokens come from.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "each field is a flag, which carries its name alone")]
pub(crate) struct Tokens {
    /// Endpoint that gives out identity tokens, as a GitHub Actions job has one
    #[arg(long, value_name = "URL", env = "ACTIONS_ID_TOKEN_REQUEST_URL", hide_env_values = true)]
    pub(crate) token_url: Option<Url>,
    /// Its bearer token
    #[arg(long, value_name = "TOKEN", env = "ACTIONS_ID_TOKEN_REQUEST_TOKEN", hide_env_values = true)]
    pub(crate) token_bearer: Option<String>,
    /// File with one identity token that is used for everything; it must outlive the run
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl Tokens {
    /// Whether anything is said about tokens.
    pub(crate) fn any(&self) -> bool {
        self.token_url.is_some() || self.token_bearer.is_some() || self.token_file.is_some()
    }
}

/// How to load, and where to write what was found.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Rates to offer, per second [default: 10, then doubled from 100 until the server no longer keeps up, then 0.8,
    /// 1.5 and 2 times its peak]
    #[arg(long, global = true, value_name = "RATES", value_delimiter = ',', value_parser = rate, display_order = 100)]
    pub(crate) rates: Vec<f64>,
    /// Never offer more than this without being asked for it in `--rates`
    #[arg(long, global = true, value_name = "RATE", value_parser = rate, default_value = "50000", display_order = 101)]
    pub(crate) most: f64,
    /// Length of a step
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, default_value = "5", display_order = 102)]
    pub(crate) seconds: Duration,
    /// Spread arrivals as many independent clients would, instead of evenly
    #[arg(long, global = true, display_order = 103)]
    pub(crate) poisson: bool,
    /// Most requests without an answer; what would exceed it is not sent, and counted
    #[arg(long, global = true, value_name = "COUNT", default_value_t = 2000, display_order = 104)]
    pub(crate) in_flight: usize,
    /// After which a request counts as not answered
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, default_value = "20", display_order = 105)]
    pub(crate) timeout: Duration,
    /// Threads of the generator; leave cores to a server on this machine [default: half of the cores]
    #[arg(long, global = true, value_name = "COUNT", display_order = 106)]
    pub(crate) threads: Option<usize>,
    /// Write everything that was measured to this file
    #[arg(long, global = true, value_name = "FILE", display_order = 107)]
    pub(crate) json: Option<PathBuf>,
    /// Draw latency and accepted rate against offered load into this file
    #[arg(long, global = true, value_name = "FILE", display_order = 108)]
    pub(crate) svg: Option<PathBuf>,
}

impl Load {
    /// The rates.
    pub(crate) fn plan(&self) -> Plan {
        if self.rates.is_empty() { Plan::Ramp { most: self.most } } else { Plan::Rates(self.rates.clone()) }
    }

    /// Threads of the generator.
    pub(crate) fn threads(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.unwrap_or(cores / 2).max(1)
    }

    /// How arrivals are spread.
    pub(crate) fn spacing(&self) -> Spacing {
        if self.poisson { Spacing::Poisson } else { Spacing::Even }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.01..=1e6).contains(rate));
    rate.ok_or_else(|| "a rate is a number from 0.01 to 1000000 per second".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.1..=3600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time is a number from 0.1 to 3600 seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn rates_and_times_are_bounded() {
        let parse =
            |rest: &[&str]| Arguments::try_parse_from(["chancery-loadtest", "self"].iter().chain(rest));
        let load = parse(&["--rates", "10,0.5", "--seconds", "1.5"]).unwrap().load;
        assert_eq!((load.rates, load.seconds), (vec![10.0, 0.5], Duration::from_millis(1500)));
        for wrong in
            [["--rates", "0"], ["--rates", "NaN"], ["--seconds", "0"], ["--timeout", "inf"], ["--most", "-1"]]
        {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_server_needs_its_address() {
        assert!(Arguments::try_parse_from(["chancery-loadtest", "v1"]).is_err());
        let parsed =
            Arguments::try_parse_from(["chancery-loadtest", "v1", "--against", "http://127.0.0.1:1/"])
                .unwrap();
        let Command::V1 { service, .. } = parsed.command else { panic!("{parsed:?}") };
        assert_eq!(service.url(), "http://127.0.0.1:1");
    }
}
