//! A run from its arguments to its report.

use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result, bail};
use chancery_tlog::clock::{Clock as _, SystemClock};
use chancery_tlog::key::KeyKind;
use chancery_tlog::trust::Keyring;
use reqwest::Client;

use crate::arguments::{Arguments, Command, Load, Service, Tokens, Which};
use crate::audit::Tiles;
use crate::ceiling::Operation;
use crate::drive::{Offer, drive};
use crate::instance::Instance;
use crate::primitives::Primitives;
use crate::report::{HEAD, Machine, Report, Step, Tested};
use crate::submitter::Submitter;
use crate::target::certificates::{Certificates, TokenSource, certified_submitter};
use crate::target::reads::Reads;
use crate::target::rekor_v1::{RekorV1, RekorV1Log};
use crate::target::rekor_v2::RekorV2;
use crate::target::timestamps::Timestamps;
use crate::trust::{self, LogKeys};
use crate::{http, plot};

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
        Command::Own { only, own_ca, binaries, folder } => {
            let binaries = binaries.map_or_else(beside_this_program, Ok)?;
            let folder = folder.unwrap_or_else(std::env::temp_dir);
            let instance = Instance::start(&binaries, &folder, own_ca, &client).await?;
            own(&client, &load, &only, &instance, own_ca).await?
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
        Command::Reads { service, tiles } => {
            let extra = Extra { tiles: tiles.map(String::from), ..Extra::default() };
            single(&client, &load, service, Which::Reads, &extra).await?
        }
    };
    for tested in &mut tested {
        tested.conclude(&primitives);
    }
    let report = Report { version: env!("CARGO_PKG_VERSION"), began, against, machine, primitives, tested };
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
}

impl Extra {
    /// For entries of a log with these tiles; certified if there are tokens.
    fn entries(tiles: String, tokens: Tokens) -> Result<Self> {
        let tokens = tokens.any().then(|| token_source(tokens)).transpose()?;
        Ok(Self { tiles: Some(tiles), ct_log: None, certified: tokens.is_some(), tokens })
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
    Ok((url, primitives, vec![tested]))
}

/// All targets, or those in `only`, on a server of our own.
async fn own(
    client: &Client,
    load: &Load,
    only: &[Which],
    instance: &Instance,
    certified: bool,
) -> Result<Found> {
    let url = instance.url();
    let keyring = trust::keyring(client, url, None).await?;
    let primitives = measure(Some(instance.folder())).await?;
    let offer = offer(load, Some(instance.server_id()));
    let mut tested = Vec::new();
    for which in Which::ALL {
        if (only.is_empty() && has(&keyring, which)) || only.contains(&which) {
            let tiles = match which {
                Which::V1 => Some(format!("{url}/rekor-v1")),
                Which::V2 => Some(url.to_owned()),
                _ => None,
            };
            let ct_log = Some(format!("{url}/ct"));
            let extra = Extra { tiles, ct_log, tokens: Some(instance.tokens()), certified };
            tested.push(one(client, url, which, &keyring, &offer, &extra).await?);
        }
    }
    Ok(("chancery-server on this machine".to_owned(), primitives, tested))
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
) -> Result<Tested> {
    let tiles = extra.tiles.as_deref().unwrap_or(url);
    let v1 = || Ok::<_, anyhow::Error>(RekorV1Log::new(client.clone(), url, LogKeys::rekor_v1(keyring)?));
    say(&format!("{which:?} of {url}\n{HEAD}").to_lowercase());
    match which {
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
        Which::Reads => {
            let prefix = match &extra.tiles {
                Some(prefix) => prefix.clone(),
                None if Tiles::new(client.clone(), url).checkpoint().await?.is_some() => url.to_owned(),
                None => format!("{url}/rekor-v1"),
            };
            let v1 = if has(keyring, Which::V1) { Some(v1()?) } else { None };
            let target = Reads::new(Tiles::new(client.clone(), &prefix), &prefix, v1).await?;
            drive("reads", None, target, client, offer, tell).await
        }
    }
}

fn offer(load: &Load, server: Option<u32>) -> Offer {
    let (plan, spacing) = (load.plan(), load.spacing());
    Offer { plan, span: load.seconds, spacing, in_flight: load.in_flight, server }
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
    tokio::task::spawn_blocking(move || Primitives::measure(folder.as_deref())).await?
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

/// Progress, on stderr: results alone go to stdout.
fn tell(step: &Step) {
    say(&step.to_string());
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
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
