//! Trust files of the other hosts of one instance, put together with its own: one trusted root, and one signing config that
//! names each role once.
//!
//! Invariant: what is put together has been through [`conflict`], so that no client has to choose between two services of one
//! role, and no key or chain is described in two ways.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::key::KeyKind;
use chancery_tlog::trust::{
    Authority, ClientTrustConfig, LogInstance, Service, SigningConfig, TimeRange, TrustedRoot,
};

use super::{Document, canonical};

/// The trust files of another host.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    /// Its name, or its file's.
    pub(crate) name: String,
    /// The files.
    pub(crate) config: ClientTrustConfig,
}

/// Why trust files do not go together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Conflict {
    /// A role is in service twice.
    #[error(
        "{role} is in service twice, at {ours} and, says `{name}`, at {theirs}; clients would take either: leave the role to \
         one host, by removing its table from the other's chancery.toml, or by `end-log`"
    )]
    Role {
        /// Which role.
        role: &'static str,
        /// Whose files.
        name: String,
        /// Address known so far.
        ours: String,
        /// Address in those files.
        theirs: String,
    },
    /// One key or chain with two descriptions.
    #[error(
        "`{name}` describes {what} at {address} in another way than the files before it, as to its dates, addresses or id: one of \
         them is old, so export it anew"
    )]
    Description {
        /// Whose files.
        name: String,
        /// What is described.
        what: &'static str,
        /// Where it is.
        address: String,
    },
    /// The signing configs ask for other numbers of services.
    #[error(
        "`{name}` asks for another number of {what} than the files before it: make the selectors of its signing config equal"
    )]
    Selector {
        /// Whose files.
        name: String,
        /// Of what.
        what: &'static str,
    },
}

impl Merged {
    /// Reads a client trust config. One with a member that cannot be read is refused: clients might stop at it.
    pub(crate) fn parse(name: &str, json: &[u8]) -> anyhow::Result<Self> {
        let mut config = ClientTrustConfig::parse(json).with_context(|| {
            format!(
                "{name} is not a client trust config, as `export-trust` prints it and every host serves it"
            )
        })?;
        config.trusted_root = canonical(config.trusted_root).with_context(|| name.to_owned())?;
        Ok(Self { name: name.to_owned(), config })
    }

    /// Adds what it trusts.
    pub(super) fn add_trust(&self, root: &mut TrustedRoot) {
        let more = &self.config.trusted_root;
        add(&mut root.tlogs, &more.tlogs);
        add(&mut root.certificate_authorities, &more.certificate_authorities);
        add(&mut root.ctlogs, &more.ctlogs);
        add(&mut root.timestamp_authorities, &more.timestamp_authorities);
    }

    /// Adds what it offers.
    pub(super) fn add_services(&self, signing: &mut SigningConfig) {
        let more = &self.config.signing_config;
        for (have, more) in [
            (&mut signing.ca_urls, &more.ca_urls),
            (&mut signing.oidc_urls, &more.oidc_urls),
            (&mut signing.rekor_tlog_urls, &more.rekor_tlog_urls),
            (&mut signing.tsa_urls, &more.tsa_urls),
        ] {
            let same =
                |a: &Service, b: &Service| (&a.url, a.major_api_version) == (&b.url, b.major_api_version);
            let new = more.iter().filter(|new| !have.iter().any(|one| same(one, new))).cloned();
            let new: Vec<_> = new.collect();
            have.extend(new);
        }
        // The newest dialect first, as in the files of one host.
        signing.rekor_tlog_urls.sort_by_key(|log| std::cmp::Reverse(log.major_api_version));
    }

    /// The PEM files of what it has in service, by the names of the instance's own.
    pub(super) fn documents(&self) -> Vec<Document> {
        let root = &self.config.trusted_root;
        let in_service = |authorities: &[Authority]| {
            authorities.iter().find(|authority| authority.valid_for.end.is_none()).map(chain_pem)
        };
        let chains = [
            ("ca-chain.pem", in_service(&root.certificate_authorities)),
            ("tsa-chain.pem", in_service(&root.timestamp_authorities)),
        ];
        let chains = chains.into_iter().filter_map(|(name, text)| {
            Some(Document { name: name.into(), media_type: "application/pem-certificate-chain", text: text? })
        });
        // The files were read, so their keys can be.
        let keys = root.keyring().unwrap_or_default();
        let is_v2 = |kind| kind == KeyKind::Ed25519;
        let logs = keys.ct_logs.iter().map(|log| ("ct.pub", log)).chain(
            keys.logs
                .iter()
                .map(|log| (if is_v2(log.key.kind()) { "rekor-v2.pub" } else { "rekor.pub" }, log)),
        );
        let logs = logs.filter(|(_, log)| log.validity.end.is_none()).map(|(name, log)| Document {
            name: name.into(),
            media_type: "application/x-pem-file",
            text: log.key.to_pem(),
        });
        chains.chain(logs).collect()
    }
}

fn add<M: Clone + PartialEq>(have: &mut Vec<M>, more: &[M]) {
    let new: Vec<M> = more.iter().filter(|new| !have.contains(new)).cloned().collect();
    have.extend(new);
}

fn chain_pem(authority: &Authority) -> String {
    let der = authority.cert_chain.certificates.iter().map(|one| STANDARD.decode(&one.raw_bytes));
    let certificates = der.filter_map(|der| Certificate::from_der(&der.ok()?).ok());
    certificates.map(|certificate| certificate.to_pem()).collect()
}

/// What keeps `merged` from going together with a trusted root and a signing config.
pub(super) fn conflict(root: &TrustedRoot, signing: &SigningConfig, merged: &Merged) -> Option<Conflict> {
    let Merged { name, config: ClientTrustConfig { trusted_root, signing_config, .. } } = merged;
    let described =
        |what, address: &str| Conflict::Description { name: name.clone(), what, address: address.to_owned() };
    for (ours, theirs, what) in [
        (&root.certificate_authorities, &trusted_root.certificate_authorities, "the certificate authority"),
        (&root.timestamp_authorities, &trusted_root.timestamp_authorities, "the timestamp authority"),
    ] {
        let differs = |a: &Authority, b: &Authority| a.cert_chain == b.cert_chain && a != b;
        if let Some(two) = theirs.iter().find(|theirs| ours.iter().any(|ours| differs(ours, theirs))) {
            return Some(described(what, &two.uri));
        }
    }
    for (ours, theirs, what) in [
        (&root.ctlogs, &trusted_root.ctlogs, "the issuance log"),
        (&root.tlogs, &trusted_root.tlogs, "the attestation log"),
    ] {
        if let Some(two) = theirs.iter().find(|theirs| ours.iter().any(|ours| clash(ours, theirs))) {
            return Some(described(what, &two.base_url));
        }
    }
    let selectors = [
        (&signing.rekor_tlog_config, &signing_config.rekor_tlog_config, "attestation logs"),
        (&signing.tsa_config, &signing_config.tsa_config, "timestamp authorities"),
    ];
    if let Some((.., what)) = selectors.into_iter().find(|(ours, theirs, _)| ours != theirs) {
        return Some(Conflict::Selector { name: name.clone(), what });
    }
    services(signing, signing_config, name)
}

/// Whether two descriptions of logs cannot both be true: of one key, or of one place and kind.
fn clash(ours: &LogInstance, theirs: &LogInstance) -> bool {
    let of = |log: &LogInstance| (log.public_key.raw_bytes.clone(), log.log_id.key_id.clone());
    let ((our_key, our_id), (their_key, their_id)) = (of(ours), of(theirs));
    if our_key == their_key || our_id == their_id {
        return ours != theirs;
    }
    let place = |log: &LogInstance| (log.base_url.clone(), log.public_key.key_details.clone());
    place(ours) == place(theirs) && [ours, theirs].iter().all(|log| log.public_key.valid_for.end.is_none())
}

fn services(ours: &SigningConfig, theirs: &SigningConfig, name: &str) -> Option<Conflict> {
    for (ours, theirs, version, role) in [
        (&ours.ca_urls, &theirs.ca_urls, 1, "a certificate authority"),
        (&ours.rekor_tlog_urls, &theirs.rekor_tlog_urls, 1, "a Rekor v1 log"),
        (&ours.rekor_tlog_urls, &theirs.rekor_tlog_urls, 2, "a Rekor v2 log"),
        (&ours.tsa_urls, &theirs.tsa_urls, 1, "a timestamp authority"),
    ] {
        let in_service = |service: &&Service| {
            service.major_api_version == version && matches!(service.valid_for, TimeRange { end: None, .. })
        };
        let pairs = theirs
            .iter()
            .filter(in_service)
            .flat_map(|their| ours.iter().filter(in_service).map(move |our| (our, their)));
        if let Some((our, their)) = pairs.into_iter().find(|(our, their)| our != their) {
            let (name, ours, theirs) = (name.to_owned(), our.url.clone(), their.url.clone());
            return Some(if ours == theirs {
                Conflict::Description { name, what: role, address: ours }
            } else {
                Conflict::Role { role, name, ours, theirs }
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use chancery_tlog::clock::Timestamp;
    use chancery_tlog::key::{Signer as _, SoftwareSigner};

    use super::*;

    const SINCE: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn service(url: &str, version: u32) -> Service {
        Service::new(url, version, SINCE, "example.com")
    }

    fn log(url: &str) -> LogInstance {
        let key = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
        LogInstance::for_key(url, key.public_key(), SINCE)
    }

    fn host(urls: &[(&str, &str)]) -> Merged {
        let (mut root, mut signing) = (TrustedRoot::new(), SigningConfig::new());
        for (role, url) in urls {
            match *role {
                "ca" => signing.ca_urls.push(service(url, 1)),
                "tsa" => signing.tsa_urls.push(service(url, 1)),
                "v2" => signing.rekor_tlog_urls.push(service(url, 2)),
                _ => {
                    signing.rekor_tlog_urls.push(service(url, 1));
                    root.tlogs.push(log(url));
                }
            }
        }
        Merged { name: "other".to_owned(), config: ClientTrustConfig::new(root, signing) }
    }

    fn put_together(one: &Merged, other: &Merged) -> Result<(TrustedRoot, SigningConfig), String> {
        let (mut root, mut signing) = (one.config.trusted_root.clone(), one.config.signing_config.clone());
        if let Some(conflict) = conflict(&root, &signing, other) {
            return Err(conflict.to_string());
        }
        other.add_trust(&mut root);
        other.add_services(&mut signing);
        Ok((root, signing))
    }

    #[test]
    fn roles_on_different_hosts_make_one_instance_in_either_order() {
        let ca = host(&[("ca", "https://ca.example"), ("tsa", "https://ca.example/api/v1/timestamp")]);
        let log = host(&[("v1", "https://log.example"), ("v2", "https://log.example")]);
        for (one, other) in [(&ca, &log), (&log, &ca)] {
            let (root, signing) = put_together(one, other).unwrap();
            assert_eq!((root.tlogs.len(), signing.ca_urls.len(), signing.tsa_urls.len()), (1, 1, 1));
            let versions: Vec<_> = signing.rekor_tlog_urls.iter().map(|log| log.major_api_version).collect();
            assert_eq!(versions, [2, 1]);
            // What was put together goes together with its parts.
            let both = Merged { name: "both".to_owned(), config: ClientTrustConfig::new(root, signing) };
            for part in [&ca, &log, &both] {
                let (root, signing) = put_together(&both, part).unwrap();
                assert_eq!((&root, &signing), (&both.config.trusted_root, &both.config.signing_config));
            }
        }
    }

    #[test]
    fn a_role_that_two_hosts_have_is_refused() {
        for (role, words) in [
            ("ca", "a certificate authority"),
            ("tsa", "a timestamp authority"),
            ("v1", "a Rekor v1 log"),
            ("v2", "a Rekor v2 log"),
        ] {
            let [one, other] = ["https://one.example", "https://two.example"].map(|url| host(&[(role, url)]));
            let refused = put_together(&one, &other).unwrap_err();
            let urls = ["https://one.example", "https://two.example", "`other`"];
            assert!(refused.starts_with(words) && urls.iter().all(|url| refused.contains(url)), "{refused}");
            // One that has ended is no other service.
            let mut ended = host(&[(role, "https://two.example")]);
            let signing = &mut ended.config.signing_config;
            let all = [&mut signing.ca_urls, &mut signing.tsa_urls, &mut signing.rekor_tlog_urls];
            all.into_iter().flatten().for_each(|it| it.valid_for.end = Some(SINCE.to_rfc3339()));
            put_together(&one, &ended).unwrap();
        }
    }

    #[test]
    fn two_descriptions_of_one_thing_are_refused() {
        type Change = fn(&mut ClientTrustConfig);
        let changes: [(Change, &str); 6] = [
            (
                |it| it.trusted_root.tlogs[0].public_key.valid_for.end = Some(SINCE.to_rfc3339()),
                "attestation log",
            ),
            (
                |it| it.trusted_root.tlogs[0].base_url = "https://elsewhere.example".to_owned(),
                "attestation log",
            ),
            // Another key under the same id, and at the same place.
            (
                |it| it.trusted_root.tlogs[0].public_key.raw_bytes = log("x").public_key.raw_bytes,
                "attestation log",
            ),
            (|it| it.trusted_root.tlogs[0] = log("https://log.example"), "attestation log"),
            (|it| it.signing_config.rekor_tlog_urls[0].operator = "other".to_owned(), "Rekor v1 log"),
            (
                |it| it.signing_config.tsa_config.selector = "ALL".to_owned(),
                "number of timestamp authorities",
            ),
        ];
        for (change, words) in changes {
            let one = host(&[("v1", "https://log.example")]);
            let mut other = Merged { name: "other".to_owned(), config: one.config.clone() };
            put_together(&one, &other).unwrap();
            change(&mut other.config);
            let refused = put_together(&one, &other).unwrap_err();
            assert!(refused.contains(words), "{words}: {refused}");
        }
    }

    #[test]
    fn what_is_no_client_trust_config_is_refused_by_name() {
        for json in ["", "{}", "[]", &TrustedRoot::new().to_json()] {
            let refused = format!("{:#}", Merged::parse("log.json", json.as_bytes()).unwrap_err());
            assert!(refused.contains("log.json is not a client trust config"), "{refused}");
        }
    }
}
