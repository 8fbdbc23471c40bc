//! [`Leaves`]: what the leaves of a dialect are, and what follows from one.

use std::collections::HashMap;

use x509_parser::prelude::{FromDer as _, TbsCertificate};

use crate::certificate::Certificate;
use crate::ct::Entry;
use crate::key::{HashAlgorithm, KeyError, PublicKey};
use crate::merkle::Hash;
use crate::rekor::{self, Terms};
use crate::rekor_v2::{self, Material};
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
    /// Hashes of the search terms that it must be found by, each once.
    pub(super) terms: Vec<Hash>,
    /// Whether there can be no others: those of a statement inside an envelope cannot be derived, since the log keeps
    /// only the payload's hash.
    pub(super) complete: bool,
}

/// The same with terms as they are spelled.
struct Spelled {
    terms: Vec<String>,
    complete: bool,
}

impl Spelled {
    fn new(terms: Terms, complete: bool) -> Self {
        Self { terms: terms.into_parts().0, complete }
    }

    fn hashed(&self) -> Meaning {
        let terms = self.terms.iter().map(|term| Hash::digest(term.as_bytes())).collect();
        Meaning { terms, complete: self.complete }
    }
}

impl Leaves {
    /// Reads an entry whose leaf has this hash; `Err` says what about it is not as this dialect writes it. `keys` is what
    /// was learned from the entries before.
    pub(super) fn read(
        self,
        entry: &StoredEntry,
        hash: &Hash,
        keys: &mut KnownKeys,
    ) -> Result<Meaning, String> {
        self.check_identity(entry, hash)?;
        match self {
            Self::Ct => ct(entry, hash).map(|spelled| spelled.hashed()),
            Self::RekorV1 => {
                let body = v1(&entry.leaf)?;
                Ok(match &body {
                    rekor::Body::HashedRekord {
                        algorithm,
                        digest,
                        verifier: rekor::Verifier::Key(key),
                        ..
                    } => keys.meaning(key, *algorithm, digest),
                    _ => v1_terms(&body).hashed(),
                })
            }
            Self::RekorV2 => {
                let body = rekor_v2::Body::parse_with(&entry.leaf, &mut |spki| keys.parse(spki));
                let body = body.map_err(|error| error.to_string())?;
                Ok(match &body {
                    rekor_v2::Body::HashedRekord { algorithm, digest, verifier, .. }
                        if let Material::Key(key) = verifier.material() =>
                    {
                        keys.meaning(key, *algorithm, digest)
                    }
                    _ => v2_terms(&body).hashed(),
                })
            }
        }
    }

    /// The search terms of an entry as they are spelled; none if it cannot be read.
    pub(super) fn spell(self, entry: &StoredEntry, hash: &Hash) -> Option<Vec<String>> {
        self.check_identity(entry, hash).ok()?;
        let spelled = match self {
            Self::Ct => ct(entry, hash).ok()?,
            Self::RekorV1 => v1_terms(&v1(&entry.leaf).ok()?),
            Self::RekorV2 => v2_terms(&v2(&entry.leaf).ok()?),
        };
        Some(spelled.terms)
    }

    fn check_identity(self, entry: &StoredEntry, hash: &Hash) -> Result<(), String> {
        if self != Self::Ct && entry.identity != *hash {
            return Err(format!("its identity {} is not the hash of its leaf", entry.identity));
        }
        Ok(())
    }
}

/// Most keys that are known at once, some KiB each.
const KNOWN_KEYS: usize = 4096;

/// Keys with the hashes of the terms that they are found by: a build server signs thousands of entries with one key. To
/// ask each time whether its point is on the curve, and to hash its PEM and two terms, takes longer than the leaf's hash.
#[derive(Default)]
pub(super) struct KnownKeys(HashMap<Vec<u8>, Known>);

struct Known {
    key: PublicKey,
    /// Once they were asked for.
    terms: Option<[Hash; 2]>,
}

impl KnownKeys {
    /// As [`PublicKey::from_spki_der`].
    fn parse(&mut self, spki: &[u8]) -> Result<PublicKey, KeyError> {
        if let Some(known) = self.0.get(spki) {
            return Ok(known.key.clone());
        }
        let key = PublicKey::from_spki_der(spki)?;
        self.remember(Known { key: key.clone(), terms: None });
        Ok(key)
    }

    fn remember(&mut self, known: Known) {
        if self.0.len() >= KNOWN_KEYS {
            self.0.clear();
        }
        self.0.insert(known.key.spki_der().to_vec(), known);
    }

    /// What follows from a digest that was signed by a bare key.
    fn meaning(&mut self, key: &PublicKey, algorithm: HashAlgorithm, digest: &[u8]) -> Meaning {
        let mut term = format!("{}:", algorithm.name()).into_bytes();
        let start = term.len();
        term.resize(start + 2 * digest.len(), 0);
        // The lengths go together, so this cannot fail.
        let _ = hex::encode_to_slice(digest, &mut term[start..]);
        let own = Hash::digest(&term);
        let mut terms = Vec::with_capacity(3);
        terms.extend_from_slice(&self.terms(key));
        // Whoever signs the hash of his own key is found by two terms, not by three.
        if !terms.contains(&own) {
            terms.push(own);
        }
        Meaning { terms, complete: true }
    }

    fn terms(&mut self, key: &PublicKey) -> [Hash; 2] {
        if let Some(Known { terms: Some(known), .. }) = self.0.get(key.spki_der()) {
            return *known;
        }
        let hash = rekor::Verifier::Key(key.clone()).pem_hash().to_hex();
        let terms = [hash.clone(), format!("sha256:{hash}")].map(|term| Hash::digest(term.as_bytes()));
        self.remember(Known { key: key.clone(), terms: Some(terms) });
        terms
    }
}

fn ct(entry: &StoredEntry, hash: &Hash) -> Result<Spelled, String> {
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
    Ok(Spelled { terms: vec![hash_term(hash)], complete: true })
}

fn v1(leaf: &[u8]) -> Result<rekor::Body, String> {
    rekor::Body::parse(leaf).map_err(|error| error.to_string())
}

fn v1_terms(body: &rekor::Body) -> Spelled {
    use rekor::Body;
    let mut terms = Terms::default();
    let complete = match body {
        Body::HashedRekord { algorithm, digest, verifier, .. } => {
            terms.add_verifier(verifier);
            terms.add_hash(algorithm.name(), &hex::encode(digest));
            true
        }
        Body::Dsse { envelope_hash, payload_hash, signatures } => {
            for (_, verifier) in signatures {
                terms.add_verifier(verifier);
            }
            terms.add_hash("sha256", &payload_hash.to_hex());
            terms.add_hash("sha256", &envelope_hash.to_hex());
            false
        }
        Body::IntotoV001 { envelope_hash, payload_hash, verifier } => {
            terms.add_hash("sha256", &envelope_hash.to_hex());
            terms.add_verifier(verifier);
            terms.add_hash("sha256", &payload_hash.to_hex());
            false
        }
        Body::Intoto { payload_hash, signatures } => {
            for (_, verifier) in signatures {
                terms.add_verifier(verifier);
            }
            terms.add_hash("sha256", &payload_hash.to_hex());
            false
        }
    };
    Spelled::new(terms, complete)
}

fn v2(leaf: &[u8]) -> Result<rekor_v2::Body, String> {
    rekor_v2::Body::parse(leaf).map_err(|error| error.to_string())
}

fn v2_terms(body: &rekor_v2::Body) -> Spelled {
    use rekor_v2::Body;
    let mut terms = Terms::default();
    let complete = match body {
        Body::HashedRekord { algorithm, digest, verifier, .. } => {
            terms.add_verifier(&verifier.to_v1());
            terms.add_hash(algorithm.name(), &hex::encode(digest));
            true
        }
        Body::Dsse { payload_hash, signatures } => {
            for (_, verifier) in signatures {
                terms.add_verifier(&verifier.to_v1());
            }
            terms.add_hash(HashAlgorithm::Sha256.name(), &payload_hash.to_hex());
            false
        }
    };
    Spelled::new(terms, complete)
}

#[cfg(test)]
mod tests;
