//! [`Sequencer`]: the one task that gives entries their place.
//!
//! Group commit without a ticker: an idle log starts a round when an entry comes, and answers in about one fsync. A busy
//! one batches by itself: while rounds are shared they keep a short distance, because each signs, verifies and syncs
//! once however many entries it has, and a fast disk alone would let it do that for every two or three. What ends a round badly is decided here, by the certainty of
//! its effect: nothing was written → its submitters are refused and the log goes on; it is unknown, or somebody
//! else writes, or two derivations disagree → [`Fatal`], and the process ends.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::{AddError, Fatal, Shared, Submission};
use super::meters::Stage;
use super::pool::Draft;
use super::round::{CLOCK_TOLERANCE, Face, Mismatch, Signed, Ticket, Tree};
use super::store::CommitError;
use crate::clock::{Clock, Timestamp};
use crate::merkle::Hash;
use crate::note::NoteError;
use crate::serve::block;

/// Batches up to this many bytes are made on the async thread: hashing them takes less than handing them over and
/// back is worth (some 100 µs).
const INLINE_BYTES: usize = 64 << 10;

/// The one task that gives entries their place. It owns the right edge of the tree. Dropping it closes the log.
pub struct Sequencer {
    shared: Arc<Shared>,
    face: Face,
    clock: Arc<dyn Clock>,
    tree: Arc<Tree>,
    clock_is_behind: bool,
}

/// Why a batch did not become a signed head. Nothing was written.
enum Unsigned {
    Mismatch(Mismatch),
    Signer(NoteError),
}

impl Sequencer {
    pub(super) fn new(shared: Arc<Shared>, face: Face, clock: Arc<dyn Clock>, tree: Tree) -> Self {
        Self { shared, face, clock, tree: Arc::new(tree), clock_is_behind: false }
    }

    /// Sequences until `shutdown`, then answers what was accepted and returns. On `Err` the process must end.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Fatal> {
        loop {
            // Submitters that the last round woke get to the pool before this one is drawn: without it 256 writers
            // would alternate between batches of 1 and of 255.
            tokio::task::yield_now().await;
            let Some(draft) = self.shared.pool.next(&shutdown).await else {
                self.settle().await;
                return Ok(());
            };
            let identities: Vec<Hash> = draft.submissions.iter().map(|s| s.identity).collect();
            let (started, shared) = (Instant::now(), identities.len() > 1);
            let ended = self.round(draft).await;
            self.shared.pool.settle(&identities, started.elapsed());
            if let Err(fatal) = ended {
                tracing::error!(log = self.face.origin().as_str(), error = %fatal, "the log stops");
                self.shared.pool.close(&refusal_after(&fatal));
                return Err(fatal);
            }
            let interval = self.shared.settings.round_interval;
            if shared && !interval.is_zero() && !self.shared.pool.fills_a_batch() {
                tokio::time::sleep_until(started + interval).await;
            }
        }
    }

    /// For a quick start. Only after a stop in order: where the outcome of a commit is unknown, nothing is touched.
    async fn settle(&self) {
        if let Err(error) = self.shared.store.settle().await {
            tracing::warn!(log = self.face.origin().as_str(), %error, "the next start will take longer");
        }
    }

    async fn round(&mut self, draft: Draft) -> Result<(), Fatal> {
        let Some(Draft { submissions, tickets }) = self.without_stored(draft).await else { return Ok(()) };
        let (entries, bytes) = (submissions.len(), submissions.iter().map(Submission::bytes).sum());
        let signed = match self.make(submissions, bytes).await? {
            Ok(signed) => signed,
            Err(Unsigned::Mismatch(mismatch)) => {
                refuse(tickets, &AddError::Closed);
                return Err(mismatch.into());
            }
            Err(Unsigned::Signer(error)) => {
                tracing::error!(log = self.face.origin().as_str(), %error, "cannot sign a checkpoint");
                refuse(tickets, &AddError::NotSigned(Arc::new(error)));
                return Ok(());
            }
        };
        let parent = Arc::clone(self.shared.published.load().head());
        let started = Instant::now();
        let committed = signed.commit(&*self.shared.store, Some(&parent)).await;
        self.shared.meters.took(Stage::Commit, started.elapsed());
        if let Err(error) = &committed {
            self.shared.meters.not_committed(error);
        }
        match committed {
            Ok(committed) => {
                self.shared.meters.committed(entries, bytes, self.shared.store.last_sync());
                let show = |published| self.shared.published.store(Arc::new(published));
                self.tree = Arc::new(committed.publish(tickets, show));
                Ok(())
            }
            Err(CommitError::NotApplied(error)) => {
                tracing::error!(log = self.face.origin().as_str(), %error, "a batch was not stored");
                refuse(tickets, &AddError::Failed(error));
                Ok(())
            }
            Err(CommitError::Superseded(head)) => {
                refuse(tickets, &AddError::Closed);
                Err(Fatal::Superseded(head))
            }
            Err(CommitError::Unknown(error)) => {
                refuse(tickets, &AddError::Unknown);
                Err(Fatal::Unknown(error))
            }
        }
    }

    /// Drops what was stored since it was looked up on submission. One look-up for the whole batch.
    async fn without_stored(&self, draft: Draft) -> Option<Draft> {
        let identities: Vec<Hash> = draft.submissions.iter().map(|s| s.identity).collect();
        let started = Instant::now();
        let found = self.shared.store.find_all(&identities).await;
        self.shared.meters.took(Stage::Find, started.elapsed());
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                refuse(draft.tickets, &AddError::Failed(error));
                return None;
            }
        };
        let mut rest = Draft { submissions: Vec::new(), tickets: Vec::new() };
        for ((submission, ticket), stored) in draft.submissions.into_iter().zip(draft.tickets).zip(found) {
            if stored.is_some() {
                ticket.stored();
                continue;
            }
            rest.submissions.push(submission);
            rest.tickets.push(ticket);
        }
        (!rest.submissions.is_empty()).then_some(rest)
    }

    /// Batch, re-derivation, signature: all of a round that needs no store.
    async fn make(
        &mut self,
        submissions: Vec<Submission>,
        bytes: usize,
    ) -> Result<Result<Signed, Unsigned>, Fatal> {
        let (tree, face, time) = (Arc::clone(&self.tree), self.face.clone(), self.time());
        let shared = Arc::clone(&self.shared);
        let make = move || {
            let meters = &shared.meters;
            let batch = meters.timed(Stage::Integrate, || tree.integrate(submissions, time));
            let checked = meters.timed(Stage::Check, || batch.check(&tree)).map_err(Unsigned::Mismatch)?;
            meters.timed(Stage::Sign, || checked.sign(&face)).map_err(Unsigned::Signer)
        };
        if bytes <= INLINE_BYTES && !self.face.may_block() {
            return Ok(make());
        }
        block(make).await.map_err(|panic| Fatal::Panicked(panic.to_string()))
    }

    /// The time of this round: the clock's, but never before the last head's.
    fn time(&mut self) -> Timestamp {
        let (now, last) = (self.clock.now(), self.shared.published.load().head().time);
        let behind = now.plus(CLOCK_TOLERANCE) < last;
        if behind && !self.clock_is_behind {
            let log = self.face.origin().as_str();
            tracing::warn!(log, %now, %last, "the clock stepped back; entries keep the last head's time until it catches up");
        }
        self.clock_is_behind = behind;
        now.max(last)
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.shared.pool.close(&AddError::Closed);
    }
}

/// What those are told who still wait when the log stops. They are in no batch, so they know where they stand,
/// but for one case: after an unknown commit every answer of this process is in doubt.
fn refusal_after(fatal: &Fatal) -> AddError {
    match fatal {
        Fatal::Unknown(_) => AddError::Unknown,
        Fatal::Superseded(_) | Fatal::Mismatch(_) | Fatal::Panicked(_) => AddError::Closed,
    }
}

fn refuse(tickets: Vec<Ticket>, refusal: &AddError) {
    for ticket in tickets {
        ticket.refuse(refusal.clone());
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
