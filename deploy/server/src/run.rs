//! `chancery-server run`: serves an instance until it is told to stop, or has to.
//!
//! Order of a shutdown: stop accepting, answer what was accepted, and only then stop the sequencers those answers
//! wait for. A sequencer that ends by itself does not know what is stored any more: the process ends with a failure,
//! and the next start finds out. Every task here is joined. Last of all the heads are remembered: none is made after.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use chancery_tlog::clock::{Clock, SystemClock};
use chancery_tlog::serve::{Limits, Listener, Routes, logging, metrics};
use chancery_tlog::server::log::Sequencer;
use chancery_tlog::server::meters;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::compose::{self, Application};
use crate::config::Config;
use crate::control::Control;
use crate::descriptors;
use crate::lock::Lock;
use crate::memory::{self, Memory};
use crate::observe::{self, Ending, LastRun};
use crate::roles::{Instance, OpenLog};
use crate::{backup, expiry, restore};

/// How long standard output may take the addresses.
const ANNOUNCING: Duration = Duration::from_secs(1);

/// Serves the instance in `dir`.
pub(crate) async fn run(dir: &Path) -> anyhow::Result<()> {
    // Before the configuration is read: a command that changes it now would be missed. Dropped last of all.
    let _lock = Lock::take(dir)?;
    let config = Config::load(dir)?;
    backup::refuse_backup(dir)?;
    let _flush = logging::init(config.json_logs)?;
    let recorder =
        metrics::install(&[metrics::METRICS, meters::METRICS, chancery_ca::METRICS, observe::METRICS])?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut instance = Instance::load(config, clock.clone())?;
    let ends = expiry::of(&instance);
    let stores = instance.config.served_logs().count();
    descriptors::fit(&mut instance.config.limits, stores);
    let listener = Listener::bind(&instance.config.listen, &instance.config.limits).await?;
    let metrics_listener = match instance.config.listen.metrics_listener() {
        Some(settings) => Some(Listener::bind(&settings, &Limits::for_metrics()).await.context("metrics")?),
        None => None,
    };
    let memories = Memory::all(&instance.config);
    let rates = instance.config.rates;
    let Application { routes, sequencers, logs, tuf, sampler, occupancy } =
        compose::application(instance, &clock).await?;
    let listener = listener.limiting(rates).counting(occupancy.clone());
    // Before anything can be written: a log that goes on from an old copy contradicts itself.
    let keeper = memory::ask(dir, memories, &logs).await?;
    restore::warn_of_restored(dir, &logs);
    let last_run = LastRun::begin(dir);

    // Before a listener answers: whoever sees it ready may send a signal at once.
    let signal = stop_signal()?;
    let accepting = CancellationToken::new();
    let mut servers = JoinSet::new();
    let ready = announcement(&listener, metrics_listener.as_ref());
    servers.spawn(serve(listener, routes, accepting.clone()));
    if let Some(listener) = metrics_listener {
        let router = metrics::router(recorder.clone(), move || {
            sampler.sample();
            occupancy.sample();
        });
        servers.spawn(serve(listener, router.into(), accepting.clone()));
    }
    if let Some(publisher) = tuf {
        let stop = accepting.clone();
        servers.spawn(async move {
            publisher.run(stop).await;
            Ok(())
        });
    }
    if let Some(control) = control(dir, &logs) {
        let stop = accepting.clone();
        servers.spawn(async move {
            control.run(stop).await;
            Ok(())
        });
    }
    drop(logs);
    let watch = expiry::watch(ends, clock.clone(), accepting.clone());
    servers.spawn(async {
        watch.await;
        Ok(())
    });
    let upkeep = recorder.upkeep(accepting.clone());
    servers.spawn(async {
        upkeep.await;
        Ok(())
    });
    announce(ready);
    let remembering = CancellationToken::new();
    let mut keepers = JoinSet::new();
    keepers.spawn(keeper.run(remembering.clone()));
    let mut outcome = supervise(servers, sequencers, accepting, signal).await;
    remembering.cancel();
    while let Some(ended) = keepers.join_next().await {
        outcome = outcome.and(flatten(ended.map(Ok)));
    }
    last_run.end(Ending::of(&outcome));
    outcome
}

/// Not being able to listen for backups is no reason not to serve: some file systems have no sockets.
fn control(dir: &Path, logs: &[OpenLog]) -> Option<Control> {
    let bound = Control::bind(dir, logs);
    bound
        .inspect_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "`backup` will not work while this server runs");
        })
        .ok()
}

async fn serve(listener: Listener, routes: Routes, accepting: CancellationToken) -> anyhow::Result<()> {
    Ok(listener.serve(routes, accepting).await?)
}

/// Waits until a signal comes or a task fails, then ends everything in order. The first failure is the result.
async fn supervise(
    mut servers: JoinSet<anyhow::Result<()>>,
    logs: Vec<(String, Sequencer)>,
    accepting: CancellationToken,
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
        Err(error) => tracing::error!(error = format!("{error:#}"), "stopped by a failure"),
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

fn announcement(listener: &Listener, metrics: Option<&Listener>) -> String {
    let metrics = metrics.into_iter().flat_map(Listener::urls);
    let mut lines: Vec<String> = metrics.map(|url| format!("metrics on {url}/metrics\n")).collect();
    let urls = listener.urls().collect::<Vec<_>>().join(" and ");
    lines.push(format!("listening on {urls}\n"));
    lines.concat()
}

/// Prints the addresses. An output that does not take them is not a reason to stop, nor to wait.
fn announce(ready: String) {
    if let Err(error) = logging::write_briefly(std::io::stdout(), ready, ANNOUNCING) {
        tracing::warn!(%error, "cannot print the addresses on standard output");
    }
}

/// Resolves with the name of the first signal to stop. Registered before anyone can send one to a ready server.
fn stop_signal() -> anyhow::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
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

        let accepting = CancellationToken::new();
        let mut servers = JoinSet::new();
        let stop = accepting.clone();
        servers.spawn(async move {
            stop.cancelled().await;
            Ok(())
        });
        let submitted = tokio::spawn(async move {
            let leaf = bytes::Bytes::from_static(b"leaf");
            let identity = chancery_tlog::merkle::Hash::digest(&leaf);
            log.add(Submission { identity, leaf: leaf.into(), extra: bytes::Bytes::new(), terms: Vec::new() })
                .await
        });
        let sequencers = vec![("attestations".to_owned(), sequencer)];
        let error = supervise(servers, sequencers, accepting, std::future::pending()).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("log `attestations`: a commit may or may not"), "{error:#}");
        assert!(matches!(submitted.await.unwrap(), Err(AddError::Unknown)));
    }

    #[tokio::test]
    async fn a_signal_stops_the_servers_without_failure() {
        let accepting = CancellationToken::new();
        let mut servers = JoinSet::new();
        let stop = accepting.clone();
        servers.spawn(async move {
            stop.cancelled().await;
            Ok(())
        });
        supervise(servers, Vec::new(), accepting, async { "SIGTERM" }).await.unwrap();
    }

    #[tokio::test]
    async fn a_listener_that_fails_ends_the_process_with_its_reason() {
        let mut servers = JoinSet::new();
        servers.spawn(async { Err(anyhow!("the socket is gone")) });
        let accepting = CancellationToken::new();
        let stop = accepting.clone();
        servers.spawn(async move {
            stop.cancelled().await;
            Ok(())
        });
        let error = supervise(servers, Vec::new(), accepting, std::future::pending()).await.unwrap_err();
        assert_eq!(error.to_string(), "the socket is gone");
    }
}
