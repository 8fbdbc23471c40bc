//! The server's TLS identity, and its replacement while connections are open.
//!
//! TLS 1.2 and 1.3 by rustls over aws-lc-rs, which is passed explicitly: a process-wide default would depend on who
//! came first. The files are watched by polling, because a rename into place, a Kubernetes symlink swap and a
//! network file system all show in a `stat`, and a watch on the old inode in none of them.
//!
//! Invariant: an [`TlsIdentity`] has been read and checked as a whole: key and certificate fit, and so do the authorities of
//! client certificates. Whoever replaces the current one, the poll or an operator's reload, replaces all of it.

mod findings;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_util::sync::CancellationToken;

pub use self::findings::TlsFinding;
use super::followed::{Followed, Version};
use super::settings::TlsFiles;
use crate::clock::{Clock as _, SystemClock, Timestamp};

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// Largest PEM file that is read.
const MAX_PEM: u64 = 1024 * 1024;

/// Why a TLS identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {wanted}", .path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What should be there.
        wanted: &'static str,
    },
    /// A certificate cannot be read.
    #[error("{}: {problem}", .path.display())]
    Certificate {
        /// File with the chain.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The key belongs to another certificate.
    #[error("the key {} does not belong to the certificate {}", .key.display(), .certificate.display())]
    Mismatch {
        /// File with the chain.
        certificate: PathBuf,
        /// File with the key.
        key: PathBuf,
    },
    /// rustls cannot use them.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A TLS identity, read and checked.
pub struct TlsIdentity {
    files: TlsFiles,
    /// Version of the files that this read saw, or an older one: a change meanwhile is not missed.
    version: Versions,
    config: Arc<rustls::ServerConfig>,
    /// Certificates of the server, the first one its own.
    chain: Vec<CertificateDer<'static>>,
    /// Authorities whose client certificates are asked for.
    authorities: Vec<CertificateDer<'static>>,
    until: Timestamp,
    findings: Vec<TlsFinding>,
    /// Cancelled once other authorities decide about client certificates.
    retired: CancellationToken,
}

type Versions = [Option<Version>; 3];

impl TlsIdentity {
    /// Reads and checks all files.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let version = versions(files);
        let key = read_pair(files)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authorities = files.client_ca.as_deref().map(read_certificates).transpose()?.unwrap_or_default();
        let clients = match &files.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(file) => client_verifier(file, &authorities, &provider)?,
        };
        let chain = key.cert.clone();
        let (findings, until) = findings::examine(&chain, &files.names, SystemClock.now())
            .map_err(|problem| TlsError::Certificate { path: files.certificate.clone(), problem })?;
        let config = server_config(provider, clients, key)?;
        let (files, retired) = (files.clone(), CancellationToken::new());
        Ok(Self { files, version, config, chain, authorities, until, findings, retired })
    }

    /// What clients object to in it.
    pub fn findings(&self) -> &[TlsFinding] {
        &self.findings
    }

    /// The time at which the first certificate of its chain ends.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// File with its chain.
    pub fn certificate_file(&self) -> &Path {
        &self.files.certificate
    }

    /// Whether it shows clients the same certificates.
    pub fn has_chain_of(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    /// Whether it takes client certificates of the same authorities.
    pub fn has_authorities_of(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }

    /// For handshakes.
    pub(super) fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Cancelled once other authorities decide about client certificates, so that connections of the old ones end.
    pub(super) fn retired(&self) -> &CancellationToken {
        &self.retired
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsIdentity({})", self.files.certificate.display())
    }
}

/// The identity in use.
#[derive(Debug)]
pub struct Tls {
    current: ArcSwap<TlsIdentity>,
    /// Held while the current one is replaced.
    replacing: Mutex<()>,
    followed: Followed,
}

impl Tls {
    pub(super) fn load(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(TlsIdentity::read(files)?);
        Ok(Arc::new(Self { current, replacing: Mutex::default(), followed: Followed::new("tls") }))
    }

    /// The identity in use.
    pub fn current(&self) -> Arc<TlsIdentity> {
        self.current.load_full()
    }

    /// Uses `next` from the next handshake on. Connections with a client certificate end after the requests in flight if
    /// `next` has other authorities.
    pub fn adopt(&self, next: TlsIdentity) {
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(next);
    }

    fn replace(&self, mut next: TlsIdentity) {
        let old = self.current();
        let same_clients = next.has_authorities_of(&old);
        if same_clients {
            next.retired = old.retired.clone();
        }
        self.current.store(Arc::new(next));
        if !same_clients {
            old.retired.cancel();
        }
        self.followed.is_current();
    }

    /// Takes over the files' identity whenever they change, until `shutdown`.
    pub(super) async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            self.look();
        }
    }

    /// Reads the files if they are not those in use: every two seconds, and whenever somebody asks. What cannot be used leaves the old identity in place, and is tried again
    /// at the next look: the files change one after the other, and a failure may end without a change of theirs.
    pub fn look(&self) {
        let before = self.current();
        if versions(&before.files) == before.version {
            return self.followed.is_current();
        }
        match TlsIdentity::read(&before.files) {
            Ok(next) => self.take_over(&before, next),
            Err(error) => {
                if self.followed.failed(error.to_string()) {
                    tracing::error!(%error, "TLS certificate not reloaded, the old one stays in use");
                }
            }
        }
    }

    pub(super) fn take_over(&self, before: &Arc<TlsIdentity>, next: TlsIdentity) {
        let turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        // An operator's reload was faster, perhaps with other files.
        if !Arc::ptr_eq(&self.current(), before) {
            return;
        }
        self.replace(next);
        drop(turn);
        let current = self.current();
        tracing::info!(certificate = %current.certificate_file().display(), until = %current.until, "TLS certificate reloaded");
        current.complain();
    }
}

impl TlsIdentity {
    /// Logs what clients object to.
    pub fn complain(&self) {
        for finding in &self.findings {
            let certificate = self.files.certificate.display();
            if finding.is_fatal() {
                tracing::error!("TLS certificate {certificate}: {finding}");
            } else {
                tracing::warn!("TLS certificate {certificate}: {finding}");
            }
        }
    }
}

/// The rustls configuration: HTTP/2 and HTTP/1.1 by ALPN. A new one for each identity, so that no session is resumed on
/// the word of an authority that is gone.
fn server_config(
    provider: Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    key: CertifiedKey,
) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn versions(files: &TlsFiles) -> Versions {
    [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()]
        .map(|path| path.and_then(|path| Version::of(path)))
}

/// Verifies client certificates of these authorities, and lets in whoever shows none: which requests need one is
/// decided per route.
fn client_verifier(
    file: &Path,
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone())?;
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
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        other => TlsError::Unusable(other),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_PEM).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
