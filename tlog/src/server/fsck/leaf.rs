//! [`Leaves`]: what the leaves of a dialect are, and what follows from one.

use x509_parser::prelude::{FromDer as _, TbsCertificate};

use crate::certificate::Certificate;
use crate::ct::Entry;
use crate::key::HashAlgorithm;
use crate::merkle::Hash;
use crate::rekor::{self, Terms};
use crate::rekor_v2;
use crate::server::ct::submit::hash_term;
use crate::server::round::CLOCK_TOLERANCE;
use crate::server::store::StoredEntry;

/// Who wrote a log's leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// RFC 6962.
    Ct,
    /// Rekor v1.
    RekorV1,
    /// Rekor v2.
    RekorV2,
}

/// What follows from an entry.
pub(super) struct Meaning {
    /// Search terms that it must be found by.
    pub(super) terms: Vec<String>,
    /// Whether there can be no others: those of a statement inside an envelope cannot be derived, since the log keeps
    /// only the payload's hash.
    pub(super) complete: bool,
}

impl Leaves {
    /// Reads an entry whose leaf has this hash; `Err` says what about it is not as this dialect writes it.
    pub(super) fn read(self, entry: &StoredEntry, hash: &Hash) -> Result<Meaning, String> {
        if self != Self::Ct && entry.identity != *hash {
            return Err(format!("its identity {} is not the hash of its leaf", entry.identity));
        }
        match self {
            Self::Ct => ct(entry, hash),
            Self::RekorV1 => v1(&entry.leaf),
            Self::RekorV2 => v2(&entry.leaf),
        }
    }
}

fn ct(entry: &StoredEntry, hash: &Hash) -> Result<Meaning, String> {
    let (submitted, at) = Entry::from_leaf(&entry.leaf).map_err(|error| error.to_string())?;
    // The submission's time is taken before the sequencer's, which may only be later; but for small corrections.
    if at > entry.time.plus(CLOCK_TOLERANCE) {
        return Err(format!("the time of its SCT, {at}, is after the entry's, {}", entry.time));
    }
    if submitted.identity() != entry.identity {
        return Err(format!("its identity {} is not that of its certificate", entry.identity));
    }
    match &submitted {
        Entry::X509(der) => Certificate::from_der(der).map(|_| ()).map_err(|error| error.to_string())?,
        Entry::Precert { tbs, .. } => {
            TbsCertificate::from_der(tbs).map_err(|error| format!("its TBSCertificate: {error}"))?;
        }
    }
    Ok(Meaning { terms: vec![hash_term(hash)], complete: true })
}

fn v1(leaf: &[u8]) -> Result<Meaning, String> {
    use rekor::Body;
    let mut terms = Terms::default();
    let complete = match Body::parse(leaf).map_err(|error| error.to_string())? {
        Body::HashedRekord { algorithm, digest, verifier, .. } => {
            terms.add_verifier(&verifier);
            terms.add_hash(algorithm.name(), &hex::encode(digest));
            true
        }
        Body::Dsse { envelope_hash, payload_hash, signatures } => {
            for (_, verifier) in &signatures {
                terms.add_verifier(verifier);
            }
            terms.add_hash("sha256", &payload_hash.to_hex());
            terms.add_hash("sha256", &envelope_hash.to_hex());
            false
        }
        Body::IntotoV001 { envelope_hash, payload_hash, verifier } => {
            terms.add_hash("sha256", &envelope_hash.to_hex());
            terms.add_verifier(&verifier);
            terms.add_hash("sha256", &payload_hash.to_hex());
            false
        }
        Body::Intoto { payload_hash, signatures } => {
            for (_, verifier) in &signatures {
                terms.add_verifier(verifier);
            }
            terms.add_hash("sha256", &payload_hash.to_hex());
            false
        }
    };
    Ok(Meaning { terms: terms.into_parts().0, complete })
}

fn v2(leaf: &[u8]) -> Result<Meaning, String> {
    use rekor_v2::Body;
    let mut terms = Terms::default();
    let complete = match Body::parse(leaf).map_err(|error| error.to_string())? {
        Body::HashedRekord { algorithm, digest, verifier, .. } => {
            terms.add_verifier(&verifier.to_v1());
            terms.add_hash(algorithm.name(), &hex::encode(digest));
            true
        }
        Body::Dsse { payload_hash, signatures } => {
            for (_, verifier) in &signatures {
                terms.add_verifier(&verifier.to_v1());
            }
            terms.add_hash(HashAlgorithm::Sha256.name(), &payload_hash.to_hex());
            false
        }
    };
    Ok(Meaning { terms: terms.into_parts().0, complete })
}
