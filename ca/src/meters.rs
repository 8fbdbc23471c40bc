//! What the CA and the timestamp authority measure of themselves. Handles are made once, before the first request.

use std::time::Instant;

use chancery_tlog::serve::metrics::{Counters, LATENCY_BUCKETS, Metric, STEP_BUCKETS};
use metrics::{Counter, Histogram, counter, histogram};

use crate::config::{Issuer, IssuerConfig, IssuerKind};
use crate::issuance::IssueError;
use crate::policy::{self, ClaimPolicies, ClaimPolicy};

/// What this crate measures. The names without `chancery_` are Fulcio's.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "chancery_ca_requests_total",
        "Requests for a certificate by kind of issuer and outcome; the issuer of a token that is not believed is unknown",
    ),
    Metric::counter("chancery_ca_refusals_total", "Requests for a certificate that were refused, by reason"),
    Metric::counter(
        "chancery_ca_policy_decisions_total",
        "Verified tokens by issuer, rule of its claim policy, and outcome; refusals by the nearest rule",
    ),
    Metric::histogram(
        "chancery_ca_issuance_seconds",
        LATENCY_BUCKETS,
        "Issuing one certificate, from the token to the self-check, the issuance log included",
    ),
    Metric::counter("fulcio_new_certs", "Certificates issued"),
    Metric::counter("http_requests_total", "Requests to the CA by method and status code"),
    Metric::histogram("fulcio_api_latency", LATENCY_BUCKETS, "Duration in seconds of requests to the CA"),
    Metric::counter("chancery_timestamp_requests_total", "Requests for a timestamp by outcome"),
    Metric::histogram("chancery_timestamp_seconds", STEP_BUCKETS, "Making one timestamp"),
];

/// Where a token comes from if nobody knows.
const UNKNOWN: &str = "unknown";

/// The meters of one CA.
pub(crate) struct CaMeters {
    /// By kind of issuer: issued, refused.
    requests: Vec<(&'static str, [Counter; 2])>,
    refusals: Counters,
    decisions: Vec<RuleMeters>,
    seconds: Histogram,
    fulcios: Counter,
}

/// The meters of one rule. Issuers and rules are as configured, so there are as many as the operator wrote.
struct RuleMeters {
    issuer: String,
    rule: String,
    permitted: Counter,
    refused: Counter,
}

impl RuleMeters {
    fn all(policy: &ClaimPolicy) -> impl Iterator<Item = Self> {
        policy.rules().map(|rule| {
            let decision = |outcome: &'static str| {
                let labels = [("issuer", policy.issuer().to_owned()), ("rule", rule.to_owned())];
                let [issuer, rule] = labels.map(|(name, value)| metrics::Label::new(name, value));
                let outcome = metrics::Label::from_static_parts("outcome", outcome);
                counter!("chancery_ca_policy_decisions_total", vec![issuer, rule, outcome])
            };
            Self {
                issuer: policy.issuer().to_owned(),
                rule: rule.to_owned(),
                permitted: decision("permitted"),
                refused: decision("refused"),
            }
        })
    }
}

impl CaMeters {
    pub(crate) fn new(issuers: &IssuerConfig, policies: &ClaimPolicies) -> Self {
        let mut kinds: Vec<&'static str> = issuers.issuers().map(|issuer| issuer.kind.name()).collect();
        kinds.push(UNKNOWN);
        kinds.sort_unstable();
        kinds.dedup();
        let request = |kind: &'static str, outcome: &'static str| counter!("chancery_ca_requests_total", "issuer" => kind, "outcome" => outcome);
        let both = |kind| (kind, [request(kind, "issued"), request(kind, "refused")]);
        Self {
            requests: kinds.into_iter().map(both).collect(),
            refusals: Counters::new("chancery_ca_refusals_total", "reason", &IssueError::REASONS),
            decisions: policies.policies().flat_map(RuleMeters::all).collect(),
            seconds: histogram!("chancery_ca_issuance_seconds"),
            fulcios: counter!("fulcio_new_certs"),
        }
    }

    pub(crate) fn issued(&self, issuer: Option<&IssuerKind>, started: Instant) {
        self.request(issuer, 0);
        self.seconds.record(started.elapsed());
        self.fulcios.increment(1);
    }

    pub(crate) fn refused(&self, issuer: Option<&IssuerKind>, error: &IssueError) {
        self.request(issuer, 1);
        self.refusals.increment(error.reason());
    }

    /// Counts a token that a rule permits; an issuer without rules has nothing to count.
    pub(crate) fn permitted(&self, issuer: &Issuer, rule: Option<&str>) {
        if let Some(meters) = rule.and_then(|rule| self.decision(issuer, rule)) {
            meters.permitted.increment(1);
        }
    }

    /// Counts a token that no rule permits, for the nearest one.
    pub(crate) fn not_permitted(&self, issuer: &Issuer, nearest: &str) {
        if let Some(meters) = self.decision(issuer, nearest) {
            meters.refused.increment(1);
        }
    }

    fn decision(&self, issuer: &Issuer, rule: &str) -> Option<&RuleMeters> {
        let issuer = policy::location(issuer);
        self.decisions.iter().find(|meters| meters.rule == rule && meters.issuer == issuer)
    }

    fn request(&self, issuer: Option<&IssuerKind>, outcome: usize) {
        let kind = issuer.map_or(UNKNOWN, IssuerKind::name);
        let counters = self.requests.iter().find(|(known, _)| *known == kind);
        if let Some(counter) = counters.and_then(|(_, outcomes)| outcomes.get(outcome)) {
            counter.increment(1);
        }
    }
}

/// What becomes of a request for a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamped {
    Granted,
    /// The request is no good.
    Refused,
    /// The clock cannot be believed at present.
    Clock,
    /// The chain has ended, or the signer failed.
    Failed,
}

/// The meters of one timestamp authority.
pub(crate) struct TimestampMeters {
    outcomes: Counters,
    seconds: Histogram,
}

impl TimestampMeters {
    pub(crate) fn new() -> Self {
        let outcomes = ["granted", "refused", "clock", "failed"];
        Self {
            outcomes: Counters::new("chancery_timestamp_requests_total", "outcome", &outcomes),
            seconds: histogram!("chancery_timestamp_seconds"),
        }
    }

    pub(crate) fn answered(&self, outcome: Stamped, started: Instant) {
        self.outcomes.increment(match outcome {
            Stamped::Granted => "granted",
            Stamped::Refused => "refused",
            Stamped::Clock => "clock",
            Stamped::Failed => "failed",
        });
        if outcome == Stamped::Granted {
            self.seconds.record(started.elapsed());
        }
    }
}
