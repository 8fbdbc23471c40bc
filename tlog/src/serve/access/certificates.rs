//! Readers who show a client certificate. The TLS handshake verifies it (see [`crate::serve::TlsFiles::client_ca`]);
//! whoever has one is a reader.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Credentials, Denied, Reader, Readers};
use crate::certificate::{Certificate, printable};
use crate::merkle::Hash;

/// The end-entity certificate of a connection, verified by the handshake; an extension of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(Arc<str>);

impl ClientCertificate {
    /// From DER. What this crate cannot read (a key of an unusual kind) is named by its digest.
    pub(crate) fn new(der: &[u8]) -> Self {
        let name = Certificate::from_der(der).ok().and_then(|certificate| {
            let named = certificate.subject_names().first().map(|name| printable(name.value()));
            named.or_else(|| Some(certificate.subject()).filter(|subject| !subject.is_empty()))
        });
        Self(name.unwrap_or_else(|| format!("certificate {}", Hash::digest(der))).into())
    }

    /// Its first alternative name, or its subject.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Everyone with a client certificate of the listener's client CA.
#[derive(Clone, Copy, Debug)]
pub struct CertificateReaders;

#[async_trait]
impl Readers for CertificateReaders {
    async fn admit(&self, credentials: Credentials) -> Result<Reader, Denied> {
        credentials.certificate().map(|certificate| Reader::named(certificate.name())).ok_or(Denied::Missing)
    }

    fn challenges(&self) -> &'static [&'static str] {
        // There is no registered scheme for certificates, and RFC 9110 wants a challenge in every 401.
        &["Client-Certificate realm=\"entries\""]
    }

    fn advice(&self) -> &'static str {
        "connect with a client certificate of this instance's readers"
    }
}
