//! A timestamp authority (RFC 3161): it signs that a digest existed at a time, and never a time earlier than its last.
//!
//! Rekor v2 puts no time into its entries, so its clients bring one from here. The authority has a key and a chain of
//! its own; which signature it stamps it cannot know, and of the caller it learns nothing.
//!
//! | part | module |
//! |---|---|
//! | HTTP | [`api`] |
//! | what may be asked | [`request`] |
//! | what time it is | [`steady`] |
//! | the signed answer | [`token`] |
//! | a new key and chain | [`ceremony`] |
//!
//! Invariant: a [`TimestampAuthority`] that exists has made one timestamp that the verifier of `chancery-tlog`, which
//! shares no code with the encoder here, accepted against its chain. References: RFC 3161, RFC 5816, sigstore
//! timestamp-authority `pkg/x509`, `pkg/api`.

use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::certificate::{Certificate, CertificateError, oid};
use chancery_tlog::chain::{self, ChainError, Purpose};
use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyKind, SignError, Signer};
use chancery_tlog::serve::block;
use chancery_tlog::timestamp::{Expected, verify_response};
use chancery_tlog::trust::{TrustedAuthority, Validity};

pub mod api;
pub mod ceremony;
pub mod request;
pub mod steady;
#[cfg(test)]
mod tests;
pub mod token;

pub use api::router;
pub use ceremony::{TimestampCeremony, make_timestamp_authority, make_timestamp_certificate};
pub use request::{Request, RequestError};
pub use steady::{ClockStepped, SteadyClock};

use crate::meters::TimestampMeters;
use crate::profile;
use token::{Seal, Statement, TokenError};

/// The policy of timestamps that ask for none: Sigstore's, under which its clients know what to expect.
pub const DEFAULT_POLICY: &str = "1.3.6.1.4.1.57264.2";
/// How far `genTime` may be from the truth. It has whole seconds, so it cannot promise more.
pub const ACCURACY: Duration = Duration::from_secs(1);

/// What an authority offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampSettings {
    /// Policy of timestamps whose request names none, dotted.
    pub policy: String,
    /// Policies that a request may name besides, dotted.
    pub accepted_policies: Vec<String>,
    /// Whether a request for certificates is answered with the whole chain. Otherwise with the leaf alone, which is
    /// what every Sigstore client expects; they have the chain from the trusted root.
    pub include_chain: bool,
    /// A time that has certainly passed, such as that of a log's newest head: nothing earlier is ever signed. It
    /// catches a clock that stepped back while the server was down.
    pub not_before: Timestamp,
}

impl Default for TimestampSettings {
    fn default() -> Self {
        Self {
            policy: DEFAULT_POLICY.to_owned(),
            accepted_policies: Vec::new(),
            include_chain: false,
            not_before: Timestamp::default(),
        }
    }
}

/// Why chain, key and settings make no authority. All are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TimestampAuthorityError {
    /// The PEM.
    #[error("the timestamp chain cannot be read: {0}")]
    Chain(#[from] CertificateError),
    /// It does not validate.
    #[error("the timestamp chain does not validate: {0}; it must start with the leaf and end with the root")]
    Path(#[from] ChainError),
    /// Its certificates are never valid together.
    #[error("the timestamp chain has no moment at which all its certificates are valid")]
    NeverValid,
    /// It is not what clients accept.
    #[error("the timestamp chain {0}")]
    Profile(&'static str),
    /// Key and certificate differ.
    #[error("the timestamp key does not belong to the first certificate of the chain")]
    KeyMismatch,
    /// A kind of key that some client cannot verify.
    #[error("the timestamp key must be ECDSA P-256 or P-384, not {0}")]
    KeyKind(KeyKind),
    /// A policy that is none.
    #[error("the timestamp policy `{0}` is not a dotted object identifier")]
    Policy(String),
    /// The trial.
    #[error("the timestamp authority cannot make a timestamp: {0}")]
    Trial(String),
}

/// Why there is no timestamp.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The time is not known.
    #[error(transparent)]
    Clock(#[from] ClockStepped),
    /// The chain is not valid now.
    #[error("the timestamp chain is not valid at {0}; renew it")]
    Expired(Timestamp),
    /// The key's home.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Randomness or encoding.
    #[error("the timestamp cannot be made: {0}")]
    Encode(String),
}

impl From<TokenError> for GrantError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Sign(error) => Self::Sign(error),
            TokenError::Encode(error) => Self::Encode(error.to_string()),
        }
    }
}

/// Who signs timestamps.
pub struct TimestampAuthority {
    chain: Vec<Certificate>,
    signer: Arc<dyn Signer>,
    clock: SteadyClock,
    seal: Seal,
    policies: request::Policies,
    meters: TimestampMeters,
}

impl TimestampAuthority {
    /// Checks chain (leaf first, root last), signer and settings, and makes a timestamp for trial. A chain that is not
    /// valid now is no error: [`TimestampAuthority::check`] reports it, and requests are refused.
    pub fn load(
        chain_pem: &str,
        signer: Arc<dyn Signer>,
        settings: &TimestampSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TimestampAuthorityError> {
        let chain = Certificate::chain_from_pem(chain_pem)?;
        let moment =
            chain::nearest_validity(&chain, clock.now()).ok_or(TimestampAuthorityError::NeverValid)?;
        check_chain(&chain, moment)?;
        let kind = signer.public_key().kind();
        if !matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384) {
            return Err(TimestampAuthorityError::KeyKind(kind));
        }
        if chain.first().is_none_or(|leaf| leaf.public_key() != signer.public_key()) {
            return Err(TimestampAuthorityError::KeyMismatch);
        }
        let policies = request::Policies::new(&settings.policy, &settings.accepted_policies)
            .map_err(TimestampAuthorityError::Policy)?;
        let seal = Seal::new(&chain, settings.include_chain)
            .map_err(|error| TimestampAuthorityError::Trial(error.to_string()))?;
        let clock = SteadyClock::new(clock, settings.not_before);
        let authority = Self { chain, signer, clock, seal, policies, meters: TimestampMeters::new() };
        // A clock that is behind a log of this instance is behind the log too, and that does not start either.
        authority.clock.peek().map_err(|error| TimestampAuthorityError::Trial(error.to_string()))?;
        authority.trial(moment).map_err(TimestampAuthorityError::Trial)?;
        Ok(authority)
    }

    /// The chain, leaf first, root last.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    pub(crate) fn meters(&self) -> &TimestampMeters {
        &self.meters
    }

    /// Whether a timestamp could be made now, as far as that is the clock's and the chain's.
    pub fn check(&self) -> Result<(), GrantError> {
        self.check_validity(self.clock.peek()?)
    }

    /// Answers one request with a DER TimeStampResp whose status is granted, in a blocking thread if the key's home
    /// needs time.
    pub async fn grant(self: &Arc<Self>, request: Request) -> Result<Vec<u8>, GrantError> {
        if self.signer.may_block() {
            let this = Arc::clone(self);
            let task = block(move || this.grant_blocking(&request));
            return task.await.map_err(|error| GrantError::Encode(error.to_string()))?;
        }
        self.grant_blocking(&request)
    }

    fn grant_blocking(&self, request: &Request) -> Result<Vec<u8>, GrantError> {
        let time = self.clock.now()?;
        self.check_validity(time)?;
        self.stamp(request, time)
    }

    fn stamp(&self, request: &Request, time: Timestamp) -> Result<Vec<u8>, GrantError> {
        let policy = self.policies.choose(request)?;
        // Random, and so never the same: no counter that a restored backup or a second replica would repeat.
        let serial = profile::serial().map_err(|error| GrantError::Encode(error.to_string()))?;
        let statement = Statement { request, policy, serial: &serial, time };
        Ok(self.seal.response(&statement, self.signer.as_ref())?)
    }

    fn check_validity(&self, time: Timestamp) -> Result<(), GrantError> {
        let valid = self.chain.iter().all(|certificate| certificate.is_valid_at(time));
        if valid { Ok(()) } else { Err(GrantError::Expired(time)) }
    }

    /// Stamps an empty message, with a time at which the chain is valid, and verifies that as a client would.
    fn trial(&self, time: Timestamp) -> Result<(), String> {
        let request = Request::trial().map_err(|error| error.to_string())?;
        let response = self.stamp(&request, time).map_err(|error| error.to_string())?;
        let Some((anchor, intermediates)) = self.chain.split_last() else { return Ok(()) };
        let trusted = TrustedAuthority {
            intermediates: intermediates.to_vec(),
            anchor: anchor.clone(),
            validity: Validity { start: Timestamp::default(), end: None },
            url: String::new(),
        };
        let verdict = verify_response(&response, request::TRIAL_MESSAGE, &[trusted], Expected::default());
        verdict.map(drop).map_err(|error| error.to_string())
    }
}

/// The profile of timestamp-authority `pkg/x509`: what its own clients and sigstore-go's insist on.
fn check_chain(chain: &[Certificate], now: Timestamp) -> Result<(), TimestampAuthorityError> {
    let [leaf, intermediates @ .., root] = chain else {
        return Err(TimestampAuthorityError::Profile("must have at least a leaf and a root"));
    };
    let roots = std::slice::from_ref(root);
    let path = chain::verify(leaf, intermediates, roots, now, Purpose::TimeStamping)?;
    if path != chain {
        return Err(TimestampAuthorityError::Profile(
            "must be one path in order: the leaf, who issued it, and so on to the root",
        ));
    }
    let states_usage = |certificate: &Certificate| {
        certificate.extended_key_usages().is_some_and(|usages| usages.iter().any(|u| u == oid::TIME_STAMPING))
    };
    if !intermediates.iter().all(states_usage) {
        return Err(TimestampAuthorityError::Profile(
            "has an intermediate without the extended key usage timestamping",
        ));
    }
    Ok(())
}
