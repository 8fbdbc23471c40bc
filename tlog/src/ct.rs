//! Certificate transparency structures, RFC 6962 §3: leaves, SCTs, tree heads, in their TLS encoding.

mod tls;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, CertificateError, oid};
use crate::clock::Timestamp;
use crate::der;
use crate::key::{BadSignature, HashAlgorithm, KeyKind, PublicKey, SignError, Signer};
use crate::merkle::Hash;

/// Most SCTs that one certificate may carry.
pub const MAX_SCTS: usize = 16;

/// Version 1 of every structure.
const V1: u8 = 0;
/// `SignatureType` of an SCT.
const CERTIFICATE_TIMESTAMP: u8 = 0;
/// `SignatureType` of a tree head.
const TREE_HASH: u8 = 1;
/// `MerkleLeafType`.
const TIMESTAMPED_ENTRY: u8 = 0;
/// `LogEntryType`s.
const X509_ENTRY: u16 = 0;
const PRECERT_ENTRY: u16 = 1;
/// `HashAlgorithm` SHA-256 and `SignatureAlgorithm`s of TLS 1.2, the only ones that RFC 6962 §2.1.4 allows.
const SHA256: u8 = 4;
const RSA: u8 = 1;
const ECDSA: u8 = 3;

/// Why a CT structure is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CtError {
    /// The bytes are not the structure.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A certificate in it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// No SCT by a known log.
    #[error("no signed certificate timestamp by a known log")]
    UnknownLog,
}

/// What a log certifies to have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A final certificate, DER.
    X509(Vec<u8>),
    /// A precertificate: the TBSCertificate without poison, and whose key will sign it.
    Precert {
        /// SHA-256 of the issuing CA's SPKI.
        issuer_key_hash: [u8; 32],
        /// DER TBSCertificate.
        tbs: Vec<u8>,
    },
}

impl Entry {
    /// The entry of a precertificate (poison removed) issued by `issuer`.
    pub fn from_precertificate(precert: &Certificate, issuer: &Certificate) -> Result<Self, CtError> {
        match precert.extension(oid::POISON) {
            Some(poison) if poison.critical && poison.value == [0x05, 0x00] => {
                Self::precert(precert, oid::POISON, issuer)
            }
            _ => Err(CtError::Malformed("precertificate: its poison extension is missing or broken")),
        }
    }
    /// The precert entry that an embedded SCT of this final certificate covers (SCT list removed).
    pub fn from_final(certificate: &Certificate, issuer: &Certificate) -> Result<Self, CtError> {
        Self::precert(certificate, oid::SCT_LIST, issuer)
    }
    fn precert(certificate: &Certificate, without: &str, issuer: &Certificate) -> Result<Self, CtError> {
        Ok(Self::Precert {
            issuer_key_hash: issuer.public_key().fingerprint(),
            tbs: certificate.tbs_without(&[without])?,
        })
    }
    /// `MerkleTreeLeaf` (v1, timestamped_entry): the bytes that the log hashes.
    pub fn leaf(&self, at: Timestamp, extensions: &[u8]) -> Vec<u8> {
        self.timestamped(TIMESTAMPED_ENTRY, at, extensions)
    }
    /// Reads a `MerkleTreeLeaf` back: the entry and its time. Only the bytes that [`Entry::leaf`] writes without
    /// extensions are one, which is what a log of this crate stores.
    pub fn from_leaf(leaf: &[u8]) -> Result<(Self, Timestamp), CtError> {
        let malformed = CtError::Malformed("MerkleTreeLeaf");
        let (entry, at) = Self::read(tls::Reader(leaf)).ok_or(malformed)?;
        if entry.leaf(at, &[]) != leaf {
            return Err(CtError::Malformed("MerkleTreeLeaf"));
        }
        Ok((entry, at))
    }

    fn read(mut reader: tls::Reader<'_>) -> Option<(Self, Timestamp)> {
        // Version, leaf type and what stands behind the entry are compared by encoding again.
        reader.array::<2>()?;
        let at = Timestamp::from_millis(reader.u64()?);
        let entry = match u16::from_be_bytes(reader.array()?) {
            X509_ENTRY => Self::X509(reader.vector24()?.to_vec()),
            PRECERT_ENTRY => {
                Self::Precert { issuer_key_hash: reader.array()?, tbs: reader.vector24()?.to_vec() }
            }
            _ => return None,
        };
        Some((entry, at))
    }

    /// SHA-256 over type, issuer and certificate without the time: the identity by which a log finds duplicates.
    pub fn identity(&self) -> Hash {
        let mut writer = tls::Writer::with_capacity(self.room());
        self.write(&mut writer);
        Hash::digest(&writer.0)
    }

    /// Version, `kind`, time, entry and extensions: both the leaf and what an SCT signs are this.
    fn timestamped(&self, kind: u8, at: Timestamp, extensions: &[u8]) -> Vec<u8> {
        let mut writer = tls::Writer::with_capacity(self.room() + extensions.len());
        writer.u8(V1);
        writer.u8(kind);
        writer.u64(at.millis());
        self.write(&mut writer);
        writer.vector16(extensions);
        writer.0
    }

    /// Bytes that its encodings do not exceed, but for extensions: the fields beside the certificate are 49.
    fn room(&self) -> usize {
        let (Self::X509(certificate) | Self::Precert { tbs: certificate, .. }) = self;
        certificate.len() + 64
    }

    /// `LogEntryType` and the entry.
    fn write(&self, writer: &mut tls::Writer) {
        match self {
            Self::X509(certificate) => {
                writer.u16(X509_ENTRY);
                writer.vector24(certificate);
            }
            Self::Precert { issuer_key_hash, tbs } => {
                writer.u16(PRECERT_ENTRY);
                writer.bytes(issuer_key_hash);
                writer.vector24(tbs);
            }
        }
    }
}

/// A signed certificate timestamp, v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sct {
    /// SHA-256 of the log's SPKI.
    pub log_id: [u8; 32],
    /// When the log saw the entry.
    pub timestamp: Timestamp,
    /// Extension bytes, signed, without their length prefix.
    pub extensions: Vec<u8>,
    /// Hash (4 = SHA-256) and signature (3 = ECDSA, 1 = RSA) algorithm bytes of TLS 1.2.
    pub algorithms: [u8; 2],
    /// The signature.
    pub signature: Vec<u8>,
}

impl Sct {
    /// Signs an SCT for `entry`. The signer must be P-256 (Go's CT clients take no other ECDSA curve).
    pub fn sign(entry: &Entry, at: Timestamp, signer: &dyn Signer) -> Result<Self, SignError> {
        require_p256(signer)?;
        Ok(Self {
            log_id: signer.public_key().fingerprint(),
            timestamp: at,
            extensions: Vec::new(),
            algorithms: [SHA256, ECDSA],
            signature: signer.sign(&entry.timestamped(CERTIFICATE_TIMESTAMP, at, &[]))?,
        })
    }
    /// Verifies it over `entry` by the log's key.
    pub fn verify(&self, entry: &Entry, log: &PublicKey) -> Result<(), CtError> {
        if self.log_id != log.fingerprint() {
            return Err(CtError::UnknownLog);
        }
        let signed = entry.timestamped(CERTIFICATE_TIMESTAMP, self.timestamp, &self.extensions);
        verify_signature(self.algorithms, &signed, &self.signature, log)
    }
    /// The TLS `SignedCertificateTimestamp`.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = tls::Writer::default();
        writer.u8(V1);
        writer.bytes(&self.log_id);
        writer.u64(self.timestamp.millis());
        writer.vector16(&self.extensions);
        writer.bytes(&self.digitally_signed());
        writer.0
    }
    /// Parses one, without trailing bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CtError> {
        Self::read(bytes).ok_or(CtError::Malformed("signed certificate timestamp"))
    }
    /// The extension value (DER OCTET STRING around a TLS `SignedCertificateTimestampList`) that embeds `scts`.
    pub fn encode_list(scts: &[Sct]) -> Vec<u8> {
        let mut list = tls::Writer::default();
        for sct in scts {
            list.vector16(&sct.encode());
        }
        let mut whole = tls::Writer::default();
        whole.vector16(&list.0);
        der::encode(der::OCTET_STRING, &whole.0)
    }
    /// The SCTs embedded in a certificate; empty if there is no such extension. More than [`MAX_SCTS`] are refused.
    pub fn embedded(certificate: &Certificate) -> Result<Vec<Sct>, CtError> {
        let Some(extension) = certificate.extension(oid::SCT_LIST) else { return Ok(Vec::new()) };
        let malformed = CtError::Malformed("list of signed certificate timestamps");
        let list = der::only(&extension.value, der::OCTET_STRING).and_then(|list| {
            let mut reader = tls::Reader(list);
            reader.vector16().filter(|_| reader.is_empty())
        });
        let Some(list) = list else { return Err(malformed) };
        let mut reader = tls::Reader(list);
        let mut scts = Vec::new();
        while !reader.is_empty() {
            if scts.len() == MAX_SCTS {
                return Err(CtError::Malformed("list of signed certificate timestamps: more than 16"));
            }
            scts.push(Self::decode(reader.vector16().unwrap_or_default())?);
        }
        if scts.is_empty() { Err(malformed) } else { Ok(scts) }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = tls::Reader(bytes);
        if reader.u8()? != V1 {
            return None;
        }
        let sct = Self {
            log_id: reader.array()?,
            timestamp: Timestamp::from_millis(reader.u64()?),
            extensions: reader.vector16()?.to_vec(),
            algorithms: reader.array()?,
            signature: reader.vector16()?.to_vec(),
        };
        reader.is_empty().then_some(sct)
    }

    /// The TLS `DigitallySigned`.
    fn digitally_signed(&self) -> Vec<u8> {
        digitally_signed(self.algorithms, &self.signature)
    }
}

/// The JSON answer of `add-chain` and `add-pre-chain`, RFC 6962 §4.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddChainResponse {
    /// Always 0 (v1).
    pub sct_version: u8,
    /// Base64 of the log id.
    pub id: String,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
    /// Base64 of the extensions, often empty.
    pub extensions: String,
    /// Base64 of the TLS `DigitallySigned`.
    pub signature: String,
}

impl From<&Sct> for AddChainResponse {
    fn from(sct: &Sct) -> Self {
        Self {
            sct_version: V1,
            id: STANDARD.encode(sct.log_id),
            timestamp: sct.timestamp.millis(),
            extensions: STANDARD.encode(&sct.extensions),
            signature: STANDARD.encode(sct.digitally_signed()),
        }
    }
}

impl TryFrom<&AddChainResponse> for Sct {
    type Error = CtError;
    fn try_from(response: &AddChainResponse) -> Result<Self, CtError> {
        const MALFORMED: CtError = CtError::Malformed("add-chain response");
        if response.sct_version != V1 {
            return Err(CtError::Malformed("add-chain response: not version 1"));
        }
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| MALFORMED);
        let (algorithms, signature) =
            read_digitally_signed(&decode(&response.signature)?).ok_or(MALFORMED)?;
        let extensions = decode(&response.extensions)?;
        if extensions.len() > usize::from(u16::MAX) {
            return Err(MALFORMED);
        }
        Ok(Self {
            log_id: decode(&response.id)?.try_into().map_err(|_| MALFORMED)?,
            timestamp: Timestamp::from_millis(response.timestamp),
            extensions,
            algorithms,
            signature,
        })
    }
}

/// The TLS `DigitallySigned` over a v1 `TreeHeadSignature`, RFC 6962 §3.5.
pub fn sign_tree_head(
    size: u64,
    root: &Hash,
    at: Timestamp,
    signer: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    require_p256(signer)?;
    let signature = signer.sign(&tree_head(size, root, at))?;
    Ok(digitally_signed([SHA256, ECDSA], &signature))
}

/// Verifies what [`sign_tree_head`] makes.
pub fn verify_tree_head(
    size: u64,
    root: &Hash,
    at: Timestamp,
    signature: &[u8],
    log: &PublicKey,
) -> Result<(), CtError> {
    let (algorithms, signature) =
        read_digitally_signed(signature).ok_or(CtError::Malformed("tree head signature"))?;
    verify_signature(algorithms, &tree_head(size, root, at), &signature, log)
}

/// The `TreeHeadSignature`.
fn tree_head(size: u64, root: &Hash, at: Timestamp) -> Vec<u8> {
    let mut writer = tls::Writer::default();
    writer.u8(V1);
    writer.u8(TREE_HASH);
    writer.u64(at.millis());
    writer.u64(size);
    writer.bytes(root.as_bytes());
    writer.0
}

fn require_p256(signer: &dyn Signer) -> Result<(), SignError> {
    match signer.public_key().kind() {
        KeyKind::EcdsaP256 => Ok(()),
        kind => Err(SignError(format!("a certificate transparency log signs with ECDSA P-256, not {kind}"))),
    }
}

fn digitally_signed(algorithms: [u8; 2], signature: &[u8]) -> Vec<u8> {
    let mut writer = tls::Writer::default();
    writer.bytes(&algorithms);
    writer.vector16(signature);
    writer.0
}

fn read_digitally_signed(bytes: &[u8]) -> Option<([u8; 2], Vec<u8>)> {
    let mut reader = tls::Reader(bytes);
    let (algorithms, signature) = (reader.array()?, reader.vector16()?.to_vec());
    reader.is_empty().then_some((algorithms, signature))
}

/// Verifies with SHA-256, if the algorithm bytes and the key agree.
fn verify_signature(
    algorithms: [u8; 2],
    signed: &[u8],
    signature: &[u8],
    log: &PublicKey,
) -> Result<(), CtError> {
    let expected = match log.kind() {
        KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521 => ECDSA,
        KeyKind::Rsa(_) => RSA,
        KeyKind::Ed25519 => return Err(BadSignature.into()),
    };
    if algorithms != [SHA256, expected] {
        return Err(BadSignature.into());
    }
    Ok(log.verify(HashAlgorithm::Sha256, signed, signature)?)
}

#[cfg(test)]
mod tests;
