//! What an instance publishes about itself: the trust files that clients pin, rendered from its configuration.
//!
//! Everything here is public. The files are derived from keys, chain and configuration at every start, so what is
//! served cannot disagree with what signs. Formats: protobuf-specs `sigstore_trustroot.proto`.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::PublicKey;
use chancery_tlog::trust::{
    Authority, CLIENT_TRUST_CONFIG_TYPE, CertChain, ClientTrustConfig, LogId, LogInstance, RawBytes,
    SIGNING_CONFIG_TYPE, Service, ServiceSelection, SigningConfig, Subject, TRUSTED_ROOT_TYPE, TimeRange,
    TrustedKey, TrustedRoot,
};

use crate::config::BaseUrl;

/// Where the files are served.
pub(crate) const PATH: &str = "/.well-known/chancery";
/// The one file that holds everything a client needs.
pub(crate) const CLIENT_TRUST_CONFIG: &str = "client_trust_config.json";

/// Clients ask seldom, and a wrong answer of a cache would live long: five minutes.
const CACHE: &str = "public, max-age=300";

/// What there is to publish.
pub(crate) struct Identity<'i> {
    /// The address that clients use.
    pub(crate) url: &'i BaseUrl,
    /// The CA's chain, issuing certificate first, and since when it is trusted.
    pub(crate) ca: Option<(&'i [Certificate], Timestamp)>,
    /// OpenID providers at which people log in to get a token that the CA honours.
    pub(crate) logins: Vec<&'i str>,
    /// The issuance log.
    pub(crate) ct: Option<LogIdentity<'i>>,
    /// The Rekor v1 log.
    pub(crate) rekor_v1: Option<LogIdentity<'i>>,
}

/// A log to publish.
pub(crate) struct LogIdentity<'i> {
    /// Address under which the log is found.
    pub(crate) base_url: String,
    /// The dialect's key.
    pub(crate) key: &'i PublicKey,
    /// Since when it is trusted.
    pub(crate) since: Timestamp,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    /// File name.
    pub(crate) name: &'static str,
    /// Media type.
    pub(crate) media_type: &'static str,
    /// Contents.
    pub(crate) text: String,
}

/// All files of an instance. Those of roles that it does not have are left out.
pub(crate) fn documents(identity: &Identity<'_>) -> serde_json::Result<Vec<Document>> {
    let trusted_root = trusted_root(identity);
    let signing_config = signing_config(identity);
    let client = ClientTrustConfig {
        media_type: CLIENT_TRUST_CONFIG_TYPE.to_owned(),
        trusted_root: trusted_root.clone(),
        signing_config: signing_config.clone(),
    };
    let json = |name, text: serde_json::Result<String>| {
        text.map(|text| Document { name, media_type: "application/json", text: text + "\n" })
    };
    let mut documents = vec![
        json("trusted_root.json", serde_json::to_string_pretty(&trusted_root))?,
        json("signing_config.json", serde_json::to_string_pretty(&signing_config))?,
        json(CLIENT_TRUST_CONFIG, serde_json::to_string_pretty(&client))?,
    ];
    if let Some((chain, _)) = identity.ca {
        let text = chain.iter().map(Certificate::to_pem).collect();
        documents.push(Document {
            name: "ca-chain.pem",
            media_type: "application/pem-certificate-chain",
            text,
        });
    }
    for (name, log) in [("ct.pub", &identity.ct), ("rekor.pub", &identity.rekor_v1)] {
        if let Some(log) = log {
            documents.push(Document { name, media_type: "application/x-pem-file", text: log.key.to_pem() });
        }
    }
    Ok(documents)
}

/// Serves the files under [`PATH`].
pub(crate) fn router(documents: Vec<Document>) -> Router {
    documents.into_iter().fold(Router::new(), |router, document| {
        let path = format!("{PATH}/{}", document.name);
        let answer = move || {
            let text = document.text.clone();
            async move { ([(CONTENT_TYPE, document.media_type), (CACHE_CONTROL, CACHE)], text) }
        };
        router.route(&path, get(answer))
    })
}

fn trusted_root(identity: &Identity<'_>) -> TrustedRoot {
    TrustedRoot {
        media_type: TRUSTED_ROOT_TYPE.to_owned(),
        tlogs: identity.rekor_v1.iter().map(log_instance).collect(),
        certificate_authorities: identity
            .ca
            .iter()
            .map(|(chain, since)| authority(identity.url, chain, *since))
            .collect(),
        ctlogs: identity.ct.iter().map(log_instance).collect(),
        timestamp_authorities: Vec::new(),
    }
}

fn authority(url: &BaseUrl, chain: &[Certificate], since: Timestamp) -> Authority {
    let (organization, common_name) = chain.last().map(Certificate::subject_o_cn).unwrap_or_default();
    let raw = |certificate: &Certificate| RawBytes { raw_bytes: STANDARD.encode(certificate.der()) };
    Authority {
        subject: Subject {
            organization: organization.unwrap_or_default(),
            common_name: common_name.unwrap_or_default(),
        },
        uri: url.as_str().to_owned(),
        cert_chain: CertChain { certificates: chain.iter().map(raw).collect() },
        valid_for: from(since),
        // cosign 2.5 refuses a trusted root with the newer member `operator`.
        operator: None,
    }
}

fn log_instance(log: &LogIdentity<'_>) -> LogInstance {
    LogInstance {
        base_url: log.base_url.clone(),
        hash_algorithm: "SHA2_256".to_owned(),
        public_key: TrustedKey {
            raw_bytes: STANDARD.encode(log.key.spki_der()),
            key_details: log.key.kind().key_details().unwrap_or_default().to_owned(),
            valid_for: from(log.since),
        },
        log_id: LogId { key_id: STANDARD.encode(log.key.fingerprint()) },
        checkpoint_key_id: None,
        // cosign 2.5 refuses a trusted root with the newer member `operator`.
        operator: None,
    }
}

fn signing_config(identity: &Identity<'_>) -> SigningConfig {
    // sigstore-go and sigstore-python know version 1 of the CA only, although they then call /api/v2/signingCert.
    let service = |url: &str, since: Timestamp| Service {
        url: url.to_owned(),
        major_api_version: 1,
        valid_for: from(since),
        operator: identity.url.authority(),
    };
    let own = |since| service(identity.url.as_str(), since);
    let logins =
        identity.ca.iter().flat_map(|(_, since)| identity.logins.iter().map(|url| service(url, *since)));
    let any = || ServiceSelection { selector: "ANY".to_owned(), count: None };
    SigningConfig {
        media_type: SIGNING_CONFIG_TYPE.to_owned(),
        ca_urls: identity.ca.iter().map(|(_, since)| own(*since)).collect(),
        oidc_urls: logins.collect(),
        rekor_tlog_urls: identity.rekor_v1.iter().map(|log| own(log.since)).collect(),
        tsa_urls: Vec::new(),
        rekor_tlog_config: any(),
        tsa_config: any(),
    }
}

/// From `since` on, without an end: the end comes with the key's successor.
fn from(since: Timestamp) -> TimeRange {
    TimeRange { start: since.to_rfc3339(), end: None }
}

#[cfg(test)]
mod tests {
    use chancery_tlog::key::{KeyKind, Signer, SoftwareSigner};

    use super::*;

    const SINCE: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn published(url: &str) -> Vec<Document> {
        let url = BaseUrl::parse(url).unwrap();
        let keys = [(); 2].map(|()| SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap());
        let [ct, rekor_v1] = keys.each_ref().map(Signer::public_key);
        documents(&Identity {
            url: &url,
            ca: None,
            logins: Vec::new(),
            ct: Some(LogIdentity { base_url: format!("{url}/ct"), key: ct, since: SINCE }),
            rekor_v1: Some(LogIdentity { base_url: url.to_string(), key: rekor_v1, since: SINCE }),
        })
        .unwrap()
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
        assert_eq!(signing.rekor_tlog_urls[0].major_api_version, 1);
        let rekor = PublicKey::from_pem(text(&documents, "rekor.pub")).unwrap();
        assert_eq!(root.tlogs[0].log_id.key_id, STANDARD.encode(rekor.fingerprint()));
        assert_eq!(root.tlogs[0].public_key.valid_for.start, SINCE.to_rfc3339());
        assert_eq!(root.ctlogs[0].public_key.key_details, "PKIX_ECDSA_P256_SHA_256");
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
