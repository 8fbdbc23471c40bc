//! Leaves: the entry's one canonical spelling, written and read back.

mod canonical;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::EntryError;
use super::algorithm::KeyDetails;
use super::answer::KindVersion;
use super::verifier::{Material, Verifier};
use crate::certificate::Certificate;
use crate::key::{HashAlgorithm, KeyError, PublicKey};
use crate::merkle::Hash;

/// An entry as its leaf states it: what a verifier compares with a bundle. Parsing verifies no signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `hashedrekord` 0.0.2.
    HashedRekord {
        /// Hash that made the digest.
        algorithm: HashAlgorithm,
        /// The digest; for DSSE envelopes that of their pre-authentication encoding.
        digest: Vec<u8>,
        /// Signature bytes.
        signature: Vec<u8>,
        /// Who signed.
        verifier: Verifier,
    },
    /// `dsse` 0.0.2.
    Dsse {
        /// SHA-256 of the payload.
        payload_hash: Hash,
        /// Signature bytes, ascending, and who made each.
        signatures: Vec<(Vec<u8>, Verifier)>,
    },
}

impl Body {
    /// Kind and version.
    pub fn kind_version(&self) -> KindVersion {
        match self {
            Self::HashedRekord { .. } => KindVersion::HASHED_REKORD,
            Self::Dsse { .. } => KindVersion::DSSE,
        }
    }

    /// The RFC 8785 bytes: what clients hash that make the leaf themselves.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        // serde_json writes members as they are declared, which is RFC 8785's order below, and strings as it demands.
        // There are no numbers. serde_json_canonicalizer makes the same bytes and copies them once for each level.
        let json = EntryJson::from(self);
        serde_json::to_vec(&json).map_err(|error| EntryError::Leaf(error.to_string()))
    }

    /// Parses a leaf. Only [`Body::encode`]'s bytes are one, so that no two parsers read different entries out of it.
    pub fn parse(leaf: &[u8]) -> Result<Self, EntryError> {
        Self::parse_with(leaf, &mut PublicKey::from_spki_der)
    }

    /// The same, with bare keys by `key`: whoever reads a whole log need not parse a key for each of its signatures.
    pub(crate) fn parse_with(leaf: &[u8], key: &mut KeyReader<'_>) -> Result<Self, EntryError> {
        match canonical::read(leaf) {
            Some(spec) => Self::from_spec(spec, key).map_err(EntryError::Leaf),
            None => Self::parse_any(leaf),
        }
    }

    /// Parses a leaf as JSON that may be spelled anyhow, and says what is wrong with it.
    fn parse_any(leaf: &[u8]) -> Result<Self, EntryError> {
        let json: EntryJson<'_> =
            serde_json::from_slice(leaf).map_err(|error| EntryError::Leaf(error.to_string()))?;
        // Kind and version need no look: encoding again compares them.
        let body = Self::from_spec(json.spec, &mut PublicKey::from_spki_der).map_err(EntryError::Leaf)?;
        if body.encode()? != leaf {
            return Err(EntryError::Leaf("not in canonical form (RFC 8785)".to_owned()));
        }
        Ok(body)
    }
}

// Members are declared in ascending order of their names: `Body::encode` relies on it.

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntryJson<'l> {
    api_version: Cow<'l, str>,
    kind: Cow<'l, str>,
    #[serde(borrow)]
    spec: SpecJson<'l>,
}

#[derive(Serialize, Deserialize)]
enum SpecJson<'l> {
    #[serde(rename = "hashedRekordV002", borrow)]
    HashedRekord(HashedRekordJson<'l>),
    #[serde(rename = "dsseV002", borrow)]
    Dsse(DsseJson<'l>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekordJson<'l> {
    #[serde(borrow)]
    data: HashJson<'l>,
    #[serde(borrow)]
    signature: SignatureJson<'l>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DsseJson<'l> {
    #[serde(borrow)]
    payload_hash: HashJson<'l>,
    #[serde(borrow)]
    signatures: Vec<SignatureJson<'l>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HashJson<'l> {
    algorithm: HashName,
    digest: Cow<'l, str>,
}

/// protobuf-specs' `HashAlgorithm`.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum HashName {
    #[serde(rename = "SHA2_256")]
    Sha256,
    #[serde(rename = "SHA2_384")]
    Sha384,
    #[serde(rename = "SHA2_512")]
    Sha512,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureJson<'l> {
    content: Cow<'l, str>,
    #[serde(borrow)]
    verifier: VerifierJson<'l>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerifierJson<'l> {
    key_details: KeyDetails,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    public_key: Option<RawJson<'l>>,
    #[serde(rename = "x509Certificate", borrow, skip_serializing_if = "Option::is_none")]
    x509_certificate: Option<RawJson<'l>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawJson<'l> {
    raw_bytes: Cow<'l, str>,
}

impl From<&Body> for EntryJson<'_> {
    fn from(body: &Body) -> Self {
        let KindVersion { kind, version } = body.kind_version();
        let spec = match body {
            Body::HashedRekord { algorithm, digest, signature, verifier } => {
                SpecJson::HashedRekord(HashedRekordJson {
                    data: HashJson { algorithm: (*algorithm).into(), digest: STANDARD.encode(digest).into() },
                    signature: SignatureJson::new(signature, verifier),
                })
            }
            Body::Dsse { payload_hash, signatures } => SpecJson::Dsse(DsseJson {
                payload_hash: HashJson {
                    algorithm: HashName::Sha256,
                    digest: payload_hash.to_base64().into(),
                },
                signatures: signatures.iter().map(|(bytes, by)| SignatureJson::new(bytes, by)).collect(),
            }),
        };
        Self { api_version: version.into(), kind: kind.into(), spec }
    }
}

/// What makes a key of its SPKI.
pub(crate) type KeyReader<'k> = dyn FnMut(&[u8]) -> Result<PublicKey, KeyError> + 'k;

impl Body {
    fn from_spec(spec: SpecJson<'_>, key: &mut KeyReader<'_>) -> Result<Self, String> {
        match spec {
            SpecJson::HashedRekord(HashedRekordJson { data, signature }) => {
                let algorithm = HashAlgorithm::from(data.algorithm);
                let digest = decode(&data.digest)?;
                let (signature, verifier) = signature.parse(key)?;
                if verifier.key_details().prehash() != Some(algorithm) || digest.len() != algorithm.len() {
                    return Err("digest, hash and keyDetails do not go together".to_owned());
                }
                Ok(Self::HashedRekord { algorithm, digest, signature, verifier })
            }
            SpecJson::Dsse(DsseJson { payload_hash, signatures }) => {
                let payload_hash =
                    Hash::from_base64(&payload_hash.digest).map_err(|error| error.to_string())?;
                let signatures = signatures
                    .into_iter()
                    .map(|signature| signature.parse(key))
                    .collect::<Result<Vec<_>, _>>()?;
                if signatures.is_empty() || !signatures.is_sorted_by(|(a, _), (b, _)| a < b) {
                    return Err("signatures are not ascending, or missing".to_owned());
                }
                Ok(Self::Dsse { payload_hash, signatures })
            }
        }
    }
}

impl SignatureJson<'_> {
    fn new(signature: &[u8], verifier: &Verifier) -> Self {
        let raw = |der: &[u8]| Some(RawJson { raw_bytes: STANDARD.encode(der).into() });
        let (public_key, x509_certificate) = match verifier.material() {
            Material::Key(key) => (raw(key.spki_der()), None),
            Material::Certificate(certificate) => (None, raw(certificate.der())),
        };
        let verifier = VerifierJson { key_details: verifier.key_details(), public_key, x509_certificate };
        Self { content: STANDARD.encode(signature).into(), verifier }
    }

    fn parse(self, read_key: &mut KeyReader<'_>) -> Result<(Vec<u8>, Verifier), String> {
        let VerifierJson { key_details, public_key, x509_certificate } = self.verifier;
        let material = match (public_key, x509_certificate) {
            (Some(key), None) => {
                let key = read_key(&decode(&key.raw_bytes)?);
                Material::Key(key.map_err(|error| error.to_string())?)
            }
            (None, Some(certificate)) => {
                let certificate = Certificate::from_der(&decode(&certificate.raw_bytes)?);
                Material::Certificate(certificate.map_err(|error| error.to_string())?)
            }
            _ => return Err("a verifier is either publicKey or x509Certificate".to_owned()),
        };
        Ok((decode(&self.content)?, Verifier::from_parts(key_details, material)?))
    }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|_| "not padded standard base64".to_owned())
}

impl From<HashAlgorithm> for HashName {
    fn from(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Sha256 => Self::Sha256,
            HashAlgorithm::Sha384 => Self::Sha384,
            HashAlgorithm::Sha512 => Self::Sha512,
        }
    }
}

impl From<HashName> for HashAlgorithm {
    fn from(name: HashName) -> Self {
        match name {
            HashName::Sha256 => Self::Sha256,
            HashName::Sha384 => Self::Sha384,
            HashName::Sha512 => Self::Sha512,
        }
    }
}

#[cfg(test)]
mod tests;
