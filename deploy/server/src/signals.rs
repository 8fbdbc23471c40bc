//! Signals: which stop the server, which reload its configuration, and which do nothing.
//!
//! All are registered before anything else is done, since each of them would kill a process that does not.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals of a server.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let catch = |kind, name: &str| signal(kind).with_context(|| format!("cannot wait for {name}"));
        // Logrotate and the like send them to many a daemon, for which ours has no use.
        // They stay caught when the streams are gone.
        drop(catch(SignalKind::user_defined1(), "SIGUSR1")?);
        drop(catch(SignalKind::user_defined2(), "SIGUSR2")?);
        Ok(Self {
            terminate: catch(SignalKind::terminate(), "SIGTERM")?,
            interrupt: catch(SignalKind::interrupt(), "SIGINT")?,
            hangup: catch(SignalKind::hangup(), "SIGHUP")?,
        })
    }

    /// Resolves with the name of the first signal to stop; and the signal to reload.
    pub(crate) fn split(self) -> (impl Future<Output = &'static str>, Signal) {
        let Self { mut terminate, mut interrupt, hangup } = self;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        (stop, hangup)
    }
}
