//! Signed tree heads, RFC 6962 §3.5 and §4.3: one signature per head of the log.

use std::sync::Arc;

use super::submit::leaf_time;
use super::{CtLog, CtLogError};
use crate::clock::Timestamp;
use crate::ct::sign_tree_head;
use crate::merkle::Hash;
use crate::server::signing::with_signer;
use crate::server::store::Head;

/// Leaves that are looked at for the newest submission time: one read of the engine, and more than any plausible
/// disorder among concurrent submissions.
const NEWEST: u64 = 256;
/// Signed heads that are kept.
const KEPT: usize = 4;

/// A tree head with its signature.
#[derive(Clone)]
pub(super) struct SignedHead {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) time: Timestamp,
    pub(super) signature: Vec<u8>,
}

impl CtLog {
    /// The current head, signed.
    pub(super) async fn signed_head(&self) -> Result<SignedHead, CtLogError> {
        let head: Arc<Head> = self.0.log.head();
        // Held while signing: two heads of one size must not differ in their time.
        let mut kept = self.0.heads.lock().await;
        if let Some(signed) = kept.iter().find(|signed| signed.size == head.size) {
            return Ok(signed.clone());
        }
        let newest = self.0.log.times(head.size.saturating_sub(NEWEST)..head.size, leaf_time).await?;
        // The head's time must not lie before a leaf's (§3.5), also when the clock stepped back in between.
        let mut time = newest.into_iter().fold(head.time, Timestamp::max);
        if let Some(before) = kept.back() {
            time = time.max(before.time);
        }
        let (size, root) = (head.size, head.root);
        let signature = with_signer(&self.0.signer, move |signer| sign_tree_head(size, &root, time, signer));
        let signature = signature.await.map_err(|_| CtLogError::Sign)?;
        let signed = SignedHead { size, root, time, signature };
        kept.push_back(signed.clone());
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(signed)
    }
}
