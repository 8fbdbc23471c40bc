//! `chancery-server run`: serves an instance until it is told to stop, or has to.
//!
//! Order of a shutdown: stop accepting, answer what was accepted, and only then stop the sequencers those answers
//! wait for. A sequencer that ends by itself does not know what is stored any more: the process ends with a failure,
//! and the next start finds out. Every task here is joined. Last of all the heads are remembered: none is made after.

mod first_line;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use chancery_tlog::clock::{Clock, SystemClock};
use chancery_tlog::serve::logging::{self, Filter, Logging};
use chancery_tlog::serve::metrics::{self, Metrics};
use chancery_tlog::serve::{Limits, Listener, Tls};
use chancery_tlog::server::log::Sequencer;
use chancery_tlog::server::meters;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::compose::{Application, Opened, Site};
use crate::config::Config;
use crate::control::Control;
use crate::descriptors;
use crate::expiry::{self, End};
use crate::lock::Lock;
use crate::memory::{self, Memory};
use crate::observe::{self, Ending, LastRun};
use crate::reload::{Reloader, Running};
use crate::roles::{Instance, OpenLog};
use crate::signals::Signals;
use crate::{backup, notify, output, restore};

/// How long standard output may take the addresses.
const ANNOUNCING: Duration = Duration::from_secs(1);

/// A failure whose reason has been logged.
#[derive(Debug, thiserror::Error)]
#[error("the reason is in the log")]
pub(crate) struct Logged;

/// Serves the instance in `dir`.
pub(crate) async fn run(dir: &Path) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    let json = Config::wants_json(dir);
    // The lock is dropped last of all.
    let (_lock, config, log) = match configure(dir) {
        Ok(configured) => configured,
        Err(error) if json => {
            let _log = logging::init(json, &Filter::default())?;
            return Err(logged(&error));
        }
        Err(error) => return Err(error),
    };
    match serve(dir, config, &log, signals).await {
        Ok(outcome) => outcome.map_err(|_| Logged.into()),
        Err(error) if json => Err(logged(&error)),
        Err(error) => Err(error),
    }
}

fn configure(dir: &Path) -> anyhow::Result<(Lock, Config, Logging)> {
    // Before the configuration is read: a command that changes it now would be missed.
    let lock = Lock::take(dir)?;
    let config = Config::load(dir)?;
    let log = logging::init(config.json_logs, &Filter::in_force(config.log_filter.as_ref())?)?;
    Ok((lock, config, log))
}

/// Where the log is JSON, nothing else is written to its stream.
fn logged(error: &anyhow::Error) -> anyhow::Error {
    tracing::error!(error = output::in_full(error), "cannot start");
    Logged.into()
}

/// The listeners, which have their addresses and do not answer yet.
struct Listeners {
    clients: Listener,
    metrics: Option<Listener>,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let clients = Listener::bind(&config.listen, &config.limits).await?;
        let metrics = match config.listen.metrics_listener() {
            Some(settings) => {
                Some(Listener::bind(&settings, &Limits::for_metrics()).await.context("metrics")?)
            }
            None => None,
        };
        Ok(Self { clients, metrics })
    }

    fn urls(&self) -> String {
        self.clients.urls().collect::<Vec<_>>().join(" and ")
    }

    /// Prints or logs the addresses, once they answer. An output that does not take them is not a reason to stop, nor to
    /// wait.
    fn announcement(&self, json: bool) -> impl FnOnce() + use<> {
        let metrics = self.metrics.iter().flat_map(Listener::urls);
        let metrics: Vec<_> = metrics.map(|url| format!("metrics on {url}{}", metrics::PATH)).collect();
        let lines = [metrics, vec![format!("listening on {}", self.urls())]].concat();
        move || {
            if json {
                return lines.iter().for_each(|line| tracing::info!("{line}"));
            }
            let text = lines.join("\n") + "\n";
            if let Err(error) = logging::write_briefly(std::io::stdout(), text, ANNOUNCING) {
                tracing::warn!(%error, "cannot print the addresses on standard output");
            }
        }
    }
}

/// Tasks beside the sequencers, which all end when the server stops accepting.
#[derive(Default)]
struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Tasks {
    fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, task: impl FnOnce(CancellationToken) -> F) {
        let task = task(self.stop.clone());
        self.set.spawn(async {
            task.await;
            Ok(())
        });
    }
}

/// `Err` if it cannot start; else how it ended, which the log says too.
async fn serve(
    dir: &Path,
    config: Config,
    log: &Logging,
    signals: Signals,
) -> anyhow::Result<anyhow::Result<()>> {
    backup::refuse_backup(dir)?;
    let recorder =
        metrics::install(&[metrics::METRICS, meters::METRICS, chancery_ca::METRICS, observe::METRICS])?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut instance = Instance::load(config, clock.clone())?;
    let stores = instance.config.served_logs().count();
    let shortage = descriptors::fit(&mut instance.config.limits, stores);
    let listeners = Listeners::bind(&instance.config).await?;
    let (memories, rates) = (Memory::all(&instance.config), instance.config.rates);
    let tls = listeners.clients.tls().cloned();
    let ends = ends(&instance, tls.clone());
    let opened = Opened::logs_of(instance, &clock).await?;
    first_line::log(&opened, &ends());
    let Application { routes, site, sequencers, logs, tuf, sampler, occupancy } =
        opened.into_application(&clock)?;
    shortage.into_iter().for_each(descriptors::Shortage::warn);
    complain(&site, tls.as_deref())?;
    // Before anything can be written: a log that goes on from an old copy contradicts itself.
    let keeper = memory::ask(dir, memories, &logs).await?;
    restore::warn_of_restored(dir, &logs);
    let last_run = LastRun::begin(dir);

    let (stop, hangup) = signals.split();
    let mut tasks = Tasks::default();
    let announce = listeners.announcement(site.instance.config.json_logs);
    let status = format!("serving {} on {}", site.instance.config.url, listeners.urls());
    let site = Arc::new(ArcSwap::from_pointee(site));
    let sampler = sampler.watching(tls.as_ref());
    let Listeners { clients, metrics: metrics_listener } = listeners;
    let clients = clients.limiting(rates).counting(occupancy.clone()).with_routes(routes, &tasks.stop);
    let running = Running {
        dir: dir.to_owned(),
        site: site.clone(),
        routes: clients.changer(),
        tls,
        filter: log.filter(),
    };
    let reloader = Reloader::new(running, clock.clone());
    tasks.spawn(|_| clients.run());
    if let Some(listener) = metrics_listener {
        let sample = move || {
            sampler.sample();
            occupancy.sample();
            site.load().look();
        };
        let router = metrics::router(recorder.clone(), sample);
        tasks.spawn(|stop| listener.with_routes(router, &stop).run());
    }
    tasks.spawn(|stop| reloader.run(hangup, stop));
    if let Some(publisher) = tuf {
        tasks.spawn(|stop| publisher.run(stop));
    }
    if let Some(control) = control(dir, &logs) {
        tasks.spawn(|stop| control.run(stop));
    }
    drop(logs);
    tasks.spawn(|stop| expiry::watch(ends, clock.clone(), stop));
    tasks.spawn(|stop| Metrics::upkeep(recorder, stop));
    announce();
    notify::ready(&status);
    let remembering = CancellationToken::new();
    let mut keepers = JoinSet::new();
    keepers.spawn(keeper.run(remembering.clone()));
    let mut outcome = supervise(tasks, sequencers, stop).await;
    remembering.cancel();
    while let Some(ended) = keepers.join_next().await {
        outcome = outcome.and(flatten(ended.map(Ok)));
    }
    last_run.end(Ending::of(&outcome));
    Ok(outcome)
}

/// What ends by itself, as it is at each call: the listener's certificate changes.
fn ends(instance: &Instance, tls: Option<Arc<Tls>>) -> impl Fn() -> Vec<End> + Send + use<> {
    let chains = expiry::of(instance);
    move || {
        let tls = tls.iter().map(|tls| End::of_tls(&tls.current()));
        chains.iter().cloned().chain(tls).collect()
    }
}

/// Logs what an operator should look at.
fn complain(site: &Site, tls: Option<&Tls>) -> anyhow::Result<()> {
    for unread in site.instance.config.unread_variables() {
        tracing::warn!("{unread}");
    }
    if let Some(tls) = tls {
        tls.current().complain();
    }
    site.warn_of_tuf()
}

/// Not being able to listen for backups is no reason not to serve: some file systems have no sockets.
fn control(dir: &Path, logs: &[OpenLog]) -> Option<Control> {
    let bound = Control::bind(dir, logs);
    bound
        .inspect_err(|error| {
            tracing::warn!(error = output::in_full(error), "`backup` will not work while this server runs");
        })
        .ok()
}

/// Waits until a signal comes or a task fails, then ends everything in order. The first failure is the result.
async fn supervise(
    Tasks { set: mut servers, stop: accepting }: Tasks,
    logs: Vec<(String, Sequencer)>,
    signal: impl Future<Output = &'static str>,
) -> anyhow::Result<()> {
    let sequencing = CancellationToken::new();
    let mut sequencers = JoinSet::new();
    for (name, sequencer) in logs {
        let stop = sequencing.clone();
        sequencers.spawn(async move { sequencer.run(stop).await.with_context(|| format!("log `{name}`")) });
    }
    let mut outcome = tokio::select! {
        name = signal => {
            tracing::info!(signal = name, "stopping: answering what was accepted");
            Ok(())
        }
        Some(ended) = servers.join_next() => Err(ended_early(ended, "a listener")),
        Some(ended) = sequencers.join_next() => Err(ended_early(ended, "a sequencer")),
    };
    notify::stopping();
    accepting.cancel();
    while let Some(ended) = servers.join_next().await {
        outcome = outcome.and(flatten(ended));
    }
    sequencing.cancel();
    while let Some(ended) = sequencers.join_next().await {
        outcome = outcome.and(flatten(ended));
    }
    match &outcome {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(error = output::in_full(error), "stopped by a failure"),
    }
    outcome
}

type Ended = Result<anyhow::Result<()>, tokio::task::JoinError>;

fn flatten(ended: Ended) -> anyhow::Result<()> {
    ended.unwrap_or_else(|error| Err(anyhow!("a task panicked: {error}")))
}

fn ended_early(ended: Ended, who: &str) -> anyhow::Error {
    flatten(ended).err().unwrap_or_else(|| anyhow!("{who} ended by itself"))
}

#[cfg(test)]
mod tests {
    use chancery_tlog::checkpoint::Origin;
    use chancery_tlog::key::{KeyKind, Signer, SoftwareSigner};
    use chancery_tlog::server::log::{AddError, Log, LogSettings, Submission};
    use chancery_tlog::server::store::{Fault, Faulty, Memory};

    use super::*;

    #[tokio::test]
    async fn a_commit_of_unknown_outcome_ends_the_process_with_a_failure() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519).unwrap());
        let settings = LogSettings::new(Origin::new("log.example").unwrap());
        let store = Faulty::new(Memory::new());
        Log::create(&settings, &store, signer.clone(), &*clock, None).await.unwrap();
        store.plan([Some(Fault::UnknownBefore)]);
        let (log, sequencer) = Log::open(settings, Arc::new(store), signer, clock).await.unwrap();

        let mut tasks = Tasks::default();
        tasks.spawn(|stop| async move { stop.cancelled().await });
        let submitted = tokio::spawn(async move {
            let leaf = bytes::Bytes::from_static(b"leaf");
            let identity = chancery_tlog::merkle::Hash::digest(&leaf);
            log.add(Submission { identity, leaf: leaf.into(), extra: bytes::Bytes::new(), terms: Vec::new() })
                .await
        });
        let sequencers = vec![("attestations".to_owned(), sequencer)];
        let error = supervise(tasks, sequencers, std::future::pending()).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("log `attestations`: a commit may or may not"), "{error:#}");
        assert!(matches!(submitted.await.unwrap(), Err(AddError::Unknown)));
    }

    #[tokio::test]
    async fn a_signal_stops_the_servers_without_failure() {
        let mut tasks = Tasks::default();
        tasks.spawn(|stop| async move { stop.cancelled().await });
        supervise(tasks, Vec::new(), async { "SIGTERM" }).await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_that_fails_ends_the_process_with_its_reason() {
        let mut tasks = Tasks::default();
        tasks.set.spawn(async { Err(anyhow!("the socket is gone")) });
        tasks.spawn(|stop| async move { stop.cancelled().await });
        let error = supervise(tasks, Vec::new(), std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the socket is gone");
    }
}
