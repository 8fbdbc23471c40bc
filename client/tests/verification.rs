//! Every claim of a bundle is tampered with, one at a time; each must be refused by the claim that it breaks, with
//! words that say why. The untampered bundles verify, so these tests can fail in both directions.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod fixture;

use chancery::artifact::Artifact;
use chancery::bundle::wire::Base64;
use chancery::bundle::{Bundle, Content, SigningMaterial, Version};
use chancery::dsse::Envelope;
use chancery::ephemeral::EphemeralKey;
use chancery::slsa::{PROVENANCE_V0_2, PROVENANCE_V1};
use chancery::statement::Statement;
use chancery::verify::{Claim, NameRule, Outcome, Policy, Report, SourceUri, verify};
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

/// A way to spoil a bundle, the claim that must notice, and its words.
type Tampering = (&'static str, fn(&mut Bundle, &TestInstance), Claim, &'static str);

fn signed(bundle: &mut Bundle) -> &mut Vec<u8> {
    match &mut bundle.content {
        Content::Message(message) => &mut message.signature,
        Content::Envelope(_) => panic!("a message is expected"),
    }
}

fn reenvelope(bundle: &mut Bundle, change: impl Fn(&mut String, &mut Vec<u8>, &mut Vec<u8>)) {
    let Content::Envelope(envelope) = &bundle.content else { panic!("an envelope is expected") };
    let mut kind = envelope.payload_type().to_owned();
    let (mut payload, mut signature) = (envelope.payload().to_vec(), envelope.signature().to_vec());
    change(&mut kind, &mut payload, &mut signature);
    bundle.content = Content::Envelope(Envelope::new(&kind, payload, signature));
}

/// What log entry, proof and certificate tamperings do to any bundle.
const TAMPERINGS: &[Tampering] = &[
    ("no entry", |b, _| b.entries.clear(), Claim::LogEntry, "no log entry"),
    ("unknown log", |b, _| b.entries[0].log_id[0] ^= 1, Claim::LogEntry, "no log with id"),
    ("unknown kind", |b, _| b.entries[0].kind = "rekord".into(), Claim::LogEntry, "not supported"),
    ("relabelled kind", |b, _| b.entries[0].kind = "intoto".into(), Claim::LogEntry, "calls it intoto 0.0.1"),
    ("broken body", |b, _| b.entries[0].body.truncate(9), Claim::LogEntry, "body"),
    ("changed body", |b, _| b.entries[0].body.push(b' '), Claim::InclusionProof, "not in the tree"),
    ("changed body, time", |b, _| b.entries[0].body.push(b' '), Claim::SigningTime, "SET"),
    ("log index", |b, _| b.entries[0].index += 1, Claim::SigningTime, "SET"),
    ("integrated time", |b, _| b.entries[0].integrated_time = Some(NOW + 1), Claim::SigningTime, "SET"),
    (
        "no integrated time",
        |b, _| b.entries[0].integrated_time = None,
        Claim::SigningTime,
        "no integrated time",
    ),
    ("no promise", |b, _| b.entries[0].promise = None, Claim::SigningTime, "no signed entry timestamp"),
    ("broken promise", |b, _| b.entries[0].promise.as_mut().unwrap()[9] ^= 1, Claim::SigningTime, "SET"),
    ("proof index", |b, _| proof(b).index = 3, Claim::InclusionProof, "not in the tree"),
    ("proof size", |b, _| proof(b).size = 4, Claim::InclusionProof, "not in the tree"),
    ("proof root", |b, _| proof(b).root = Hash::digest(b"x"), Claim::InclusionProof, "not in the tree"),
    ("proof hash", |b, _| proof(b).hashes[0] = Hash::digest(b"x"), Claim::InclusionProof, "not in the tree"),
    ("proof shorter", |b, _| proof(b).hashes.truncate(1), Claim::InclusionProof, "not in the tree"),
    ("proof longer", |b, _| proof(b).hashes.push(Hash::default()), Claim::InclusionProof, "not in the tree"),
    ("root, checkpoint", |b, _| proof(b).root = Hash::digest(b"x"), Claim::Checkpoint, "another tree"),
    ("checkpoint size", |b, _| replace(b, "\n5\n", "\n6\n"), Claim::Checkpoint, "does not verify"),
    ("checkpoint origin", |b, _| replace(b, HOST, "log.exbmple"), Claim::Checkpoint, "checkpoint"),
    ("no note", |b, _| proof(b).checkpoint = Some("x".into()), Claim::Checkpoint, "checkpoint"),
    ("foreign checkpoint", foreign_checkpoint, Claim::Checkpoint, "not signed by the key"),
    ("checkpoint of another tree", other_tree, Claim::Checkpoint, "another tree"),
    ("foreign CA", foreign_ca, Claim::CertificateChain, "no trusted certificate authority"),
    ("other certificate", other_certificate, Claim::Signature, "does not verify"),
    ("other certificate, entry", other_certificate, Claim::LogEntry, "another signer"),
    ("entry of another signature", transplanted, Claim::LogEntry, "another signature"),
];

fn proof(bundle: &mut Bundle) -> &mut chancery::bundle::InclusionProof {
    bundle.entries[0].proof.as_mut().unwrap()
}

fn replace(bundle: &mut Bundle, from: &str, to: &str) {
    let checkpoint = proof(bundle).checkpoint.as_mut().unwrap();
    assert!(checkpoint.contains(from));
    *checkpoint = checkpoint.replacen(from, to, 1);
}

fn foreign_checkpoint(bundle: &mut Bundle, _: &TestInstance) {
    let foreign = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let (size, root) = (proof(bundle).size, proof(bundle).root);
    proof(bundle).checkpoint = Some(sign_checkpoint(HOST, TREE, size, &root, &foreign).unwrap());
}

fn other_tree(bundle: &mut Bundle, instance: &TestInstance) {
    let (size, root) = (proof(bundle).size, Hash::digest(b"other"));
    proof(bundle).checkpoint = Some(sign_checkpoint(HOST, TREE, size, &root, &instance.log).unwrap());
}

fn foreign_ca(bundle: &mut Bundle, instance: &TestInstance) {
    let SigningMaterial::Certificate(certificate) = &mut bundle.signer else { panic!() };
    let foreign = TestInstance::new();
    **certificate = foreign.issue(certificate.public_key(), &Leaf::workflow(), &instance.ct);
}

fn other_certificate(bundle: &mut Bundle, instance: &TestInstance) {
    bundle.signer = instance.provenance().signer;
}

fn transplanted(bundle: &mut Bundle, instance: &TestInstance) {
    let other = match bundle.content {
        Content::Message(_) => instance.signature(),
        Content::Envelope(_) => instance.provenance(),
    };
    bundle.entries = other.entries;
}

#[test]
fn every_tampered_part_is_refused_by_the_claim_that_it_breaks() {
    let instance = TestInstance::new();
    for original in [instance.provenance(), instance.signature()] {
        for (name, tamper, claim, words) in TAMPERINGS {
            let mut bundle = original.clone();
            tamper(&mut bundle, &instance);
            assert_ne!(bundle, original, "{name} changes nothing");
            eprintln!("{name}");
            assert_refused(&judge(&bundle, &instance.trust(), &workflow_policy()), *claim, words);
        }
    }
}

#[test]
fn a_tampered_envelope_is_refused() {
    let instance = TestInstance::new();
    let tampered = |change: fn(&mut String, &mut Vec<u8>, &mut Vec<u8>)| {
        let mut bundle = instance.provenance();
        reenvelope(&mut bundle, change);
        judge(&bundle, &instance.trust(), &workflow_policy())
    };
    let report = tampered(|_, payload, _| payload.push(b'\n'));
    assert_refused(&report, Claim::Signature, "does not verify");
    assert_refused(&report, Claim::LogEntry, "another statement");
    let report = tampered(|_, _, signature| signature[9] ^= 1);
    assert_refused(&report, Claim::Signature, "does not verify");
    assert_refused(&report, Claim::LogEntry, "another signature");
    let report = tampered(|kind, _, _| kind.push('x'));
    assert_refused(&report, Claim::Signature, "does not verify");
    assert_refused(&report, Claim::Artifact, "payload is not of type");
}

#[test]
fn provenance_in_an_intoto_entry_verifies_in_both_versions() {
    let instance = TestInstance::new();
    for version in ["0.0.1", "0.0.2"] {
        let bundle = instance.provenance_as_intoto(version);
        assert_eq!(
            (bundle.entries[0].kind.as_str(), bundle.entries[0].version.as_str()),
            ("intoto", version)
        );
        let report = judge(&bundle, &instance.trust(), &workflow_policy());
        assert_verified(&report);
        assert!(matches!(outcome(&report, Claim::LogEntry), Outcome::Proven(_)));
        let mut relabelled = bundle.clone();
        relabelled.entries[0].kind = "dsse".to_owned();
        relabelled.entries[0].version = "0.0.1".to_owned();
        let report = judge(&relabelled, &instance.trust(), &workflow_policy());
        assert_refused(&report, Claim::LogEntry, "the bundle calls it dsse 0.0.1");
    }
}

#[test]
fn an_intoto_0_0_1_entry_is_bound_to_its_envelope_and_signer() {
    let instance = TestInstance::new();
    let tampered = |change: &dyn Fn(&mut Bundle)| {
        let mut bundle = instance.provenance_as_intoto("0.0.1");
        change(&mut bundle);
        judge(&bundle, &instance.trust(), &workflow_policy())
    };
    let report = tampered(&|b| reenvelope(b, |_, payload, _| payload.push(b'\n')));
    assert_refused(&report, Claim::LogEntry, "another statement");
    let report = tampered(&|b| reenvelope(b, |_, _, signature| signature[9] ^= 1));
    assert_refused(&report, Claim::LogEntry, "another envelope");
    let report = tampered(&|b| reenvelope(b, |kind, _, _| kind.push('x')));
    assert_refused(&report, Claim::LogEntry, "another envelope");
    let report = tampered(&|b| other_certificate(b, &instance));
    assert_refused(&report, Claim::LogEntry, "another signer");
    // Another good signature by the same key: only the envelope's hash tells them apart.
    let report = tampered(&|b| reenvelope(b, |_, _, signature| *signature = mirrored(signature)));
    assert!(matches!(outcome(&report, Claim::Signature), Outcome::Proven(_)));
    assert_refused(&report, Claim::LogEntry, "another envelope");
}

/// The second ECDSA signature that follows from every one: `(r, -s)`.
fn mirrored(signature: &[u8]) -> Vec<u8> {
    let signature = p256::ecdsa::Signature::from_der(signature).unwrap();
    let (r, s) = signature.split_scalars();
    p256::ecdsa::Signature::from_scalars(r, -s).unwrap().to_der().as_bytes().to_vec()
}

#[test]
fn a_tampered_message_signature_is_refused() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature();
    signed(&mut bundle)[9] ^= 1;
    let report = judge(&bundle, &instance.trust(), &workflow_policy());
    assert_refused(&report, Claim::Signature, "does not verify");
    assert_refused(&report, Claim::LogEntry, "another signature");

    let mut bundle = instance.signature();
    let Content::Message(message) = &mut bundle.content else { panic!() };
    message.digest = Some((HashAlgorithm::Sha256, vec![7; 32]));
    let report = judge(&bundle, &instance.trust(), &workflow_policy());
    assert_refused(&report, Claim::Signature, "does not verify");
    assert_refused(&report, Claim::Artifact, "the signature is over sha256:0707");
    assert_refused(&report, Claim::LogEntry, "another artifact");
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
fn source_and_builder_alone_are_policies() {
    let instance = TestInstance::new();
    let judge = |bundle: &Bundle, policy| judge(bundle, &instance.trust(), &policy);
    for bundle in [instance.provenance(), instance.signature()] {
        assert_verified(&judge(&bundle, Policy::source(SourceUri::parse(REPOSITORY).unwrap())));
        assert_verified(&judge(&bundle, Policy::builder(BUILDER)));
        assert_verified(&judge(&bundle, Policy::builder(BUILDER.split_once('@').unwrap().0)));
        let other = Policy::source(SourceUri::parse("https://github.com/octo-org/other").unwrap());
        assert_refused(&judge(&bundle, other), Claim::Source, "names repository");
        assert_refused(
            &judge(&bundle, Policy::builder("https://github.com/o/b")),
            Claim::Builder,
            "expected builder",
        );
        let prefix = BUILDER.strip_suffix("s/v1").unwrap();
        assert_refused(&judge(&bundle, Policy::builder(prefix)), Claim::Builder, "expected builder");
        let reference = workflow_policy().with_source_ref("refs/heads/main");
        assert_refused(&judge(&bundle, reference), Claim::Source, "names ref");
    }
}

#[test]
fn provenance_must_say_what_the_certificate_says() {
    let instance = TestInstance::new();
    let lies = [
        ("/buildDefinition/resolvedDependencies/0/digest/gitCommit", "0000"),
        ("/runDetails/metadata/invocationId", "https://github.com/octo-org/app/actions/runs/1/attempts/1"),
        (
            "/runDetails/builder/id",
            "https://github.com/octo-org/trusted/.github/workflows/b.yml@refs/heads/main",
        ),
        ("/buildDefinition/externalParameters/workflow/repository", "https://github.com/octo-org/other"),
    ];
    for (path, lie) in lies {
        let mut statement = statement();
        *statement.predicate.pointer_mut(path).unwrap() = json!(lie);
        let bundle = instance.attest(&statement, &Leaf::workflow());
        let expecting = workflow_policy().with_predicate_type(PROVENANCE_V1);
        assert_refused(
            &judge(&bundle, &instance.trust(), &expecting),
            Claim::Provenance,
            "the provenance says",
        );
        // Where nothing is expected of the build, the difference is told.
        let report = judge(&bundle, &instance.trust(), &workflow_policy());
        assert_verified(&report);
        match outcome(&report, Claim::Provenance) {
            Outcome::NotRequired(told) if told.contains("the provenance says") => {}
            other => panic!("{other:?}"),
        }
    }
    let mut statement = statement();
    statement.predicate["buildDefinition"]["externalParameters"]["debug"] = json!(true);
    let bundle = instance.attest(&statement, &Leaf::workflow());
    let expecting = workflow_policy().with_predicate_type(PROVENANCE_V1);
    assert_refused(
        &judge(&bundle, &instance.trust(), &expecting),
        Claim::Provenance,
        "does not define: debug",
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
fn rekor_v2_and_timestamps_are_refused_in_words() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature();
    bundle.entries[0].version = "0.0.2".to_owned();
    assert_refused(&judge(&bundle, &instance.trust(), &workflow_policy()), Claim::LogEntry, "Rekor v2");
    let mut bundle = instance.signature();
    bundle.timestamps = vec![vec![0x30, 0]];
    assert_verified(&judge(&bundle, &instance.trust(), &workflow_policy()));
    let mut root = instance.trusted_root();
    root["timestampAuthorities"] = root["certificateAuthorities"].clone();
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    assert_refused(&judge(&bundle, &trust, &workflow_policy()), Claim::Timestamp, "RFC 3161");
    bundle.entries[0].promise = None;
    assert_refused(&judge(&bundle, &instance.trust(), &workflow_policy()), Claim::SigningTime, "RFC 3161");
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
