//! The issuing authority: its chain and its signer, checked before the first request.
//!
//! Invariant: an [`Authority`] that exists has a chain that validates for code signing at some time, a signer that
//! holds the first certificate's key, and an issuer name that our encoder reproduces byte for byte. Whether that time is
//! now is asked for every certificate ([`Authority::outlives`]), not when the process starts: a chain that has ended must
//! not take down the logs beside it. Reference: fulcio `pkg/ca/common.go` (VerifyCertChain).

use std::sync::Arc;

use chancery_tlog::certificate::{Certificate, CertificateError, oid};
use chancery_tlog::chain::{self, ChainError, Purpose};
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{PublicKey, Signer};
use chancery_tlog::serve::block;

use crate::possession::check_parameters;
use crate::profile::{self, Leaf, ProfileError, Seal, SignerKey};

#[cfg(test)]
mod tests;

/// Why a chain and a key do not make an authority. All are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The PEM.
    #[error("the CA chain cannot be read: {0}")]
    Chain(#[from] CertificateError),
    /// It does not validate.
    #[error(
        "the CA chain does not validate: {0}; it must start with the issuing certificate and end with the root"
    )]
    Path(#[from] ChainError),
    /// Its certificates are never valid together.
    #[error("the CA chain has no moment at which all its certificates are valid")]
    NeverValid,
    /// The first certificate may not issue.
    #[error("the first certificate of the CA chain {0}")]
    Issuing(&'static str),
    /// Key and certificate differ.
    #[error("the CA's key does not belong to the first certificate of the chain")]
    KeyMismatch,
    /// The key is weak.
    #[error("the CA's key is not acceptable: {0}")]
    Key(String),
    /// Our encoder would write another issuer name than the certificate has.
    #[error(
        "the issuing certificate's subject cannot be reproduced as an issuer name; use UTF8String or PrintableString"
    )]
    Name,
    /// A trial certificate could not be encoded.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Who signs certificates.
pub struct Authority {
    chain: Vec<Certificate>,
    signer: Arc<dyn Signer>,
    issuer: rcgen::Issuer<'static, SignerKey>,
    key_id: Option<Vec<u8>>,
}

impl Authority {
    /// Checks chain (issuing certificate first, root last) and signer.
    pub fn load(chain_pem: &str, signer: Arc<dyn Signer>, clock: &dyn Clock) -> Result<Self, AuthorityError> {
        let chain = Certificate::chain_from_pem(chain_pem)?;
        let (Some(issuing), Some(root)) = (chain.first(), chain.last()) else {
            return Err(AuthorityError::Issuing("is missing"));
        };
        check_issuing(issuing, chain.len())?;
        let intermediates = chain.get(1..chain.len() - 1).unwrap_or_default();
        let roots = std::slice::from_ref(root);
        let moment = chain::nearest_validity(&chain, clock.now()).ok_or(AuthorityError::NeverValid)?;
        chain::verify(issuing, intermediates, roots, moment, Purpose::CodeSigningCa)?;
        if issuing.public_key() != signer.public_key() {
            return Err(AuthorityError::KeyMismatch);
        }
        check_parameters(issuing.public_key()).map_err(|e| AuthorityError::Key(e.to_string()))?;
        let issuer = issuer_of(issuing, Arc::clone(&signer))?;
        let key_id = profile::stated_key_identifier(issuing);
        let authority = Self { chain, signer, issuer, key_id };
        authority.check_name_survives()?;
        Ok(authority)
    }

    /// The chain, issuing certificate first, root last.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The issuing certificate.
    pub fn issuing(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The key that signs.
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }

    /// The key identifier for leaves; none if the issuing certificate states none.
    pub fn key_id(&self) -> Option<&[u8]> {
        self.key_id.as_deref()
    }

    /// Whether every CA certificate is valid from now to `until`: a leaf must not outlive its issuers, or verifiers
    /// that judge the chain at signing time would still differ on the leaf's last minutes.
    pub fn outlives(&self, now: Timestamp, until: Timestamp) -> bool {
        self.chain.iter().all(|ca| ca.is_valid_at(now) && ca.is_valid_at(until))
    }

    /// Signs a leaf, in a blocking thread if the key's home needs time.
    pub async fn sign(self: &Arc<Self>, leaf: &Leaf, seal: &Seal) -> Result<Certificate, ProfileError> {
        let der = if self.signer.may_block() {
            let (this, leaf, seal) = (Arc::clone(self), leaf.clone(), seal.clone());
            let task = block(move || leaf.sign(&seal, &this.issuer));
            task.await.map_err(|e| ProfileError::Sign(e.to_string()))??
        } else {
            leaf.sign(seal, &self.issuer)?
        };
        Certificate::from_der(&der).map_err(|e| ProfileError::Sign(e.to_string()))
    }

    /// Encodes (and does not sign) a certificate and compares its issuer with our subject.
    fn check_name_survives(&self) -> Result<(), AuthorityError> {
        let unsigned = issuer_of(self.issuing(), Arc::new(NoSignature(self.public_key().clone())))?;
        let now = self.issuing().not_before();
        let none = std::iter::empty::<profile::Extension>();
        let params = profile::params(rcgen::DistinguishedName::new(), &profile::serial()?, (now, now), none)?;
        let key = rcgen::SubjectPublicKeyInfo::from_der(self.public_key().spki_der())
            .map_err(|e| AuthorityError::Key(e.to_string()))?;
        let trial = params.signed_by(&key, &unsigned).map_err(|e| ProfileError::Sign(e.to_string()))?;
        let trial = Certificate::from_der(trial.der())?;
        if trial.issuer_der() != self.issuing().subject_der() {
            return Err(AuthorityError::Name);
        }
        Ok(())
    }
}

fn check_issuing(issuing: &Certificate, chain_len: usize) -> Result<(), AuthorityError> {
    if !issuing.is_ca() {
        return Err(AuthorityError::Issuing("is not a CA certificate"));
    }
    if !issuing.may_sign_certificates() {
        return Err(AuthorityError::Issuing("may not sign certificates (key usage)"));
    }
    let usages = issuing.extended_key_usages().unwrap_or_default();
    if chain_len > 1 && !usages.iter().any(|usage| usage == oid::CODE_SIGNING) {
        return Err(AuthorityError::Issuing("must state the extended key usage code signing"));
    }
    Ok(())
}

fn issuer_of(
    issuing: &Certificate,
    signer: Arc<dyn Signer>,
) -> Result<rcgen::Issuer<'static, SignerKey>, AuthorityError> {
    let der = issuing.der().to_vec().into();
    rcgen::Issuer::from_ca_cert_der(&der, SignerKey::new(signer)).map_err(|_| AuthorityError::Name)
}

/// Stands in for the CA's key where only the encoding is looked at.
struct NoSignature(PublicKey);

impl Signer for NoSignature {
    fn public_key(&self) -> &PublicKey {
        &self.0
    }

    fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, chancery_tlog::key::SignError> {
        Ok(vec![0; 64])
    }
}
