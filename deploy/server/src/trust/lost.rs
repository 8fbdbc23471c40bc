//! Trust that clients were told of and that a new trusted root would take away.
//!
//! A member that is gone takes every signature with it that it vouches for, and a shorter period those outside of it. Both
//! are for an operator to state: by a command, by `withdrawn` or `trusted = false` in chancery.toml, or with
//! `--untrusted`. A later start is never stated by a command, because trust in the past does not depend on what follows.

use chancery_tlog::trust::TrustedRoot;

use super::members::{Keys, Member};

/// What an operator has stated already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stated {
    /// Keys that nobody is to trust.
    pub(crate) withdrawn: Keys,
    /// Keys whose trust has an end.
    pub(crate) ended: Keys,
    /// Whether an end that was known may have been moved to an earlier time by a command.
    pub(crate) moved: bool,
}

/// Trust of `before` that is not in `now` and that nobody has stated, in words for operators.
pub(crate) fn lost(before: &TrustedRoot, now: &TrustedRoot, stated: &Stated) -> Vec<String> {
    let mut lost = Vec::new();
    let (kind, was, is) =
        ("certificate authority", &before.certificate_authorities, &now.certificate_authorities);
    compare(kind, was, is, stated, &mut lost);
    let (kind, was, is) = ("timestamp authority", &before.timestamp_authorities, &now.timestamp_authorities);
    compare(kind, was, is, stated, &mut lost);
    compare("issuance log", &before.ctlogs, &now.ctlogs, stated, &mut lost);
    compare("attestation log", &before.tlogs, &now.tlogs, stated, &mut lost);
    lost
}

fn compare<M: Member>(kind: &str, before: &[M], now: &[M], stated: &Stated, lost: &mut Vec<String>) {
    for one in before.iter().filter(|one| !stated.withdrawn.has(*one)) {
        let (id, name) = (one.id(), one.name());
        match now.iter().find(|other| other.id() == id) {
            None => lost.push(format!("the {kind} {name}: trusted no more")),
            Some(now) => {
                let shrunk = [later_start(one, now), earlier_end(one, now, stated)];
                lost.extend(shrunk.into_iter().flatten().map(|how| format!("the {kind} {name}: {how}")));
            }
        }
    }
}

fn later_start<M: Member>(before: &M, now: &M) -> Option<String> {
    let (was, is) = (before.start(), now.start());
    (is > was).then(|| format!("trusted since {is}, and since {was} before"))
}

fn earlier_end<M: Member>(before: &M, now: &M, stated: &Stated) -> Option<String> {
    let (was, is) = (before.end(), now.end()?);
    let shrunk = was.is_none_or(|was| is < was);
    let by_command = stated.ended.has(now) && (was.is_none() || stated.moved);
    let was = was.map_or_else(|| "without an end".to_owned(), |was| format!("until {was}"));
    (shrunk && !by_command).then(|| format!("trusted until {is}, and {was} before"))
}

#[cfg(test)]
mod tests;
