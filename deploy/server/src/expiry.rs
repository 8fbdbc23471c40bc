//! What ends by itself: the chains of the roles and the listener, and when that has to be said.
//!
//! A chain that has ended takes its role out of service and nothing else, so somebody has to be told in time: by
//! `check-config`, by the log at start and once a day, by the metric, and by the alerts on it.

use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::serve::TlsIdentity;
use tokio_util::sync::CancellationToken;

use crate::roles::Instance;

/// How long before the end of an authority's chain it is spoken of. Replacing one takes ceremonies and clients.
const WARNING: Duration = Duration::from_hours(90 * 24);
/// The same for the listener's certificate, which is renewed every few weeks or months by a program.
const TLS_WARNING: Duration = Duration::from_hours(14 * 24);
/// How often the log says it.
const AGAIN: Duration = Duration::from_hours(24);

/// The end of a chain.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What ends.
    pub(crate) what: &'static str,
    /// The time of it.
    pub(crate) at: Timestamp,
    ahead: Duration,
    consequence: &'static str,
    remedy: &'static str,
}

impl End {
    fn of(what: &'static str, chain: &[Certificate], remedy: &'static str) -> Option<Self> {
        let at = chain.iter().map(Certificate::not_after).min()?;
        Some(Self { what, at, ahead: WARNING, consequence: "it is out of service", remedy })
    }

    /// Of the certificate that the listener shows.
    pub(crate) fn of_tls(identity: &TlsIdentity) -> Self {
        let remedy = "renew the files of `[listen.tls]`, which are read again when they change";
        let at = identity.until();
        Self { what: "TLS listener", at, ahead: TLS_WARNING, consequence: "clients refuse it", remedy }
    }

    /// What to say at `now`, if anything.
    pub(crate) fn warning(&self, now: Timestamp) -> Option<String> {
        let Self { what, at, ahead, consequence, remedy } = self;
        if now.plus(*ahead) < *at {
            return None;
        }
        if now > *at {
            return Some(format!(
                "the certificates of the {what} have ended: {consequence} since {at}: {remedy}"
            ));
        }
        Some(format!("the certificates of the {what} end on {at}: {remedy}"))
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
pub(crate) async fn watch(
    ends: impl Fn() -> Vec<End> + Send,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let now = clock.now();
        ends().iter().filter_map(|end| end.warning(now)).for_each(|words| tracing::warn!("{words}"));
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
        let end = End {
            what: "certificate authority",
            at,
            ahead: WARNING,
            consequence: "it is out of service",
            remedy: "replace it",
        };
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
