//! The server's TLS identity, and its replacement while connections are open.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc-rs, which is passed explicitly: a process-wide default would depend on who
//! came first. The files are watched by polling, because a rename into place, a Kubernetes symlink swap and a
//! network file system all show in a `stat`, and a watch on the old inode in none of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::settings::TlsFiles;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// Largest PEM file that is read.
const MAX_PEM: u64 = 1024 * 1024;

/// Why a TLS identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {wanted}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },
    /// Certificate and key do not fit, or rustls cannot use them.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The current identity and where it came from.
pub(super) struct Identity {
    files: TlsFiles,
    /// Version of the files that the first read saw, or an older one: a change during start is not missed.
    loaded: Version,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What tells one version of the files from another.
type Version = [Option<(SystemTime, u64)>; 2];

impl Identity {
    pub(super) fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let loaded = version(files);
        let current = RwLock::new(Arc::new(read_pair(files)?));
        Ok(Arc::new(Self { files: files.clone(), loaded, current }))
    }

    /// The rustls configuration: HTTP/2 and HTTP/1.1 by ALPN, and client certificates if an authority is named.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = match &self.files.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(file) => client_verifier(file, &provider)?,
        };
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Takes over the files' identity whenever they change, until `shutdown`.
    pub(super) async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut seen = self.loaded;
        while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let now = version(&self.files);
            if now == seen {
                continue;
            }
            seen = now;
            self.reload();
        }
    }

    /// Reads both files; a pair that does not work leaves the old one in place. The two files change one after the
    /// other, so a mismatch here is often followed by a match at the next look.
    pub(super) fn reload(&self) {
        match read_pair(&self.files) {
            Ok(pair) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                tracing::info!(certificate = %self.files.certificate.display(), "TLS certificate reloaded");
            }
            Err(error) => tracing::error!(%error, "TLS certificate not reloaded, the old one stays in use"),
        }
    }

    /// DER of the server certificate in use.
    #[cfg(test)]
    pub(super) fn end_entity(&self) -> Vec<u8> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.end_entity_cert().unwrap().to_vec()
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.files.certificate.display())
    }
}

fn version(files: &TlsFiles) -> Version {
    [&files.certificate, &files.key].map(|path| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

/// Verifies the client certificates of the authorities in `file`, and lets in whoever shows none: which requests need
/// one is decided per route.
fn client_verifier(
    file: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|_| TlsError::Pem { path: file.to_owned(), wanted: "usable CA certificate" })
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::Pem { path: file.to_owned(), wanted: "PEM certificate" };
    let pem = read(file)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if chain.is_empty() { Err(none()) } else { Ok(chain) }
}

fn read_pair(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let wanted = |path: &Path, wanted| TlsError::Pem { path: path.to_owned(), wanted };
    let chain = read_certificates(&files.certificate)?;
    let pem = zeroize::Zeroizing::new(read(&files.key)?);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| wanted(&files.key, "PEM private key"))?;
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_PEM).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
