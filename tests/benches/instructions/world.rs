//! What the paths work on: keys that are the same in every run, a certificate of GitHub's size, a runtime.

use std::cell::OnceCell;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{FixedClock, Timestamp};
use chancery_tlog::key::SoftwareSigner;
use chancery_tlog::merkle::Hash;
use p256::pkcs8::EncodePrivateKey as _;
use tokio::runtime::Runtime;

use crate::authorities::CertificateAuthority;
use crate::log::Logs;
use crate::requests::Submitter;
use crate::{HotPath, authorities, client, log, primitives};

/// Noon of 2026-11-21: when everything happens.
pub(crate) const NOON: Timestamp = Timestamp::from_seconds(1_795_262_400);

/// What several paths share.
pub(crate) struct World {
    /// Runs everything on the thread that is measured.
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) authority: CertificateAuthority,
    /// A build job's key, and the certificate that the authority issued for it.
    pub(crate) submitter: SoftwareSigner,
    pub(crate) certificate: Certificate,
    logs: OnceCell<Logs>,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let runtime = Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
        let clock = Arc::new(FixedClock::new(NOON));
        let authority = CertificateAuthority::new(clock.clone())?;
        let submitter = p256_signer("submitter")?;
        let certificate = runtime.block_on(authority.certify(&submitter))?;
        Ok(Self { runtime, clock, authority, submitter, certificate, logs: OnceCell::new() })
    }

    /// Who sends entries to the logs.
    pub(crate) fn submitter(&self) -> Submitter<'_> {
        Submitter { signer: &self.submitter, certificate: &self.certificate }
    }

    /// The logs, filled when they are first asked for.
    pub(crate) fn logs(&self) -> Result<&Logs> {
        if self.logs.get().is_none() {
            let filled = Logs::filled(self)?;
            return Ok(self.logs.get_or_init(|| filled));
        }
        self.logs.get().context("the logs are filled")
    }
}

/// Every path, in the order of the table.
pub(crate) fn paths() -> Vec<HotPath> {
    let mut paths = primitives::paths();
    paths.extend(log::paths());
    paths.extend(authorities::paths());
    paths.extend(client::paths());
    paths
}

/// The P-256 key whose scalar is SHA-256 of `label`.
pub(crate) fn p256_signer(label: &str) -> Result<SoftwareSigner> {
    let secret =
        p256::SecretKey::from_slice(Hash::digest(label.as_bytes()).as_bytes()).context("a scalar")?;
    Ok(SoftwareSigner::from_pkcs8_der(secret.to_pkcs8_der().context("PKCS#8")?.as_bytes())?)
}

/// The Ed25519 key whose seed is SHA-256 of `label`.
pub(crate) fn ed25519_signer(label: &str) -> Result<SoftwareSigner> {
    // RFC 8410 §7: version 0, the algorithm, the seed as an OCTET STRING in one.
    let mut pkcs8 = hex::decode("302e020100300506032b657004220420")?;
    pkcs8.extend(Hash::digest(label.as_bytes()).as_bytes());
    Ok(SoftwareSigner::from_pkcs8_der(&pkcs8)?)
}
