//! The messages of `dev.sigstore.fulcio.v2`, by their field numbers (fulcio `fulcio.proto`), and their way into and
//! out of issuance. What the server does not look at has no member: unknown fields are skipped.

use prost::{Message, Oneof};

use crate::api::trimmed_pem;
use crate::config::{Issuer, Location};
use crate::issuance::{CertificateRequest, Issued};
use crate::possession::KeyRequest;

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateSigningCertificateRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) credentials: Option<Credentials>,
    #[prost(oneof = "Key", tags = "2, 3")]
    pub(super) key: Option<Key>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Credentials {
    #[prost(string, tag = "1")]
    pub(super) oidc_identity_token: String,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Key {
    #[prost(message, tag = "2")]
    PublicKeyRequest(PublicKeyRequest),
    #[prost(bytes, tag = "3")]
    CertificateSigningRequest(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PublicKeyRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) public_key: Option<PublicKey>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) proof_of_possession: Vec<u8>,
}

/// Its field 1 names an algorithm, which nobody reads: the key itself says it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PublicKey {
    #[prost(string, tag = "2")]
    pub(super) content: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SigningCertificate {
    #[prost(oneof = "SignedCertificate", tags = "1, 2")]
    pub(super) certificate: Option<SignedCertificate>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum SignedCertificate {
    #[prost(message, tag = "1")]
    DetachedSct(DetachedSct),
    #[prost(message, tag = "2")]
    EmbeddedSct(EmbeddedSct),
}

/// `SigningCertificateDetachedSCT`. Its field 2 is the timestamp: empty, because there is none.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DetachedSct {
    #[prost(message, optional, tag = "1")]
    pub(super) chain: Option<CertificateChain>,
}

/// `SigningCertificateEmbeddedSCT`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EmbeddedSct {
    #[prost(message, optional, tag = "1")]
    pub(super) chain: Option<CertificateChain>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CertificateChain {
    #[prost(string, repeated, tag = "1")]
    pub(super) certificates: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetTrustBundleRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TrustBundle {
    #[prost(message, repeated, tag = "1")]
    pub(super) chains: Vec<CertificateChain>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct GetConfigurationRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Configuration {
    #[prost(message, repeated, tag = "1")]
    pub(super) issuers: Vec<OidcIssuer>,
}

/// `OIDCIssuer`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OidcIssuer {
    #[prost(oneof = "IssuerLocation", tags = "1, 2")]
    pub(super) issuer: Option<IssuerLocation>,
    #[prost(string, tag = "3")]
    pub(super) audience: String,
    #[prost(string, tag = "4")]
    pub(super) challenge_claim: String,
    #[prost(string, tag = "5")]
    pub(super) spiffe_trust_domain: String,
    #[prost(string, tag = "6")]
    pub(super) issuer_type: String,
    #[prost(string, tag = "7")]
    pub(super) subject_domain: String,
    #[prost(bool, tag = "8")]
    pub(super) skip_email_verification: bool,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum IssuerLocation {
    #[prost(string, tag = "1")]
    IssuerUrl(String),
    #[prost(string, tag = "2")]
    WildcardIssuerUrl(String),
}

impl From<CreateSigningCertificateRequest> for CertificateRequest {
    fn from(message: CreateSigningCertificateRequest) -> Self {
        let token = message.credentials.unwrap_or_default().oidc_identity_token;
        let key = match message.key {
            Some(Key::CertificateSigningRequest(request)) if !request.is_empty() => {
                KeyRequest::SigningRequest(request)
            }
            Some(Key::PublicKeyRequest(request)) => KeyRequest::PublicKey {
                key: request.public_key.unwrap_or_default().content.into_bytes(),
                proof: request.proof_of_possession,
            },
            // No key at all: issuance says so, after it has looked at the token.
            Some(Key::CertificateSigningRequest(_)) | None => {
                KeyRequest::PublicKey { key: Vec::new(), proof: Vec::new() }
            }
        };
        Self { token, from: None, key }
    }
}

impl From<&Issued> for SigningCertificate {
    fn from(issued: &Issued) -> Self {
        let chain = Some(CertificateChain { certificates: trimmed_pem(issued) });
        let certificate = if issued.logged {
            SignedCertificate::EmbeddedSct(EmbeddedSct { chain })
        } else {
            SignedCertificate::DetachedSct(DetachedSct { chain })
        };
        Self { certificate: Some(certificate) }
    }
}

impl From<&Issuer> for OidcIssuer {
    fn from(issuer: &Issuer) -> Self {
        let location = match &issuer.location {
            Location::Url(url) => IssuerLocation::IssuerUrl(url.clone()),
            Location::Pattern(pattern) => IssuerLocation::WildcardIssuerUrl(pattern.clone()),
        };
        Self {
            issuer: Some(location),
            audience: issuer.audience.clone(),
            challenge_claim: issuer.challenge_claim.clone(),
            spiffe_trust_domain: issuer.kind.spiffe_trust_domain().to_owned(),
            issuer_type: issuer.type_name.clone(),
            subject_domain: issuer.kind.subject_domain().to_owned(),
            skip_email_verification: issuer.kind.skips_email_verification(),
        }
    }
}
