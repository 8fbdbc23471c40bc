//! File descriptors: connections must not use up those that stores and keys need.
//!
//! Supervisors start programs with a soft limit of 1,024 and a hard one that is far higher. The soft one is
//! raised; what connections may use of it is what stores leave.

use chancery_tlog::serve::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that each store may have open (`max_open_files` of RocksDB).
const STORE: u64 = 512;
/// Descriptors of everything else: listeners, keys, logs, backups.
const REST: u64 = 64;
/// Connections that are left in any case.
const LEAST: usize = 64;

/// Fewer connections than configured, for want of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    open_files: Option<u64>,
    max_connections: usize,
}

impl Shortage {
    /// Logs it.
    pub(crate) fn warn(self) {
        let Self { open_files, max_connections } = self;
        tracing::warn!(
            open_files,
            max_connections,
            "fewer connections than configured, because of the limit of open files: raise it (`LimitNOFILE` of systemd)"
        );
    }
}

/// Raises the limit of this process, and lowers that on connections if it does not suffice.
/// `stores` are open besides.
pub(crate) fn fit(limits: &mut Limits, stores: usize) -> Option<Shortage> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::debug!("the limit of open files cannot be raised");
    }
    let open = getrlimit(Resource::Nofile).current;
    let most = most_connections(open, stores);
    let shortage = Shortage { open_files: open, max_connections: most };
    let is_short = limits.max_connections > most;
    limits.max_connections = limits.max_connections.min(most);
    limits.per_address.connections = share(limits);
    is_short.then_some(shortage)
}

/// Connections for so many descriptors; without a number there is no limit.
fn most_connections(open: Option<u64>, stores: usize) -> usize {
    let reserve = STORE.saturating_mul(stores as u64) + REST;
    let left = open.map_or(u64::MAX, |open| open.saturating_sub(reserve.min(open / 2)));
    usize::try_from(left).unwrap_or(usize::MAX).max(LEAST)
}

/// One address never has all connections, whatever the bounds are.
fn share(limits: &Limits) -> usize {
    let most = limits.max_connections - limits.max_connections / 4;
    limits.per_address.connections.min(most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_stores() {
        for (open, most) in
            [(None, usize::MAX), (Some(65_536), 63_936), (Some(1024), 512), (Some(512), 256), (Some(10), 64)]
        {
            assert_eq!(most_connections(open, 3), most, "{open:?}");
        }
    }

    #[test]
    fn an_address_never_has_all_connections() {
        let mut limits = Limits { max_connections: 512, ..Limits::default() };
        assert_eq!(share(&limits), 384);
        limits.max_connections = 4096;
        assert_eq!(share(&limits), 1024);
        limits.max_connections = 1;
        assert_eq!(share(&limits), 1);
    }
}
