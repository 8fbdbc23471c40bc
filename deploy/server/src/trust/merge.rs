//! One trusted root from what the instance is itself, what was imported, and what is withdrawn.
//!
//! Rules, in their order. A member is there once, whoever names it and in whichever spelling. Its trust starts at the
//! earliest start. Of what has ended the earliest end counts, whoever states it; what the instance has in service has no
//! end, because an import says only how long the other instance used it. What is withdrawn is taken out last, so nothing
//! brings it back.

use chancery_tlog::clock::Timestamp;
use chancery_tlog::trust::TrustedRoot;

use super::members::{Keys, Member};

/// Adds `imported` to the instance's `own` members, and takes away what is withdrawn.
pub(super) fn merge(own: TrustedRoot, imported: &[&TrustedRoot], withdrawn: &Keys) -> TrustedRoot {
    let TrustedRoot { media_type, tlogs, certificate_authorities, ctlogs, timestamp_authorities } = own;
    TrustedRoot {
        media_type,
        tlogs: list(tlogs, imported.iter().flat_map(|root| &root.tlogs), withdrawn),
        certificate_authorities: list(
            certificate_authorities,
            imported.iter().flat_map(|root| &root.certificate_authorities),
            withdrawn,
        ),
        ctlogs: list(ctlogs, imported.iter().flat_map(|root| &root.ctlogs), withdrawn),
        timestamp_authorities: list(
            timestamp_authorities,
            imported.iter().flat_map(|root| &root.timestamp_authorities),
            withdrawn,
        ),
    }
}

/// A member, with the bytes that it is compared by.
struct Known<M> {
    member: M,
    id: Vec<Vec<u8>>,
    ends_with: Vec<Vec<u8>>,
    in_service: bool,
}

fn list<'m, M: Member + 'm>(own: Vec<M>, imported: impl Iterator<Item = &'m M>, withdrawn: &Keys) -> Vec<M> {
    let mut list: Vec<Known<M>> = Vec::new();
    let own = own.into_iter().map(|one| (one.period().end.is_none(), one));
    for (in_service, member) in own.chain(imported.map(|one| (false, one.clone()))) {
        let (id, ends_with) = (member.id(), member.ends_with());
        match list.iter_mut().find(|known| known.id == id) {
            Some(known) => {
                known.in_service |= in_service;
                join(&mut known.member, &member);
            }
            None => list.push(Known { member, id, ends_with, in_service }),
        }
    }
    let ends: Vec<_> = list.iter().map(|known| earliest(known, &list)).collect();
    let ended = list.into_iter().zip(ends).map(|(mut known, end)| {
        known.member.period_mut().end = end.map(Timestamp::to_rfc3339);
        known.member
    });
    ended.filter(|member| !withdrawn.has(member)).collect()
}

/// The earliest end of what has ended with it.
fn earliest<M: Member>(known: &Known<M>, list: &[Known<M>]) -> Option<Timestamp> {
    if known.in_service {
        return None;
    }
    let alike = list.iter().filter(|other| !other.in_service && other.ends_with == known.ends_with);
    alike.filter_map(|other| other.member.end()).min()
}

/// Gives `known` the earlier start and the earlier end.
fn join<M: Member>(known: &mut M, other: &M) {
    if other.start() < known.start() {
        known.period_mut().start.clone_from(&other.period().start);
    }
    if other.end().is_some_and(|end| known.end().is_none_or(|known| end < known)) {
        known.period_mut().end.clone_from(&other.period().end);
    }
}

#[cfg(test)]
mod tests;
