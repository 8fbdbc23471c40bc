//! Every command and flag, with the text that `--help` shows: the manual is written here and nowhere else.

use std::path::PathBuf;

use chancery::instance::Without;
use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use super::Failure;

/// Produce and verify SLSA provenance against a private Sigstore instance
///
/// An instance is pinned once with `trust add`; after that `attest` and `sign` sign against it, and `verify` needs no
/// network at all. Nothing is ever sent to a host that is not the pinned instance's or the CI provider's token
/// endpoint
#[derive(Debug, Parser)]
#[command(
    name = "chancery",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done or verified, 1 not verified, 2 could not run, 3 signed and logged, or perhaps logged, but no \
                  verified bundle is where it was wanted (the message names the file that holds what there is)"
)]
pub(crate) struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How results are written to stdout
    #[arg(long, global = true, display_order = 900, value_enum, default_value_t = Output::Human)]
    pub(crate) output: Output,

    /// Folder of the pinned instance [default: the user's configuration folder, such as ~/.config/chancery]
    #[arg(
        long,
        global = true,
        display_order = 901,
        value_name = "DIR",
        env = "CHANCERY_CONFIG_DIR",
        hide_env_values = true
    )]
    config_dir: Option<PathBuf>,
}

impl Arguments {
    /// Folder of the pinned instance.
    pub(crate) fn folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.config_dir {
            return Ok(folder.clone());
        }
        let folders = directories::ProjectDirs::from("", "", "chancery");
        folders.map(|folders| folders.config_dir().to_owned()).ok_or_else(|| {
            Failure::could_not_run("this user has no home, so there is no configuration folder")
                .hint("give one with `--config-dir`")
        })
    }
}

/// Form of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Human,
    /// One JSON document
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pin an instance, or show the pinned one
    #[command(subcommand)]
    Trust(Trust),
    /// Sign SLSA provenance for files that this CI job built
    ///
    /// Several files make one statement with several subjects and one log entry. The bundle is written as
    /// FILE.sigstore.json beside every file, or once to `--bundle`; a bundle there that `sign` or another program wrote about
    /// something else is not replaced without `--force`. The provenance says what the job's identity token
    /// says, in GitHub's own build type. Logs (Rekor v2 or v1) and timestamp authorities are those that the instance's
    /// signing config chooses, see `trust show`
    Attest(Attest),
    /// Sign a file
    ///
    /// The bundle is written as FILE.sigstore.json beside the file, or to `--bundle`; that it can be is checked before
    /// anything is signed. A bundle there that `attest` or another program wrote about something else is not replaced without
    /// `--force`. Logs (Rekor v2 or v1) and timestamp authorities are those that the instance's signing config chooses, see `trust show`
    Sign(Sign),
    /// Verify a file or digest against a bundle, offline
    ///
    /// Every claim that the bundle makes and the trusted root demands is checked, and each is named in the result.
    /// Bundles of any Sigstore instance, with entries of Rekor v1 or v2 and RFC 3161 timestamps, verify with that
    /// instance's `--trusted-root`. Say who must have signed: a certificate identity and its provider, a source, a
    /// builder, or a key
    Verify(Box<Verify>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// Fetch what an instance trusts and pin it
    ///
    /// Compare the identifier that is shown with the one that the instance's operators publish, or give it with
    /// `--sha256`: whoever stands in between decides what verifies. It is the SHA-256 of the instance's first TUF root and
    /// stays the same for good; what is trusted later is signed by the keys in it, and followed by `trust update`. If the
    /// instance's TLS certificate is issued inside of your company, name that authority's PEM file in SSL_CERT_FILE, for
    /// `sign` and `attest` too. The system's authorities are not used then, unless SSL_CERT_DIR names their folder, such as
    /// /etc/ssl/certs
    Add {
        /// Address of the instance, such as https://chancery.example.com
        url: Url,
        /// Identifier that the instance must have, or the SHA-256 of its client_trust_config.json as it is now (then later
        /// changes are not followed)
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        /// Replace another instance that is already pinned
        #[arg(long)]
        replace: bool,
        /// Pin the instance even if it is a public one
        #[arg(long)]
        allow_public_instance: bool,
    },
    /// Ask the pinned instance what it trusts now
    ///
    /// New keys, chains and logs, and ends of old ones, are taken from its TUF repository. `attest` and `sign` do this by
    /// themselves, at most once in ten minutes; `verify` never does, since it needs no network
    Update {
        /// Ask the instance even if it is a public one
        #[arg(long)]
        allow_public_instance: bool,
    },
    /// Show the pinned instance: whom it trusts and until when, and where signatures go
    Show,
}

/// Who signs, and where.
#[derive(Debug, Args)]
pub(crate) struct Signer {
    /// Identity token; prefer the file or the variable SIGSTORE_ID_TOKEN, since command lines are visible to others
    #[arg(long, value_name = "JWT", conflicts_with = "identity_token_file")]
    pub(crate) identity_token: Option<String>,
    /// File with the identity token [default: SIGSTORE_ID_TOKEN, else GitHub Actions' token endpoint]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity_token_file: Option<PathBuf>,
    /// Sign against a public instance if the pinned one is: repository names and identities become public
    #[arg(long)]
    pub(crate) allow_public_instance: bool,
    /// Write the bundle to this one file; a device, FIFO or /dev/fd/N is written to, and `-` is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Replace a bundle that holds something else: a signature by a statement, or a statement by one of another type or a
    /// signature
    #[arg(long, visible_alias = "overwrite")]
    pub(crate) force: bool,
    /// Sign though no attestation log will have it, because the instance has none by design; also as
    /// `--tlog-upload=false`, for those who are used to cosign
    #[arg(long)]
    no_log: bool,
    /// Sign though nobody trusted will say when, because the instance has neither a timestamp authority nor a Rekor v1 log by
    /// design: what is signed verifies for the few minutes of its certificate
    #[arg(long)]
    no_signed_time: bool,
    /// cosign's name for `--no-log`
    #[arg(long, hide = true, value_name = "BOOL", require_equals = true, conflicts_with = "no_log")]
    tlog_upload: Option<bool>,
}

impl Signer {
    /// What the instance is said not to have.
    pub(crate) fn without(&self) -> Without {
        Without { log: self.no_log || self.tlog_upload == Some(false), signed_time: self.no_signed_time }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Attest {
    /// Files that the job built, at most 1024
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) signer: Signer,
    /// Web address of the CI, as builder and source addresses start with it
    #[arg(
        long,
        value_name = "URL",
        env = "GITHUB_SERVER_URL",
        hide_env_values = true,
        default_value = "https://github.com"
    )]
    pub(crate) server_url: String,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// File to sign
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) signer: Signer,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// File, or its digest such as sha256:HEX
    #[arg(value_name = "FILE|sha256:HEX")]
    pub(crate) artifact: String,
    /// Bundle to verify [default: FILE.sigstore.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Keys and certificates to trust, of any Sigstore instance [default: the pinned instance's]
    #[arg(long, value_name = "FILE")]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Public key (PEM) that must have signed, for bundles without a certificate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer"])]
    pub(crate) key: Option<PathBuf>,
    /// Exact name in the certificate: an e-mail address or a URI such as a workflow's
    #[arg(long, value_name = "NAME", conflicts_with = "certificate_identity_regexp")]
    pub(crate) certificate_identity: Option<String>,
    /// Regular expression that the whole name in the certificate must match
    #[arg(long, value_name = "REGEXP")]
    pub(crate) certificate_identity_regexp: Option<String>,
    /// OIDC provider that must vouch for the name, such as https://token.actions.githubusercontent.com
    /// [default with --source-uri or --builder-id: the provider that owns their host, such as GitHub Actions'
    /// for github.com; any other must be named]
    #[arg(long, value_name = "URL")]
    pub(crate) certificate_oidc_issuer: Option<String>,
    /// Repository it must be built from, such as https://github.com/octo-org/app
    #[arg(long, value_name = "URI")]
    pub(crate) source_uri: Option<String>,
    /// Git ref it must be built from, such as refs/tags/v1.2.3
    #[arg(long, value_name = "REF")]
    pub(crate) source_ref: Option<String>,
    /// Builder that must have built it; without @REF, any of the builder's refs
    #[arg(long, value_name = "URI")]
    pub(crate) builder_id: Option<String>,
    /// Type that the statement's predicate must have, such as https://slsa.dev/provenance/v1
    #[arg(long, value_name = "URI")]
    pub(crate) predicate_type: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
