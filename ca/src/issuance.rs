//! Issuance, as a practice statement: nine steps, in this order, for every certificate.
//!
//! Invariant: no certificate leaves this module unless all nine steps were taken. In particular a final certificate
//! exists only for a precertificate that the log has promised to publish, and it is parsed back and compared with
//! what was meant before anybody sees it. Reference: fulcio `pkg/server/grpc_server.go` for the order of checks,
//! RFC 6962 §3.1 to §3.3 for precertificate, log and timestamp.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_tlog::certificate::Certificate;
use chancery_tlog::chain::{self, Purpose};
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::serve::rate::{self, IdentityLimiter, WRITES_PER_IDENTITY};

use crate::authority::Authority;
use crate::config::{Issuer, IssuerConfig};
use crate::log::{DEADLINE, IssuanceLog, IssuanceLogError};
use crate::meters::CaMeters;
use crate::oidc::{self, TokenError, VerifiedToken, Verifier, VerifierError};
use crate::possession::{KeyRequest, PossessionError, ProvenKey};
use crate::principal::{Principal, PrincipalError};
use crate::profile::{Leaf, ProfileError, Seal};

#[cfg(test)]
pub(crate) mod test_instance;
#[cfg(test)]
mod tests;

/// How certificates are issued.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How tokens are judged.
    pub oidc: oidc::Settings,
    /// How long the issuance log may take.
    pub log_deadline: Duration,
    /// How often one identity may ask; without it as often as it likes.
    pub identities: Option<Arc<IdentityLimiter>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { oidc: oidc::Settings::default(), log_deadline: DEADLINE, identities: None }
    }
}

/// A request for a certificate.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The OIDC token.
    pub token: String,
    /// The key and the proof that the requester has it.
    pub key: KeyRequest,
}

/// A certificate that was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first, root last.
    pub chain: Vec<Certificate>,
    /// Whether the leaf carries a timestamp of the issuance log.
    pub logged: bool,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The token is not believed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// This identity has had its share for now.
    #[error("too many certificates for this identity, try again later")]
    TooMany {
        /// When to.
        retry_after: Duration,
    },
    /// The token names nobody whom we certify.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    /// The key is not proven or not good enough.
    #[error(transparent)]
    Possession(#[from] PossessionError),
    /// The issuance log did not take it.
    #[error(transparent)]
    Log(#[from] IssuanceLogError),
    /// Encoding or signing failed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A CA certificate ends before the leaf would. For the operator: renew it.
    #[error("a CA certificate is not valid for as long as the certificate to be issued; renew the chain")]
    AuthorityExpires,
    /// The certificate is not what was meant. A bug or a corrupted signer; nothing was handed out.
    #[error("self-check failed: {0}")]
    SelfCheck(String),
}

impl IssueError {
    /// Every [`IssueError::reason`].
    pub(crate) const REASONS: [&'static str; 22] = [
        "token_absent",
        "token_malformed",
        "token_issuer",
        "token_audience",
        "token_expired",
        "token_not_yet_valid",
        "token_algorithm",
        "token_keys_unavailable",
        "token_key_unknown",
        "token_signature",
        "too_many",
        "template",
        "principal",
        "key_malformed",
        "csr_malformed",
        "key_insecure",
        "possession",
        "key_algorithm",
        "issuance_log",
        "ca_backend",
        "ca_expires",
        "self_check",
    ];

    /// The reason as a metric label: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::TooMany { .. } => "too_many",
            Self::Principal(PrincipalError::Template(_)) => "template",
            Self::Principal(_) => "principal",
            Self::Possession(error) => error.reason(),
            Self::Log(_) => "issuance_log",
            Self::Profile(_) => "ca_backend",
            Self::AuthorityExpires => "ca_expires",
            Self::SelfCheck(_) => "self_check",
        }
    }
}

/// The certificate authority in service.
pub struct CertificateService {
    authority: Arc<Authority>,
    issuers: Arc<IssuerConfig>,
    verifier: Verifier,
    log: Option<Arc<dyn IssuanceLog>>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    meters: CaMeters,
}

impl CertificateService {
    /// Puts the parts together; contacts nobody. Without a log, certificates carry no timestamp and several clients
    /// refuse them.
    pub fn new(
        authority: Authority,
        issuers: IssuerConfig,
        log: Option<Arc<dyn IssuanceLog>>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self, VerifierError> {
        let issuers = Arc::new(issuers);
        let verifier = Verifier::new(Arc::clone(&issuers), settings.oidc.clone(), Arc::clone(&clock))?;
        let meters = CaMeters::new(&issuers);
        Ok(Self { authority: Arc::new(authority), issuers, verifier, log, clock, settings, meters })
    }

    /// The configured issuers.
    pub fn issuers(&self) -> &IssuerConfig {
        &self.issuers
    }

    /// The chain that signs now, issuing certificate first, root last.
    pub fn chain(&self) -> &[Certificate] {
        self.authority.chain()
    }

    /// Whether a certificate issued now would be covered by the CA's own validity: part of readiness.
    pub fn is_ready(&self) -> bool {
        let now = self.clock.now();
        self.authority.outlives(now, now.plus(crate::profile::LIFETIME))
    }

    /// Issues a certificate, or says why not. Every outcome leaves one audit line and one count; those of a refusal are
    /// made here.
    pub async fn issue(&self, request: &CertificateRequest) -> Result<Issued, IssueError> {
        let (started, mut issuer) = (Instant::now(), None);
        let issued = self.follow_practice(request, &mut issuer).await;
        let issuer = issuer.as_deref().map(|issuer| &issuer.kind);
        match &issued {
            Ok(_) => self.meters.issued(issuer, started),
            Err(error) => {
                self.meters.refused(issuer, error);
                tracing::warn!(target: "chancery::audit", reason = error.reason(), %error, "certificate refused");
            }
        }
        issued
    }

    /// The nine steps. `issuer` is told as soon as the token is believed.
    async fn follow_practice(
        &self,
        request: &CertificateRequest,
        issuer: &mut Option<Arc<Issuer>>,
    ) -> Result<Issued, IssueError> {
        // 1. The token: signed by a configured issuer, for us, valid now.
        let token = self.verifier.verify(&request.token).await?;
        *issuer = Some(Arc::clone(&token.issuer));
        self.count(&token)?;
        // 2. The principal: the one name and the facts that the token's claims support.
        let principal = Principal::of(&token)?;
        // 3. Possession and 4. key policy: the requester holds the key, and the key is good enough.
        let key = request.key.verify(&principal)?;
        // 5. The precertificate: the whole certificate, poisoned.
        let now = self.clock.now();
        let leaf = Leaf::new(&principal, key.public_key(), self.authority.key_id(), now)?;
        if !self.authority.outlives(now, leaf.not_after()) {
            return Err(IssueError::AuthorityExpires);
        }
        // 6. The log: its promise to publish, before anything valid exists.
        let promise = match &self.log {
            None => None,
            Some(log) => Some(self.log_precertificate(log.as_ref(), &leaf).await?),
        };
        // 7. The certificate: the same, with the promise in place of the poison.
        let seal = promise.as_ref().map_or(Seal::None, |promise| Seal::Timestamp(promise.sct.clone()));
        let certificate = self.authority.sign(&leaf, &seal).await?;
        // 8. The self-check: what was signed is what was meant.
        self.check(&certificate, &leaf, &seal, &key, now).map_err(IssueError::SelfCheck)?;
        if let Some(promise) = &promise {
            promise.check(&certificate, self.authority.issuing()).map_err(IssueError::SelfCheck)?;
        }
        // 9. The audit line.
        audit(&token, &principal, &certificate, &seal);
        let chain = std::iter::once(certificate).chain(self.authority.chain().iter().cloned()).collect();
        Ok(Issued { chain, logged: matches!(seal, Seal::Timestamp(_)) })
    }

    /// Counts a request for whom its token names: only now is that known, and nobody can use up another's share.
    fn count(&self, token: &VerifiedToken) -> Result<(), IssueError> {
        let Some(identities) = &self.settings.identities else { return Ok(()) };
        identities.take(format!("{} {}", token.iss, token.sub)).map_err(|retry_after| {
            rate::note(WRITES_PER_IDENTITY);
            IssueError::TooMany { retry_after }
        })
    }

    async fn log_precertificate(&self, log: &dyn IssuanceLog, leaf: &Leaf) -> Result<Promise, IssueError> {
        let precertificate = self.authority.sign(leaf, &Seal::Poison).await?;
        let entry = Entry::from_precertificate(&precertificate, self.authority.issuing())
            .map_err(|e| IssueError::SelfCheck(e.to_string()))?;
        let chain: Vec<Certificate> =
            std::iter::once(precertificate).chain(self.authority.chain().iter().cloned()).collect();
        let answer = tokio::time::timeout(self.settings.log_deadline, log.add_pre_chain(&chain));
        let sct = answer.await.unwrap_or(Err(IssuanceLogError::Timeout))?;
        sct.verify(&entry, log.public_key()).map_err(|e| IssuanceLogError::Unusable(e.to_string()))?;
        Ok(Promise { sct, entry })
    }

    /// Parses the certificate back and compares it with the intention, from the bytes that would be handed out.
    fn check(
        &self,
        certificate: &Certificate,
        leaf: &Leaf,
        seal: &Seal,
        key: &ProvenKey,
        now: Timestamp,
    ) -> Result<(), String> {
        let authority = &self.authority;
        let wrong = |what: &str| Err(format!("the certificate's {what} is not as intended"));
        if certificate.public_key() != key.public_key() {
            return wrong("public key");
        }
        if certificate.serial() != leaf.serial() {
            return wrong("serial number");
        }
        if certificate.issuer_der() != authority.issuing().subject_der() {
            return wrong("issuer");
        }
        let from = Timestamp::from_seconds(now.seconds());
        if certificate.not_before() != from || certificate.not_after() != leaf.not_after() {
            return wrong("validity");
        }
        let mut meant = leaf.extensions(seal);
        let same = certificate.extensions().iter().all(|w| {
            meant.next().is_some_and(|m| m.oid == w.oid && m.critical == w.critical && m.value == w.value)
        });
        if !same || meant.next().is_some() {
            return wrong("list of extensions");
        }
        // The chain above the issuing certificate was validated at load and its dates were checked in step 5, so the
        // issuing certificate is the anchor here: one signature instead of the whole path for every leaf.
        let anchor = std::slice::from_ref(authority.issuing());
        chain::verify(certificate, &[], anchor, from, Purpose::CodeSigning).map_err(|e| e.to_string())?;
        Ok(())
    }
}

/// What the log has promised: this timestamp, verified by the log's key, for this entry.
struct Promise {
    sct: Sct,
    entry: Entry,
}

impl Promise {
    /// The certificate embeds the promised timestamp, and what that covers is the certificate as it stands: its TBS
    /// without the list is the precertificate's without the poison, byte for byte. So the verified timestamp holds for
    /// the certificate, and its signature need not be verified again.
    fn check(&self, certificate: &Certificate, issuing: &Certificate) -> Result<(), String> {
        let embedded = Sct::embedded(certificate).map_err(|e| e.to_string())?;
        if embedded.as_slice() != std::slice::from_ref(&self.sct) {
            return Err("the certificate does not embed exactly the log's timestamp".to_owned());
        }
        let entry = Entry::from_final(certificate, issuing).map_err(|e| e.to_string())?;
        if entry != self.entry {
            return Err("the certificate is not the precertificate that was logged".to_owned());
        }
        Ok(())
    }
}

/// The audit line of an issued certificate.
fn audit(token: &VerifiedToken, principal: &Principal, certificate: &Certificate, seal: &Seal) {
    let logged_at = match seal {
        Seal::Timestamp(sct) => sct.timestamp.millis(),
        Seal::Poison | Seal::None => 0,
    };
    tracing::info!(
        target: "chancery::audit",
        serial = hex::encode(certificate.serial()),
        subject = principal.subject.value(),
        issuer = token.iss,
        token_subject = token.sub,
        key = hex::encode(certificate.public_key().fingerprint()),
        not_after = %certificate.not_after(),
        logged_at,
        "certificate issued"
    );
}
