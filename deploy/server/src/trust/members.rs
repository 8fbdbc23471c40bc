//! The identity of a member of a trusted root, whatever its spelling: decoded bytes are compared, never base64.
//!
//! A log is its key under a log id, an authority its certificates. Trust is withdrawn by the key that signs: a chain that
//! was certified anew for a stolen key is as little to be trusted as the old one.

use std::collections::HashSet;

use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::PublicKey;
use chancery_tlog::protojson::Base64;
use chancery_tlog::trust::{Authority, LogInstance, TimeRange, TrustedRoot};

/// An element of one of the lists of a trusted root.
pub(super) trait Member: Clone {
    /// Bytes that tell it from other members.
    fn id(&self) -> Vec<Vec<u8>>;
    /// Bytes of that whose end is the end of the member: a log's key, an authority's chain.
    fn ends_with(&self) -> Vec<Vec<u8>>;
    /// Its signing key.
    fn key(&self) -> Vec<u8>;
    /// The period of trust in it.
    fn period(&self) -> &TimeRange;
    /// The same, to be changed.
    fn period_mut(&mut self) -> &mut TimeRange;
    /// The name that operators know it by.
    fn name(&self) -> String;

    /// Start of trust; the epoch if there is none, as protobuf has it.
    fn start(&self) -> Timestamp {
        Timestamp::parse_rfc3339(&self.period().start).unwrap_or_default()
    }

    /// End of trust.
    fn end(&self) -> Option<Timestamp> {
        self.period().end.as_deref().and_then(Timestamp::parse_rfc3339)
    }
}

impl Member for LogInstance {
    fn id(&self) -> Vec<Vec<u8>> {
        vec![self.key(), decoded(&self.log_id.key_id)]
    }

    fn ends_with(&self) -> Vec<Vec<u8>> {
        vec![self.key()]
    }

    fn key(&self) -> Vec<u8> {
        // The reader of verifiers knows the forms of keys; what it refuses is compared as bytes.
        let alone = TrustedRoot { tlogs: vec![self.clone()], ..TrustedRoot::new() };
        let keyring = alone.keyring().ok();
        let key = keyring.as_ref().and_then(|keyring| keyring.logs.iter().next());
        key.map_or_else(|| decoded(&self.public_key.raw_bytes), |log| log.key.spki_der().to_vec())
    }

    fn period(&self) -> &TimeRange {
        &self.public_key.valid_for
    }

    fn period_mut(&mut self) -> &mut TimeRange {
        &mut self.public_key.valid_for
    }

    fn name(&self) -> String {
        self.base_url.clone()
    }
}

impl Member for Authority {
    fn id(&self) -> Vec<Vec<u8>> {
        self.cert_chain.certificates.iter().map(|certificate| decoded(&certificate.raw_bytes)).collect()
    }

    fn ends_with(&self) -> Vec<Vec<u8>> {
        self.id()
    }

    fn key(&self) -> Vec<u8> {
        let Some(first) = self.cert_chain.certificates.first() else { return Vec::new() };
        let der = decoded(&first.raw_bytes);
        Certificate::from_der(&der).map_or(der, |first| first.public_key().spki_der().to_vec())
    }

    fn period(&self) -> &TimeRange {
        &self.valid_for
    }

    fn period_mut(&mut self) -> &mut TimeRange {
        &mut self.valid_for
    }

    fn name(&self) -> String {
        format!("\"{}\" at {}", self.subject.common_name, self.uri)
    }
}

fn decoded(text: &str) -> Vec<u8> {
    Base64::decode(text).unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Keys that sign, of logs and authorities alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys(HashSet<Vec<u8>>);

impl Keys {
    /// Those of all members.
    pub(crate) fn of(root: &TrustedRoot) -> Self {
        let authorities = root.certificate_authorities.iter().chain(&root.timestamp_authorities);
        let logs = root.tlogs.iter().chain(&root.ctlogs);
        Self(authorities.map(Member::key).chain(logs.map(Member::key)).collect())
    }

    /// Those of the members that have an end.
    pub(crate) fn ended(root: &TrustedRoot) -> Self {
        Self::of(&retaining(root.clone(), |period| period.end.is_some()))
    }

    /// Adds a key.
    pub(crate) fn insert(&mut self, key: &PublicKey) {
        self.0.insert(key.spki_der().to_vec());
    }

    /// Whether `key` is one of them.
    pub(crate) fn contains(&self, key: &PublicKey) -> bool {
        self.0.contains(key.spki_der())
    }

    /// Whether that of `member` is.
    pub(super) fn has(&self, member: &impl Member) -> bool {
        !self.0.is_empty() && self.0.contains(&member.key())
    }

    /// Members of `root` that sign with one of them.
    pub(crate) fn named_in(&self, root: &TrustedRoot) -> Vec<String> {
        let mut named = Vec::new();
        for (kind, list) in [
            ("certificate authority", &root.certificate_authorities),
            ("timestamp authority", &root.timestamp_authorities),
        ] {
            named.extend(
                list.iter().filter(|one| self.has(*one)).map(|one| format!("the {kind} {}", one.name())),
            );
        }
        for (kind, list) in [("issuance log", &root.ctlogs), ("attestation log", &root.tlogs)] {
            named.extend(
                list.iter().filter(|one| self.has(*one)).map(|one| format!("the {kind} {}", one.name())),
            );
        }
        named
    }
}

/// The members of an instance's own `root` that sign now: those without an end.
pub(crate) fn in_service(root: TrustedRoot) -> TrustedRoot {
    retaining(root, |period| period.end.is_none())
}

fn retaining(mut root: TrustedRoot, keep: impl Fn(&TimeRange) -> bool) -> TrustedRoot {
    root.certificate_authorities.retain(|one| keep(one.period()));
    root.timestamp_authorities.retain(|one| keep(one.period()));
    root.ctlogs.retain(|one| keep(one.period()));
    root.tlogs.retain(|one| keep(one.period()));
    root
}
