//! Claims about the signature: made by the signer's key, and over this artifact.

use chancery_tlog::key::HashAlgorithm;

use super::stated::Stated;
use super::{Case, Outcome, Refusal, proven};
use crate::bundle::{Content, MessageSignature};

pub(super) fn by_signer(case: &Case<'_>) -> Result<Outcome, Refusal> {
    let key = case.signing_key()?;
    let kind = key.kind();
    match &case.bundle.content {
        Content::Message(message) => {
            let (algorithm, digest) = signed_digest(case, message, kind.default_hash())?;
            key.verify_digest_any_encoding(algorithm, digest, &message.signature)
                .map_err(|error| error.to_string())?;
            proven(format!("{kind} over the artifact's {}", algorithm.name()))
        }
        Content::Envelope(envelope) => {
            let signed = envelope.signed_bytes();
            let (hash, signature) = (kind.default_hash(), envelope.signature());
            // By the key's default hash, or by SHA-256 as Rekor v1 and older clients do for every curve, or as
            // prehashed: that is Ed25519ph, the only Ed25519 that Rekor v2 takes.
            key.verify_any_encoding(hash, &signed, signature)
                .or_else(|_| key.verify_any_encoding(HashAlgorithm::Sha256, &signed, signature))
                .or_else(|_| key.verify_digest_any_encoding(hash, &hash.digest(&signed), signature))
                .map_err(|error| error.to_string())?;
            proven(format!("{kind} over the statement"))
        }
    }
}

pub(super) fn over_artifact(case: &Case<'_>, stated: &Stated) -> Result<Outcome, Refusal> {
    match &case.bundle.content {
        Content::Message(MessageSignature { digest: None, .. }) => {
            proven(format!("{}, by the signature", case.artifact.name()))
        }
        Content::Message(MessageSignature { digest: Some((algorithm, signed)), .. }) => {
            let Some(digest) = case.artifact.digest(*algorithm) else {
                let name = algorithm.name();
                return Err(format!("the bundle names the artifact by {name}; give the file or its {name}"));
            };
            if digest != signed {
                let signed = hex::encode(signed);
                return Err(format!(
                    "the signature is over {}:{signed}, not {}",
                    algorithm.name(),
                    case.artifact.name()
                ));
            }
            proven(case.artifact.name())
        }
        Content::Envelope(_) => {
            let statement = stated.statement()?;
            let subject = statement.subject_of(case.artifact).ok_or_else(|| {
                format!(
                    "{} is not among the statement's {} subjects",
                    case.artifact.name(),
                    statement.subject.len()
                )
            })?;
            let others = statement.subject.len() - 1;
            proven(format!("{} is subject `{}` (of {})", case.artifact.name(), subject.name, others + 1))
        }
    }
}

/// The digest that the signature covers: the one that the bundle names, or else the artifact's own.
fn signed_digest<'c>(
    case: &'c Case<'_>,
    message: &'c MessageSignature,
    default: HashAlgorithm,
) -> Result<(HashAlgorithm, &'c [u8]), Refusal> {
    if let Some((algorithm, digest)) = &message.digest {
        return Ok((*algorithm, digest));
    }
    let digest = case.artifact.digest(default);
    let name = default.name();
    Ok((default, digest.ok_or_else(|| format!("the signature is over {name}; give the file or its {name}"))?))
}
