//! What an instance publishes about itself: the trust files that clients pin, rendered from its configuration.
//!
//! Everything here is public. The files are derived from keys, chains and configuration at every start, so what is
//! served cannot disagree with what signs. Formats: protobuf-specs `sigstore_trustroot.proto`.
//!
//! Invariant: an [`Identity`] holds everything that was ever trusted, each with its start and end, and not only what signs
//! now; [`lost`] finds what would be missing. Signatures are judged at their own time, so they outlive the chain or key
//! that made them, but only as long as it is named. [`trusted_root`] is the one function that composes all of it.

mod hosts;
mod imported;
mod lost;
mod members;
mod merge;

use std::borrow::Cow;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::PublicKey;
use chancery_tlog::trust::{
    Authority, ClientTrustConfig, LogId, LogInstance, Service, SigningConfig, TrustedRoot,
};

pub(crate) use self::hosts::{Conflict, Merged};
pub(crate) use self::imported::canonical;
pub(crate) use self::lost::{Stated, lost};
pub(crate) use self::members::{Keys, in_service};
use crate::config::BaseUrl;

/// Where the files are served.
pub(crate) const PATH: &str = "/.well-known/chancery";
/// The one file that holds everything a client needs.
pub(crate) const CLIENT_TRUST_CONFIG: &str = "client_trust_config.json";

/// What the names of keys and chains begin with that sign no more: `past.DIALECT.NAME.pub`, `past.ca.NAME.pem`,
/// `past.tsa.NAME.pem`, for clients that know no trusted root.
pub(crate) const PAST: &str = "past.";

/// Clients ask seldom, and a wrong answer of a cache would live long: five minutes.
const CACHE: &str = "public, max-age=300";

/// What there is to publish.
#[derive(Clone)]
pub(crate) struct Identity<'i> {
    /// The address that clients use.
    pub(crate) url: &'i BaseUrl,
    /// The CA's chain, issuing certificate first.
    pub(crate) ca: Option<ChainIdentity<'i>>,
    /// Chains of the CA that do not issue now: the next one, and those of the past, oldest first.
    pub(crate) other_ca: Vec<ChainIdentity<'i>>,
    /// Addresses of the issuers whose tokens the CA honours.
    pub(crate) issuers: Vec<&'i str>,
    /// OpenID providers at which people log in to get a token that the CA honours.
    pub(crate) logins: Vec<&'i str>,
    /// The issuance log that the CA writes to.
    pub(crate) ct: Option<LogIdentity<'i>>,
    /// The Rekor v1 log that takes entries.
    pub(crate) rekor_v1: Option<LogIdentity<'i>>,
    /// The Rekor v2 log that takes entries.
    pub(crate) rekor_v2: Option<LogIdentity<'i>>,
    /// Other issuance logs: one that only other CAs write to, and those that have ended, oldest first.
    pub(crate) past_ct: Vec<LogIdentity<'i>>,
    /// Attestation logs that have ended, oldest first.
    pub(crate) past_rekor: Vec<LogIdentity<'i>>,
    /// The timestamp authority's chain, its own certificate first.
    pub(crate) timestamp: Option<ChainIdentity<'i>>,
    /// The same as `other_ca`.
    pub(crate) other_timestamp: Vec<ChainIdentity<'i>>,
    /// What instances before this one were trusted for.
    pub(crate) imported: Vec<&'i TrustedRoot>,
    /// What other hosts of the same instance publish.
    pub(crate) merged: &'i [Merged],
    /// Keys that are trusted no more, whatever names them.
    pub(crate) withdrawn: Keys,
}

impl Identity<'_> {
    /// Leaves out keys and chains of the past that are withdrawn: they have files of their own beside the trusted root.
    #[must_use]
    pub(crate) fn without_withdrawn(mut self) -> Self {
        let withdrawn = &self.withdrawn;
        for chains in [&mut self.other_ca, &mut self.other_timestamp] {
            chains.retain(|other| {
                other.chain.first().is_none_or(|first| !withdrawn.contains(first.public_key()))
            });
        }
        for logs in [&mut self.past_ct, &mut self.past_rekor] {
            logs.retain(|log| !withdrawn.contains(log.key));
        }
        self
    }

    /// Start of the CA's service: that of its oldest chain. A signer whose clock is behind by a little finds it in service
    /// after a chain was replaced, too.
    fn ca_since(&self) -> Timestamp {
        oldest(self.ca.as_ref(), &self.other_ca)
    }

    /// The same of the timestamp authority.
    fn timestamp_since(&self) -> Timestamp {
        oldest(self.timestamp.as_ref(), &self.other_timestamp)
    }
}

fn oldest(now: Option<&ChainIdentity<'_>>, others: &[ChainIdentity<'_>]) -> Timestamp {
    now.into_iter().chain(others).map(|chain| chain.since).min().unwrap_or_default()
}

/// A chain to publish.
#[derive(Clone, Copy)]
pub(crate) struct ChainIdentity<'i> {
    /// The certificates, in the order of their role.
    pub(crate) chain: &'i [Certificate],
    /// Since when it is trusted.
    pub(crate) since: Timestamp,
    /// Until when, if it signs no more.
    pub(crate) until: Option<Timestamp>,
    /// Its name, if it signs no more.
    pub(crate) past: Option<&'i str>,
}

/// A log to publish.
#[derive(Clone)]
pub(crate) struct LogIdentity<'i> {
    /// Address under which the log is found.
    pub(crate) base_url: String,
    /// The dialect's key.
    pub(crate) key: &'i PublicKey,
    /// What entries and checkpoints call the key.
    pub(crate) log_id: [u8; 32],
    /// Where signers go, if that is not the instance's own address.
    pub(crate) service_url: Option<&'i str>,
    /// Since when it is trusted.
    pub(crate) since: Timestamp,
    /// Until when, if it has ended.
    pub(crate) until: Option<Timestamp>,
    /// Its dialect and name, if it has ended.
    pub(crate) past: Option<(&'i str, &'i str)>,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// File name.
    pub(crate) name: Cow<'static, str>,
    /// Media type.
    pub(crate) media_type: &'static str,
    /// Contents.
    pub(crate) text: String,
}

/// All files of an instance. Those of roles that it does not have are left out.
pub(crate) fn documents(identity: &Identity<'_>) -> Vec<Document> {
    let (trusted_root, signing_config) = (trusted_root(identity), signing_config(identity));
    let json =
        |name: &'static str, text| Document { name: name.into(), media_type: "application/json", text };
    let mut documents = vec![
        json("trusted_root.json", trusted_root.to_json()),
        json("signing_config.json", signing_config.to_json()),
        json(CLIENT_TRUST_CONFIG, ClientTrustConfig::new(trusted_root, signing_config).to_json()),
    ];
    for (name, chain) in [("ca-chain.pem", &identity.ca), ("tsa-chain.pem", &identity.timestamp)] {
        documents.extend(chain.as_ref().map(|chain| pem_chain(name.into(), chain)));
    }
    for (role, chains) in [("ca", &identity.other_ca), ("tsa", &identity.other_timestamp)] {
        for chain in chains {
            let Some(name) = chain.past else { continue };
            documents.push(pem_chain(format!("{PAST}{role}.{name}.pem").into(), chain));
        }
    }
    let logs =
        [("ct.pub", &identity.ct), ("rekor.pub", &identity.rekor_v1), ("rekor-v2.pub", &identity.rekor_v2)];
    for (name, log) in logs {
        documents.extend(log.as_ref().map(|log| public_key(name.into(), log)));
    }
    for log in identity.past_ct.iter().chain(&identity.past_rekor) {
        let Some((dialect, name)) = log.past else { continue };
        documents.push(public_key(format!("{PAST}{dialect}.{name}.pub").into(), log));
    }
    for document in identity.merged.iter().flat_map(Merged::documents) {
        if documents.iter().all(|own| own.name != document.name) {
            documents.push(document);
        }
    }
    documents
}

fn pem_chain(name: Cow<'static, str>, chain: &ChainIdentity<'_>) -> Document {
    let text = chain.chain.iter().map(Certificate::to_pem).collect();
    Document { name, media_type: "application/pem-certificate-chain", text }
}

fn public_key(name: Cow<'static, str>, log: &LogIdentity<'_>) -> Document {
    Document { name, media_type: "application/x-pem-file", text: log.key.to_pem() }
}

/// Serves the files under [`PATH`], but for the keys of the past: those are in the trusted root.
pub(crate) fn router(documents: Vec<Document>) -> Router {
    documents.into_iter().filter(|document| !document.name.starts_with(PAST)).fold(
        Router::new(),
        |router, document| {
            let path = format!("{PATH}/{}", document.name);
            let answer = move || {
                let text = document.text.clone();
                async move { ([(CONTENT_TYPE, document.media_type), (CACHE_CONTROL, CACHE)], text) }
            };
            router.route(&path, get(answer))
        },
    )
}

/// Everything that is trusted, and nothing that is withdrawn: the rules are those of [`merge`].
///
/// No `operator` anywhere in it: cosign 2.5 refuses a trusted root with that newer member.
pub(crate) fn trusted_root(identity: &Identity<'_>) -> TrustedRoot {
    let tsa_url = timestamp_url(identity.url);
    let mut own = TrustedRoot {
        tlogs: identity
            .rekor_v2
            .iter()
            .chain(&identity.rekor_v1)
            .chain(&identity.past_rekor)
            .map(log_instance)
            .collect(),
        certificate_authorities: authorities(identity.ca.as_ref(), &identity.other_ca, identity.url.as_str()),
        ctlogs: identity.ct.iter().chain(&identity.past_ct).map(log_instance).collect(),
        timestamp_authorities: authorities(identity.timestamp.as_ref(), &identity.other_timestamp, &tsa_url),
        ..TrustedRoot::new()
    };
    identity.merged.iter().for_each(|merged| merged.add_trust(&mut own));
    merge::merge(own, &identity.imported, &identity.withdrawn)
}

/// What keeps the trust files of the instance's hosts from going together.
pub(crate) fn conflict(identity: &Identity<'_>) -> Option<Conflict> {
    let alone = Identity { merged: &[], imported: Vec::new(), ..identity.clone() };
    let (mut root, mut signing) = (trusted_root(&alone), signing_config(&alone));
    for merged in identity.merged {
        if let Some(conflict) = hosts::conflict(&root, &signing, merged) {
            return Some(conflict);
        }
        merged.add_trust(&mut root);
        merged.add_services(&mut signing);
    }
    None
}

/// The one in service first.
fn authorities(now: Option<&ChainIdentity<'_>>, others: &[ChainIdentity<'_>], uri: &str) -> Vec<Authority> {
    now.into_iter().chain(others).map(|chain| authority(chain, uri)).collect()
}

fn authority(chain: &ChainIdentity<'_>, uri: &str) -> Authority {
    let mut authority = Authority::from_chain(uri, chain.chain, chain.since);
    authority.valid_for.end = chain.until.map(Timestamp::to_rfc3339);
    authority
}

fn log_instance(log: &LogIdentity<'_>) -> LogInstance {
    let mut instance = LogInstance::for_key(log.base_url.as_str(), log.key, log.since);
    instance.log_id = LogId { key_id: STANDARD.encode(log.log_id) };
    instance.public_key.valid_for.end = log.until.map(Timestamp::to_rfc3339);
    instance
}

/// Clients take the service with the highest version that they know: v2 before v1. Logs that have ended are in the
/// trusted root alone.
pub(crate) fn signing_config(identity: &Identity<'_>) -> SigningConfig {
    let service = |url: &str, version, since| Service::new(url, version, since, identity.url.authority());
    let url = identity.url.as_str();
    let log = |log: &LogIdentity<'_>, version| service(log.service_url.unwrap_or(url), version, log.since);
    let (ca_since, tsa_since) = (identity.ca_since(), identity.timestamp_since());
    let logins = |_| identity.logins.iter().map(|login| service(login, 1, ca_since)).collect();
    let mut signing = SigningConfig {
        // sigstore-go and sigstore-python know version 1 of the CA only, although they then call /api/v2/signingCert.
        ca_urls: identity.ca.iter().map(|_| service(url, 1, ca_since)).collect(),
        oidc_urls: identity.ca.map(logins).unwrap_or_default(),
        rekor_tlog_urls: identity
            .rekor_v2
            .iter()
            .map(|v2| log(v2, 2))
            .chain(identity.rekor_v1.iter().map(|v1| log(v1, 1)))
            .collect(),
        tsa_urls: identity
            .timestamp
            .iter()
            .map(|_| service(&timestamp_url(identity.url), 1, tsa_since))
            .collect(),
        ..SigningConfig::new()
    };
    identity.merged.iter().for_each(|merged| merged.add_services(&mut signing));
    signing
}

/// The whole address, since clients append nothing to it.
pub(crate) fn timestamp_url(url: &BaseUrl) -> String {
    format!("{url}/api/v1/timestamp")
}

#[cfg(test)]
mod tests {
    use chancery_tlog::key::{KeyKind, Signer, SoftwareSigner};
    use chancery_tlog::trust::TRUSTED_ROOT_TYPE;

    use super::*;

    const SINCE: Timestamp = Timestamp::from_seconds(1_790_000_000);
    const UNTIL: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn published(url: &str) -> Vec<Document> {
        let url = BaseUrl::parse(url).unwrap();
        let (p256, ed25519) = (KeyKind::EcdsaP256, KeyKind::Ed25519);
        let keys = [p256, p256, ed25519, p256, ed25519].map(|kind| SoftwareSigner::generate(kind).unwrap());
        let [ct, rekor_v1, rekor_v2, past_ct, past_v2] = keys.each_ref().map(Signer::public_key);
        let log = |base_url: String, key| LogIdentity {
            base_url,
            key,
            log_id: [7; 32],
            service_url: None,
            since: SINCE,
            until: None,
            past: None,
        };
        documents(&Identity {
            url: &url,
            ca: None,
            other_ca: Vec::new(),
            issuers: Vec::new(),
            logins: Vec::new(),
            ct: Some(log(format!("{url}/ct"), ct)),
            rekor_v1: Some(LogIdentity { log_id: rekor_v1.fingerprint(), ..log(url.to_string(), rekor_v1) }),
            rekor_v2: Some(log(url.to_string(), rekor_v2)),
            past_ct: vec![LogIdentity {
                until: Some(UNTIL),
                past: Some(("ct", "old")),
                ..log(format!("{url}/old"), past_ct)
            }],
            past_rekor: vec![LogIdentity {
                until: Some(UNTIL),
                ..log("https://old.example".to_owned(), past_v2)
            }],
            timestamp: Some(ChainIdentity { chain: &[], since: SINCE, until: None, past: None }),
            other_timestamp: Vec::new(),
            imported: Vec::new(),
            merged: &[],
            withdrawn: Keys::default(),
        })
    }

    fn text<'d>(documents: &'d [Document], name: &str) -> &'d str {
        &documents.iter().find(|document| document.name == name).unwrap().text
    }

    #[test]
    fn what_is_written_is_what_the_readers_read() {
        let documents = published("https://sigstore.example.com");
        let root: TrustedRoot = serde_json::from_str(text(&documents, "trusted_root.json")).unwrap();
        let signing: SigningConfig = serde_json::from_str(text(&documents, "signing_config.json")).unwrap();
        let both: ClientTrustConfig = serde_json::from_str(text(&documents, CLIENT_TRUST_CONFIG)).unwrap();
        assert_eq!((&both.trusted_root, &both.signing_config), (&root, &signing));
        assert_eq!(root.media_type, TRUSTED_ROOT_TYPE);
        assert!(
            !text(&documents, "trusted_root.json").contains("operator"),
            "cosign 2.5 knows no such member"
        );
        let rekor = PublicKey::from_pem(text(&documents, "rekor.pub")).unwrap();
        assert_eq!(root.tlogs[1].log_id.key_id, STANDARD.encode(rekor.fingerprint()));
        assert_eq!(root.tlogs[1].public_key.valid_for.start, SINCE.to_rfc3339());
        assert_eq!(root.ctlogs[0].public_key.key_details, "PKIX_ECDSA_P256_SHA_256");
    }

    #[test]
    fn a_v2_log_is_known_by_the_id_of_its_note_key() {
        let documents = published("https://sigstore.example.com");
        let root: TrustedRoot = serde_json::from_str(text(&documents, "trusted_root.json")).unwrap();
        assert_eq!(root.tlogs[0].public_key.key_details, "PKIX_ED25519");
        assert_eq!(root.tlogs[0].log_id.key_id, STANDARD.encode([7; 32]));
        let key = PublicKey::from_pem(text(&documents, "rekor-v2.pub")).unwrap();
        assert_eq!(root.tlogs[0].public_key.raw_bytes, STANDARD.encode(key.spki_der()));
    }

    #[test]
    fn the_newest_dialect_comes_first_and_timestamps_at_their_whole_address() {
        let documents = published("https://sigstore.example.com");
        let signing: SigningConfig = serde_json::from_str(text(&documents, "signing_config.json")).unwrap();
        let versions: Vec<_> = signing.rekor_tlog_urls.iter().map(|log| log.major_api_version).collect();
        assert_eq!(versions, [2, 1]);
        assert!(signing.rekor_tlog_urls.iter().all(|log| log.url == "https://sigstore.example.com"));
        assert_eq!(signing.tsa_urls[0].url, "https://sigstore.example.com/api/v1/timestamp");
        assert_eq!(signing.tsa_urls[0].major_api_version, 1);
    }

    /// A signer whose clock is behind by a little finds them after a replacement.
    #[test]
    fn services_begin_with_their_oldest_chain() {
        let url = BaseUrl::parse("https://sigstore.example.com").unwrap();
        let chain = |since| ChainIdentity { chain: &[], since, until: None, past: None };
        let config = signing_config(&Identity {
            url: &url,
            ca: Some(chain(UNTIL)),
            other_ca: vec![ChainIdentity { until: Some(UNTIL), ..chain(SINCE) }],
            issuers: Vec::new(),
            logins: vec!["https://login.example.com"],
            ct: None,
            rekor_v1: None,
            rekor_v2: None,
            past_ct: Vec::new(),
            past_rekor: Vec::new(),
            timestamp: Some(chain(UNTIL)),
            other_timestamp: vec![chain(SINCE)],
            imported: Vec::new(),
            merged: &[],
            withdrawn: Keys::default(),
        });
        for service in [&config.ca_urls[0], &config.oidc_urls[0], &config.tsa_urls[0]] {
            assert_eq!(service.valid_for.start, SINCE.to_rfc3339(), "{service:?}");
        }
    }

    #[test]
    fn a_log_that_has_ended_is_trusted_until_then_and_offered_to_nobody() {
        let documents = published("https://sigstore.example.com");
        let root: TrustedRoot = serde_json::from_str(text(&documents, "trusted_root.json")).unwrap();
        let ends = |logs: &[LogInstance]| {
            logs.iter().map(|log| log.public_key.valid_for.end.clone()).collect::<Vec<_>>()
        };
        let end = Some(UNTIL.to_rfc3339());
        assert_eq!(ends(&root.tlogs), [None, None, end.clone()]);
        assert_eq!(ends(&root.ctlogs), [None, end]);
        assert!(!text(&documents, "signing_config.json").contains("old.example"));
        let past = PublicKey::from_pem(text(&documents, "past.ct.old.pub")).unwrap();
        assert_eq!(root.ctlogs[1].public_key.raw_bytes, STANDARD.encode(past.spki_der()));
    }

    #[test]
    fn the_host_of_the_base_url_is_the_name_in_checkpoints() {
        let root: TrustedRoot =
            serde_json::from_str(text(&published("http://127.0.0.1:8080/"), "trusted_root.json")).unwrap();
        assert_eq!(root.tlogs[0].base_url, "http://127.0.0.1:8080");
        assert_eq!(root.ctlogs[0].base_url, "http://127.0.0.1:8080/ct");
    }

    #[test]
    fn roles_that_are_not_there_are_left_out() {
        let documents = published("https://sigstore.example.com");
        assert!(documents.iter().all(|document| document.name != "ca-chain.pem"));
        let signing: SigningConfig = serde_json::from_str(text(&documents, "signing_config.json")).unwrap();
        assert_eq!(signing.ca_urls, []);
    }
}
