//! Reloads: SIGHUP reads chancery.toml and what it names again.
//!
//! Invariant: all or nothing. Everything is read, parsed and checked first, and nothing that is served changes before. What
//! follows cannot fail, but for the log's filter, which is the first. A request that has begun keeps what it came to.
//!
//! Taken over are issuers, claim policies, the rules for readers and their list, the TLS identity with the authorities of client
//! certificates, and the log's filter. The rest is bound to sockets, stores and keys that are open: it is named in the log, and
//! takes effect at the next start.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use arc_swap::ArcSwap;
use chancery_tlog::clock::Clock;
use chancery_tlog::serve::logging::{Filter, FilterChanger};
use chancery_tlog::serve::metrics::Counters;
use chancery_tlog::serve::{Changer, Routes, Tls, TlsIdentity, block};
use metrics::gauge;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

use crate::compose::Site;
use crate::config::{Changes, Config};
use crate::{notify, observe, output};

/// A running server, as far as a reload changes it. Clones share it.
#[derive(Clone)]
pub(crate) struct Running {
    /// Folder of the instance.
    pub(crate) dir: PathBuf,
    /// What the routes are made of.
    pub(crate) site: Arc<ArcSwap<Site>>,
    /// Replaces the routes.
    pub(crate) routes: Changer,
    /// The TLS identity of the listener.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Replaces the filter of the log.
    pub(crate) filter: FilterChanger,
}

/// Reloads a running server.
pub(crate) struct Reloader {
    running: Running,
    /// The configuration of the start, by which sockets, stores and keys were opened.
    started: Config,
    clock: Arc<dyn Clock>,
    results: Counters,
}

/// Everything that a reload takes over, checked.
struct Prepared {
    site: Site,
    routes: Routes,
    tls: Option<TlsIdentity>,
    filter: Filter,
    changed: Vec<String>,
    next_start: Vec<String>,
}

impl Reloader {
    /// For a server that has just been started.
    pub(crate) fn new(running: Running, clock: Arc<dyn Clock>) -> Self {
        let started = running.site.load().instance.config.clone();
        let results = Counters::new("chancery_reloads_total", "result", &["ok", "failed"]);
        let reloader = Self { running, started, clock, results };
        reloader.show_success();
        reloader
    }

    /// Reloads at each `hangup`, until `stop`.
    pub(crate) async fn run(self, mut hangup: Signal, stop: CancellationToken) {
        while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
            notify::reloading();
            let outcome = self.reload().await;
            notify::ready(&match &outcome {
                Ok(_) => "serving; the configuration was reloaded".to_owned(),
                Err(error) => format!("serving; a reload was refused: {}", output::in_full(error)),
            });
            self.report(outcome);
        }
    }

    /// Names what was changed and what needs a restart.
    async fn reload(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let (running, started) = (self.running.clone(), self.started.clone());
        let prepared = block(move || Prepared::read(&running, &started)).await;
        let prepared = prepared.unwrap_or_else(|_| Err(anyhow!("reading the configuration panicked")))?;
        self.take_over(prepared)
    }

    fn take_over(&self, prepared: Prepared) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let Prepared { site, routes, tls, filter, changed, next_start } = prepared;
        ensure!(self.running.filter.replace(&filter), "the log takes no filter");
        let site = Arc::new(site);
        self.running.routes.replace(routes);
        self.running.site.store(Arc::clone(&site));
        site.take_over();
        if let (Some(current), Some(next)) = (&self.running.tls, tls) {
            current.adopt(next);
        }
        Ok((changed, next_start))
    }

    fn report(&self, outcome: anyhow::Result<(Vec<String>, Vec<String>)>) {
        match outcome {
            Ok((changed, next_start)) => {
                self.results.increment("ok");
                self.show_success();
                let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join("; ") };
                let next_start = (!next_start.is_empty()).then(|| next_start.join(", "));
                match next_start {
                    None => tracing::info!(changed, "configuration reloaded"),
                    Some(next_start) => tracing::warn!(
                        changed,
                        takes_effect_at_the_next_start = next_start,
                        "configuration reloaded in part"
                    ),
                }
                self.running.tls.iter().for_each(|tls| tls.current().complain());
            }
            Err(error) => {
                self.results.increment("failed");
                gauge!("chancery_reload_successful").set(0.0);
                let error = output::in_full(&error);
                tracing::error!(error, "configuration not reloaded, the old one stays in use");
            }
        }
    }

    fn show_success(&self) {
        gauge!("chancery_reload_successful").set(1.0);
        gauge!("chancery_reload_success_timestamp_seconds").set(observe::seconds(self.clock.now()));
    }
}

impl Prepared {
    fn read(running: &Running, started: &Config) -> anyhow::Result<Self> {
        let before = running.site.load_full();
        let written = Config::load(&running.dir)?;
        let config = before.instance.config.taking_over(&written);
        let changes = Changes::between(&before.instance.config, &written);
        let mut next_start: Vec<String> =
            Changes::between(started, &written).of_next_start().map(str::to_owned).collect();
        let filter = Filter::in_force(config.log_filter.as_ref())?;
        let tls = match (&running.tls, &config.listen.tls) {
            (Some(_), Some(files)) => Some(TlsIdentity::read(files).context("`[listen.tls]`")?),
            _ => None,
        };
        let site = before.reloaded(config)?;
        next_start.extend(site.instance.stale_chains());
        let changed = describe(&before, &site, &changes, running.tls.as_deref(), tls.as_ref());
        let routes = site.routes()?;
        site.warn_of_tuf()?;
        Ok(Self { site, routes, tls, filter, changed, next_start })
    }
}

/// What a reload changes, in words.
fn describe(
    before: &Site,
    after: &Site,
    changes: &Changes,
    tls: Option<&Tls>,
    next: Option<&TlsIdentity>,
) -> Vec<String> {
    let mut changed = Vec::new();
    if let (Some(old), Some(new)) = (&before.instance.ca, &after.instance.ca) {
        let issuers = new.issuers.changes_since(&old.issuers);
        changed.extend(issuers.iter().map(|change| format!("issuer {change}")));
        let policies = old.policies() != new.policies();
        changed.extend(policies.then(|| "claim policies".to_owned()));
    }
    let keys = [
        ("ca.development", "development issuers"),
        ("logging.filter", "log filter"),
        ("access", "readers of entries (`[access]`)"),
    ];
    changed.extend(keys.iter().filter(|(key, _)| changes.has(key)).map(|(_, words)| (*words).to_owned()));
    if let (Some(tls), Some(next)) = (tls, next) {
        let old = tls.current();
        let certificate = !next.has_chain_of(&old);
        changed.extend(certificate.then(|| format!("TLS certificate, until {}", next.until())));
        changed.extend((!next.has_authorities_of(&old)).then(|| "CA of client certificates".to_owned()));
    }
    changed.extend(after.readers_changed(before));
    changed
}
