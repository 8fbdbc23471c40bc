//! The messages of `dev.sigstore.rekor.v2`, by their field numbers (rekor-tiles `api/proto/rekor/v2`, protobuf-specs
//! `sigstore_common`, `sigstore_rekor` and `envelope`), and their way into and out of the pure core.

mod bounded;

use prost::{Message, Oneof};

use crate::rekor_v2 as core;
use crate::rekor_v2::{EntryError, KeyDetails, RequestMaterial, TransparencyLogEntry};

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateEntryRequest {
    #[prost(oneof = "RequestSpec", tags = "1, 2")]
    pub(super) spec: Option<RequestSpec>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum RequestSpec {
    #[prost(message, tag = "1")]
    HashedRekordRequestV002(HashedRekordRequest),
    #[prost(message, tag = "2")]
    DsseRequestV002(DsseRequest),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HashedRekordRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) digest: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) signature: Option<Signature>,
}

/// Read by hand, see [`bounded`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DsseRequest {
    pub(super) envelope: Option<Envelope>,
    pub(super) verifiers: Vec<Verifier>,
}

/// `io.intoto.Envelope`. Read by hand, see [`bounded`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Envelope {
    pub(super) payload: Vec<u8>,
    pub(super) payload_type: String,
    pub(super) signatures: Vec<EnvelopeSignature>,
}

/// `io.intoto.Signature`. The key id, field 2, is a hint that nobody signed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvelopeSignature {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) sig: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Signature {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) content: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) verifier: Option<Verifier>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Verifier {
    #[prost(oneof = "Material", tags = "1, 2")]
    pub(super) verifier: Option<Material>,
    #[prost(int32, tag = "3")]
    pub(super) key_details: i32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Material {
    #[prost(message, tag = "1")]
    PublicKey(Raw),
    #[prost(message, tag = "2")]
    X509Certificate(Raw),
}

/// `PublicKey` and `X509Certificate`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Raw {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) raw_bytes: Vec<u8>,
}

/// `dev.sigstore.rekor.v1.TransparencyLogEntry`, without what this dialect never says: integrated time (4) and
/// inclusion promise (5).
#[derive(Clone, PartialEq, Message)]
pub(super) struct LogEntry {
    #[prost(int64, tag = "1")]
    pub(super) log_index: i64,
    #[prost(message, optional, tag = "2")]
    pub(super) log_id: Option<LogId>,
    #[prost(message, optional, tag = "3")]
    pub(super) kind_version: Option<KindVersion>,
    #[prost(message, optional, tag = "6")]
    pub(super) inclusion_proof: Option<InclusionProof>,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) canonicalized_body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LogId {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KindVersion {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InclusionProof {
    #[prost(int64, tag = "1")]
    pub(super) log_index: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) root_hash: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) tree_size: i64,
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub(super) hashes: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    pub(super) checkpoint: Option<Checkpoint>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Checkpoint {
    #[prost(string, tag = "1")]
    pub(super) envelope: String,
}

impl TryFrom<CreateEntryRequest> for core::CreateEntryRequest {
    type Error = EntryError;

    fn try_from(message: CreateEntryRequest) -> Result<Self, EntryError> {
        match message.spec {
            None => Err(EntryError::NoType),
            Some(RequestSpec::HashedRekordRequestV002(request)) => {
                let signature = request.signature.map(|signature| core::RequestSignature {
                    content: signature.content,
                    verifier: signature.verifier.map(Into::into),
                });
                Ok(Self::HashedRekord(core::HashedRekordRequest { digest: request.digest, signature }))
            }
            Some(RequestSpec::DsseRequestV002(request)) => {
                let envelope = request.envelope.map(|envelope| core::Envelope {
                    payload: envelope.payload,
                    payload_type: envelope.payload_type,
                    signatures: envelope.signatures.into_iter().map(|signature| signature.sig).collect(),
                });
                let verifiers = request.verifiers.into_iter().map(Into::into).collect();
                Ok(Self::Dsse(core::DsseRequest { envelope, verifiers }))
            }
        }
    }
}

impl From<Verifier> for core::RequestVerifier {
    fn from(message: Verifier) -> Self {
        let material = message.verifier.map(|material| match material {
            Material::PublicKey(raw) => RequestMaterial::PublicKey(raw.raw_bytes),
            Material::X509Certificate(raw) => RequestMaterial::X509Certificate(raw.raw_bytes),
        });
        Self { material, key_details: KeyDetails::from_number(message.key_details) }
    }
}

impl From<TransparencyLogEntry> for LogEntry {
    fn from(entry: TransparencyLogEntry) -> Self {
        // No tree grows to 2⁶³ leaves.
        let int64 = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let core::KindVersion { kind, version } = entry.kind_version;
        Self {
            log_index: int64(entry.log_index),
            log_id: Some(LogId { key_id: entry.log_id.to_vec() }),
            kind_version: Some(KindVersion { kind: kind.to_owned(), version: version.to_owned() }),
            inclusion_proof: Some(InclusionProof {
                log_index: int64(entry.log_index),
                root_hash: entry.root_hash.as_bytes().to_vec(),
                tree_size: int64(entry.tree_size),
                hashes: entry.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect(),
                checkpoint: Some(Checkpoint { envelope: entry.checkpoint }),
            }),
            canonicalized_body: entry.canonicalized_body,
        }
    }
}
