//! Chains of a role that do not sign now: the next one, which clients may learn of before it is used, and those of the
//! past.

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;

use super::chain;
use crate::config::{NextChain, PastChain};
use crate::trust::ChainIdentity;

/// The chains, loaded.
#[derive(Default)]
pub(crate) struct OtherChains {
    next: Option<(Vec<Certificate>, Timestamp)>,
    past: Vec<(PastChain, Vec<Certificate>)>,
}

impl OtherChains {
    /// Reads their files.
    pub(super) fn load(next: Option<&NextChain>, past: &[PastChain]) -> anyhow::Result<Self> {
        let next = next.map(|next| anyhow::Ok((chain(&next.chain)?, next.since))).transpose()?;
        let past = past.iter().map(|past| Ok((past.clone(), chain(&past.chain)?)));
        Ok(Self { next, past: past.collect::<anyhow::Result<_>>()? })
    }

    /// Those that are trusted, or else those that no more are.
    pub(crate) fn identities(&self, trusted: bool) -> impl Iterator<Item = ChainIdentity<'_>> {
        let next = self.next.iter().filter(move |_| trusted).map(|(chain, since)| ChainIdentity {
            chain,
            since: *since,
            until: None,
            past: None,
        });
        let past = self.past.iter().filter(move |(config, _)| config.withdrawn.is_none() == trusted);
        next.chain(past.map(|(config, chain)| ChainIdentity {
            chain,
            since: config.since,
            until: Some(config.until),
            past: Some(&config.name),
        }))
    }
}
