//! What an instance trusts, one member a line: the authorities and logs of its trusted root, with their ends.

use std::time::Duration;

use chancery::instance::{Dialect, Instance};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::trust::{TrustedAuthority, TrustedLog, Validity};
use serde::Serialize;

/// How long before its end a certificate is spoken of.
const SOON: Duration = Duration::from_hours(90 * 24);

/// An authority or a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member {
    /// What it is.
    #[serde(skip)]
    kind: &'static str,
    /// Its address, or the name of its anchor.
    name: String,
    /// Names the key or the chain among others of the same name: the start of a SHA-256, hex.
    key: String,
    /// API of an attestation log.
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<Dialect>,
    /// Since when it is trusted, RFC 3339.
    #[serde(serialize_with = "rfc3339")]
    start: Timestamp,
    /// Until when, if it has ended or will.
    #[serde(serialize_with = "optional_rfc3339")]
    end: Option<Timestamp>,
    /// End of the certificate of its chain that ends first.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_rfc3339")]
    certificate_ends: Option<Timestamp>,
}

/// The members of a trusted root by their kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Members {
    certificate_authorities: Vec<Member>,
    certificate_logs: Vec<Member>,
    transparency_logs: Vec<Member>,
    timestamp_authorities: Vec<Member>,
}

impl Members {
    /// Those of `instance`.
    pub(super) fn of(instance: &Instance) -> Self {
        let trust = &instance.trust;
        let authorities = |kind| move |authority| Member::authority(kind, authority);
        Self {
            certificate_authorities: trust.authorities.iter().map(authorities("authority")).collect(),
            certificate_logs: trust
                .ct_logs
                .iter()
                .map(|log| Member::log("certificate log", log, None))
                .collect(),
            transparency_logs: trust
                .logs
                .iter()
                .map(|log| Member::log("transparency log", log, Some(Dialect::of(log))))
                .collect(),
            timestamp_authorities: trust
                .timestamp_authorities
                .iter()
                .map(authorities("timestamps by"))
                .collect(),
        }
    }

    /// All of them, in the order in which a signature meets them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        let logs = self.certificate_logs.iter().chain(&self.transparency_logs);
        self.certificate_authorities.iter().chain(logs).chain(&self.timestamp_authorities)
    }

    /// What is different in `later`, a line each.
    pub(super) fn changes(&self, later: &Self, now: Timestamp) -> Vec<String> {
        let known = |member: &Member| self.iter().find(|other| other.is_same(member));
        let news = later.iter().filter_map(|member| match known(member) {
            None => Some(format!("new      {}", member.line(now))),
            Some(before) if before != member => Some(format!("changed  {}", member.line(now))),
            Some(_) => None,
        });
        let gone = self.iter().filter(|member| !later.iter().any(|other| other.is_same(member)));
        news.chain(gone.map(|member| format!("removed  {}", member.label()))).collect()
    }
}

impl Member {
    fn log(kind: &'static str, log: &TrustedLog, dialect: Option<Dialect>) -> Self {
        let key = hex::encode(&log.key.fingerprint()[..4]);
        let Validity { start, end } = log.validity;
        Self { kind, name: log.url.clone(), key, dialect, start, end, certificate_ends: None }
    }

    fn authority(kind: &'static str, authority: &TrustedAuthority) -> Self {
        let chain = || authority.intermediates.iter().chain([&authority.anchor]);
        let first = authority.intermediates.first().unwrap_or(&authority.anchor);
        let Validity { start, end } = authority.validity;
        Self {
            kind,
            name: authority.anchor.subject(),
            key: hex::encode(&first.public_key().fingerprint()[..4]),
            dialect: None,
            start,
            end,
            certificate_ends: chain().map(chancery_tlog::certificate::Certificate::not_after).min(),
        }
    }

    /// Whether both are one thing, whose period may have changed.
    fn is_same(&self, other: &Self) -> bool {
        (self.kind, &self.name, &self.key) == (other.kind, &other.name, &other.key)
    }

    fn label(&self) -> String {
        let dialect = self.dialect.map(|dialect| format!(" ({dialect})")).unwrap_or_default();
        format!("{:<17}  {}{dialect}, key {}", self.kind, self.name, self.key)
    }

    /// The member as a line, with what is to be known of its period at `now`.
    pub(super) fn line(&self, now: Timestamp) -> String {
        format!("{}: {}", self.label(), self.state(now))
    }

    fn state(&self, now: Timestamp) -> String {
        let certificate = self.certificate_ends.filter(|_| self.end.is_none_or(|end| end > now));
        match (self.end, certificate) {
            _ if now < self.start => format!("from {}", self.start),
            (Some(end), _) if end <= now => format!("ended {end}"),
            (_, Some(certificate)) if certificate <= now => format!("EXPIRED {certificate}"),
            (Some(end), _) => format!("active until {end}"),
            (None, Some(certificate)) if certificate <= now.plus(SOON) => {
                let days = certificate.seconds().saturating_sub(now.seconds()) / 86_400;
                format!("active, EXPIRES {certificate}, in {days} days")
            }
            (None, Some(certificate)) => format!("active, expires {certificate}"),
            (None, None) => "active".to_owned(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the member")]
fn rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339())
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the member")]
fn optional_rfc3339<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::to_rfc3339).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn member(end: Option<u64>, certificate_ends: Option<u64>) -> Member {
        let at = Timestamp::from_seconds;
        Member {
            kind: "authority",
            name: "CN=ca".to_owned(),
            key: "00000000".to_owned(),
            dialect: None,
            start: at(100 * DAY),
            end: end.map(at),
            certificate_ends: certificate_ends.map(at),
        }
    }

    #[test]
    fn states_name_what_comes_next() {
        for (end, certificate_ends, now, state) in [
            (None, None, 99 * DAY, "from 1970-04-11T00:00:00Z"),
            (None, None, 100 * DAY, "active"),
            (Some(200 * DAY), None, 150 * DAY, "active until 1970-07-20T00:00:00Z"),
            (Some(200 * DAY), Some(300 * DAY), 200 * DAY, "ended 1970-07-20T00:00:00Z"),
            (Some(200 * DAY), Some(150 * DAY), 250 * DAY, "ended 1970-07-20T00:00:00Z"),
            (None, Some(300 * DAY), 150 * DAY, "active, expires 1970-10-28T00:00:00Z"),
            (None, Some(300 * DAY), 211 * DAY, "active, EXPIRES 1970-10-28T00:00:00Z, in 89 days"),
            (None, Some(300 * DAY), 300 * DAY, "EXPIRED 1970-10-28T00:00:00Z"),
        ] {
            assert_eq!(member(end, certificate_ends).state(Timestamp::from_seconds(now)), state, "at {now}");
        }
    }

    #[test]
    fn changes_are_what_came_went_and_ended() {
        let of = |members: Vec<Member>| Members {
            certificate_authorities: members,
            certificate_logs: Vec::new(),
            transparency_logs: Vec::new(),
            timestamp_authorities: Vec::new(),
        };
        let now = Timestamp::from_seconds(150 * DAY);
        let other = Member { key: "11111111".to_owned(), ..member(None, None) };
        let before = of(vec![member(None, None)]);
        assert_eq!(before.changes(&before, now), [""; 0]);
        let later = of(vec![member(Some(120 * DAY), None), other.clone()]);
        assert_eq!(
            before.changes(&later, now),
            [
                "changed  authority          CN=ca, key 00000000: ended 1970-05-01T00:00:00Z",
                "new      authority          CN=ca, key 11111111: active",
            ]
        );
        assert_eq!(later.changes(&of(vec![other]), now), ["removed  authority          CN=ca, key 00000000"]);
    }
}
