//! Every recipe, read as its client reads it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_ca::timestamp::make_timestamp_authority;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock as _, FixedClock, Timestamp};
use chancery_tlog::key::{KeyKind, PublicKey, Signer, SoftwareSigner};
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use super::*;
use crate::config::BaseUrl;
use crate::trust::{self, ChainIdentity, LogIdentity};

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

/// What an instance at `url` publishes, and its recipe for `client`.
struct World {
    url: BaseUrl,
    ca: Vec<Certificate>,
    tsa: Vec<Certificate>,
    keys: [SoftwareSigner; 3],
}

impl World {
    fn new(url: &str) -> Self {
        let clock = FixedClock::new(NOW);
        let ca =
            chancery_ca::make_root_and_intermediate("Acme \"Tools\"", KeyKind::EcdsaP256, &clock).unwrap();
        let tsa = make_timestamp_authority("Acme", KeyKind::EcdsaP256, &clock).unwrap();
        assert_eq!(clock.now(), NOW);
        Self {
            url: BaseUrl::parse(url).unwrap(),
            ca: Certificate::chain_from_pem(&ca.chain_pem()).unwrap(),
            tsa: Certificate::chain_from_pem(&tsa.chain_pem()).unwrap(),
            keys: [KeyKind::EcdsaP256, KeyKind::EcdsaP256, KeyKind::Ed25519]
                .map(|kind| SoftwareSigner::generate(kind).unwrap()),
        }
    }

    fn identity(&self, v1: bool, v2: bool) -> Identity<'_> {
        let [ct, rekor_v1, rekor_v2] = self.keys.each_ref().map(Signer::public_key);
        let log = |key: &'static str, signer| {
            let base_url = format!("{}{key}", self.url);
            LogIdentity {
                base_url,
                key: signer,
                log_id: PublicKey::fingerprint(signer),
                service_url: None,
                since: NOW,
                until: None,
                past: None,
            }
        };
        Identity {
            url: &self.url,
            ca: Some(in_service(&self.ca)),
            other_ca: Vec::new(),
            issuers: vec!["https://issuer.example/o'neill"],
            logins: Vec::new(),
            ct: Some(log("/ct", ct)),
            rekor_v1: v1.then(|| log("", rekor_v1)),
            rekor_v2: v2.then(|| log("", rekor_v2)),
            past_ct: Vec::new(),
            past_rekor: Vec::new(),
            timestamp: Some(in_service(&self.tsa)),
            other_timestamp: Vec::new(),
            imported: Vec::new(),
            withdrawn: trust::Keys::default(),
            merged: &[],
        }
    }

    fn recipe(&self, client: Client, v1: bool, v2: bool) -> Result<String, RecipeError> {
        let identity = self.identity(v1, v2);
        let mut documents = trust::documents(&identity);
        documents.push(Document {
            name: "tuf-root.json".into(),
            media_type: "application/json",
            text: "{}".to_owned(),
        });
        recipe(client, &identity, &documents, "/tmp/trust here").map(|recipe| recipe.text)
    }
}

fn in_service(chain: &[Certificate]) -> ChainIdentity<'_> {
    ChainIdentity { chain, since: NOW, until: None, past: None }
}

fn of_the_past(log: LogIdentity<'_>, since: Timestamp, until: Timestamp) -> LogIdentity<'_> {
    LogIdentity { since, until: Some(until), past: Some(("rekor-v1", "old")), ..log }
}

fn https() -> World {
    World::new("https://sigstore.example.com")
}

fn resources(yaml: &str) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(yaml).map(|part| Value::deserialize(part).unwrap()).collect()
}

fn at<'v>(value: &'v Value, path: &str) -> &'v str {
    let step = |value: &'v Value, key: &str| match key.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(key),
    };
    let found = path.split('/').try_fold(value, step);
    found.and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {value:?}"))
}

#[test]
fn every_client_has_a_recipe_without_a_place_left_open() {
    for client in Client::value_variants() {
        let text = https().recipe(*client, true, true).unwrap();
        assert!(text.contains("https://sigstore.example.com"), "{client:?} does not name the instance");
        for public in ["fulcio.sigstore.dev", "rekor.sigstore.dev", "tuf-repo-cdn", "oauth2.sigstore.dev"] {
            assert!(!text.contains(public), "{client:?} names {public}");
        }
        for place in ["@url@", "@trust@", "@issuer@", ".pem@", ".pub@", "_tsa@", "_login@", "@base64"] {
            assert!(!text.contains(place), "{client:?}: {place}");
        }
    }
}

#[test]
fn scripts_are_shell_whatever_the_names() {
    for client in Client::value_variants() {
        let text = World::new("https://[2001:db8::1]:8443").recipe(*client, true, true).unwrap();
        if !text.starts_with("#!/bin/sh\n") {
            continue;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let checked = std::process::Command::new("sh").arg("-n").arg(file.path()).output().unwrap();
        assert!(checked.status.success(), "{client:?}: {}", String::from_utf8_lossy(&checked.stderr));
        assert!(text.contains("TRUST='/tmp/trust here'"), "{client:?}");
        assert!(
            !text.contains("ISSUER=https") || !text.contains("o'neill"),
            "{client:?}: the issuer is not quoted"
        );
    }
}

#[test]
fn policy_controller_gets_no_ed25519_key_and_keys_of_this_instance() {
    let world = https();
    for v2 in [false, true] {
        let text = world.recipe(Client::PolicyController, true, v2).unwrap();
        let [root, policy] = resources(&text).try_into().unwrap();
        assert_eq!((at(&root, "kind"), at(&policy, "kind")), ("TrustRoot", "ClusterImagePolicy"));
        let keys = root.get("spec").and_then(|spec| spec.get("sigstoreKeys")).unwrap();
        assert_eq!(keys.get("tLogs").and_then(Value::as_sequence).map(Vec::len), Some(1));
        let decode = |path| String::from_utf8(STANDARD.decode(at(keys, path)).unwrap()).unwrap();
        for (path, key) in [("tLogs/0/publicKey", 1), ("ctLogs/0/publicKey", 0)] {
            let found = PublicKey::from_pem(&decode(path)).unwrap();
            assert_eq!(found.kind(), KeyKind::EcdsaP256);
            assert_eq!(&found, world.keys[key].public_key());
        }
        let chain = Certificate::chain_from_pem(&decode("certificateAuthorities/0/certChain")).unwrap();
        assert_eq!(chain, world.ca);
        assert_eq!(at(keys, "certificateAuthorities/0/subject/organization"), "Acme \"Tools\"");
        assert_eq!(at(keys, "ctLogs/0/baseURL"), "https://sigstore.example.com/ct");
        assert_eq!(at(&policy, "spec/authorities/0/ctlog/trustRootRef"), at(&root, "metadata/name"));
        assert_eq!(at(&policy, "spec/authorities/0/keyless/trustRootRef"), at(&root, "metadata/name"));
        assert_eq!(
            at(&policy, "spec/authorities/0/keyless/identities/0/issuer"),
            "https://issuer.example/o'neill"
        );
    }
}

#[test]
fn kyverno_gets_inline_ecdsa_keys_in_both_kinds_of_policy() {
    let world = https();
    let [validating, cluster] =
        resources(&world.recipe(Client::Kyverno, true, true).unwrap()).try_into().unwrap();
    assert_eq!((at(&validating, "kind"), at(&cluster, "kind")), ("ImageValidatingPolicy", "ClusterPolicy"));
    let entry = "spec/rules/0/verifyImages/0/attestors/0/entries/0/keyless";
    for (policy, path, key) in [
        (&validating, "spec/attestors/0/cosign/ctlog/rekorPubKey".to_owned(), 1),
        (&validating, "spec/attestors/0/cosign/ctlog/ctLogPubKey".to_owned(), 0),
        (&cluster, format!("{entry}/rekor/pubkey"), 1),
        (&cluster, format!("{entry}/ctlog/pubkey"), 0),
    ] {
        assert_eq!(&PublicKey::from_pem(at(policy, &path)).unwrap(), world.keys[key].public_key(), "{path}");
    }
    for (policy, path) in [
        (&validating, "spec/attestors/0/cosign/keyless/roots".to_owned()),
        (&cluster, format!("{entry}/roots")),
    ] {
        assert_eq!(Certificate::chain_from_pem(at(policy, &path)).unwrap(), world.ca, "{path}");
    }
    assert_eq!(at(&cluster, &format!("{entry}/rekor/url")), "https://sigstore.example.com");
}

/// After a replacement of everything: what every client is given names all that was ever trusted.
#[test]
fn recipes_after_a_rotation_hold_every_chain_and_key() {
    let (world, before) = (https(), https());
    let mut identity = world.identity(true, true);
    let then = Timestamp::from_seconds(1_780_000_000);
    let past = |log| of_the_past(log, then, NOW);
    let old = before.identity(true, true);
    identity.other_ca =
        vec![ChainIdentity { since: then, until: Some(NOW), past: Some("old"), ..in_service(&before.ca) }];
    identity.past_ct = old.ct.into_iter().map(past).collect();
    identity.past_rekor = old.rekor_v1.into_iter().chain(old.rekor_v2).map(past).collect();
    let mut documents = trust::documents(&identity);
    let error = recipe(Client::Cosign2, &identity, &documents, "/srv").unwrap_err();
    assert!(matches!(error, RecipeError::Keys { .. }), "{error}");
    documents.push(Document {
        name: "tuf-root.json".into(),
        media_type: "application/json",
        text: "{}".to_owned(),
    });
    let text = |client| recipe(client, &identity, &documents, "/srv").unwrap().text;

    let root = &resources(&text(Client::PolicyController))[0];
    let keys = root.get("spec").and_then(|spec| spec.get("sigstoreKeys")).unwrap();
    let decode = |path: &str| String::from_utf8(STANDARD.decode(at(keys, path)).unwrap()).unwrap();
    for (list, worlds) in [("ctLogs", 0), ("tLogs", 1)] {
        assert_eq!(keys.get(list).and_then(Value::as_sequence).map(Vec::len), Some(2), "{list}");
        for (at, world) in [&world, &before].into_iter().enumerate() {
            let key = PublicKey::from_pem(&decode(&format!("{list}/{at}/publicKey"))).unwrap();
            assert_eq!(&key, world.keys[worlds].public_key(), "{list}/{at}");
        }
    }
    for (at, world) in [&world, &before].into_iter().enumerate() {
        let chain = Certificate::chain_from_pem(&decode(&format!("certificateAuthorities/{at}/certChain")));
        assert_eq!(chain.unwrap(), world.ca);
    }

    // The old log of each kind and the new one met for an instant only, so every pair is there.
    let [validating, cluster] = resources(&text(Client::Kyverno)).try_into().unwrap();
    let attestors = validating["spec"]["attestors"].as_sequence().unwrap();
    let names: Vec<&str> = attestors.iter().map(|attestor| at(attestor, "name")).collect();
    assert_eq!(names, ["chancery", "chancery2", "chancery3", "chancery4"]);
    let all = "[attestors.chancery, attestors.chancery2, attestors.chancery3, attestors.chancery4]";
    assert!(at(&validating, "spec/validations/0/expression").contains(all));
    let cluster = &cluster["spec"]["rules"][0]["verifyImages"][0]["attestors"][0];
    assert_eq!(cluster["count"], 1);
    let entries = cluster["entries"].as_sequence().unwrap();
    for (keyless, rekor, ct) in
        entries.iter().map(|entry| (&entry["keyless"], "rekor/pubkey", "ctlog/pubkey")).chain(
            attestors.iter().map(|attestor| (&attestor["cosign"], "ctlog/rekorPubKey", "ctlog/ctLogPubKey")),
        )
    {
        PublicKey::from_pem(at(keyless, rekor)).unwrap();
        PublicKey::from_pem(at(keyless, ct)).unwrap();
    }
    let roots = Certificate::chain_from_pem(at(&entries[3]["keyless"], "roots")).unwrap();
    assert_eq!(roots, [&world.ca[..], &before.ca].concat());
    assert_eq!(
        at(&entries[3]["keyless"], "rekor/pubkey").trim(),
        before.keys[1].public_key().to_pem().trim()
    );

    for (client, words) in [
        (Client::Cosign2, &["cosign initialize --mirror https://sigstore.example.com/tuf"][..]),
        (Client::Gitsign, &["cosign initialize", "export TUF_ROOT=\"$here/tuf\""]),
    ] {
        let text = text(client);
        for words in words {
            assert!(text.contains(words), "{client:?}: {text}");
        }
        assert!(!text.contains("SIGSTORE_CT_LOG_PUBLIC_KEY_FILE="), "{client:?}: {text}");
    }
}

#[test]
fn logs_that_never_met_make_no_pair() {
    let (world, before) = (https(), https());
    let mut identity = world.identity(true, false);
    let old = before.identity(true, false);
    let (then, end) = (Timestamp::from_seconds(1_770_000_000), Timestamp::from_seconds(1_780_000_000));
    let past = |log| of_the_past(log, then, end);
    identity.past_ct = old.ct.into_iter().map(past).collect();
    identity.past_rekor = old.rekor_v1.into_iter().map(past).collect();
    let text = recipe(Client::Kyverno, &identity, &trust::documents(&identity), "/srv").unwrap().text;
    let attestors = resources(&text)[0]["spec"]["attestors"].as_sequence().unwrap().len();
    assert_eq!(attestors, 2, "{text}");
}

#[test]
fn clients_of_v1_are_refused_an_instance_without_it_and_told_what_to_do() {
    for client in Client::value_variants() {
        use Client::{Cosign2, Gitsign, Kyverno, PolicyController, SigstoreJs};
        let v1_only = matches!(client, Cosign2 | SigstoreJs | Gitsign | PolicyController | Kyverno);
        let recipe = https().recipe(*client, false, true);
        assert_eq!(recipe.is_err(), v1_only, "{client:?}");
        if let Err(error) = recipe {
            let said = error.to_string();
            assert!(said.starts_with(&format!("{} needs a Rekor v1 log", client.name())), "{said}");
            assert!(said.contains("init --rekor both"), "{said}");
        }
    }
}

#[test]
fn rekor_monitor_watches_v2_only_where_address_and_origin_agree() {
    https().recipe(Client::RekorMonitor, false, true).unwrap();
    let elsewhere = World::new("https://sigstore.example.com:8443");
    elsewhere.recipe(Client::RekorMonitor, true, true).unwrap();
    let refused = elsewhere.recipe(Client::RekorMonitor, false, true).unwrap_err();
    assert!(matches!(refused, RecipeError::Origin { .. }), "{refused}");
}

#[test]
fn rekor_monitor_is_given_a_configuration_that_parses() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    // In its place a program that repeats its last argument.
    let program = folder.path().join("rekor_monitor");
    std::fs::write(&program, "#!/bin/sh\nfor last; do :; done\nprintf '%s' \"$last\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, https().recipe(Client::RekorMonitor, true, true).unwrap()).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let identity = r"it's .*@example\.com: #1";
    let mut command = std::process::Command::new("sh");
    let output = command
        .arg(script)
        .env("PATH", path)
        .env("IDENTITY", identity)
        .env("STATE", "/srv")
        .output()
        .unwrap();
    let config: Value = serde_yaml_ng::from_slice(&output.stdout).unwrap();
    assert_eq!(at(&config, "monitoredValues/certIdentities/0/certSubject"), identity);
    assert_eq!(at(&config, "outputIdentities"), "/srv/identities.txt");
}

#[test]
fn without_a_timestamp_authority_none_is_asked() {
    let world = https();
    let mut identity = world.identity(true, false);
    identity.timestamp = None;
    let mut documents = trust::documents(&identity);
    documents.push(Document {
        name: "tuf-root.json".into(),
        media_type: "application/json",
        text: "{}".to_owned(),
    });
    for client in [Client::SigstoreGo, Client::SigstoreJs] {
        let text = recipe(client, &identity, &documents, "/srv").unwrap().text;
        assert!(!text.contains("-tsa") && !text.contains("@url@"), "{text}");
    }
}

#[test]
fn a_value_of_several_lines_begins_where_its_place_does() {
    let text = fill("a:\n  @b@\n- x@y.example @@ @c@@d@\n", |place| match place {
        "b" => Some("1\n2".to_owned()),
        "c" => Some("3".to_owned()),
        "d" => Some("4".to_owned()),
        _ => None,
    });
    assert_eq!(text, "a:\n  1\n  2\n- x@y.example @@ 34\n");
}

#[test]
fn words_of_a_shell_stay_one_word() {
    assert_eq!(word("https://a.example:8443/x"), "https://a.example:8443/x");
    assert_eq!(word("it's $HOME"), "'it'\\''s $HOME'");
    assert_eq!(word(""), "''");
}
