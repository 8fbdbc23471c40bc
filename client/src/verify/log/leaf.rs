//! Claim: the leaf is about this signature, by this signer, over this content, and says nothing else.
//!
//! A leaf of Rekor v2 is made again of the bundle and compared byte for byte; only where it differs is it read, to say
//! in what. A leaf of v1 keeps what no bundle carries (the hash of the envelope as it was sent, the rest of a chain):
//! its members are compared one by one, and then it is made again of those members.

use std::cell::OnceCell;

use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::merkle::Hash;
use chancery_tlog::rekor::{self, Verifier};
use chancery_tlog::rekor_v2::{self, KeyDetails, Material};

use super::{Case, Outcome, Refusal, trusted_log};
use crate::bundle::{Content, LogEntry, MessageSignature};
use crate::dsse::Envelope;
use crate::verify::proven;

/// Entry kinds of Rekor v1 that sign artifacts or statements.
const KINDS: [(&str, &str); 4] =
    [("hashedrekord", "0.0.1"), ("dsse", "0.0.1"), ("intoto", "0.0.2"), ("intoto", "0.0.1")];
const OTHER_KIND: &str = "the log entry is of another kind of signature than the bundle";
const OTHER_SIGNATURE: &str = "the log entry is about another signature";
const OTHER_SIGNER: &str = "the log entry is about another signer";
const OTHER_STATEMENT: &str = "the log entry is about another statement";

/// What every leaf is compared with. It is made of the whole content, so once for all entries.
#[derive(Default)]
pub(super) struct Expected {
    hashedrekord: OnceCell<Result<Vec<rekor_v2::Body>, Refusal>>,
    dsse: OnceCell<Result<Vec<rekor_v2::Body>, Refusal>>,
    payload: OnceCell<Hash>,
    spellings: OnceCell<[Hash; 2]>,
}

impl Expected {
    /// The Rekor v2 leaves that the bundle makes.
    fn bodies(&self, case: &Case<'_>, kind: &str) -> Result<&[rekor_v2::Body], Refusal> {
        let made = if kind == "dsse" { &self.dsse } else { &self.hashedrekord };
        made.get_or_init(|| made_again(case, kind)).as_deref().map_err(Clone::clone)
    }

    fn payload(&self, envelope: &Envelope) -> &Hash {
        self.payload.get_or_init(|| Hash::digest(envelope.payload()))
    }

    /// Hashes of the envelope's JSON as signers are known to write it.
    fn spellings(&self, envelope: &Envelope) -> &[Hash; 2] {
        self.spellings.get_or_init(|| envelope.spellings().map(|json| Hash::digest(json.as_bytes())))
    }
}

pub(super) fn matches_bundle(
    case: &Case<'_>,
    entry: &LogEntry,
    expected: &Expected,
) -> Result<Outcome, Refusal> {
    let log = trusted_log(case, entry)?;
    let (kind, version) = (entry.kind.as_str(), entry.version.as_str());
    if entry.is_rekor_v2() {
        same_as_made_again(case, entry, expected)?;
    } else if KINDS.contains(&(kind, version)) {
        same_members(case, entry, expected)?;
    } else {
        return Err(format!("log entries of kind {kind} {version} are not supported"));
    }
    // Not the index: nothing but the inclusion proof proves one.
    proven(format!("{kind} {version} of {}", log.url))
}

/// Rekor v2: the leaf is what this bundle makes.
fn same_as_made_again(case: &Case<'_>, entry: &LogEntry, expected: &Expected) -> Result<(), Refusal> {
    let made = expected.bodies(case, &entry.kind)?;
    if made.iter().any(|body| body.encode().is_ok_and(|leaf| leaf == entry.body)) {
        return Ok(());
    }
    let found =
        rekor_v2::Body::parse(&entry.body).map_err(|error| format!("the log entry's body: {error}"))?;
    let claimed = (entry.kind.as_str(), entry.version.as_str());
    let stated = found.kind_version();
    expect_kind(claimed, (stated.kind, stated.version))?;
    Err(made.first().map_or_else(|| OTHER_KIND.to_owned(), |made| difference(case, made, &found)))
}

/// The leaf that the bundle makes: one for each way in which the signer's key signs (Ed25519 has two).
fn made_again(case: &Case<'_>, kind: &str) -> Result<Vec<rekor_v2::Body>, Refusal> {
    let material = match case.certificate() {
        Some(certificate) => Material::Certificate(certificate.clone()),
        None => Material::Key(case.signing_key()?.clone()),
    };
    let verifiers =
        KeyDetails::ALL.into_iter().filter_map(|way| rekor_v2::Verifier::new(way, material.clone()));
    match (&case.bundle.content, kind) {
        (content, "hashedrekord") => verifiers.filter_map(|it| hashedrekord(case, content, it)).collect(),
        (Content::Envelope(envelope), "dsse") => Ok(verifiers.map(|it| dsse(envelope, it)).collect()),
        _ => Err(OTHER_KIND.to_owned()),
    }
}

/// `None` for a signature that is not over a digest.
fn hashedrekord(
    case: &Case<'_>,
    content: &Content,
    verifier: rekor_v2::Verifier,
) -> Option<Result<rekor_v2::Body, Refusal>> {
    let algorithm = verifier.key_details().prehash()?;
    let (digest, signature) = match content {
        Content::Message(message) => {
            let Some(digest) = digest(case, message, algorithm) else {
                let name = algorithm.name();
                return Some(Err(format!("the log entry is over {name}; give the file or its {name}")));
            };
            (digest.to_vec(), message.signature.as_slice())
        }
        Content::Envelope(envelope) => (algorithm.digest(&envelope.signed_bytes()), envelope.signature()),
    };
    Some(Ok(rekor_v2::Body::HashedRekord { algorithm, digest, signature: signature.to_vec(), verifier }))
}

fn dsse(envelope: &Envelope, verifier: rekor_v2::Verifier) -> rekor_v2::Body {
    let payload_hash = Hash::digest(envelope.payload());
    rekor_v2::Body::Dsse { payload_hash, signatures: vec![(envelope.signature().to_vec(), verifier)] }
}

/// In which member the leaf differs from the one that the bundle makes.
fn difference(case: &Case<'_>, made: &rekor_v2::Body, found: &rekor_v2::Body) -> Refusal {
    use rekor_v2::Body::{Dsse, HashedRekord};
    match (made, found) {
        (HashedRekord { digest: made, .. }, HashedRekord { algorithm, digest, .. }) if made != digest => {
            match case.bundle.content {
                Content::Message(_) => other_artifact(*algorithm, digest),
                Content::Envelope(_) => OTHER_STATEMENT.to_owned(),
            }
        }
        (Dsse { payload_hash: made, .. }, Dsse { payload_hash, .. }) if made != payload_hash => {
            OTHER_STATEMENT.to_owned()
        }
        (Dsse { .. }, Dsse { signatures, .. }) if signatures.len() != 1 => several(signatures.len()),
        _ if v2_signatures(made) != v2_signatures(found) => OTHER_SIGNATURE.to_owned(),
        _ => OTHER_SIGNER.to_owned(),
    }
}

fn v2_signatures(body: &rekor_v2::Body) -> Vec<&[u8]> {
    match body {
        rekor_v2::Body::HashedRekord { signature, .. } => vec![signature],
        rekor_v2::Body::Dsse { signatures, .. } => {
            signatures.iter().map(|(signature, _)| signature.as_slice()).collect()
        }
    }
}

/// Rekor v1: every member is the bundle's, and the members are all of the leaf.
fn same_members(case: &Case<'_>, entry: &LogEntry, expected: &Expected) -> Result<(), Refusal> {
    let claimed = (entry.kind.as_str(), entry.version.as_str());
    let body = rekor::Body::parse(&entry.body).map_err(|error| format!("the log entry's body: {error}"))?;
    match (&body, &case.bundle.content) {
        (rekor::Body::HashedRekord { algorithm, digest, signature, verifier }, Content::Message(message)) => {
            expect_kind(claimed, KINDS[0])?;
            same_digest(case, message, *algorithm, digest)?;
            same_signature(signature, &message.signature)?;
            same_signer(case, verifier)?;
        }
        (rekor::Body::Dsse { payload_hash, signatures, .. }, Content::Envelope(envelope)) => {
            expect_kind(claimed, KINDS[1])?;
            same_statement(expected.payload(envelope), payload_hash)?;
            same_envelope(case, envelope, signatures)?;
        }
        (rekor::Body::Intoto { payload_hash, signatures }, Content::Envelope(envelope)) => {
            expect_kind(claimed, KINDS[2])?;
            same_statement(expected.payload(envelope), payload_hash)?;
            same_envelope(case, envelope, signatures)?;
        }
        (rekor::Body::IntotoV001 { envelope_hash, payload_hash, verifier }, Content::Envelope(envelope)) => {
            expect_kind(claimed, KINDS[3])?;
            same_statement(expected.payload(envelope), payload_hash)?;
            same_spelling(expected.spellings(envelope), envelope_hash)?;
            same_signer(case, verifier)?;
        }
        _ => return Err(OTHER_KIND.to_owned()),
    }
    if body.encode().is_some_and(|leaf| leaf != entry.body) {
        return Err(
            "the log entry is not the leaf that its members make: it says something else besides".to_owned()
        );
    }
    Ok(())
}

fn expect_kind(claimed: (&str, &str), (kind, version): (&str, &str)) -> Result<(), Refusal> {
    if claimed == (kind, version) {
        return Ok(());
    }
    let (claimed, claimed_version) = claimed;
    Err(format!("the log entry is a {kind} {version}, but the bundle calls it {claimed} {claimed_version}"))
}

/// The digest that the bundle names, if it is of this algorithm, or else the artifact's own.
fn digest<'c>(
    case: &'c Case<'_>,
    message: &'c MessageSignature,
    algorithm: HashAlgorithm,
) -> Option<&'c [u8]> {
    match &message.digest {
        Some((named, digest)) if *named == algorithm => Some(digest),
        _ => case.artifact.digest(algorithm),
    }
}

fn same_digest(
    case: &Case<'_>,
    message: &MessageSignature,
    algorithm: HashAlgorithm,
    found: &[u8],
) -> Result<(), Refusal> {
    if digest(case, message, algorithm) == Some(found) {
        return Ok(());
    }
    Err(other_artifact(algorithm, found))
}

fn other_artifact(algorithm: HashAlgorithm, digest: &[u8]) -> Refusal {
    format!("the log entry is about another artifact, {}:{}", algorithm.name(), hex::encode(digest))
}

fn same_envelope(
    case: &Case<'_>,
    envelope: &Envelope,
    signatures: &[(Vec<u8>, Verifier)],
) -> Result<(), Refusal> {
    let [(signature, verifier)] = signatures else { return Err(several(signatures.len())) };
    same_signature(signature, envelope.signature())?;
    same_signer(case, verifier)
}

fn several(count: usize) -> Refusal {
    format!("the log entry has {count} signatures, the bundle has one")
}

fn same_statement(payload: &Hash, logged: &Hash) -> Result<(), Refusal> {
    if payload == logged { Ok(()) } else { Err(OTHER_STATEMENT.to_owned()) }
}

/// Binds an entry to the signature where it keeps only the hash of the envelope's JSON, which bundles do not carry.
fn same_spelling(spellings: &[Hash; 2], envelope_hash: &Hash) -> Result<(), Refusal> {
    if spellings.contains(envelope_hash) {
        return Ok(());
    }
    Err("the log entry is about another envelope, or one in a spelling that no known signer writes"
        .to_owned())
}

fn same_signature(logged: &[u8], bundled: &[u8]) -> Result<(), Refusal> {
    if logged == bundled { Ok(()) } else { Err(OTHER_SIGNATURE.to_owned()) }
}

fn same_signer(case: &Case<'_>, logged: &Verifier) -> Result<(), Refusal> {
    let same = match case.certificate() {
        Some(certificate) => logged.certificate() == Some(certificate),
        None => logged.certificate().is_none() && logged.public_key() == case.signing_key()?,
    };
    if same { Ok(()) } else { Err(OTHER_SIGNER.to_owned()) }
}
