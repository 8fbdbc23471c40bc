//! The HTTP clients that fetch an issuer's documents.
//!
//! `ca-cert` adds roots for one issuer. An issuer on an internal address often has a certificate that
//! `openssl req -x509` made: self-signed, and marked as a CA. Path validation refuses such a certificate as a
//! server's own, so exactly that certificate, byte for byte, is accepted when the operator gives it as
//! `ca-cert`; its name and dates are checked still.

use std::sync::Arc;

use chancery_tlog::certificate::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::{Settings, VerifierError};

/// A client without redirects, with `roots` (PEM) beside the system's.
pub(super) fn client(
    settings: &Settings,
    issuer: &str,
    roots: Option<&str>,
) -> Result<reqwest::Client, VerifierError> {
    let failed = |problem: String| VerifierError::Client { issuer: issuer.to_owned(), problem };
    let mut builder = crate::proxy::through(reqwest::Client::builder())
        .map_err(failed)?
        .redirect(reqwest::redirect::Policy::none())
        .https_only(!settings.development)
        .connect_timeout(settings.fetch_timeout)
        .timeout(settings.fetch_timeout)
        .user_agent(concat!("chancery-ca/", env!("CARGO_PKG_VERSION")));
    if let Some(pem) = roots {
        builder = builder.tls_backend_preconfigured(configuration(pem).map_err(failed)?);
    }
    builder.build().map_err(|e| failed(e.to_string()))
}

pub(super) fn configuration(pem: &str) -> Result<ClientConfig, String> {
    let own = Certificate::chain_from_pem(pem).map_err(|e| e.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = own.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec()));
    let inner = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
        .map_err(|e| e.to_string())?;
    let verifier = OwnOrTrusted { inner: Arc::new(inner), own };
    let mut configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(configuration)
}

/// Path validation, or one of the operator's certificates as the server's own.
#[derive(Debug)]
struct OwnOrTrusted {
    inner: Arc<dyn ServerCertVerifier>,
    own: Vec<Certificate>,
}

impl OwnOrTrusted {
    fn check_own(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<ServerCertVerified, Error>> {
        let own = self.own.iter().find(|own| own.der() == certificate.as_ref())?;
        let dates = own.not_before().seconds()..=own.not_after().seconds();
        if !dates.contains(&now.as_secs()) {
            return Some(Err(CertificateError::Expired.into()));
        }
        let parsed = ParsedCertificate::try_from(certificate);
        Some(
            parsed
                .and_then(|parsed| verify_server_name(&parsed, name))
                .map(|()| ServerCertVerified::assertion()),
        )
    }
}

impl ServerCertVerifier for OwnOrTrusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(verdict) = self.check_own(end_entity, server_name, now) {
            return verdict;
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
