//! Certificates and timestamps: the token, the whole issuance, the RFC 3161 answer.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use chancery_ca::issuance::CertificateRequest;
use chancery_ca::oidc::{self, Verifier};
use chancery_ca::possession::KeyRequest;
use chancery_ca::timestamp::{Request, TimestampAuthority, TimestampSettings, make_timestamp_authority};
use chancery_ca::{
    Authority, CertificateService, IssuanceLog, IssuanceLogError, IssuerConfig, Settings,
    make_root_and_intermediate,
};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock as _, FixedClock};
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use chancery_tlog::timestamp;
use serde_json::{Value, json};

use crate::issuer::Issuer;
use crate::world::{NOON, p256_signer};
use crate::{HotPath, used};

/// `sub` of the token: what the proof of possession signs.
const SUBJECT: &str = "repo:octo-org/octo-repo:environment:production";

/// A certificate authority whose log only signs, and its issuer.
pub(crate) struct CertificateAuthority {
    pub(crate) service: Arc<CertificateService>,
    /// The configuration of issuers, in Fulcio's YAML.
    issuers: String,
    issuer: Issuer,
    clock: Arc<FixedClock>,
}

impl CertificateAuthority {
    pub(crate) fn new(clock: Arc<FixedClock>) -> Result<Self> {
        let issuer = Issuer::start()?;
        let url = &issuer.url;
        let issuers = format!(
            "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: ci-provider\n    \
             ci-provider: github-workflow\n"
        );
        let ceremony = make_root_and_intermediate("Example Org", KeyKind::EcdsaP256, &*clock)?;
        let authority = Authority::load(&ceremony.chain_pem(), ceremony.issuing_key, &*clock)?;
        let log = Arc::new(PromisingLog { signer: p256_signer("issuance log")? });
        let settings = Settings { oidc: development(), ..Settings::default() };
        let service = CertificateService::new(
            authority,
            IssuerConfig::parse(&issuers)?,
            Some(log),
            clock.clone(),
            settings,
        )?;
        Ok(Self { service: Arc::new(service), issuers, issuer, clock })
    }

    /// A certificate for `key`.
    pub(crate) async fn certify(&self, key: &SoftwareSigner) -> Result<Certificate> {
        let issued = self.service.issue(&self.request(key)?).await?;
        issued.chain.into_iter().next().context("an empty chain")
    }

    fn request(&self, key: &SoftwareSigner) -> Result<CertificateRequest> {
        let proof = key.sign(SUBJECT.as_bytes())?;
        let key = KeyRequest::PublicKey { key: key.public_key().to_pem().into_bytes(), proof };
        Ok(CertificateRequest { token: self.token()?, from: None, key })
    }

    /// A token as GitHub gives a job that runs a reusable workflow.
    fn token(&self) -> Result<String> {
        let now = self.clock.now().seconds();
        let mut claims = json!({
            "jti": "0c1f5e3a-5b1d-4d8e-9c56-b7e4a2a2c0aa",
            "sub": SUBJECT,
            "actor": "octocat", "actor_id": "583231", "base_ref": "", "head_ref": "",
            "check_run_id": "31415926535", "environment": "production", "event_name": "workflow_dispatch",
            "job_workflow_ref":
                "octo-org/octo-automation/.github/workflows/reusable-release.yml@refs/heads/main",
            "job_workflow_sha": "1111111111111111111111111111111111111111",
            "ref": "refs/heads/main", "ref_protected": "true", "ref_type": "branch",
            "repository": "octo-org/octo-repo", "repository_id": "74123456", "repository_owner": "octo-org",
            "repository_owner_id": "65123456", "repository_visibility": "private",
            "run_attempt": "2", "run_id": "15361407110", "run_number": "10",
            "runner_environment": "github-hosted",
            "sha": "2222222222222222222222222222222222222222",
            "workflow": "Release",
            "workflow_ref": "octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main",
            "workflow_sha": "3333333333333333333333333333333333333333",
            "aud": "sigstore", "iat": now, "nbf": now - 5, "exp": now + 300,
        });
        claims["iss"] = Value::from(self.issuer.url.as_str());
        self.issuer.token(&claims)
    }
}

fn development() -> oidc::Settings {
    oidc::Settings { development: true, ..oidc::Settings::default() }
}

/// An issuance log that promises everything: what a real one does besides is measured as a log's.
struct PromisingLog {
    signer: SoftwareSigner,
}

#[async_trait]
impl IssuanceLog for PromisingLog {
    async fn add_pre_chain(&self, chain: &[Certificate]) -> Result<Sct, IssuanceLogError> {
        let unusable = |error: String| IssuanceLogError::Unusable(error);
        let [leaf, issuing, ..] = chain else { return Err(unusable("a chain of one".to_owned())) };
        let entry = Entry::from_precertificate(leaf, issuing).map_err(|e| unusable(e.to_string()))?;
        Sct::sign(&entry, NOON, &self.signer).map_err(|e| unusable(e.to_string()))
    }

    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }
}

pub(crate) fn paths() -> Vec<HotPath> {
    vec![
        HotPath::new("token: verification", |world| {
            let (authority, clock) = (&world.authority, world.clock.clone());
            let issuers = Arc::new(IssuerConfig::parse(&authority.issuers)?);
            let verifier = Verifier::new(issuers, development(), clock)?;
            let (runtime, token) = (Arc::clone(&world.runtime), authority.token()?);
            Ok(move || used(runtime.block_on(verifier.verify(&token, None))?))
        }),
        HotPath::new("certificate: issuance, but for the log", |world| {
            let (runtime, service) = (Arc::clone(&world.runtime), Arc::clone(&world.authority.service));
            let request = world.authority.request(&world.submitter)?;
            Ok(move || used(runtime.block_on(service.issue(&request))?))
        }),
        HotPath::new("timestamp: request to answer", |world| {
            let ceremony = make_timestamp_authority("Example Org", KeyKind::EcdsaP256, &*world.clock)?;
            let (settings, clock) = (TimestampSettings::default(), world.clock.clone());
            let authority = TimestampAuthority::load(&ceremony.chain_pem(), ceremony.key, &settings, clock)?;
            let (runtime, authority) = (Arc::clone(&world.runtime), Arc::new(authority));
            let request = timestamp::request(b"a signature", &[7; timestamp::NONCE]);
            Ok(move || used(runtime.block_on(authority.grant(Request::from_der(&request)?))?))
        }),
    ]
}
