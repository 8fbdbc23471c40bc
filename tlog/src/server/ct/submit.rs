//! Taking a chain into the log: check, make the leaf, add, and only then sign.

use bytes::Bytes;

use super::{CtLog, CtLogError, Inner};
use crate::certificate::{Certificate, MAX_CHAIN, oid};
use crate::chain::{self, Purpose};
use crate::clock::Timestamp;
use crate::ct::{CtError, Entry, Sct};
use crate::effort::Effort;
use crate::merkle::Hash;
use crate::serve::with_effort;
use crate::server::log::{HashedLeaf, Submission};
use crate::server::signing::with_signer;

/// What an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Precertificate,
    Certificate,
}

/// The search term under which a leaf is found by its hash, which `get-proof-by-hash` asks for. The log's own
/// identity of an entry leaves the time out and cannot serve.
pub(in crate::server) fn hash_term(leaf: &Hash) -> String {
    format!("leaf:{leaf}")
}

/// The submission time inside a `MerkleTreeLeaf`: version, leaf type, then 8 bytes of milliseconds (§3.4).
pub(super) fn leaf_time(leaf: &[u8]) -> Result<Timestamp, CtLogError> {
    let millis: [u8; 8] = leaf
        .get(2..10)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(CtError::Malformed("MerkleTreeLeaf"))?;
    Ok(Timestamp::from_millis(u64::from_be_bytes(millis)))
}

impl CtLog {
    pub(super) async fn submit(&self, kind: Leaf, chain: &[Certificate]) -> Result<Sct, CtLogError> {
        // Step 1: the chain leads to an accepted root, and its leaf is what this endpoint is for.
        let path = with_effort(|effort| self.accept(kind, chain, effort)).await?;
        // Step 2: the leaf, with the time at which we see it.
        let entry = match kind {
            Leaf::Precertificate => Entry::from_precertificate(&path[0], &path[1])?,
            Leaf::Certificate => Entry::X509(path[0].der().to_vec()),
        };
        let now = self.0.clock.now();
        let leaf = HashedLeaf::new(entry.leaf(now, &[]));
        let hash = leaf.hash();
        // Step 3: the log takes it in, or has it already.
        let submission = Submission {
            identity: entry.identity(),
            terms: vec![hash_term(&hash)],
            leaf,
            extra: Bytes::from(extra_data(kind, &path)?),
        };
        let receipt = self.0.log.add(submission).await?;
        // Step 4: the SCT is of the time that is committed, ours or that of the first submission.
        let at = if receipt.leaf_hash == hash { now } else { self.stored_time(receipt.index).await? };
        let sct = with_signer(&self.0.signer, move |signer| Sct::sign(&entry, at, signer));
        sct.await.map_err(|_| CtLogError::Sign)
    }

    async fn stored_time(&self, index: u64) -> Result<Timestamp, CtLogError> {
        let stored = self.0.log.times(index..index.saturating_add(1), leaf_time).await?;
        stored.first().copied().ok_or(CtLogError::Structure(CtError::Malformed("receipt")))
    }

    /// The verified path: leaf first, root last.
    ///
    /// Every member is judged at the leaf's notBefore. A log records what was issued: it must take a certificate
    /// that has expired since, and an issuer that had expired before is refused.
    fn accept(
        &self,
        kind: Leaf,
        chain: &[Certificate],
        effort: &Effort,
    ) -> Result<Vec<Certificate>, CtLogError> {
        let [leaf, rest @ ..] = chain else {
            return Err(CtLogError::Submission("the chain is empty"));
        };
        if chain.len() > MAX_CHAIN {
            return Err(CtLogError::Submission("the chain is longer than 10 certificates"));
        }
        let purpose = match (kind, leaf.extension(oid::POISON).is_some()) {
            (Leaf::Precertificate, true) => Purpose::Precertificate,
            (Leaf::Certificate, false) => Purpose::CodeSigning,
            (Leaf::Precertificate, false) => {
                return Err(CtLogError::Submission("add-pre-chain takes precertificates (poison extension)"));
            }
            (Leaf::Certificate, true) => {
                return Err(CtLogError::Submission("this is a precertificate: use add-pre-chain"));
            }
        };
        let Inner { roots, known, .. } = &*self.0;
        let path = chain::verify_knowing(leaf, rest, roots, leaf.not_before(), purpose, known, effort)?;
        // A root that was submitted as leaf would make a path of one, without an issuer.
        if path.len() < 2 {
            return Err(CtLogError::Submission("the leaf has no issuer"));
        }
        Ok(path)
    }
}

/// `extra_data` of `get-entries`, §4.6: for a precertificate a `PrecertChainEntry` (it, then its chain), else the
/// certificate's chain.
fn extra_data(kind: Leaf, path: &[Certificate]) -> Result<Vec<u8>, CtError> {
    let mut chain = Vec::new();
    for certificate in &path[1..] {
        put_u24(&mut chain, certificate.der())?;
    }
    let mut extra = Vec::new();
    if kind == Leaf::Precertificate {
        put_u24(&mut extra, path[0].der())?;
    }
    put_u24(&mut extra, &chain)?;
    Ok(extra)
}

/// A TLS vector with a length of 24 bits.
fn put_u24(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), CtError> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or(CtError::Malformed("chain: too long"))?;
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(bytes);
    Ok(())
}
