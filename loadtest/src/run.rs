//! A run from its arguments to its report.

use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, bail};
use chancery_tlog::clock::{Clock as _, SystemClock};
use chancery_tlog::key::KeyKind;
use chancery_tlog::serve::block;
use chancery_tlog::trust::Keyring;
use reqwest::Client;

use crate::abuse::abuse;
use crate::arguments::{Arguments, Command, Load, Service, Tokens, Which};
use crate::audit::Tiles;
use crate::ceiling::Operation;
use crate::drive::{Offer, drive};
use crate::fill::fill;
use crate::instance::{ALONE, Instance};
use crate::primitives::Primitives;
use crate::report::{HEAD, Machine, Offered, Report, Step, Tested};
use crate::schedule::Spacing;
use crate::submitter::Submitter;
use crate::target::certificates::{Certificates, TokenSource, certified_submitter};
use crate::target::reads::{Kind, Reads};
use crate::target::rekor_v1::{RekorV1, RekorV1Log};
use crate::target::rekor_v2::RekorV2;
use crate::target::timestamps::Timestamps;
use crate::trust::{self, LogKeys};
use crate::{http, plot, say};

/// Whether the server's promises hold.
pub(crate) enum Verdict {
    /// All.
    Kept,
    /// So many do not.
    Broken(usize),
}

/// Runs the command and writes what it found.
pub(crate) async fn run(arguments: Arguments) -> Result<Verdict> {
    let Arguments { command, load } = arguments;
    let began = SystemClock.now().to_rfc3339();
    let machine = Machine::this();
    let client = http::client(load.timeout)?;
    let (against, primitives, mut tested) = match command {
        Command::Fill { instance, log, entries } => {
            let filled = fill(&instance, &log, entries, say).await?;
            writeln!(std::io::stdout(), "log `{log}`: {filled}")?;
            return Ok(Verdict::Kept);
        }
        Command::Abuse { attacks, binaries, folder } => {
            let binaries = binaries.map_or_else(beside_this_program, Ok)?;
            let folder = folder.unwrap_or_else(std::env::temp_dir);
            return abuse(&client, &load, &attacks, &binaries, &folder).await;
        }
        Command::Own { only, own_ca, binaries, folder, prefill, reading } => {
            let binaries = binaries.map_or_else(beside_this_program, Ok)?;
            let folder = folder.unwrap_or_else(std::env::temp_dir);
            let targets = Targets { only, certified: own_ca, kinds: reading.kinds };
            let sizes = if prefill.is_empty() { vec![None] } else { prefill.into_iter().map(Some).collect() };
            let (mut primitives, mut tested) = (None, Vec::new());
            for size in sizes {
                let instance = Instance::start(&binaries, &folder, own_ca, size, &ALONE, &client).await?;
                if primitives.is_none() {
                    primitives = Some(measure(Some(instance.folder())).await?);
                }
                tested.extend(own(&client, &load, &targets, &instance).await?);
            }
            let primitives = primitives.context("there is at least one size")?;
            ("chancery-server on this machine".to_owned(), primitives, tested)
        }
        Command::V1 { service, tokens, tiles } => {
            let tiles = tiles.map_or_else(|| format!("{}/rekor-v1", service.url()), String::from);
            single(&client, &load, service, Which::V1, &Extra::entries(tiles, tokens)?).await?
        }
        Command::V2 { service, tokens, tiles } => {
            let tiles = tiles.map_or_else(|| service.url().to_owned(), String::from);
            single(&client, &load, service, Which::V2, &Extra::entries(tiles, tokens)?).await?
        }
        Command::Ca { service, tokens, ct_log, without_ct_log } => {
            let log = ct_log.map_or_else(|| format!("{}/ct", service.url()), String::from);
            let ct_log = (!without_ct_log).then_some(log);
            let extra = Extra { ct_log, tokens: Some(token_source(tokens)?), ..Extra::default() };
            single(&client, &load, service, Which::Ca, &extra).await?
        }
        Command::Tsa { service } => single(&client, &load, service, Which::Tsa, &Extra::default()).await?,
        Command::Reads { service, tiles, reading } => {
            let extra = Extra { tiles: tiles.map(String::from), kinds: reading.kinds, ..Extra::default() };
            single(&client, &load, service, Which::Reads, &extra).await?
        }
    };
    for tested in &mut tested {
        tested.conclude(&primitives);
    }
    Tested::compare(&mut tested);
    let (version, offered) = (env!("CARGO_PKG_VERSION"), offered(&load));
    let report = Report { version, began, against, machine, primitives, load: offered, tested };
    write(&report, &load)?;
    Ok(match report.tested.iter().map(|tested| tested.breaches).sum() {
        0 => Verdict::Kept,
        broken => Verdict::Broken(broken),
    })
}

/// What some targets need beyond the server's address.
#[derive(Default)]
struct Extra {
    tiles: Option<String>,
    ct_log: Option<String>,
    tokens: Option<TokenSource>,
    /// Whether entries are signed with a certificate of the server's authority.
    certified: bool,
    /// What is read.
    kinds: Vec<Kind>,
}

impl Extra {
    /// For entries of a log with these tiles; certified if there are tokens.
    fn entries(tiles: String, tokens: Tokens) -> Result<Self> {
        let tokens = tokens.any().then(|| token_source(tokens)).transpose()?;
        Ok(Self { tiles: Some(tiles), certified: tokens.is_some(), tokens, ..Self::default() })
    }

    async fn submitter(&self, client: &Client, url: &str) -> Result<Submitter> {
        match &self.tokens {
            Some(tokens) if self.certified => certified_submitter(client, url, tokens).await,
            _ => Submitter::new(),
        }
    }
}

type Found = (String, Primitives, Vec<Tested>);

/// One target on a server that runs already.
async fn single(
    client: &Client,
    load: &Load,
    service: Service,
    which: Which,
    extra: &Extra,
) -> Result<Found> {
    let url = service.url().to_owned();
    let keyring = trust::keyring(client, &url, service.trusted_root.as_deref()).await?;
    let primitives = measure(service.disk.as_deref()).await?;
    let offer = offer(load, service.pid);
    let tested = one(client, &url, which, &keyring, &offer, extra).await?;
    Ok((url, primitives, tested))
}

/// What is put under load on a server of our own.
struct Targets {
    /// These; if empty, all that the server has.
    only: Vec<Which>,
    /// Whether entries are signed with a certificate of the server's authority.
    certified: bool,
    /// What is read.
    kinds: Vec<Kind>,
}

/// The targets on a server of our own.
async fn own(client: &Client, load: &Load, targets: &Targets, instance: &Instance) -> Result<Vec<Tested>> {
    let url = instance.url();
    let keyring = trust::keyring(client, url, None).await?;
    let offer = offer(load, Some(instance.server_id()));
    let Targets { only, certified, kinds } = targets;
    let mut tested = Vec::new();
    for which in Which::ALL {
        if (only.is_empty() && has(&keyring, which)) || only.contains(&which) {
            let tiles = match which {
                Which::V1 => Some(format!("{url}/rekor-v1")),
                Which::V2 => Some(url.to_owned()),
                _ => None,
            };
            let (ct_log, tokens) = (Some(format!("{url}/ct")), Some(instance.tokens()));
            let extra = Extra { tiles, ct_log, tokens, certified: *certified, kinds: kinds.clone() };
            tested.extend(one(client, url, which, &keyring, &offer, &extra).await?);
        }
    }
    Ok(tested)
}

/// Whether a server with this keyring has the target.
fn has(keyring: &Keyring, which: Which) -> bool {
    let log = |ed25519: bool| keyring.logs.iter().any(|log| (log.key.kind() == KeyKind::Ed25519) == ed25519);
    match which {
        Which::V1 => log(false),
        Which::V2 => log(true),
        Which::Ca => !keyring.authorities.is_empty(),
        Which::Tsa => !keyring.timestamp_authorities.is_empty(),
        Which::Reads => !keyring.logs.is_empty(),
    }
}

async fn one(
    client: &Client,
    url: &str,
    which: Which,
    keyring: &Keyring,
    offer: &Offer,
    extra: &Extra,
) -> Result<Vec<Tested>> {
    let tiles = extra.tiles.as_deref().unwrap_or(url);
    let v1 = || Ok::<_, anyhow::Error>(RekorV1Log::new(client.clone(), url, LogKeys::rekor_v1(keyring)?));
    if which != Which::Reads {
        say(&format!("{which:?} of {url}\n{HEAD}").to_lowercase());
    }
    let tested = match which {
        Which::V1 => {
            let target = RekorV1::new(v1()?, tiles, extra.submitter(client, url).await?).await?;
            drive("v1", Some(Operation::RekorV1), target, client, offer, tell).await
        }
        Which::V2 => {
            let (keys, submitter) = (LogKeys::rekor_v2(keyring)?, extra.submitter(client, url).await?);
            let target = RekorV2::new(client.clone(), url, tiles, keys, submitter).await?;
            drive("v2", Some(Operation::RekorV2), target, client, offer, tell).await
        }
        Which::Ca => {
            let tokens = extra.tokens.clone().context("certificates need identity tokens")?;
            let target =
                Certificates::new(client.clone(), url, tokens, keyring.clone(), extra.ct_log.as_deref())
                    .await?;
            drive("ca", Some(Operation::Certificate), target, client, offer, tell).await
        }
        Which::Tsa => {
            let target = Timestamps::new(&format!("{url}/api/v1/timestamp"), keyring)?;
            drive("tsa", Some(Operation::Timestamp), target, client, offer, tell).await
        }
        Which::Reads => return reads(client, url, keyring, offer, extra).await,
    };
    Ok(vec![tested?])
}

/// Every kind of reads that was asked for, one after the other.
async fn reads(
    client: &Client,
    url: &str,
    keyring: &Keyring,
    offer: &Offer,
    extra: &Extra,
) -> Result<Vec<Tested>> {
    let prefix = match &extra.tiles {
        Some(prefix) => prefix.clone(),
        None if Tiles::new(client.clone(), url).checkpoint().await?.is_some() => url.to_owned(),
        None => format!("{url}/rekor-v1"),
    };
    let mut tested = Vec::new();
    for kind in &extra.kinds {
        say(&format!("{} of {url}\n{HEAD}", kind.title()));
        let v1 = if has(keyring, Which::V1) {
            Some(RekorV1Log::new(client.clone(), url, LogKeys::rekor_v1(keyring)?))
        } else {
            None
        };
        let target = Reads::new(*kind, Tiles::new(client.clone(), &prefix), &prefix, v1).await?;
        tested.push(drive(kind.title(), target.operation(), target, client, offer, tell).await?);
    }
    Ok(tested)
}

fn offer(load: &Load, server: Option<u32>) -> Offer {
    let (plan, spacing) = (load.plan(), load.spacing());
    Offer { plan, span: load.seconds, spacing, in_flight: load.in_flight, server }
}

fn offered(load: &Load) -> Offered {
    let arrivals = match load.spacing() {
        Spacing::Even => "even",
        Spacing::Poisson => "poisson",
    };
    let timeout_seconds = load.timeout.as_secs_f64();
    Offered { arrivals, in_flight: load.in_flight, timeout_seconds, threads: load.threads() }
}

fn token_source(tokens: Tokens) -> Result<TokenSource> {
    match (tokens.token_file, tokens.token_url, tokens.token_bearer) {
        (Some(file), _, _) => TokenSource::file(&file),
        (None, Some(url), Some(bearer)) => Ok(TokenSource::Endpoint { url, bearer }),
        _ => bail!(
            "certificates need identity tokens: give `--token-url` and `--token-bearer`, or `--token-file`"
        ),
    }
}

async fn measure(folder: Option<&Path>) -> Result<Primitives> {
    let folder = folder.map(Path::to_owned);
    block(move || Primitives::measure(folder.as_deref())).await?
}

fn beside_this_program() -> Result<std::path::PathBuf> {
    let program =
        std::env::current_exe().context("cannot find this program's own folder: give `--binaries`")?;
    Ok(program.parent().context("this program is in no folder")?.to_owned())
}

impl Machine {
    fn this() -> Self {
        let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        Self {
            processor: model.map_or("unknown processor", |(_, model)| model).to_owned(),
            cores: thread::available_parallelism().map_or(1, NonZero::get),
            load_average: load.and_then(|load| load.split(' ').next()?.parse().ok()),
        }
    }
}

fn tell(step: &Step) {
    say(&step.to_string());
}

fn write(report: &Report, load: &Load) -> Result<()> {
    writeln!(std::io::stdout(), "{report}")?;
    if let Some(path) = &load.json {
        let json = serde_json::to_string_pretty(report)?;
        std::fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &load.svg {
        std::fs::write(path, plot::svg(report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
