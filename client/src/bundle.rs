//! Sigstore bundles, versions 0.1 to 0.3: one signature with everything that is needed to verify it offline.
//!
//! A bundle is hostile input. Parsing bounds every size and count, refuses members that the format does not have
//! and combinations that it forbids; what parses is complete, but nothing in it is true yet ([`crate::verify`]).
//! Format: protobuf-specs `sigstore_bundle.proto`; the version rules are its comments.

pub mod wire;

use chancery_tlog::certificate::{Certificate, CertificateError};
use chancery_tlog::escape::{Form, inert};
use chancery_tlog::key::HashAlgorithm;
use chancery_tlog::merkle::Hash;
use chancery_tlog::protojson::Message;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dsse::{Envelope, EnvelopeError};
use wire::Base64;

/// Largest bundle that is read: a 16 MiB predicate (GitHub's limit) in base64, and its proofs.
pub const MAX_BUNDLE: usize = 32 * 1024 * 1024;
/// Most log entries in a bundle, as sigstore-go limits them.
pub const MAX_ENTRIES: usize = 32;
/// Most RFC 3161 timestamps in a bundle.
pub const MAX_TIMESTAMPS: usize = 32;
/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 10;
/// Most hashes in an inclusion proof: the height of a tree of 2^63 leaves.
pub const MAX_PROOF: usize = 63;
/// Longest leaf of a log entry. A leaf has hashes, one signature and one certificate, several times in base64.
pub const MAX_BODY: usize = 512 * 1024;
/// Longest kind of a log entry, and longest version of one.
const MAX_KIND: usize = 64;
/// Longest signature, also of a log's promise: many times that of the largest keys.
pub const MAX_SIGNATURE: usize = 64 * 1024;
/// Characters of a parser's message that are repeated. It quotes the bundle.
const MAX_QUOTED: usize = 300;
/// The media type that is written.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Why a text is no bundle.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Larger than [`MAX_BUNDLE`].
    #[error("the bundle is larger than {MAX_BUNDLE} bytes")]
    TooLarge,
    /// Not the JSON of a bundle.
    #[error("not a bundle: {0}")]
    Json(String),
    /// The format that cosign 2 writes unless asked otherwise.
    #[error("this is cosign's legacy format; sign again with `--new-bundle-format`")]
    Legacy,
    /// A version of the format that this program does not know.
    #[error("bundle media type `{0}` is not one of versions 0.1, 0.2 and 0.3")]
    Version(String),
    /// Too many of something.
    #[error("the bundle has more than {limit} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are read at most.
        limit: usize,
    },
    /// A rule of the format is broken.
    #[error("malformed bundle: {0}")]
    Malformed(&'static str),
    /// The signing certificate.
    #[error("the bundle's signing certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The envelope.
    #[error("the bundle's envelope: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// Version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.1: a log entry needs the log's promise (SET); the proof is optional.
    V0_1,
    /// 0.2: a log entry needs an inclusion proof with a checkpoint.
    V0_2,
    /// 0.3: as 0.2, with one certificate instead of a chain.
    V0_3,
}

impl Version {
    fn from_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => Some(Self::V0_1),
            "application/vnd.dev.sigstore.bundle+json;version=0.2" => Some(Self::V0_2),
            "application/vnd.dev.sigstore.bundle+json;version=0.3" | MEDIA_TYPE => Some(Self::V0_3),
            _ => None,
        }
    }
}

/// Who claims to have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SigningMaterial {
    /// A certificate. Further certificates of a chain are dropped: paths are built from the trusted root alone.
    Certificate(Box<Certificate>),
    /// A key that the verifier must bring along.
    PublicKey {
        /// The signer's name for it; never trusted.
        hint: String,
    },
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The artifact itself.
    Message(MessageSignature),
    /// A statement about artifacts.
    Envelope(Envelope),
}

/// A signature over an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSignature {
    /// Algorithm and digest of the artifact, as the signer names them.
    pub digest: Option<(HashAlgorithm, Vec<u8>)>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// An entry of an attestation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Index over all shards.
    pub index: u64,
    /// The log.
    pub log_id: [u8; 32],
    /// Kind of the body.
    pub kind: String,
    /// Version of the kind.
    pub version: String,
    /// Seconds since the epoch; `None` for logs that give no time (Rekor v2).
    pub integrated_time: Option<u64>,
    /// SET.
    pub promise: Option<Vec<u8>>,
    /// Proof of inclusion.
    pub proof: Option<InclusionProof>,
    /// The leaf.
    pub body: Vec<u8>,
}

/// A proof of inclusion with the checkpoint that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index in the tree of the proof.
    pub index: u64,
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Leaf to root.
    pub hashes: Vec<Hash>,
    /// The signed note. Absent in some bundles of version 0.1 only.
    pub checkpoint: Option<String>,
}

/// A bundle whose parts are all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Version of the format.
    pub version: Version,
    /// Who claims to have signed.
    pub signer: SigningMaterial,
    /// Entries in attestation logs.
    pub entries: Vec<LogEntry>,
    /// RFC 3161 timestamps, DER.
    pub timestamps: Vec<Vec<u8>>,
    /// What is signed.
    pub content: Content,
}

impl Bundle {
    /// Parses the JSON of a bundle.
    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_BUNDLE {
            return Err(BundleError::TooLarge);
        }
        let Message::<wire::Bundle>(wire) =
            serde_json::from_slice(json).map_err(|error| explain(json, &error))?;
        if wire.media_type.is_empty() {
            return Err(BundleError::Json("it has no `mediaType`".to_owned()));
        }
        let version = Version::from_media_type(&wire.media_type)
            .ok_or_else(|| BundleError::Version(wire.media_type.chars().take(100).collect()))?;
        let material = wire.verification_material;
        let signer = signing_material(&material, version)?;
        let content = content(wire.message_signature, wire.dsse_envelope)?;
        let entries = log_entries(material.tlog_entries, version)?;
        let timestamps = timestamps(material.timestamp_verification_data.unwrap_or_default())?;
        Ok(Self { version, signer, entries, timestamps, content })
    }

    /// The JSON of a bundle of version 0.3, fit for a terminal: a checkpoint of a stranger may hold any character.
    #[expect(clippy::missing_panics_doc, reason = "structures with text keys always serialise")]
    pub fn to_json(&self) -> String {
        let (certificate, public_key) = match &self.signer {
            SigningMaterial::Certificate(certificate) => (Some(raw(certificate.der())), None),
            SigningMaterial::PublicKey { hint } => (None, Some(wire::PublicKeyHint { hint: hint.clone() })),
        };
        let (message_signature, dsse_envelope) = match &self.content {
            Content::Message(message) => (Some(message.to_wire()), None),
            Content::Envelope(envelope) => (None, Some(envelope.to_wire())),
        };
        let timestamps = self.timestamps.iter().cloned().map(Base64);
        let wire = wire::Bundle {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: wire::VerificationMaterial {
                certificate,
                x509_certificate_chain: None,
                public_key,
                tlog_entries: self.entries.iter().map(LogEntry::to_wire).collect(),
                timestamp_verification_data: (!self.timestamps.is_empty()).then(|| {
                    wire::TimestampVerificationData {
                        rfc3161_timestamps: timestamps
                            .map(|signed_timestamp| wire::SignedTimestamp { signed_timestamp })
                            .collect(),
                    }
                }),
            },
            message_signature,
            dsse_envelope,
        };
        let json = serde_json::to_string(&wire).expect("a bundle has string keys only, so it serialises");
        inert(&json, Form::Json).into_owned()
    }

    /// The signature, in whichever content.
    pub fn signature(&self) -> &[u8] {
        match &self.content {
            Content::Message(message) => &message.signature,
            Content::Envelope(envelope) => envelope.signature(),
        }
    }
}

impl MessageSignature {
    fn to_wire(&self) -> wire::MessageSignature {
        let message_digest = self.digest.as_ref().map(|(algorithm, digest)| wire::HashOutput {
            algorithm: proto_name(*algorithm).to_owned(),
            digest: Base64(digest.clone()),
        });
        wire::MessageSignature { message_digest, signature: Base64(self.signature.clone()) }
    }
}

impl LogEntry {
    /// Parses one `TransparencyLogEntry`, as Rekor v2 answers.
    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        let Message::<wire::TransparencyLogEntry>(wire) =
            serde_json::from_slice(json).map_err(|error| BundleError::Json(error.to_string()))?;
        log_entry(wire, Version::V0_3)
    }

    /// Whether it says to be of the Rekor v2 dialect; its leaf must say so too.
    pub fn is_rekor_v2(&self) -> bool {
        matches!((self.kind.as_str(), self.version.as_str()), ("hashedrekord" | "dsse", "0.0.2"))
    }

    fn to_wire(&self) -> wire::TransparencyLogEntry {
        wire::TransparencyLogEntry {
            log_index: wire::Int64(self.index),
            log_id: wire::LogId { key_id: Base64(self.log_id.to_vec()) },
            kind_version: wire::KindVersion { kind: self.kind.clone(), version: self.version.clone() },
            integrated_time: self.integrated_time.map(wire::Int64),
            inclusion_promise: self
                .promise
                .clone()
                .map(|set| wire::InclusionPromise { signed_entry_timestamp: Base64(set) }),
            inclusion_proof: self.proof.as_ref().map(|proof| wire::InclusionProof {
                log_index: wire::Int64(proof.index),
                root_hash: Base64(proof.root.as_ref().to_vec()),
                tree_size: wire::Int64(proof.size),
                hashes: proof.hashes.iter().map(|hash| Base64(hash.as_ref().to_vec())).collect(),
                checkpoint: proof.checkpoint.clone().map(|envelope| wire::Checkpoint { envelope }),
            }),
            canonicalized_body: Base64(self.body.clone()),
        }
    }
}

/// The protobuf-specs `HashAlgorithm` name.
pub fn proto_name(algorithm: HashAlgorithm) -> &'static str {
    match algorithm {
        HashAlgorithm::Sha256 => "SHA2_256",
        HashAlgorithm::Sha384 => "SHA2_384",
        HashAlgorithm::Sha512 => "SHA2_512",
    }
}

/// Tells cosign's legacy format from what is no bundle at all. The text is of any shape, so its values are not kept: a
/// tree of them can take tens of times the memory.
fn explain(json: &[u8], error: &serde_json::Error) -> BundleError {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Legacy {
        base64_signature: Option<IgnoredAny>,
        rekor_bundle: Option<IgnoredAny>,
    }
    let legacy = serde_json::from_slice::<Message<Legacy>>(json);
    if legacy.is_ok_and(|Message(it)| it.base64_signature.is_some() || it.rekor_bundle.is_some()) {
        return BundleError::Legacy;
    }
    let mut message: String = error.to_string().chars().take(MAX_QUOTED).collect();
    if message.chars().count() == MAX_QUOTED {
        message.push('…');
    }
    BundleError::Json(message)
}

fn raw(der: &[u8]) -> wire::RawBytes {
    wire::RawBytes { raw_bytes: Base64(der.to_vec()) }
}

fn signing_material(
    material: &wire::VerificationMaterial,
    version: Version,
) -> Result<SigningMaterial, BundleError> {
    match (&material.certificate, &material.x509_certificate_chain, &material.public_key) {
        (Some(leaf), None, None) => certificate(leaf),
        (None, Some(_), None) if version >= Version::V0_3 => {
            Err(BundleError::Malformed("version 0.3 has `certificate`, not `x509CertificateChain`"))
        }
        (None, Some(chain), None) => {
            if chain.certificates.len() > MAX_CHAIN {
                return Err(BundleError::TooMany { what: "certificates", limit: MAX_CHAIN });
            }
            let leaf = chain.certificates.first();
            certificate(leaf.ok_or(BundleError::Malformed("an empty `x509CertificateChain`"))?)
        }
        (None, None, Some(key)) => Ok(SigningMaterial::PublicKey { hint: key.hint.clone() }),
        (None, None, None) => Err(BundleError::Malformed("neither a certificate nor a public key")),
        _ => Err(BundleError::Malformed("more than one of certificate, chain and public key")),
    }
}

fn certificate(wire: &wire::RawBytes) -> Result<SigningMaterial, BundleError> {
    Ok(SigningMaterial::Certificate(Box::new(Certificate::from_der(&wire.raw_bytes.0)?)))
}

fn content(
    message: Option<wire::MessageSignature>,
    envelope: Option<wire::Envelope>,
) -> Result<Content, BundleError> {
    match (message, envelope) {
        (Some(message), None) => Ok(Content::Message(message_signature(message)?)),
        (None, Some(envelope)) => Ok(Content::Envelope(Envelope::from_wire(envelope)?)),
        (None, None) => Err(BundleError::Malformed("neither `messageSignature` nor `dsseEnvelope`")),
        (Some(_), Some(_)) => Err(BundleError::Malformed("both `messageSignature` and `dsseEnvelope`")),
    }
}

fn message_signature(wire: wire::MessageSignature) -> Result<MessageSignature, BundleError> {
    let digest = match wire.message_digest {
        None => None,
        Some(output) => {
            let algorithm = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512]
                .into_iter()
                .find(|algorithm| proto_name(*algorithm) == output.algorithm)
                .ok_or(BundleError::Malformed("`messageDigest` is not SHA2_256, SHA2_384 or SHA2_512"))?;
            if output.digest.0.len() != algorithm.len() {
                return Err(BundleError::Malformed("`messageDigest` does not have its algorithm's length"));
            }
            Some((algorithm, output.digest.0))
        }
    };
    if wire.signature.0.is_empty() {
        return Err(BundleError::Malformed("an empty signature"));
    }
    if wire.signature.0.len() > MAX_SIGNATURE {
        return Err(BundleError::Malformed("the signature is longer than 64 KiB"));
    }
    Ok(MessageSignature { digest, signature: wire.signature.0 })
}

fn log_entries(
    wire: Vec<wire::TransparencyLogEntry>,
    version: Version,
) -> Result<Vec<LogEntry>, BundleError> {
    if wire.len() > MAX_ENTRIES {
        return Err(BundleError::TooMany { what: "log entries", limit: MAX_ENTRIES });
    }
    let entries: Vec<LogEntry> =
        wire.into_iter().map(|entry| log_entry(entry, version)).collect::<Result<_, _>>()?;
    for (i, entry) in entries.iter().enumerate() {
        if entries[..i].iter().any(|other| (other.log_id, other.index) == (entry.log_id, entry.index)) {
            return Err(BundleError::Malformed("the same log entry twice"));
        }
    }
    Ok(entries)
}

fn log_entry(wire: wire::TransparencyLogEntry, version: Version) -> Result<LogEntry, BundleError> {
    let log_id = <[u8; 32]>::try_from(wire.log_id.key_id.0.as_slice())
        .map_err(|_| BundleError::Malformed("a log id is not 32 bytes"))?;
    let proof = wire.inclusion_proof.map(inclusion_proof).transpose()?;
    let promise = wire.inclusion_promise.map(|promise| promise.signed_entry_timestamp.0);
    match version {
        Version::V0_1 if promise.is_none() => {
            return Err(BundleError::Malformed("a log entry of version 0.1 without `inclusionPromise`"));
        }
        Version::V0_2 | Version::V0_3 if proof.as_ref().is_none_or(|proof| proof.checkpoint.is_none()) => {
            return Err(BundleError::Malformed("a log entry without an inclusion proof and checkpoint"));
        }
        _ => {}
    }
    if promise.as_ref().is_some_and(|promise| promise.len() > MAX_SIGNATURE) {
        return Err(BundleError::Malformed("a log's `inclusionPromise` is longer than 64 KiB"));
    }
    if wire.kind_version.kind.len() > MAX_KIND || wire.kind_version.version.len() > MAX_KIND {
        return Err(BundleError::Malformed("a log entry's `kindVersion` is longer than any that logs have"));
    }
    if wire.canonicalized_body.0.len() > MAX_BODY {
        return Err(BundleError::Malformed("a log entry's `canonicalizedBody` is longer than 512 KiB"));
    }
    if wire.canonicalized_body.0.is_empty() {
        return Err(BundleError::Malformed("a log entry without `canonicalizedBody`"));
    }
    Ok(LogEntry {
        index: wire.log_index.0,
        log_id,
        kind: wire.kind_version.kind,
        version: wire.kind_version.version,
        integrated_time: wire.integrated_time.map(|time| time.0).filter(|time| *time != 0),
        promise,
        proof,
        body: wire.canonicalized_body.0,
    })
}

fn inclusion_proof(wire: wire::InclusionProof) -> Result<InclusionProof, BundleError> {
    if wire.hashes.len() > MAX_PROOF {
        return Err(BundleError::TooMany { what: "hashes in an inclusion proof", limit: MAX_PROOF });
    }
    let hash = |bytes: &Base64| {
        Hash::from_slice(&bytes.0).map_err(|_| BundleError::Malformed("a hash is not 32 bytes"))
    };
    Ok(InclusionProof {
        index: wire.log_index.0,
        size: wire.tree_size.0,
        root: hash(&wire.root_hash)?,
        hashes: wire.hashes.iter().map(hash).collect::<Result<_, _>>()?,
        checkpoint: wire.checkpoint.map(|checkpoint| checkpoint.envelope),
    })
}

fn timestamps(wire: wire::TimestampVerificationData) -> Result<Vec<Vec<u8>>, BundleError> {
    if wire.rfc3161_timestamps.len() > MAX_TIMESTAMPS {
        return Err(BundleError::TooMany { what: "timestamps", limit: MAX_TIMESTAMPS });
    }
    Ok(wire.rfc3161_timestamps.into_iter().map(|timestamp| timestamp.signed_timestamp.0).collect())
}

#[cfg(test)]
mod tests;
