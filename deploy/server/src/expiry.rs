//! What ends by itself: the chains of the roles and the listener, and when that has to be said.
//!
//! A chain that has ended takes its role out of service and nothing else, so somebody has to be told in time: by
//! `check-config`, by the log at start and once a day, by the metric, and by the alerts on it.

use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::roles::Instance;

/// How long before the end it is spoken of.
const WARNING: Duration = Duration::from_hours(90 * 24);
/// How often the log says it.
const AGAIN: Duration = Duration::from_hours(24);

/// The end of a chain.
#[derive(Clone, Debug)]
pub(crate) struct End {
    what: &'static str,
    at: Timestamp,
    remedy: &'static str,
}

impl End {
    fn of(what: &'static str, chain: &[Certificate], remedy: &'static str) -> Option<Self> {
        chain.iter().map(Certificate::not_after).min().map(|at| Self { what, at, remedy })
    }

    /// What to say at `now`, if anything.
    pub(crate) fn warning(&self, now: Timestamp) -> Option<String> {
        let Self { what, at, remedy } = self;
        if now.plus(WARNING) < *at {
            return None;
        }
        let verb = if now > *at { "have ended: it is out of service since" } else { "end on" };
        Some(format!("the certificates of the {what} {verb} {at}: {remedy}"))
    }
}

/// The ends of an instance's own chains.
pub(crate) fn of(instance: &Instance) -> Vec<End> {
    let ca = instance.ca.as_ref().map(|ca| ca.chain.as_slice());
    let timestamp = instance.timestamp.as_ref().map(|role| role.chain.as_slice());
    let roles = [
        ("certificate authority", ca, "replace the chain with `chancery-server replace-chain DIR ca`"),
        ("timestamp authority", timestamp, "replace the chain with `chancery-server replace-chain DIR tsa`"),
    ];
    roles.into_iter().filter_map(|(what, chain, remedy)| End::of(what, chain?, remedy)).collect()
}

/// Says in the log what ends, now and once a day.
pub(crate) async fn watch(ends: Vec<End>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        let now = clock.now();
        ends.iter().filter_map(|end| end.warning(now)).for_each(|words| tracing::warn!("{words}"));
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_spoken_of_from_ninety_days_before_it() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let end = End { what: "certificate authority", at, remedy: "replace it" };
        let said = |seconds: i64| {
            end.warning(Timestamp::from_seconds(1_800_000_000_u64.saturating_add_signed(seconds)))
        };
        let day = 86_400;
        assert_eq!(said(-91 * day), None);
        assert!(said(-90 * day).unwrap().contains("end on 2027-01-15"));
        assert!(said(0).unwrap().contains("end on"));
        assert!(said(1).unwrap().contains("out of service"));
    }
}
