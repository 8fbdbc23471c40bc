//! Signers: the trait behind which a private key lives, and the one that lives in this process.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _,
};
use pkcs8::pkcs5::{pbes2, scrypt};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use super::{KeyError, KeyKind, PublicKey, SignError};

/// Something that holds a private key: a file's, an HSM's, a KMS's. The key never leaves it.
///
/// `sign` may block for as long as the key's home needs: microseconds for a file's key, milliseconds for PKCS#11,
/// a network round trip for a KMS. Callers on an async runtime ask [`Signer::may_block`] and move the call to a
/// blocking thread if so.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;
    /// Signs `message` with the key's default hash ([`KeyKind::default_hash`]): ECDSA as ASN.1 DER, RSA PKCS#1
    /// v1.5, pure Ed25519.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
    /// Whether `sign` can take longer than a few hundred microseconds.
    fn may_block(&self) -> bool {
        false
    }
}

impl<S: Signer + ?Sized> Signer for Arc<S> {
    fn public_key(&self) -> &PublicKey {
        (**self).public_key()
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        (**self).sign(message)
    }
    fn may_block(&self) -> bool {
        (**self).may_block()
    }
}

/// PEM label of a clear PKCS#8 document.
const PRIVATE_KEY: &str = "PRIVATE KEY";
/// PEM label of an encrypted one.
const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";
/// scrypt with N = 2^14, r = 8, p = 5: as costly as OWASP's first choice (N = 2^17, p = 1), and within the 32 MiB beyond
/// which `openssl pkcs8` refuses to read the file.
const SCRYPT: (u8, u32, u32) = (14, 8, 5);
/// Memory that decrypting someone's key file may cost: scrypt's 128·N·r, in bytes.
const MAX_SCRYPT_MEMORY: u64 = 256 * 1024 * 1024;
/// Rounds that decrypting someone's key file may cost.
const MAX_PBKDF2_ROUNDS: u32 = 10_000_000;

/// A private key in this process's memory: P-256, P-384 or Ed25519.
pub struct SoftwareSigner {
    public: PublicKey,
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair, SystemRandom),
    Ed25519(Ed25519KeyPair),
}

impl SoftwareSigner {
    /// A fresh key from the system's randomness. Refuses kinds other than P-256, P-384 and Ed25519.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Malformed("the system gave no randomness for a new key");
        let document = match kind {
            KeyKind::Ed25519 => Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8v1()),
            _ => EcdsaKeyPair::generate(ecdsa(kind)?).and_then(|pair| pair.to_pkcs8v1()),
        };
        Self::from_pkcs8_der(document.map_err(failed)?.as_ref())
    }
    /// Whether the private key in a PEM text is encrypted.
    pub fn is_encrypted_pem(pem: &str) -> bool {
        private_block(pem).is_some_and(|block| block.label == ENCRYPTED_PRIVATE_KEY)
    }
    /// Reads PKCS#8 PEM: `PRIVATE KEY`, or `ENCRYPTED PRIVATE KEY` (PBES2) with `passphrase`. Text and other blocks around
    /// the first private key are skipped, such as certificates, or what `openssl pkcs12` writes.
    pub fn from_pkcs8_pem(pem: &str, passphrase: Option<&[u8]>) -> Result<Self, KeyError> {
        let block = private_block(pem).ok_or(KeyError::Malformed("no PEM block with a private key"))?;
        let contents = Zeroizing::new(block.contents);
        match (block.label, passphrase) {
            (PRIVATE_KEY, _) => Self::from_pkcs8_der(&contents),
            (ENCRYPTED_PRIVATE_KEY, None) => Err(KeyError::Locked("it is encrypted; give a passphrase")),
            (ENCRYPTED_PRIVATE_KEY, Some(passphrase)) => {
                Self::from_pkcs8_der(&decrypt(&contents, passphrase)?)
            }
            _ => Err(KeyError::Malformed("the PEM block is not PKCS#8 (`openssl pkcs8 -topk8` converts)")),
        }
    }
    /// Reads a PKCS#8 DER document.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Malformed("not a usable PKCS#8 private key");
        let kind = private_kind(der)?;
        let (spki, pair) = if kind == KeyKind::Ed25519 {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| malformed)?;
            (pair.public_key().as_der(), Pair::Ed25519(pair))
        } else {
            let pair = EcdsaKeyPair::from_pkcs8(ecdsa(kind)?, der).map_err(|_| malformed)?;
            (pair.public_key().as_der(), Pair::Ecdsa(pair, SystemRandom::new()))
        };
        let spki: PublicKeyX509Der<'_> =
            spki.map_err(|_| KeyError::Malformed("the private key has no public half"))?;
        let public = PublicKey::from_spki_der(spki.as_ref())?;
        Ok(Self { public, pair, pkcs8: Zeroizing::new(der.to_vec()) })
    }
    /// PKCS#8 PEM, encrypted (PBES2, scrypt, AES-256-CBC) if a passphrase is given.
    pub fn to_pkcs8_pem(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, KeyError> {
        Ok(Zeroizing::new(match passphrase {
            None => crate::pem::encode(PRIVATE_KEY, &self.pkcs8),
            Some(passphrase) => crate::pem::encode(ENCRYPTED_PRIVATE_KEY, &encrypt(&self.pkcs8, passphrase)?),
        }))
    }
}

/// The first block that holds a private key, of whatever form.
fn private_block(pem: &str) -> Option<crate::pem::Block<'_>> {
    crate::pem::Block::labelled(pem, |label| label.ends_with(PRIVATE_KEY))
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair, random) => pair.sign(random, message),
            Pair::Ed25519(pair) => pair.try_sign(message),
        };
        signature
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_| SignError("the cryptographic library refused to sign".to_owned()))
    }
}

impl fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftwareSigner({:?})", self.public)
    }
}

/// aws-lc-rs's signing algorithm for an ECDSA kind that we make and hold.
fn ecdsa(kind: KeyKind) -> Result<&'static EcdsaSigningAlgorithm, KeyError> {
    match kind {
        KeyKind::EcdsaP256 => Ok(&ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyKind::EcdsaP384 => Ok(&ECDSA_P384_SHA384_ASN1_SIGNING),
        _ => Err(KeyError::Unsupported(format!(
            "{kind} for a private key (use ECDSA P-256, P-384 or Ed25519)"
        ))),
    }
}

/// The kind that a PKCS#8 document declares.
fn private_kind(der: &[u8]) -> Result<KeyKind, KeyError> {
    let info =
        PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Malformed("not a PKCS#8 private key"))?;
    let curve = info.algorithm.parameters_oid().map(|oid| oid.to_string());
    match (info.algorithm.oid.to_string().as_str(), curve.as_deref()) {
        ("1.2.840.10045.2.1", Ok("1.2.840.10045.3.1.7")) => Ok(KeyKind::EcdsaP256),
        ("1.2.840.10045.2.1", Ok("1.3.132.0.34")) => Ok(KeyKind::EcdsaP384),
        ("1.3.101.112", _) => Ok(KeyKind::Ed25519),
        (oid, _) => {
            Err(KeyError::Unsupported(format!("{oid} for a private key (use ECDSA P-256, P-384 or Ed25519)")))
        }
    }
}

/// Decrypts PBES2 after looking at what it would cost.
fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| KeyError::Malformed("not an encrypted PKCS#8 private key"))?;
    let parameters =
        info.encryption_algorithm.pbes2().ok_or(KeyError::Locked("only PBES2 encryption is supported"))?;
    let affordable = match &parameters.kdf {
        pbes2::Kdf::Scrypt(kdf) => kdf
            .cost_parameter
            .checked_mul(128 * u64::from(kdf.block_size))
            .is_some_and(|memory| memory <= MAX_SCRYPT_MEMORY && kdf.parallelization <= 64),
        pbes2::Kdf::Pbkdf2(kdf) => kdf.iteration_count <= MAX_PBKDF2_ROUNDS,
        _ => false,
    };
    if !affordable {
        return Err(KeyError::Locked("its key derivation asks for too much work"));
    }
    let document = info.decrypt(passphrase).map_err(|_| KeyError::Locked("wrong passphrase"))?;
    Ok(document.to_bytes())
}

/// Encrypts with PBES2, scrypt and AES-256-CBC.
fn encrypt(der: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, KeyError> {
    let failed = KeyError::Malformed("the private key cannot be encrypted");
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    let random = SystemRandom::new();
    if random.fill(&mut salt).and_then(|()| random.fill(&mut iv)).is_err() {
        return Err(failed);
    }
    let (log_n, r, p) = SCRYPT;
    let Ok(cost) = scrypt::Params::new(log_n, r, p) else { return Err(failed) };
    let Ok(info) = PrivateKeyInfoRef::try_from(der) else { return Err(failed) };
    pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
        .map_err(pkcs8::Error::from)
        .and_then(|parameters| info.encrypt_with_params(parameters, passphrase))
        .map(|document| document.as_bytes().to_vec())
        .map_err(|_| failed)
}
