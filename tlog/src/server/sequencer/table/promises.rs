//! What was promised, held against the log as it stands. The proofs are the log's; `tlog_tiles`, a port of Go's `tlog`,
//! judges them.

use tlog_tiles::{check_record, check_tree, record_hash};

use super::world::World;
use crate::merkle::Hash;
use crate::serve::access::Permit;
use crate::server::log::Log;

fn theirs(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

fn all_theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(theirs).collect()
}

impl World {
    /// Every acknowledged entry is provable under the head of now, and every two heads that were seen are consistent.
    pub(super) async fn check(&mut self) {
        let Some(log) = self.log().cloned() else { return };
        let mut broken = Vec::new();
        self.check_entries(&log, &mut broken).await;
        self.check_heads(&log, &mut broken).await;
        self.broken.extend(broken);
    }

    async fn check_entries(&self, log: &Log, broken: &mut Vec<String>) {
        let now = log.head();
        for (submission, receipt) in &self.receipts {
            let (index, promised) = (receipt.index, &receipt.head);
            let leaf = record_hash(submission.leaf.bytes());
            let proof = all_theirs(&receipt.proof);
            if check_record(&proof, promised.size, theirs(&promised.root), index, leaf).is_err() {
                broken.push(format!("the receipt of entry {index} proves nothing"));
            }
            let kept = log.entry(Permit::for_a_test(), index).await.ok().flatten();
            if kept.is_none_or(|kept| kept.leaf != *submission.leaf.bytes() || kept.time != receipt.time) {
                broken.push(format!("acknowledged entry {index} is lost or changed"));
                continue;
            }
            let proven = log
                .inclusion_proof(index, now.size)
                .await
                .map(|proof| check_record(&all_theirs(&proof), now.size, theirs(&now.root), index, leaf));
            if !matches!(proven, Ok(Ok(()))) {
                broken.push(format!("acknowledged entry {index} cannot be proven"));
            }
        }
    }

    async fn check_heads(&mut self, log: &Log, broken: &mut Vec<String>) {
        let now = log.head();
        self.heads.push((now.size, now.root));
        self.heads.sort_unstable();
        self.heads.dedup();
        for (at, (old, old_root)) in self.heads.iter().enumerate() {
            for (new, new_root) in &self.heads[at..] {
                let contradiction = format!("heads of {old} and {new} entries contradict each other");
                let Ok(proof) = log.consistency_proof(*old, *new).await else {
                    broken.push(format!("{contradiction}: the log has {}", now.size));
                    continue;
                };
                let proof = all_theirs(&proof);
                if check_tree(&proof, *new, theirs(new_root), *old, theirs(old_root)).is_err() {
                    broken.push(contradiction);
                }
            }
        }
    }
}
