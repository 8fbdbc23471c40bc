//! Search keys of an entry (rekor `IndexKeys`), lower-case, in the order of first mention.

use std::collections::HashSet;

use serde_json::Value;

use super::{Covers, MAX_INDEX_KEYS, Signatory, Verifier};
use crate::certificate::{Certificate, SubjectName, oid};

/// Payload type of in-toto statements.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Longest key that a search can ask for.
const MAX_TERM: usize = 512;

/// Keys so far, and who signed.
#[derive(Default)]
pub(crate) struct Terms {
    ordered: Vec<String>,
    seen: HashSet<String>,
    signatories: Vec<Signatory>,
}

impl Terms {
    /// The keys, and the signers that were added, each once.
    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<Signatory>) {
        (self.ordered, self.signatories)
    }

    /// Adds a signer and a signature that it has verified.
    pub(crate) fn add_signature(&mut self, verifier: &Verifier, signature: &[u8], covers: Covers) {
        self.add_verifier(verifier);
        if let Some(known) = self.signatories.iter_mut().find(|known| known.verifier == *verifier) {
            known.signed(signature, covers);
        }
    }

    /// Adds one key, unless it is known or the entry has its fill.
    pub(crate) fn add(&mut self, term: &str) {
        if term.is_empty() || term.len() > MAX_TERM || self.ordered.len() >= MAX_INDEX_KEYS {
            return;
        }
        let term = term.to_lowercase();
        if self.seen.insert(term.clone()) {
            self.ordered.push(term);
        }
    }

    /// Adds `alg:value`.
    pub(crate) fn add_hash(&mut self, algorithm: &str, value: &str) {
        self.add(&format!("{algorithm}:{value}"));
    }

    /// Adds the key's hash in both spellings that Rekor's kinds use, and who the certificate names.
    pub(crate) fn add_verifier(&mut self, verifier: &Verifier) {
        if self.signatories.iter().any(|known| known.verifier == *verifier) {
            return;
        }
        self.signatories.push(Signatory::new(verifier.clone()));
        let hash = verifier.pem_hash().to_hex();
        self.add(&hash);
        self.add_hash("sha256", &hash);
        let names = verifier.certificate().map(Certificate::subject_names).unwrap_or_default();
        for name in names {
            match name {
                SubjectName::Other { oid, .. } if oid != oid::FULCIO_USERNAME => {}
                name => self.add(name.value()),
            }
        }
    }

    /// Adds what an in-toto statement is about: subjects, and the materials of SLSA provenance before 1.0.
    /// A payload that is none adds nothing; that is no error in Rekor either.
    pub(crate) fn add_statement(&mut self, payload_type: &str, payload: &[u8]) {
        if payload_type != IN_TOTO {
            return;
        }
        let Ok(statement) = serde_json::from_slice::<Value>(payload) else { return };
        self.add_digests(&statement["subject"]);
        self.add_digests(&statement["predicate"]["materials"]);
    }

    fn add_digests(&mut self, descriptors: &Value) {
        for descriptor in descriptors.as_array().into_iter().flatten() {
            for (algorithm, value) in descriptor["digest"].as_object().into_iter().flatten() {
                if let Some(value) = value.as_str() {
                    self.add_hash(algorithm, value);
                }
            }
        }
    }
}
