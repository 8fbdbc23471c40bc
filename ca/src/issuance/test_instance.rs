//! A whole certificate authority for tests: a fresh CA, a log that signs timestamps, an issuer on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, FixedClock, SystemClock, Timestamp};
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use chancery_tlog::serve::rate::{IdentityLimiter, Rate};
use serde_json::{Map, Value, json};

use super::{CertificateService, Settings};
use crate::authority::Authority;
use crate::ceremony::{Ceremony, make_root_and_intermediate};
use crate::config::IssuerConfig;
use crate::log::{IssuanceLog, IssuanceLogError};
use crate::oidc::test_issuer::{TestIssuer, TestKey};

/// What the log does when asked.
#[derive(Clone, Debug, Default)]
pub(crate) enum LogMode {
    #[default]
    Normal,
    /// Signs with a key that is not the log's.
    ForeignKey,
    /// Signs for another certificate.
    OtherEntry,
    Refuse,
    Busy,
    Hang,
}

/// A log that keeps what it saw and signs with P-256.
pub(crate) struct TestLog {
    signer: SoftwareSigner,
    stranger: SoftwareSigner,
    clock: Arc<dyn Clock>,
    pub(crate) mode: Mutex<LogMode>,
    pub(crate) seen: Mutex<Vec<Vec<Certificate>>>,
}

#[async_trait]
impl IssuanceLog for TestLog {
    async fn add_pre_chain(&self, chain: &[Certificate]) -> Result<Sct, IssuanceLogError> {
        let mode = self.mode.lock().unwrap().clone();
        self.seen.lock().unwrap().push(chain.to_vec());
        let entry = Entry::from_precertificate(&chain[0], &chain[1]).unwrap();
        let now = self.clock.now();
        match mode {
            LogMode::Normal => Ok(Sct::sign(&entry, now, &self.signer).unwrap()),
            LogMode::ForeignKey => Ok(Sct::sign(&entry, now, &self.stranger).unwrap()),
            LogMode::OtherEntry => Ok(Sct::sign(&Entry::X509(vec![1]), now, &self.signer).unwrap()),
            LogMode::Refuse => Err(IssuanceLogError::Refused("full".to_owned())),
            LogMode::Busy => Err(IssuanceLogError::Unavailable("full".to_owned())),
            LogMode::Hang => std::future::pending().await,
        }
    }

    fn public_key(&self) -> &PublicKey {
        self.signer.public_key()
    }
}

/// The parts of an instance that tests touch.
pub(crate) struct Instance {
    pub(crate) service: Arc<CertificateService>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) log: Arc<TestLog>,
    pub(crate) issuer: TestIssuer,
    pub(crate) key: TestKey,
    pub(crate) ceremony: Ceremony,
}

/// How an instance differs from the ordinary one.
pub(crate) struct Options {
    pub(crate) kind: KeyKind,
    pub(crate) logged: bool,
    /// YAML of one issuer after `issuer-url` and `client-id`.
    pub(crate) issuer: &'static str,
    pub(crate) log_deadline: Duration,
    pub(crate) identities: Option<Rate>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: KeyKind::EcdsaP256,
            logged: true,
            issuer: "type: ci-provider\n    ci-provider: github-workflow",
            log_deadline: crate::log::DEADLINE,
            identities: None,
        }
    }
}

impl Instance {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let clock = Arc::new(FixedClock::new(SystemClock.now()));
        let ceremony = make_root_and_intermediate("Example Org", options.kind, clock.as_ref()).unwrap();
        let authority =
            Authority::load(&ceremony.chain_pem(), ceremony.issuing_key.clone(), clock.as_ref()).unwrap();
        let log = Arc::new(TestLog {
            signer: SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap(),
            stranger: SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap(),
            clock: clock.clone(),
            mode: Mutex::default(),
            seen: Mutex::default(),
        });
        let key = TestKey::es256("key-1");
        let issuer = TestIssuer::start(&[&key]).await;
        let (url, kind) = (&issuer.url, options.issuer);
        let config =
            format!("oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    {kind}\n");
        let mut settings = Settings { log_deadline: options.log_deadline, ..Settings::default() };
        settings.oidc.development = true;
        settings.identities = options.identities.map(|rate| Arc::new(IdentityLimiter::new(rate)));
        let service = CertificateService::new(
            authority,
            IssuerConfig::parse(&config).unwrap(),
            options.logged.then(|| log.clone() as Arc<dyn IssuanceLog>),
            clock.clone(),
            settings,
        );
        Self { service: Arc::new(service.unwrap()), clock, log, issuer, key, ceremony }
    }

    /// Claims in the shape of GitHub Actions, valid for five minutes.
    pub(crate) fn claims(&self) -> Map<String, Value> {
        let mut claims = github_claims();
        self.complete(&mut claims);
        claims
    }

    /// Adds issuer, audience and times to claims.
    pub(crate) fn complete(&self, claims: &mut Map<String, Value>) {
        let now = self.clock.now().seconds();
        claims.insert("iss".into(), json!(self.issuer.url));
        claims.insert("aud".into(), json!("sigstore"));
        claims.insert("iat".into(), json!(now));
        claims.insert("nbf".into(), json!(now - 5));
        claims.insert("exp".into(), json!(now + 300));
    }

    /// An ordinary token.
    pub(crate) fn token(&self) -> String {
        self.key.mint(&Value::Object(self.claims()))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A token that GitHub Actions could have issued for a reusable workflow, without the registered claims.
pub(crate) fn github_claims() -> Map<String, Value> {
    let claims = json!({
        "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
        "actor": "octocat", "actor_id": "583231", "base_ref": "", "head_ref": "",
        "check_run_id": "31415926", "event_name": "push",
        "job_workflow_ref": "octo-org/build/.github/workflows/release.yml@refs/tags/v1",
        "job_workflow_sha": "1111111111111111111111111111111111111111",
        "jti": "4f1c", "ref": "refs/heads/main", "ref_protected": "true", "ref_type": "branch",
        "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner": "octo-org",
        "repository_owner_id": "65", "repository_visibility": "private",
        "run_attempt": "2", "run_id": "1536140711", "run_number": "10",
        "runner_environment": "github-hosted",
        "sha": "2222222222222222222222222222222222222222",
        "workflow": "Release", "workflow_ref": "octo-org/octo-repo/.github/workflows/ci.yml@refs/heads/main",
        "workflow_sha": "3333333333333333333333333333333333333333",
    });
    let Value::Object(claims) = claims else { unreachable!("written as an object") };
    claims
}
