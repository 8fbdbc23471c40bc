//! Every claim of a bundle is tampered with, one at a time; each must be refused by the claim that it breaks, with
//! words that say why. The untampered bundles verify, so these tests can fail in both directions.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod fixture;
#[path = "verification/generator.rs"]
mod generator;
#[path = "verification/names.rs"]
mod names;
#[path = "verification/p1363.rs"]
mod p1363;
#[path = "verification/periods.rs"]
mod periods;
#[path = "verification/provenance.rs"]
mod provenance;
#[path = "verification/rekor_v2.rs"]
mod rekor_v2;
#[path = "verification/spelling.rs"]
mod spelling;
#[path = "verification/tampering.rs"]
mod tampering;
#[path = "verification/timestamps.rs"]
mod timestamps;

use chancery::artifact::Artifact;
use chancery::bundle::wire::Base64;
use chancery::bundle::{Bundle, Content, SigningMaterial, Version};
use chancery::dsse::Envelope;
use chancery::ephemeral::EphemeralKey;
use chancery::slsa::{PROVENANCE_V0_2, PROVENANCE_V1};
use chancery::statement::Statement;
use chancery::verify::{Claim, IssuerRule, NameRule, Outcome, Policy, Report, SourceUri, verify};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{FixedClock, Timestamp};
use chancery_tlog::ct::Sct;
use chancery_tlog::key::{HashAlgorithm, KeyKind, Signer as _, SoftwareSigner};
use chancery_tlog::merkle::Hash;
use chancery_tlog::rekor::{sign_checkpoint, sign_set};
use chancery_tlog::trust::Keyring;
use fixture::{BUILDER, HOST, Leaf, NOW, PROVIDER, REPOSITORY, TREE, TestInstance, artifact, statement};
use rcgen::SanType;
use serde_json::{Value, json};

/// A year later: nothing may depend on the current time.
static CLOCK: FixedClock = FixedClock::new(Timestamp::from_seconds(NOW + 86_400 * 400));

fn workflow_policy() -> Policy {
    Policy::identity(NameRule::Exact(BUILDER.to_owned()), PROVIDER)
}

fn judge(bundle: &Bundle, trust: &Keyring, policy: &Policy) -> Report {
    verify(bundle, &artifact(), Some(trust), policy, &CLOCK)
}

fn outcome(report: &Report, claim: Claim) -> &Outcome {
    &report.claims.iter().find(|finding| finding.claim == claim).unwrap().outcome
}

#[track_caller]
fn assert_refused(report: &Report, claim: Claim, words: &str) {
    assert!(!report.verified);
    match outcome(report, claim) {
        Outcome::Refused(why) if why.contains(words) => {}
        other => panic!("{claim:?} should be refused with `{words}`, but: {other:?}\n{:#?}", report.claims),
    }
}

#[track_caller]
fn assert_verified(report: &Report) {
    assert!(report.verified, "{:#?}", report.claims);
}

#[test]
fn provenance_verifies_and_every_claim_is_named() {
    let instance = TestInstance::new();
    let policy = workflow_policy()
        .with_source(SourceUri::parse("github.com/octo-org/app").unwrap())
        .with_source_ref("refs/tags/v1")
        .with_builder(BUILDER)
        .with_predicate_type(PROVENANCE_V1);
    let report = judge(&instance.provenance(), &instance.trust(), &policy);
    assert_verified(&report);
    assert_eq!(report.claims.len(), 14);
    for finding in report.claims.iter().filter(|finding| finding.claim != Claim::Timestamp) {
        assert!(matches!(finding.outcome, Outcome::Proven(_)), "{finding:?}");
    }
    assert_eq!(report.signed_at, Some(Timestamp::from_seconds(NOW).to_rfc3339()));
}

#[test]
fn a_signature_over_the_artifact_verifies_by_file_and_by_digest() {
    let instance = TestInstance::new();
    let bundle = instance.signature();
    assert_verified(&judge(&bundle, &instance.trust(), &workflow_policy()));
    let digest = Artifact::parse_digest(&artifact().name()).unwrap();
    assert_verified(&verify(&bundle, &digest, Some(&instance.trust()), &workflow_policy(), &CLOCK));
}

#[test]
fn bundles_survive_their_json() {
    let instance = TestInstance::new();
    for bundle in [instance.provenance(), instance.signature(), instance.key_signature().0] {
        assert_eq!(Bundle::parse(bundle.to_json().as_bytes()), Ok(bundle));
    }
}

#[test]
fn older_versions_with_a_chain_verify() {
    let instance = TestInstance::new();
    let mut json: Value = serde_json::from_str(&instance.provenance().to_json()).unwrap();
    let material = json["verificationMaterial"].as_object_mut().unwrap();
    let leaf = material.remove("certificate").unwrap();
    material.insert("x509CertificateChain".to_owned(), json!({"certificates": [leaf]}));
    for version in ["0.1", "0.2"] {
        json["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
        let bundle = Bundle::parse(json.to_string().as_bytes()).unwrap();
        assert_verified(&judge(&bundle, &instance.trust(), &workflow_policy()));
    }
    json["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.3+json");
    assert!(Bundle::parse(json.to_string().as_bytes()).is_err());
}

#[test]
fn version_0_1_may_have_the_promise_alone_and_says_so() {
    let instance = TestInstance::new();
    let mut bundle = instance.provenance();
    bundle.version = Version::V0_1;
    bundle.entries[0].proof = None;
    let report = judge(&bundle, &instance.trust(), &workflow_policy());
    assert_verified(&report);
    assert!(matches!(outcome(&report, Claim::InclusionProof), Outcome::NotRequired(_)));
    bundle.version = Version::V0_3;
    assert_refused(
        &judge(&bundle, &instance.trust(), &workflow_policy()),
        Claim::InclusionProof,
        "no inclusion proof",
    );
}

#[test]
fn another_artifact_is_refused() {
    let instance = TestInstance::new();
    let other = Artifact::read(&b"hullo\n"[..], &[], |_| ()).unwrap();
    for (bundle, words) in [
        (instance.provenance(), "is not among the statement's"),
        (instance.signature(), "the signature is over"),
    ] {
        let report = verify(&bundle, &other, Some(&instance.trust()), &workflow_policy(), &CLOCK);
        assert_refused(&report, Claim::Artifact, words);
        assert!(matches!(outcome(&report, Claim::Signature), Outcome::Proven(_)));
    }
}

#[test]
fn a_signing_time_outside_of_the_certificates_life_is_refused() {
    let instance = TestInstance::new();
    for at in [NOW - 61, NOW + 541] {
        let mut bundle = instance.provenance();
        let entry = &mut bundle.entries[0];
        entry.integrated_time = Some(at);
        entry.promise = Some(sign_set(&entry.body, at, &entry.log_id, entry.index, &instance.log).unwrap());
        let report = judge(&bundle, &instance.trust(), &workflow_policy());
        assert_refused(&report, Claim::SigningTime, "outside of the certificate's life");
        assert_refused(&report, Claim::CertificateChain, "without a trusted time");
    }
}

#[test]
fn keys_count_only_within_their_validity() {
    let instance = TestInstance::new();
    let ended = |path: &str| {
        let mut root = instance.trusted_root();
        *root.pointer_mut(path).unwrap() =
            json!({"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"});
        Keyring::parse(root.to_string().as_bytes()).unwrap()
    };
    let judge = |trust| judge(&instance.provenance(), &trust, &workflow_policy());
    assert_refused(&judge(ended("/tlogs/0/publicKey/validFor")), Claim::SigningTime, "does not trust");
    assert_refused(&judge(ended("/ctlogs/0/publicKey/validFor")), Claim::CertificateLog, "does not trust");
    assert_refused(
        &judge(ended("/certificateAuthorities/0/validFor")),
        Claim::CertificateChain,
        "no certificate authority at",
    );
}

#[test]
fn a_certificate_must_be_logged_if_the_root_lists_issuance_logs() {
    let instance = TestInstance::new();
    let bare = instance.attest(&statement(), &Leaf { with_sct: false, ..Leaf::workflow() });
    assert_refused(
        &judge(&bare, &instance.trust(), &workflow_policy()),
        Claim::CertificateLog,
        "no signed certificate timestamp",
    );
    let mut root = instance.trusted_root();
    root["ctlogs"] = json!([]);
    let unlogged = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let report = judge(&bare, &unlogged, &workflow_policy());
    assert_verified(&report);
    assert!(matches!(outcome(&report, Claim::CertificateLog), Outcome::NotRequired(_)));
}

#[test]
fn a_foreign_issuance_log_does_not_count() {
    let (instance, other) = (TestInstance::new(), TestInstance::new());
    let mut root = instance.trusted_root();
    root["ctlogs"] = other.trusted_root()["ctlogs"].clone();
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let report = judge(&instance.provenance(), &trust, &workflow_policy());
    assert_refused(&report, Claim::CertificateLog, "no SCT by an issuance log");
}

#[test]
fn a_wrong_sct_is_refused() {
    let instance = TestInstance::new();
    let key = EphemeralKey::generate().unwrap();
    let bends: [fn(&mut Sct); 3] = [
        |sct| sct.signature[9] ^= 1,
        |sct| sct.timestamp = Timestamp::default(),
        |sct| sct.extensions.push(0),
    ];
    for bend in bends {
        let certificate = instance.issue_with(key.public_key(), &Leaf::workflow(), |entry| {
            let mut sct = Sct::sign(entry, Timestamp::from_seconds(NOW), &instance.ct).unwrap();
            bend(&mut sct);
            sct
        });
        let bundle = instance.attest_as(&statement(), &key, certificate);
        let report = judge(&bundle, &instance.trust(), &workflow_policy());
        assert_refused(&report, Claim::CertificateLog, "does not verify");
    }
}

/// A key of an algorithm that nobody here knows (an SPKI of id-ML-DSA-65 with nonsense for a key).
fn unreadable(log: &Value) -> Value {
    let mut log = log.clone();
    log["publicKey"]["rawBytes"] = json!(Base64::encode(&hex::decode(ML_DSA_65).unwrap()));
    log["publicKey"]["keyDetails"] = json!("ML_DSA_65");
    log
}

const ML_DSA_65: &str = "3012300b0609608648016503040312030300abcd";

#[test]
fn a_list_of_which_nothing_can_be_read_still_demands() {
    let instance = TestInstance::new();
    let with_unreadable = |list: &str| {
        let mut root = instance.trusted_root();
        root[list][0] = unreadable(&root[list][0]);
        Keyring::parse(root.to_string().as_bytes()).unwrap()
    };
    let now = FixedClock::new(Timestamp::from_seconds(NOW + 5));
    let judge =
        |bundle: &Bundle, trust: &Keyring| verify(bundle, &artifact(), Some(trust), &workflow_policy(), &now);

    let trust = with_unreadable("tlogs");
    let report = judge(&instance.provenance(), &trust);
    assert_refused(&report, Claim::LogEntry, "tlogs[0]: unsupported key algorithm");
    for claim in [Claim::InclusionProof, Claim::Checkpoint, Claim::SigningTime] {
        assert_refused(&report, claim, "no log with id");
    }
    let unlogged = Bundle { entries: vec![], ..instance.provenance() };
    let report = judge(&unlogged, &trust);
    assert_refused(&report, Claim::LogEntry, "the bundle has no log entry");
    assert_refused(&report, Claim::CertificateChain, "without a trusted time");

    let trust = with_unreadable("ctlogs");
    let report = judge(&instance.provenance(), &trust);
    assert_refused(&report, Claim::CertificateLog, "ctlogs[0]: unsupported key algorithm");
    let bare = instance.attest(&statement(), &Leaf { with_sct: false, ..Leaf::workflow() });
    assert_refused(&judge(&bare, &trust), Claim::CertificateLog, "no signed certificate timestamp");
}

#[test]
fn an_unreadable_authority_is_named_where_its_certificates_are_refused() {
    let instance = TestInstance::new();
    let mut root = instance.trusted_root();
    root["certificateAuthorities"][0]["certChain"]["certificates"] =
        json!([{"rawBytes": Base64::encode(&with_unknown_key(&instance.root))}]);
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let report = judge(&instance.provenance(), &trust, &workflow_policy());
    assert_refused(&report, Claim::CertificateChain, "certificateAuthorities[0]");
}

#[test]
fn an_unreadable_log_beside_a_good_one_changes_nothing() {
    let instance = TestInstance::new();
    let mut root = instance.trusted_root();
    for list in ["tlogs", "ctlogs"] {
        let other = unreadable(&root[list][0]);
        root[list].as_array_mut().unwrap().insert(0, other);
    }
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    assert_verified(&judge(&instance.provenance(), &trust, &workflow_policy()));
}

/// The certificate with the first `id-ecPublicKey` in it made an unknown algorithm.
fn with_unknown_key(certificate: &Certificate) -> Vec<u8> {
    let id = hex::decode("06072a8648ce3d0201").unwrap();
    let mut der = certificate.der().to_vec();
    let at = der.windows(id.len()).position(|window| window == id).unwrap();
    der[at + id.len() - 1] = 0x7f;
    der
}

#[test]
fn a_foreign_instance_verifies_nothing() {
    let (instance, foreign) = (TestInstance::new(), TestInstance::new());
    let report = judge(&instance.provenance(), &foreign.trust(), &workflow_policy());
    assert_refused(&report, Claim::LogEntry, "no log with id");
    assert_refused(&report, Claim::CertificateChain, "without a trusted time");
}

#[test]
fn without_logs_the_certificate_is_judged_now() {
    let instance = TestInstance::new();
    let mut root = instance.trusted_root();
    root["tlogs"] = json!([]);
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let bundle = Bundle { entries: vec![], ..instance.provenance() };
    let at = |seconds| {
        let clock = FixedClock::new(Timestamp::from_seconds(seconds));
        verify(&bundle, &artifact(), Some(&trust), &workflow_policy(), &clock)
    };
    let report = at(NOW + 5);
    assert_verified(&report);
    for claim in [Claim::LogEntry, Claim::InclusionProof, Claim::Checkpoint, Claim::SigningTime] {
        assert!(matches!(outcome(&report, claim), Outcome::NotRequired(_)), "{claim:?}");
    }
    assert_refused(&at(NOW + 3600), Claim::CertificateChain, "was not valid at");
}

#[test]
fn the_identity_must_be_the_expected_one() {
    let instance = TestInstance::new();
    let bundle = instance.provenance();
    let judge = |policy| judge(&bundle, &instance.trust(), &policy);
    let wrong = Policy::identity(NameRule::Exact("https://github.com/evil/app".to_owned()), PROVIDER);
    assert_refused(&judge(wrong), Claim::Identity, "the certificate is for");
    let wrong = Policy::identity(NameRule::Exact(BUILDER.to_owned()), "https://accounts.example");
    assert_refused(&judge(wrong), Claim::Identity, "vouches for");
    let expression = |text| Policy::identity(NameRule::matching(text).unwrap(), PROVIDER);
    assert_verified(&judge(expression(r"https://github\.com/octo-org/.*")));
    assert_refused(&judge(expression(r"https://github\.com/octo-org/")), Claim::Identity, "one matching");
}

#[test]
fn a_certificate_with_several_names_is_refused() {
    let instance = TestInstance::new();
    let mut leaf = Leaf::workflow();
    leaf.names.push(SanType::Rfc822Name("a@example.com".try_into().unwrap()));
    let bundle = instance.attest(&statement(), &leaf);
    assert_refused(
        &judge(&bundle, &instance.trust(), &workflow_policy()),
        Claim::Identity,
        "2 subject names",
    );
}

#[test]
fn the_predicate_must_be_of_the_expected_type() {
    let instance = TestInstance::new();
    let report = judge(
        &instance.provenance(),
        &instance.trust(),
        &workflow_policy().with_predicate_type(PROVENANCE_V0_2),
    );
    assert_refused(&report, Claim::PredicateType, "the statement is of type");
    let report = judge(
        &instance.signature(),
        &instance.trust(),
        &workflow_policy().with_predicate_type(PROVENANCE_V1),
    );
    assert_refused(&report, Claim::PredicateType, "the artifact itself is signed");
}

#[test]
fn several_subjects_each_verify() {
    let instance = TestInstance::new();
    let mut statement: Statement = statement();
    let other = Artifact::read(&b"other\n"[..], &[], |_| ()).unwrap();
    statement.subject.insert(0, chancery::statement::Subject::new("other.txt", &other));
    let bundle = instance.attest(&statement, &Leaf::workflow());
    for artifact in [artifact(), other] {
        assert_verified(&verify(&bundle, &artifact, Some(&instance.trust()), &workflow_policy(), &CLOCK));
    }
}

#[test]
fn a_key_bundle_verifies_with_its_key_alone() {
    let instance = TestInstance::new();
    let (bundle, key) = instance.key_signature();
    assert_verified(&judge(&bundle, &instance.trust(), &Policy::key(key.clone())));
    let other = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let report = judge(&bundle, &instance.trust(), &Policy::key(other.public_key().clone()));
    assert_refused(&report, Claim::Signature, "does not verify");
    assert_refused(&report, Claim::LogEntry, "another signer");
    assert_refused(
        &judge(&bundle, &instance.trust(), &workflow_policy()),
        Claim::Identity,
        "nobody is named",
    );
    let report = judge(&instance.signature(), &instance.trust(), &Policy::key(key.clone()));
    assert_refused(&report, Claim::Signature, "a key was expected");
    // Nobody to trust but the key: the log is said not to count.
    let report = verify(&bundle, &artifact(), None, &Policy::key(key.clone()), &CLOCK);
    assert_verified(&report);
    assert!(matches!(outcome(&report, Claim::LogEntry), Outcome::NotRequired(_)));
    let unlogged = Bundle { entries: vec![], ..bundle };
    assert_refused(&judge(&unlogged, &instance.trust(), &Policy::key(key)), Claim::LogEntry, "no log entry");
}

#[test]
fn every_entry_of_a_bundle_must_hold() {
    let instance = TestInstance::new();
    let mut bundle = instance.provenance();
    let mut second = bundle.entries[0].clone();
    second.index += 1;
    bundle.entries.push(second);
    assert_refused(&judge(&bundle, &instance.trust(), &workflow_policy()), Claim::SigningTime, "SET");
}
