//! Commit and answer: receipts come from what is durable, and from nothing else.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Batch, Signed, Tree};
use crate::server::log::{AddError, Receipt};
use crate::server::store::{Commit, CommitError, Head, Store};

/// A batch that is durable.
#[derive(Debug)]
pub struct Committed {
    batch: Batch,
    tree: Tree,
    head: Arc<Head>,
}

impl Signed {
    /// Makes the batch durable, if and only if the store's head still is `parent`.
    pub async fn commit(self, store: &dyn Store, parent: Option<&Head>) -> Result<Committed, CommitError> {
        let Self { batch, rows, head } = self;
        store.commit(parent, Commit::new(batch.first, &batch.entries, &batch.nodes, &head)).await?;
        let tree = Tree { edge: batch.edge.clone(), rows };
        Ok(Committed { batch, tree, head: Arc::new(head) })
    }
}

/// A head that readers may see: committed in this process, or restored and re-verified at its start.
#[derive(Clone, Debug)]
pub struct Published {
    pub(super) head: Arc<Head>,
}

impl Published {
    /// The head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }
}

impl Committed {
    /// The head that was committed.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Shows the head to readers, then answers the batch's submitters, whose tickets stand in the order of its
    /// entries. In this order, so that nobody holds a receipt whose head cannot be read yet. Returns the tree to
    /// go on with.
    pub fn publish(self, tickets: Vec<Ticket>, show: impl FnOnce(Published)) -> Tree {
        let Self { batch, tree, head } = self;
        show(Published { head: Arc::clone(&head) });
        let answers = tickets.into_iter().zip(batch.entries).zip(batch.proofs);
        for (index, ((ticket, entry), proof)) in (batch.first..).zip(answers) {
            let (time, leaf_hash, head) = (batch.time, entry.leaf_hash, Arc::clone(&head));
            ticket.grant(Receipt { index, time, leaf_hash, proof, head, duplicate: false });
        }
        tree
    }
}

/// What a submitter is told.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The entry is in the log.
    Added(Arc<Receipt>),
    /// An entry with this identity was in the log before.
    Stored,
    /// It is not, or that is not known.
    Refused(AddError),
}

/// The right to answer one submitter, once.
#[derive(Debug)]
pub struct Ticket(oneshot::Sender<Answer>);

impl Ticket {
    /// A ticket, and where its answer will come. A ticket that is dropped answers with an error there.
    pub fn pair() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Says no.
    pub fn refuse(self, error: AddError) {
        self.answer(Answer::Refused(error));
    }

    /// Says that the entry was found in the store. The submitter reads it from there.
    pub fn stored(self) {
        self.answer(Answer::Stored);
    }

    fn grant(self, receipt: Receipt) {
        self.answer(Answer::Added(Arc::new(receipt)));
    }

    fn answer(self, answer: Answer) {
        // A submitter who went away is told nothing; the entry stays.
        let _ = self.0.send(answer);
    }
}
