//! What a bundle states: read once, and only of a signer whom a trusted authority certified.
//!
//! A statement takes many times the memory of its text, and what is compared grows with what it lists. Whoever can hand a
//! file to a verifier could make it work for nothing.

use super::{Outcome, Refusal};
use crate::bundle::Content;
use crate::dsse;
use crate::slsa::Provenance;
use crate::statement::Statement;

/// The content of a bundle as a statement, and as provenance.
pub(super) struct Stated {
    /// `None` if the artifact itself is signed.
    pub(super) statement: Option<Result<Statement, Refusal>>,
    /// `None` if the statement is not SLSA provenance that is read; an error if it claims to be and is malformed.
    provenance: Result<Option<Provenance>, Refusal>,
}

impl Stated {
    pub(super) fn read(content: &Content) -> Self {
        let statement = match content {
            Content::Message(_) => None,
            Content::Envelope(envelope) if envelope.payload_type() != dsse::IN_TOTO => {
                Some(Err(format!("the envelope's payload is not of type {}", dsse::IN_TOTO)))
            }
            Content::Envelope(envelope) => {
                Some(Statement::parse(envelope.payload()).map_err(|error| error.to_string()))
            }
        };
        let provenance = match &statement {
            None => Ok(None),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(statement)) => Provenance::read(statement).map_err(|error| error.to_string()),
        };
        Self { statement, provenance }
    }

    pub(super) fn statement(&self) -> Result<&Statement, Refusal> {
        match &self.statement {
            Some(statement) => statement.as_ref().map_err(Clone::clone),
            None => Err("the artifact itself is signed, not a statement about it".to_owned()),
        }
    }

    pub(super) fn provenance(&self) -> Result<Option<&Provenance>, Refusal> {
        self.provenance.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }
}

/// The reason why the content is not read. An artifact's own signature has nothing to read.
pub(super) fn unread(
    content: &Content,
    signature: &Result<Outcome, Refusal>,
    chain: &Result<Outcome, Refusal>,
) -> Option<&'static str> {
    match content {
        Content::Envelope(_) if signature.is_err() => Some("the signature is refused"),
        Content::Envelope(_) if chain.is_err() => Some("the certificate chain is refused"),
        _ => None,
    }
}
