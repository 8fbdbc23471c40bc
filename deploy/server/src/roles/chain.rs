//! Chains of a role that do not sign now: the next one, which clients may learn of before it is used, and those of the
//! past.

use anyhow::{Context as _, bail};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;

use super::{Instance, chain};
use crate::config::{NextChain, PastChain};
use crate::trust::ChainIdentity;

impl Instance {
    /// Demands that each chain which signs, or will, has a key that no other chain of its role has or had.
    pub(super) fn check_chain_keys(&self) -> anyhow::Result<()> {
        let ca = self.ca.iter().map(|ca| ("ca", &ca.chain, &ca.others));
        let timestamp = self.timestamp.iter().map(|role| ("timestamp", &role.chain, &role.others));
        for (role, in_service, others) in ca.chain(timestamp) {
            let place = |name: &str| format!("`[{role}{name}]` in chancery.toml");
            others.refuse_used_key(in_service).with_context(|| place(""))?;
            if let Some((next, _)) = &others.next {
                others.refuse_used_key(next).with_context(|| place(".next"))?;
                refuse_key_in_service(next, in_service).with_context(|| place(".next"))?;
            }
        }
        Ok(())
    }
}

/// Demands that `chain` has another key than the one in service, which may have been stolen.
pub(crate) fn refuse_key_in_service(chain: &[Certificate], in_service: &[Certificate]) -> anyhow::Result<()> {
    match (chain.first(), in_service.first()) {
        (Some(first), Some(now)) if first.public_key() == now.public_key() => bail!(
            "{}: the chain in service has the same key, and its successor needs one of its own: begin with \
             `replace-chain`, or `replace-chain --csr`, which make one",
            first.subject()
        ),
        _ => Ok(()),
    }
}

/// The chains, loaded.
#[derive(Clone, Default)]
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

    /// Demands that the first certificate of `chain` has a key that no chain of the past had: what that key signs from now on
    /// cannot be told from what it signed, or a thief did, before its end.
    pub(crate) fn refuse_used_key(&self, chain: &[Certificate]) -> anyhow::Result<()> {
        let Some(first) = chain.first() else { return Ok(()) };
        let has_its_key =
            |past: &[Certificate]| past.first().is_some_and(|past| past.public_key() == first.public_key());
        let Some((past, _)) = self.past.iter().find(|(_, past)| has_its_key(past)) else { return Ok(()) };
        let withdrawn = past.withdrawn.iter().map(|why| format!(" and is trusted no more ({why})"));
        bail!(
            "{}: its key is that of chain `{}`, which has ended{}: a chain of the past does not come back, make one with a \
             new key with `replace-chain`",
            first.subject(),
            past.name,
            withdrawn.collect::<String>()
        )
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
