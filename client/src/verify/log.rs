//! Claims about the attestation log: the entry is this signature's, it is included, the log signed for tree and time.
//!
//! Required as soon as the trusted root lists a log. Every entry of the bundle must then hold, not just one.

use chancery_tlog::checkpoint::Checkpoint;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::merkle::{Hash, leaf_hash, verify_inclusion};
use chancery_tlog::note::{Note, NoteKey};
use chancery_tlog::rekor::{Body, Verifier, set_payload};
use chancery_tlog::trust::TrustedLog;

use super::{Case, Outcome, Refusal, not_required, proven, untrusted};
use crate::bundle::{Content, InclusionProof, LogEntry, MessageSignature, Version};
use crate::dsse::Envelope;

/// Entry kinds of Rekor v1 that sign artifacts or statements.
const KINDS: [(&str, &str); 4] =
    [("hashedrekord", "0.0.1"), ("dsse", "0.0.1"), ("intoto", "0.0.2"), ("intoto", "0.0.1")];
/// What a bundle of version 0.1 may have instead of a proof.
const PROMISE_INSTEAD: &str =
    "a bundle of version 0.1 may carry the log's signed promise instead, see signing time";

/// How the claims about the log came out.
pub(super) struct Logged {
    pub(super) entry: Result<Outcome, Refusal>,
    pub(super) inclusion: Result<Outcome, Refusal>,
    pub(super) checkpoint: Result<Outcome, Refusal>,
    /// When the log says that it took the entry; `None` if nothing says so.
    pub(super) time: Result<Option<Timestamp>, Refusal>,
}

impl Logged {
    fn all(outcome: &Result<Outcome, Refusal>, time: Result<Option<Timestamp>, Refusal>) -> Self {
        let same = || outcome.clone();
        Self { entry: same(), inclusion: same(), checkpoint: same(), time }
    }
}

pub(super) fn judge(case: &Case<'_>) -> Logged {
    let entries = &case.bundle.entries;
    if case.trust.logs.is_empty() {
        return Logged::all(&not_required("no trusted root lists an attestation log"), Ok(None));
    }
    if entries.is_empty() {
        let why = "the trusted root lists an attestation log, but the bundle has no log entry";
        return Logged::all(&Err(why.to_owned()), Err(why.to_owned()));
    }
    Logged {
        entry: each(entries, |entry| matches_bundle(case, entry)),
        inclusion: each(entries, |entry| included(case, entry)),
        checkpoint: each(entries, |entry| checkpointed(case, entry)),
        time: times(case),
    }
}

/// The first entry's outcome if `claim` holds for all of them.
fn each(
    entries: &[LogEntry],
    claim: impl Fn(&LogEntry) -> Result<Outcome, Refusal>,
) -> Result<Outcome, Refusal> {
    let outcomes = entries.iter().map(claim).collect::<Result<Vec<_>, _>>()?;
    outcomes.into_iter().next().ok_or_else(|| "no log entry".to_owned())
}

fn trusted_log<'a>(case: &Case<'a>, entry: &LogEntry) -> Result<&'a TrustedLog, Refusal> {
    let (kind, version) = (entry.kind.as_str(), entry.version.as_str());
    if matches!((kind, version), ("hashedrekord" | "dsse", "0.0.2")) {
        return Err(format!(
            "the log entry is of Rekor v2 ({kind} {version}), which this version cannot verify yet"
        ));
    }
    case.trust.logs.iter().find(|log| log.id == entry.log_id).ok_or_else(|| {
        let id = hex::encode(entry.log_id);
        let why = format!("the trusted root has no log with id {id}, which the log entry names");
        untrusted(why, &case.trust.logs)
    })
}

/// The leaf is about this signature, by this signer, over this content.
fn matches_bundle(case: &Case<'_>, entry: &LogEntry) -> Result<Outcome, Refusal> {
    let log = trusted_log(case, entry)?;
    let kind = (entry.kind.as_str(), entry.version.as_str());
    if !KINDS.contains(&kind) {
        return Err(format!("log entries of kind {} {} are not supported", kind.0, kind.1));
    }
    let body = Body::parse(&entry.body).map_err(|error| format!("the log entry's body: {error}"))?;
    match (&body, &case.bundle.content) {
        (Body::HashedRekord { algorithm, digest, signature, verifier }, Content::Message(message)) => {
            expect_kind(entry, KINDS[0])?;
            same_digest(case, message, *algorithm, digest)?;
            same_signature(signature, &message.signature)?;
            same_signer(case, verifier)?;
        }
        (Body::Dsse { payload_hash, signatures, .. }, Content::Envelope(envelope)) => {
            expect_kind(entry, KINDS[1])?;
            same_envelope(case, envelope, payload_hash, signatures)?;
        }
        (Body::Intoto { payload_hash, signatures }, Content::Envelope(envelope)) => {
            expect_kind(entry, KINDS[2])?;
            same_envelope(case, envelope, payload_hash, signatures)?;
        }
        (Body::IntotoV001 { envelope_hash, payload_hash, verifier }, Content::Envelope(envelope)) => {
            expect_kind(entry, KINDS[3])?;
            same_statement(envelope, payload_hash)?;
            same_spelling(envelope, envelope_hash)?;
            same_signer(case, verifier)?;
        }
        _ => return Err("the log entry is of another kind of signature than the bundle".to_owned()),
    }
    proven(format!("{} {} at index {} of {}", kind.0, kind.1, entry.index, log.url))
}

fn expect_kind(entry: &LogEntry, (kind, version): (&str, &str)) -> Result<(), Refusal> {
    if entry.kind == kind && entry.version == version {
        return Ok(());
    }
    let (claimed, claimed_version) = (&entry.kind, &entry.version);
    Err(format!("the log entry is a {kind} {version}, but the bundle calls it {claimed} {claimed_version}"))
}

fn same_digest(
    case: &Case<'_>,
    message: &MessageSignature,
    algorithm: HashAlgorithm,
    digest: &[u8],
) -> Result<(), Refusal> {
    let signed = match &message.digest {
        Some((named, digest)) if *named == algorithm => Some(digest.as_slice()),
        _ => case.artifact.digest(algorithm),
    };
    if signed == Some(digest) {
        return Ok(());
    }
    Err(format!("the log entry is about another artifact, {}:{}", algorithm.name(), hex::encode(digest)))
}

fn same_envelope(
    case: &Case<'_>,
    envelope: &Envelope,
    payload_hash: &Hash,
    signatures: &[(Vec<u8>, Verifier)],
) -> Result<(), Refusal> {
    same_statement(envelope, payload_hash)?;
    let [(signature, verifier)] = signatures else {
        return Err(format!("the log entry has {} signatures, the bundle has one", signatures.len()));
    };
    same_signature(signature, envelope.signature())?;
    same_signer(case, verifier)
}

fn same_statement(envelope: &Envelope, payload_hash: &Hash) -> Result<(), Refusal> {
    if *payload_hash == Hash::digest(envelope.payload()) {
        return Ok(());
    }
    Err("the log entry is about another statement".to_owned())
}

/// Binds an entry to the signature where it keeps only the hash of the envelope's JSON, which bundles do not carry.
fn same_spelling(envelope: &Envelope, envelope_hash: &Hash) -> Result<(), Refusal> {
    if envelope.spellings().iter().any(|json| Hash::digest(json.as_bytes()) == *envelope_hash) {
        return Ok(());
    }
    Err("the log entry is about another envelope, or one in a spelling that no known signer writes"
        .to_owned())
}

fn same_signature(logged: &[u8], bundled: &[u8]) -> Result<(), Refusal> {
    if logged == bundled { Ok(()) } else { Err("the log entry is about another signature".to_owned()) }
}

fn same_signer(case: &Case<'_>, logged: &Verifier) -> Result<(), Refusal> {
    let same = match case.certificate() {
        Some(certificate) => logged.certificate() == Some(certificate),
        None => logged.certificate().is_none() && logged.public_key() == case.signing_key()?,
    };
    if same { Ok(()) } else { Err("the log entry is about another signer".to_owned()) }
}

fn included(case: &Case<'_>, entry: &LogEntry) -> Result<Outcome, Refusal> {
    trusted_log(case, entry)?;
    let Some(proof) = required_proof(case, entry)? else { return not_required(PROMISE_INSTEAD) };
    verify_inclusion(&leaf_hash(&entry.body), proof.index, proof.size, &proof.hashes, &proof.root)
        .map_err(|error| format!("the log entry is not in the tree: {error}"))?;
    proven(format!("leaf {} of a tree of {}", proof.index, proof.size))
}

fn checkpointed(case: &Case<'_>, entry: &LogEntry) -> Result<Outcome, Refusal> {
    let log = trusted_log(case, entry)?;
    let Some(proof) = required_proof(case, entry)? else { return not_required(PROMISE_INSTEAD) };
    let Some(signed) = &proof.checkpoint else { return not_required(PROMISE_INSTEAD) };
    let refuse = |error: String| format!("the checkpoint: {error}");
    let note = Note::parse(signed.as_bytes()).map_err(|error| refuse(error.to_string()))?;
    let hint = &log.key.fingerprint()[..4];
    let name = note.signatures().iter().find(|line| line.id == hint).map(|line| line.name.clone());
    let name = name.ok_or_else(|| refuse(format!("not signed by the key of {}", log.url)))?;
    let key = NoteKey::new(name.clone(), log.key.clone()).map_err(|error| refuse(error.to_string()))?;
    note.verify(&[key]).map_err(|error| refuse(error.to_string()))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|error| refuse(error.to_string()))?;
    let origin = checkpoint.origin.as_str();
    if !is_v1_origin(origin, name.as_str()) {
        return Err(refuse(format!("origin `{origin}` is not `{} - <tree id>`", name.as_str())));
    }
    if (checkpoint.size, checkpoint.root) != (proof.size, proof.root) {
        return Err(refuse("it is of another tree than the inclusion proof".to_owned()));
    }
    proven(format!("tree of {} signed by {}", checkpoint.size, name.as_str()))
}

/// The proof; `None` where version 0.1 lets the promise stand for it.
fn required_proof<'e>(case: &Case<'_>, entry: &'e LogEntry) -> Result<Option<&'e InclusionProof>, Refusal> {
    match &entry.proof {
        None if case.bundle.version > Version::V0_1 => Err("the log entry has no inclusion proof".to_owned()),
        proof => Ok(proof.as_ref()),
    }
}

/// Rekor v1 names a checkpoint `<host> - <tree id>` and signs it as `<host>`.
fn is_v1_origin(origin: &str, host: &str) -> bool {
    origin
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(" - "))
        .is_some_and(|tree| !tree.is_empty() && tree.bytes().all(|b| b.is_ascii_digit()))
}

/// The earliest signed time, if all that are there hold; the certificate must be valid at every one of them.
fn times(case: &Case<'_>) -> Result<Option<Timestamp>, Refusal> {
    let mut earliest: Option<Timestamp> = None;
    for entry in &case.bundle.entries {
        let Some(time) = signed_time(case, entry)? else { continue };
        if let Some(certificate) = case.certificate()
            && !certificate.is_valid_at(time)
        {
            return Err(format!(
                "signed at {time}, outside of the certificate's life from {} to {}",
                certificate.not_before(),
                certificate.not_after()
            ));
        }
        earliest = Some(earliest.map_or(time, |known| known.min(time)));
    }
    Ok(earliest)
}

fn signed_time(case: &Case<'_>, entry: &LogEntry) -> Result<Option<Timestamp>, Refusal> {
    let log = trusted_log(case, entry)?;
    let Some(promise) = &entry.promise else { return Ok(None) };
    let seconds = entry.integrated_time.ok_or_else(|| {
        "the log entry has a signed entry timestamp (SET) but no integrated time".to_owned()
    })?;
    let signed = set_payload(&entry.body, seconds, &entry.log_id, entry.index);
    log.key
        .verify(HashAlgorithm::Sha256, &signed, promise)
        .map_err(|error| format!("the signed entry timestamp (SET): {error}"))?;
    let time = Timestamp::from_seconds(seconds);
    if !log.validity.contains(time) {
        return Err(format!("the trusted root does not trust {} at {time}", log.url));
    }
    Ok(Some(time))
}
