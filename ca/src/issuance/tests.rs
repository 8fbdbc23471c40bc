//! Issuance: what is in a certificate, and what stops one.

use std::process::Command;
use std::time::Duration;

use chancery_tlog::certificate::{Certificate, SubjectName, oid};
use chancery_tlog::ct::Sct;
use chancery_tlog::fulcio;
use chancery_tlog::key::KeyKind;
use chancery_tlog::serve::rate::Rate;
use serde_json::{Value, json};

use super::test_instance::{Instance, LogMode, Options, github_claims};
use super::*;
use crate::possession::test_key::TestKey;

fn request(token: String, key: &TestKey, challenge: &str) -> CertificateRequest {
    let proof = key.sign(challenge);
    CertificateRequest {
        token,
        from: None,
        key: KeyRequest::PublicKey { key: key.pem().into_bytes(), proof },
    }
}

async fn issue(instance: &Instance) -> Result<Issued, IssueError> {
    let sub = github_claims()["sub"].as_str().unwrap().to_owned();
    instance.service.issue(&request(instance.token(), &TestKey::p256(), &sub)).await
}

#[tokio::test]
async fn a_certificate_has_the_profile_of_the_specification() {
    let instance = Instance::start().await;
    let issued = issue(&instance).await.unwrap();
    let leaf = &issued.chain[0];

    assert_eq!(issued.chain.len(), 3, "leaf, issuing CA, root");
    assert_eq!(leaf.subject_der(), [0x30, 0x00]);
    assert_eq!(leaf.serial().len(), 20);
    assert!(leaf.serial()[0] < 0x80);
    assert_eq!(leaf.not_before().seconds(), instance.now().seconds());
    assert_eq!(leaf.not_after().seconds(), leaf.not_before().seconds() + 600);
    assert_eq!(leaf.issuer_der(), issued.chain[1].subject_der());

    let order: Vec<&str> = leaf.extensions().iter().map(|e| &*e.oid).collect();
    let mut expected: Vec<String> =
        ["2.5.29.15", "2.5.29.37", "2.5.29.14", "2.5.29.35", "2.5.29.17"].map(String::from).into();
    // GitHub has no deployment environment in this token, so 23 is left out.
    let numbers = (1..=6).chain(8..=22).chain([24]);
    expected.extend(numbers.map(|n| format!("{}{n}", oid::FULCIO)));
    expected.push(oid::SCT_LIST.to_owned());
    assert_eq!(order, expected);

    let critical: Vec<&str> = leaf.extensions().iter().filter(|e| e.critical).map(|e| &*e.oid).collect();
    assert_eq!(critical, ["2.5.29.15", "2.5.29.17"], "key usage and SAN");
    assert_eq!(leaf.extension("2.5.29.15").unwrap().value, [0x03, 0x02, 0x07, 0x80]);
    let code_signing = [0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
    assert_eq!(leaf.extension("2.5.29.37").unwrap().value, code_signing);
    assert_eq!(leaf.extension("2.5.29.14").unwrap().value.len(), 22, "SHA-1 in an OCTET STRING");
}

#[tokio::test]
async fn the_subject_and_the_facts_come_from_the_claims() {
    let instance = Instance::start().await;
    let issued = issue(&instance).await.unwrap();
    let leaf = &issued.chain[0];
    let uri = "https://github.com/octo-org/build/.github/workflows/release.yml@refs/tags/v1";
    assert_eq!(leaf.subject_names(), [SubjectName::Uri(uri.to_owned())]);
    for (number, expected) in [
        (1, instance.issuer.url.as_str()),
        (2, "push"),
        (5, "octo-org/octo-repo"),
        (6, "refs/heads/main"),
        (8, instance.issuer.url.as_str()),
        (9, uri),
        (11, "github-hosted"),
        (12, "https://github.com/octo-org/octo-repo"),
        (16, "https://github.com/octo-org"),
        (21, "https://github.com/octo-org/octo-repo/actions/runs/1536140711/attempts/2"),
        (22, "private"),
        (24, "repo:octo-org/octo-repo:ref:refs/heads/main"),
    ] {
        assert_eq!(fulcio::read(leaf, number).as_deref(), Some(expected), "extension {number}");
    }
}

#[tokio::test]
async fn deprecated_extensions_are_raw_and_the_others_utf8_strings() {
    let instance = Instance::start().await;
    let issued = issue(&instance).await.unwrap();
    let value = |n: u8| issued.chain[0].extension(&format!("{}{n}", oid::FULCIO)).unwrap().value.clone();
    assert_eq!(value(2), b"push");
    assert_eq!(value(20), b"\x0c\x04push");
}

#[tokio::test]
async fn the_precertificate_is_poisoned_and_otherwise_the_certificate() {
    let instance = Instance::start().await;
    let issued = issue(&instance).await.unwrap();
    let seen = instance.log.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].len(), 3, "the root is sent too");
    let precertificate = &seen[0][0];
    let poison = precertificate.extensions().last().unwrap();
    assert_eq!((&*poison.oid, poison.critical, &poison.value[..]), (oid::POISON, true, &[5, 0][..]));
    assert_eq!(
        precertificate.tbs_without(&[oid::POISON]).unwrap(),
        issued.chain[0].tbs_without(&[oid::SCT_LIST]).unwrap(),
    );
    assert_eq!(Sct::embedded(&issued.chain[0]).unwrap().len(), 1);
}

#[tokio::test]
async fn every_kind_of_key_gets_a_certificate_under_both_kinds_of_ca() {
    let keys = TestKey::all();
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384] {
        let instance = Instance::with(Options { kind, ..Options::default() }).await;
        let sub = github_claims()["sub"].as_str().unwrap().to_owned();
        for (name, key) in &keys {
            let issued = instance.service.issue(&request(instance.token(), key, &sub)).await;
            let issued = issued.unwrap_or_else(|e| panic!("{name} under {kind}: {e}"));
            assert_eq!(issued.chain[0].public_key().spki_der(), key.spki(), "{name} under {kind}");
        }
    }
}

/// What OpenSSL, a third party, thinks of the certificates.
#[tokio::test]
async fn openssl_accepts_the_certificate_and_refuses_the_precertificate() {
    let instance = Instance::start().await;
    let issued = issue(&instance).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, certificate: &Certificate| {
        let path = folder.path().join(name);
        std::fs::write(&path, certificate.to_pem()).unwrap();
        path
    };
    let leaf = write("leaf.pem", &issued.chain[0]);
    let issuing = write("issuing.pem", &issued.chain[1]);
    let root = write("root.pem", &issued.chain[2]);
    let precertificate = write("pre.pem", &instance.log.seen.lock().unwrap()[0][0]);

    let verify = |certificate: &std::path::Path| {
        let at = instance.now().seconds().to_string();
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", "any", "-attime", &at, "-CAfile"]);
        command.arg(&root).arg("-untrusted").arg(&issuing).arg(certificate).output().unwrap()
    };
    let verified = verify(&leaf);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let refused = verify(&precertificate);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unhandled critical extension"));

    let text = |path: &std::path::Path| {
        let mut command = Command::new("openssl");
        let output = command.args(["x509", "-noout", "-text", "-in"]).arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let leaf = text(&leaf);
    for expected in [
        "X509v3 Key Usage: critical",
        "Digital Signature",
        "Code Signing",
        "CT Precertificate SCTs",
        "URI:https://github.com/octo-org",
    ] {
        assert!(leaf.contains(expected), "`{expected}` in {leaf}");
    }
    let issuing = text(&issuing);
    for expected in ["CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign", "O = Example Org"] {
        assert!(issuing.contains(expected), "`{expected}` in {issuing}");
    }
}

#[tokio::test]
async fn without_a_log_the_certificate_carries_no_timestamp() {
    let instance = Instance::with(Options { logged: false, ..Options::default() }).await;
    let issued = issue(&instance).await.unwrap();
    assert!(!issued.logged);
    assert!(issued.chain[0].extension(oid::SCT_LIST).is_none());
    assert!(issued.chain[0].extension(oid::POISON).is_none());
}

#[tokio::test]
async fn a_log_that_lies_fails_or_hangs_stops_issuance() {
    let log_deadline = Duration::from_millis(50);
    let instance = Instance::with(Options { log_deadline, ..Options::default() }).await;
    for mode in [LogMode::ForeignKey, LogMode::OtherEntry, LogMode::Refuse, LogMode::Hang] {
        *instance.log.mode.lock().unwrap() = mode.clone();
        let error = issue(&instance).await.expect_err("no timestamp, no certificate");
        assert!(matches!(error, IssueError::Log(_)), "{mode:?}: {error}");
        assert_eq!(error.reason(), "issuance_log");
    }
}

#[tokio::test]
async fn a_leaf_never_outlives_its_ca() {
    let instance = Instance::start().await;
    let end = instance.ceremony.issuing.not_after();
    instance.clock.set(end.minus(Duration::from_secs(601)));
    assert!(instance.service.is_ready());
    issue(&instance).await.unwrap();
    instance.clock.set(end.minus(Duration::from_secs(599)));
    assert!(!instance.service.is_ready());
    assert!(matches!(issue(&instance).await, Err(IssueError::AuthorityExpires)));
}

#[tokio::test]
async fn a_bad_token_masks_every_other_error() {
    let instance = Instance::start().await;
    let key = KeyRequest::PublicKey { key: b"no key".to_vec(), proof: Vec::new() };
    let bad = CertificateRequest { token: "no token".to_owned(), from: None, key: key.clone() };
    assert!(matches!(instance.service.issue(&bad).await, Err(IssueError::Token(_))));
    let good = CertificateRequest { token: instance.token(), from: None, key };
    assert!(matches!(instance.service.issue(&good).await, Err(IssueError::Possession(PossessionError::Key))));
}

#[tokio::test]
async fn a_proof_over_another_name_is_refused() {
    let instance = Instance::start().await;
    let bad = request(instance.token(), &TestKey::p256(), "repo:octo-org/other:ref:refs/heads/main");
    let error = instance.service.issue(&bad).await.expect_err("other name");
    assert!(matches!(error, IssueError::Possession(PossessionError::Proof)));
}

#[tokio::test]
async fn clients_that_sign_the_verified_email_of_a_ci_token_are_served() {
    let instance = Instance::start().await;
    let mut claims = instance.claims();
    claims.insert("email".into(), json!("bot@example.com"));
    claims.insert("email_verified".into(), json!(true));
    let token = instance.key.mint(&Value::Object(claims.clone()));
    let by_email = request(token.clone(), &TestKey::p256(), "bot@example.com");
    instance.service.issue(&by_email).await.unwrap();
    let by_subject = request(token, &TestKey::p256(), claims["sub"].as_str().unwrap());
    instance.service.issue(&by_subject).await.unwrap();

    claims.insert("email_verified".into(), json!(false));
    let token = instance.key.mint(&Value::Object(claims));
    let unverified = request(token, &TestKey::p256(), "bot@example.com");
    assert!(instance.service.issue(&unverified).await.is_err());
}

#[tokio::test]
async fn a_missing_claim_of_a_template_is_named_to_the_caller() {
    let instance = Instance::start().await;
    let mut claims = instance.claims();
    claims.remove("job_workflow_ref");
    let token = instance.key.mint(&Value::Object(claims.clone()));
    let request = request(token, &TestKey::p256(), claims["sub"].as_str().unwrap());
    let error = instance.service.issue(&request).await.expect_err("no claim, no name");
    assert_eq!(error.to_string(), "value job_workflow_ref not present in either claims or defaults");
    assert_eq!(error.reason(), "template");
}

#[tokio::test]
async fn a_username_becomes_an_other_name() {
    let issuer = "type: username\n    subject-domain: 127.0.0.1";
    let instance = Instance::with(Options { issuer, ..Options::default() }).await;
    let mut claims = json!({ "sub": "alice" }).as_object().unwrap().clone();
    instance.complete(&mut claims);
    let token = instance.key.mint(&Value::Object(claims));
    let issued = instance.service.issue(&request(token, &TestKey::p256(), "alice")).await.unwrap();
    let name =
        SubjectName::Other { oid: oid::FULCIO_USERNAME.to_owned(), value: "alice!127.0.0.1".to_owned() };
    assert_eq!(issued.chain[0].subject_names(), [name]);
    let san = &issued.chain[0].extension("2.5.29.17").unwrap().value;
    // SEQUENCE { [0] { OID 1.3.6.1.4.1.57264.1.7, [0] { UTF8String } } }
    let expected =
        b"\x30\x21\xa0\x1f\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x07\xa0\x11\x0c\x0falice!127.0.0.1";
    assert_eq!(&san[..], &expected[..]);
}

#[tokio::test]
async fn an_email_becomes_an_rfc822_name_and_is_the_challenge() {
    let instance = Instance::with(Options { issuer: "type: email", ..Options::default() }).await;
    let mut claims = json!({ "sub": "CgV1", "email": "alice@example.com", "email_verified": true });
    instance.complete(claims.as_object_mut().unwrap());
    let token = instance.key.mint(&claims);
    let request = request(token, &TestKey::p256(), "alice@example.com");
    let issued = instance.service.issue(&request).await.unwrap();
    assert_eq!(issued.chain[0].subject_names(), [SubjectName::Email("alice@example.com".to_owned())]);
    let order: Vec<&str> =
        issued.chain[0].extensions().iter().filter_map(|e| e.oid.strip_prefix(oid::FULCIO)).collect();
    assert_eq!(order, ["1", "8", "24"]);
}

/// The last word on an embedded timestamp: verified from the certificate's own bytes, as a client does it.
#[tokio::test]
async fn the_embedded_timestamp_verifies_by_the_logs_key() {
    let instance = Instance::start().await;
    let issued = issue(&instance).await.unwrap();
    let entry = Entry::from_final(&issued.chain[0], &issued.chain[1]).unwrap();
    let embedded = Sct::embedded(&issued.chain[0]).unwrap();
    embedded[0].verify(&entry, instance.log.public_key()).unwrap();
}

/// A signer that signs well until told otherwise.
struct Faulty(Arc<chancery_tlog::key::SoftwareSigner>, std::sync::atomic::AtomicUsize);

impl chancery_tlog::key::Signer for Faulty {
    fn public_key(&self) -> &chancery_tlog::key::PublicKey {
        self.0.public_key()
    }

    /// The second signature, the certificate's, is over other bytes.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, chancery_tlog::key::SignError> {
        let calls = self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.0.sign(if calls == 1 { b"something else" } else { message })
    }
}

#[tokio::test]
async fn a_corrupted_signature_never_leaves_the_house() {
    let mut instance = Instance::start().await;
    let made = &instance.ceremony;
    let signer = Arc::new(Faulty(made.issuing_key.clone(), std::sync::atomic::AtomicUsize::new(0)));
    let authority = Authority::load(&made.chain_pem(), signer, instance.clock.as_ref()).unwrap();
    let service = Arc::get_mut(&mut instance.service).unwrap();
    service.authority = Arc::new(authority);
    let error = issue(&instance).await.expect_err("the signature is wrong");
    assert!(matches!(error, IssueError::SelfCheck(_)), "{error}");
    issue(&instance).await.expect("the next one is sound");
}

#[tokio::test]
async fn a_timestamp_for_another_certificate_is_not_accepted_for_this_one() {
    let instance = Instance::start().await;
    let (first, second) = (issue(&instance).await.unwrap(), issue(&instance).await.unwrap());
    let sct = Sct::embedded(&first.chain[0]).unwrap().remove(0);
    let entry = Entry::from_final(&first.chain[0], &first.chain[1]).unwrap();
    let promise = Promise { sct, entry };
    promise.check(&first.chain[0], &first.chain[1]).unwrap();
    promise.check(&second.chain[0], &second.chain[1]).expect_err("another certificate");
}

#[tokio::test]
async fn entries_in_a_log_by_the_same_name_use_up_nothing_of_what_the_ca_allows() {
    let rate = Rate { per_minute: 1, burst: 1 };
    let instance = Instance::with(Options { identities: Some(rate), ..Options::default() }).await;
    let limiter = instance.service.settings.identities.clone().unwrap();
    let (iss, sub) = (&instance.issuer.url, github_claims()["sub"].as_str().unwrap().to_owned());
    for share in [format!("{iss} {sub}"), format!("log {iss} {sub}")] {
        limiter.take(&share).unwrap();
    }
    issue(&instance).await.unwrap();
    assert!(matches!(issue(&instance).await, Err(IssueError::TooMany { .. })));
}
