//! Issuance, as a practice statement: ten steps, in this order, for every certificate.
//!
//! Invariant: no certificate leaves this module unless all ten steps were taken. In particular a final
//! certificate exists only for a precertificate that the log has promised to publish, and it is parsed back
//! and compared with what was meant before anybody sees it. Reference: fulcio `pkg/server/grpc_server.go` for
//! the order of checks, RFC 6962 §3.1 to §3.3 for precertificate, log and timestamp.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery_tlog::certificate::Certificate;
use chancery_tlog::chain::{self, Purpose};
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::ct::{Entry, Sct};
use chancery_tlog::serve::logging::{ANONYMOUS, AUDIT};
use chancery_tlog::serve::rate::{self, IdentityLimiter, WRITES_PER_IDENTITY};

use crate::authority::Authority;
use crate::config::{Issuer, IssuerConfig};
use crate::log::{DEADLINE, IssuanceLog, IssuanceLogError};
use crate::meters::CaMeters;
use crate::oidc::{self, TokenError, VerifiedToken, Verifier, VerifierError};
use crate::policy::{
    self, ClaimPolicies, ClaimPolicy, PermittedToken, PolicyError, PolicyRefusal, Reservation, SpendError,
    SpentTokens,
};
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
    /// Which tokens of an issuer get a certificate. Public issuers need one.
    pub policies: Vec<ClaimPolicy>,
    /// How long the issuance log may take.
    pub log_deadline: Duration,
    /// How often one identity may ask; without it as often as it likes.
    pub identities: Option<Arc<IdentityLimiter>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            oidc: oidc::Settings::default(),
            policies: Vec::new(),
            log_deadline: DEADLINE,
            identities: None,
        }
    }
}

/// A request for a certificate.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// The OIDC token.
    pub token: String,
    /// The address of the client, if it is known.
    pub from: Option<IpAddr>,
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

/// Why a service cannot be put together. All of these are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The issuers cannot be used.
    #[error(transparent)]
    Verifier(#[from] VerifierError),
    /// The claim policies do not fit the issuers.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The token is not believed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The issuer's claim policy does not permit the token.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// The token is for single use and cannot be used now.
    #[error(transparent)]
    Spent(#[from] SpendError),
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
    #[error(
        "the certificates of the certificate authority end too soon for another one: its operators have to replace \
         their chain"
    )]
    AuthorityExpires,
    /// The certificate is not what was meant. A bug or a corrupted signer; nothing was handed out.
    #[error("self-check failed: {0}")]
    SelfCheck(String),
}

impl IssueError {
    /// Every [`IssueError::reason`].
    pub(crate) const REASONS: [&'static str; 26] = [
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
        "token_new_issuers",
        "claim_policy",
        "token_used",
        "token_uses_full",
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
            Self::Policy(_) => "claim_policy",
            Self::Spent(SpendError::Used | SpendError::BeforeStart) => "token_used",
            Self::Spent(SpendError::NotYetIssued) => "token_not_yet_valid",
            Self::Spent(SpendError::Full) => "token_uses_full",
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
    policies: ClaimPolicies,
    spent: BTreeMap<String, Arc<SpentTokens>>,
    /// Those of `spent` that a service before this one did not record.
    fresh: Vec<Arc<SpentTokens>>,
    log: Option<Arc<dyn IssuanceLog>>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    meters: CaMeters,
}

impl CertificateService {
    /// Puts the parts together; contacts nobody. Without a log, certificates carry no timestamp and several clients
    /// refuse them.
    pub fn new(
        authority: impl Into<Arc<Authority>>,
        issuers: impl Into<Arc<IssuerConfig>>,
        log: Option<Arc<dyn IssuanceLog>>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<Self, ServiceError> {
        let (authority, issuers) = (authority.into(), issuers.into());
        let verifier = Verifier::new(Arc::clone(&issuers), settings.oidc.clone(), Arc::clone(&clock))?;
        let policies = ClaimPolicies::bind(settings.policies.clone(), &issuers)?;
        let (spent, _) = memories(&policies, &BTreeMap::new(), clock.now());
        let meters = CaMeters::new(&issuers, &policies);
        let fresh = Vec::new();
        Ok(Self { authority, issuers, verifier, policies, spent, fresh, log, clock, settings, meters })
    }

    /// The same authority with other issuers and policies. Keys that were fetched, proven issuers, limits and the tokens
    /// that were used are those of this service, which is not changed: requests that it has begun go on with it.
    pub fn renewed(
        &self,
        issuers: impl Into<Arc<IssuerConfig>>,
        policies: Vec<ClaimPolicy>,
        development: bool,
    ) -> Result<Self, ServiceError> {
        let issuers = issuers.into();
        let mut settings = self.settings.clone();
        settings.oidc.development = development;
        settings.policies.clone_from(&policies);
        let verifier = self.verifier.renewed(Arc::clone(&issuers), development)?;
        let policies = ClaimPolicies::bind(policies, &issuers)?;
        let (spent, fresh) = memories(&policies, &self.spent, self.clock.now());
        Ok(Self {
            authority: Arc::clone(&self.authority),
            meters: CaMeters::new(&issuers, &policies),
            log: self.log.clone(),
            clock: Arc::clone(&self.clock),
            issuers,
            verifier,
            policies,
            spent,
            fresh,
            settings,
        })
    }

    /// To be called when requests come to this service instead of the one before: of issuers whose tokens have become
    /// single-use, only tokens that are issued from now on can be used.
    pub fn take_over(&self) {
        self.fresh.iter().for_each(|memory| memory.start(self.clock.now()));
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
                audit_refusal(error);
            }
        }
        issued
    }

    /// The ten steps. `issuer` is told as soon as the token is believed.
    async fn follow_practice(
        &self,
        request: &CertificateRequest,
        issuer: &mut Option<Arc<Issuer>>,
    ) -> Result<Issued, IssueError> {
        // 1. The token: signed by a configured issuer, for us, valid now.
        let verified = self.verifier.verify(&request.token, request.from).await?;
        *issuer = Some(Arc::clone(&verified.token().issuer));
        // 2. The claim policy: this token is one that the operator means, not only one that the issuer made.
        let permitted = verified.permit(|token| self.permit(token)).await?;
        self.count(permitted.token())?;
        // 3. The principal: the one name and the facts that the token's claims support.
        let principal = Principal::of(&permitted)?;
        // 4. Possession and 5. key policy: the requester holds the key, and the key is good enough.
        let key = request.key.verify(&principal)?;
        // A token for single use is spent by a request that could succeed, and given back if it does not.
        let reservation = self.reserve(&permitted)?;
        // 6. The precertificate: the whole certificate, poisoned.
        let now = self.clock.now();
        let leaf = Leaf::new(&principal, key.public_key(), self.authority.key_id(), now)?;
        if !self.authority.outlives(now, leaf.not_after()) {
            return Err(IssueError::AuthorityExpires);
        }
        // 7. The log: its promise to publish, before anything valid exists.
        let promise = match &self.log {
            None => None,
            Some(log) => Some(self.log_precertificate(log.as_ref(), &leaf).await?),
        };
        // 8. The certificate: the same, with the promise in place of the poison.
        let seal = promise.as_ref().map_or(Seal::None, |promise| Seal::Timestamp(promise.sct.clone()));
        let certificate = self.authority.sign(&leaf, &seal).await?;
        // 9. The self-check: what was signed is what was meant.
        self.check(&certificate, &leaf, &seal, &key, now).map_err(IssueError::SelfCheck)?;
        if let Some(promise) = &promise {
            promise.check(&certificate, self.authority.issuing()).map_err(IssueError::SelfCheck)?;
        }
        // 10. The audit line.
        reservation.into_iter().for_each(Reservation::keep);
        audit(&permitted, &principal, &certificate, &seal);
        let chain = std::iter::once(certificate).chain(self.authority.chain().iter().cloned()).collect();
        Ok(Issued { chain, logged: matches!(seal, Seal::Timestamp(_)) })
    }

    fn permit(&self, token: VerifiedToken) -> Result<PermittedToken, IssueError> {
        let issuer = Arc::clone(&token.issuer);
        let permitted = self.policies.permit(token);
        match &permitted {
            Ok(permitted) => self.meters.permitted(&issuer, permitted.rule()),
            Err(PolicyRefusal::NoRule(nearest)) => self.meters.not_permitted(&issuer, &nearest.rule),
            Err(PolicyRefusal::NotSingleUse(_) | PolicyRefusal::LivesTooLong) => {}
        }
        Ok(permitted?)
    }

    fn reserve(&self, permitted: &PermittedToken) -> Result<Option<Reservation>, IssueError> {
        let Some(token) = permitted.single_use() else { return Ok(None) };
        // There is a memory for every policy with single use; without one nothing could be recorded.
        let spent = self.spent.get(policy::location(&permitted.token().issuer)).ok_or(SpendError::Full)?;
        Ok(Some(spent.reserve(token, self.clock.now())?))
    }

    /// Counts a request for whom its token names: only now is that known, and nobody can use up another's share.
    fn count(&self, token: &VerifiedToken) -> Result<(), IssueError> {
        let Some(identities) = &self.settings.identities else { return Ok(()) };
        // Not the share of what the identity writes to logs, whose signatures others can send again.
        identities.take(&format!("ca {} {}", token.iss, token.sub)).map_err(|retry_after| {
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
        // The chain above the issuing certificate was validated at load and its dates were checked in step 6,
        // so the issuing certificate is the anchor here: one signature instead of the whole path for every
        // leaf.
        let anchor = std::slice::from_ref(authority.issuing());
        chain::verify(certificate, &[], anchor, from, Purpose::CodeSigning).map_err(|e| e.to_string())?;
        Ok(())
    }
}

/// The memories of issuers whose tokens are for single use: those `before` go on, and new ones are listed too.
fn memories(
    policies: &ClaimPolicies,
    before: &BTreeMap<String, Arc<SpentTokens>>,
    now: Timestamp,
) -> (BTreeMap<String, Arc<SpentTokens>>, Vec<Arc<SpentTokens>>) {
    let mut fresh = Vec::new();
    let memory = |policy: &ClaimPolicy| {
        let kept = before.get(policy.issuer()).cloned();
        let memory = kept.unwrap_or_else(|| {
            let memory = Arc::new(SpentTokens::new(policy.is_pattern(), now));
            fresh.push(Arc::clone(&memory));
            memory
        });
        (policy.issuer().to_owned(), memory)
    };
    let spent = policies.policies().filter(|policy| policy.is_single_use()).map(memory).collect();
    (spent, fresh)
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

/// The audit line of a refusal. Before a token has verified nobody stands behind the request, and the line must not
/// displace those of certificates.
fn audit_refusal(error: &IssueError) {
    if let IssueError::Token(error) = error {
        tracing::warn!(
            name: ANONYMOUS,
            target: AUDIT,
            reason = error.reason(),
            %error,
            "certificate refused"
        );
        return;
    }
    let nearest = match error {
        IssueError::Policy(PolicyRefusal::NoRule(nearest)) => Some(nearest),
        _ => None,
    };
    tracing::warn!(
        target: AUDIT,
        reason = error.reason(),
        issuer = nearest.map(|nearest| nearest.issuer.as_str()),
        rule = nearest.map(|nearest| nearest.rule.as_str()),
        claim = nearest.map(|nearest| nearest.claim.as_str()),
        found = nearest.map(|nearest| nearest.found.as_str()),
        %error,
        "certificate refused"
    );
}

/// The audit line of an issued certificate.
fn audit(permitted: &PermittedToken, principal: &Principal, certificate: &Certificate, seal: &Seal) {
    let token = permitted.token();
    let logged_at = match seal {
        Seal::Timestamp(sct) => sct.timestamp.millis(),
        Seal::Poison | Seal::None => 0,
    };
    tracing::info!(
        target: AUDIT,
        serial = hex::encode(certificate.serial()),
        subject = principal.subject.value(),
        issuer = token.iss,
        token_subject = token.sub,
        key = hex::encode(certificate.public_key().fingerprint()),
        rule = permitted.rule(),
        max_build_level = permitted.max_build_level(),
        not_after = %certificate.not_after(),
        logged_at,
        "certificate issued"
    );
}
