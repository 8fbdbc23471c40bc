//! Bundles with Rekor v2 entries: the leaf is made again, the checkpoint is the log's, and a timestamp gives the time.

use chancery::bundle::LogEntry;
use chancery_tlog::key::PublicKey;
use chancery_tlog::note::{KeyName, Note};
use chancery_tlog::rekor_v2::{Body, KeyDetails, Material, Verifier};

use super::*;
use crate::fixture::{ARTIFACT, checkpoint_v2, hashedrekord_v2, log_id, verifier};

fn judge_v2(bundle: &Bundle, instance: &TestInstance) -> Report {
    judge(bundle, &instance.trust_of_both(), &workflow_policy())
}

fn proof(bundle: &mut Bundle) -> &mut chancery::bundle::InclusionProof {
    bundle.entries[0].proof.as_mut().unwrap()
}

#[test]
fn files_and_statements_verify_in_every_kind_of_entry() {
    let instance = TestInstance::new();
    for bundle in [instance.signature_v2(), instance.provenance_v2(), instance.provenance_v2_as_dsse()] {
        let report = judge_v2(&bundle, &instance);
        assert_verified(&report);
        assert_eq!(report.signed_at, Some(Timestamp::from_seconds(NOW).to_rfc3339()));
        for claim in [Claim::LogEntry, Claim::InclusionProof, Claim::Checkpoint, Claim::SigningTime] {
            assert!(matches!(outcome(&report, claim), Outcome::Proven(_)), "{claim:?}");
        }
        assert_eq!(Bundle::parse(bundle.to_json().as_bytes()), Ok(bundle));
    }
}

#[test]
fn a_bundle_says_nothing_where_the_log_says_nothing() {
    let json: Value = serde_json::from_str(&TestInstance::new().signature_v2().to_json()).unwrap();
    let entry = &json["verificationMaterial"]["tlogEntries"][0];
    let members: Vec<&str> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["canonicalizedBody", "inclusionProof", "kindVersion", "logId", "logIndex"]);
}

#[test]
fn an_entry_in_each_log_verifies_and_each_must() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature();
    bundle.entries.push(instance.log_leaf_v2(&hashedrekord_v2(&bundle, verifier(&bundle))));
    assert_verified(&judge_v2(&bundle, &instance));
    assert_refused(&judge(&bundle, &instance.trust(), &workflow_policy()), Claim::LogEntry, "no log with id");
    bundle.entries[1].proof.as_mut().unwrap().hashes.pop();
    assert_refused(&judge_v2(&bundle, &instance), Claim::InclusionProof, "not in the tree");
}

#[test]
fn a_key_needs_no_timestamp() {
    let instance = TestInstance::new();
    let (bundle, key) = instance.key_signature_v2();
    let report = judge(&bundle, &instance.trust_of_both(), &Policy::key(key));
    assert_verified(&report);
    assert!(matches!(outcome(&report, Claim::SigningTime), Outcome::NotRequired(_)));
    let other = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let report = judge(&bundle, &instance.trust_of_both(), &Policy::key(other.public_key().clone()));
    assert_refused(&report, Claim::LogEntry, "another signer");
}

#[test]
fn keys_of_other_curves_are_logged_by_their_own_hash() {
    let instance = TestInstance::new();
    let key = SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap();
    let artifact = Artifact::read(ARTIFACT, &[HashAlgorithm::Sha384], |_| ()).unwrap();
    let (mut bundle, _) = instance.key_signature_v2();
    let digest = HashAlgorithm::Sha384.digest(ARTIFACT);
    bundle.content = Content::Message(chancery::bundle::MessageSignature {
        digest: Some((HashAlgorithm::Sha384, digest)),
        signature: key.sign(ARTIFACT).unwrap(),
    });
    let material = Material::Key(key.public_key().clone());
    let verifier = Verifier::new(KeyDetails::EcdsaP384, material).unwrap();
    bundle.entries = vec![instance.log_leaf_v2(&hashedrekord_v2(&bundle, verifier))];
    let policy = Policy::key(key.public_key().clone());
    let judge = |artifact: &Artifact, bundle: &Bundle| {
        verify(bundle, artifact, Some(&instance.trust_of_both()), &policy, &CLOCK)
    };
    assert_verified(&judge(&artifact, &bundle));
    let Content::Message(message) = &mut bundle.content else { panic!() };
    message.digest = None;
    let by_sha256 = Artifact::parse_digest(&artifact.name()).unwrap();
    assert_refused(&judge(&by_sha256, &bundle), Claim::LogEntry, "give the file or its sha384");
}

/// The vectors of the facts: a P-256 key, its signature over `hello\n`, and a log of this one entry.
#[test]
fn the_known_entry_verifies() {
    const KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBzbLVCpwU36llwUed1zAVfuRbf2e//oElYAqc2BGFBYyge+ISoCfUcriGlmzxMksDb/lSlOK7kRKO0F1tVsNpQ==";
    const SIGNATURE: &str =
        "MEQCIFVZ8zNUJ8WJM/MPDQ8uf8omNJWEvGTigbHzp4Jjd+WUAiAOxOW20W3EgsKrrUUxz+bMVvx2YZdnrafvWcokLfiRhg==";
    const LOG_KEY: &str = "MCowBQYDK2VwAyEAK5cYYVuRdLzR4ayQ7IV1tiu4fh3lFWa2sybn6n5yslg=";
    const LOG_ID: &str = "C9ALPUjJtd2FaiQtfWKIFYh0oLL26OLnsJ0Y+ZWOlWw=";
    const ROOT: &str = "hrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI=";
    let checkpoint = format!(
        "log.example\n1\n{ROOT}\n\n\u{2014} log.example C9ALPY4m9EOyWfgyzp9gK09PKGgaL5Rmt9tx4mXcjdv225myxJkG361Hbsnuc0p3kz1j+wDAsE7tBwJGeaj8HRaZ7g8=\n"
    );
    let digest = Base64::encode(artifact().digest(HashAlgorithm::Sha256).unwrap());
    let leaf = format!(
        r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":{{"algorithm":"SHA2_256","digest":"{digest}"}},"signature":{{"content":"{SIGNATURE}","verifier":{{"keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{{"rawBytes":"{KEY}"}}}}}}}}}}}}"#
    );
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "publicKey": {"hint": ""},
            "tlogEntries": [{
                "logIndex": "0",
                "logId": {"keyId": LOG_ID},
                "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
                "integratedTime": "0",
                "inclusionPromise": null,
                "inclusionProof": {
                    "logIndex": "0", "rootHash": ROOT, "treeSize": "1", "hashes": [],
                    "checkpoint": {"envelope": checkpoint},
                },
                "canonicalizedBody": Base64::encode(leaf.as_bytes()),
            }],
        },
        "messageSignature": {"signature": SIGNATURE},
    });
    let root = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": "https://log.example",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": LOG_KEY, "keyDetails": "PKIX_ED25519", "validFor": {"start": "2020-01-01T00:00:00Z"},
            },
            "logId": {"keyId": LOG_ID},
        }],
    });
    let bundle = Bundle::parse(bundle.to_string().as_bytes()).unwrap();
    let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
    let key = PublicKey::from_spki_der(&Base64::decode(KEY).unwrap()).unwrap();
    assert_verified(&judge(&bundle, &trust, &Policy::key(key)));
}

/// Lines of witnesses stand beside the log's, in any order.
#[test]
fn signature_lines_of_others_are_ignored_and_the_logs_own_is_required() {
    let instance = TestInstance::new();
    let witness = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    let name = KeyName::new("witness.example").unwrap();
    let mut bundle = instance.provenance_v2();
    let own = Note::parse(proof(&mut bundle).checkpoint.as_ref().unwrap().as_bytes()).unwrap();
    let line = Note::sign(own.text(), &name, &witness).unwrap();
    let mut with = |lines: Vec<chancery_tlog::note::NoteSignature>| {
        proof(&mut bundle).checkpoint = Some(Note::new(own.text().to_owned(), lines).unwrap().encode());
        judge_v2(&bundle, &instance)
    };
    let ours = own.signatures()[0].clone();
    assert_verified(&with(vec![ours.clone(), line.clone()]));
    assert_verified(&with(vec![line.clone(), line.clone(), ours.clone()]));
    assert_refused(&with(vec![line.clone()]), Claim::Checkpoint, "not signed by the key of");
    let mut broken = ours.clone();
    broken.signature[0] ^= 1;
    assert_refused(&with(vec![ours, broken]), Claim::Checkpoint, "does not verify");
}

#[test]
fn the_origin_is_the_host_of_the_trusted_log() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature_v2();
    for origin in ["other.example", "log.example - 1", "log.example:8443"] {
        let tree = proof(&mut bundle).clone();
        proof(&mut bundle).checkpoint = Some(checkpoint_v2(origin, &tree, &instance.log_v2));
        assert_refused(&judge_v2(&bundle, &instance), Claim::Checkpoint, "the host of the trusted log");
    }
    let mut root = instance.trusted_root_of_both();
    for (url, words) in [("https://moved.example", "under the name moved.example"), ("log", "names no host")]
    {
        root["tlogs"][1]["baseUrl"] = json!(url);
        let trust = Keyring::parse(root.to_string().as_bytes()).unwrap();
        let report = judge(&instance.signature_v2(), &trust, &workflow_policy());
        assert_refused(&report, Claim::Checkpoint, words);
    }
}

/// A change to a leaf, and what is said of it beside an artifact and beside a statement.
type Bend = (fn(&mut Body, &Bundle), &'static str, &'static str);

/// A leaf that a log would take, is included and signed for, and is not what the bundle makes.
#[test]
fn the_leaf_must_be_the_one_that_the_bundle_makes() {
    let instance = TestInstance::new();
    let bends: [Bend; 3] = [
        (|body, _| digest(body)[0] ^= 1, "another artifact", "another statement"),
        (|body, _| signature(body)[9] ^= 1, "another signature", "another signature"),
        (by_key, "another signer", "another signer"),
    ];
    for (bend, of_artifact, of_statement) in bends {
        for (original, words) in
            [(instance.signature_v2(), of_artifact), (instance.provenance_v2(), of_statement)]
        {
            let mut bundle = original.clone();
            let mut body = hashedrekord_v2(&bundle, verifier(&bundle));
            bend(&mut body, &bundle);
            bundle.entries = vec![instance.log_leaf_v2(&body)];
            let report = judge_v2(&bundle, &instance);
            assert_refused(&report, Claim::LogEntry, words);
            assert!(matches!(outcome(&report, Claim::InclusionProof), Outcome::Proven(_)));
        }
    }
}

fn digest(body: &mut Body) -> &mut Vec<u8> {
    let Body::HashedRekord { digest, .. } = body else { panic!() };
    digest
}

fn signature(body: &mut Body) -> &mut Vec<u8> {
    let Body::HashedRekord { signature, .. } = body else { panic!() };
    signature
}

/// The same key without its certificate.
fn by_key(body: &mut Body, _: &Bundle) {
    let Body::HashedRekord { verifier, .. } = body else { panic!() };
    *verifier = Verifier::new(KeyDetails::EcdsaP256, Material::Key(verifier.public_key().clone())).unwrap();
}

#[test]
fn a_dsse_leaf_must_be_the_one_that_the_bundle_makes() {
    let instance = TestInstance::new();
    let original = instance.provenance_v2_as_dsse();
    let Content::Envelope(envelope) = &original.content else { panic!() };
    let of = |payload: &[u8], signatures: Vec<Vec<u8>>| {
        let mut signatures: Vec<_> = signatures.into_iter().map(|it| (it, verifier(&original))).collect();
        signatures.sort_by(|(a, _), (b, _)| a.cmp(b));
        let body = Body::Dsse { payload_hash: Hash::digest(payload), signatures };
        judge_v2(&Bundle { entries: vec![instance.log_leaf_v2(&body)], ..original.clone() }, &instance)
    };
    let own = envelope.signature().to_vec();
    assert_verified(&of(envelope.payload(), vec![own.clone()]));
    assert_refused(&of(b"other", vec![own.clone()]), Claim::LogEntry, "another statement");
    assert_refused(&of(envelope.payload(), vec![vec![1]]), Claim::LogEntry, "another signature");
    assert_refused(&of(envelope.payload(), vec![own, vec![1]]), Claim::LogEntry, "2 signatures");
}

/// A way to spoil a bundle, the claim that must notice, and its words.
type Tampering = (&'static str, fn(&mut Bundle, &TestInstance), Claim, &'static str);

/// Every member of entry, proof, checkpoint, timestamps and signer.
const TAMPERINGS: &[Tampering] = &[
    ("no entry", |b, _| b.entries.clear(), Claim::LogEntry, "no log entry"),
    ("unknown log", |b, _| b.entries[0].log_id[0] ^= 1, Claim::LogEntry, "no log with id"),
    ("the v1 log's id", v1_log, Claim::Checkpoint, "not signed by the key of"),
    ("unknown kind", |b, _| b.entries[0].kind = "rekord".into(), Claim::LogEntry, "not supported"),
    ("version", |b, _| b.entries[0].version = "0.0.1".into(), Claim::LogEntry, "the log entry's body"),
    ("unknown version", |b, _| b.entries[0].version = "0.0.3".into(), Claim::LogEntry, "not supported"),
    ("broken body", |b, _| b.entries[0].body.truncate(9), Claim::LogEntry, "the log entry's body"),
    ("changed body", |b, _| b.entries[0].body.push(b' '), Claim::LogEntry, "not in canonical form"),
    ("changed body, tree", |b, _| b.entries[0].body.push(b' '), Claim::InclusionProof, "not in the tree"),
    ("log index", |b, _| b.entries[0].index += 1, Claim::InclusionProof, "claims index 3"),
    (
        "integrated time",
        |b, _| b.entries[0].integrated_time = Some(NOW),
        Claim::SigningTime,
        "states no time",
    ),
    ("promise", |b, _| b.entries[0].promise = Some(vec![]), Claim::SigningTime, "states no time"),
    ("no proof", |b, _| b.entries[0].proof = None, Claim::InclusionProof, "no inclusion proof"),
    ("no proof, checkpoint", |b, _| b.entries[0].proof = None, Claim::Checkpoint, "no inclusion proof"),
    ("proof index", |b, _| proof(b).index = 3, Claim::InclusionProof, "the proof is of leaf 3"),
    ("both indexes", both_indexes, Claim::InclusionProof, "not in the tree"),
    ("proof size", |b, _| proof(b).size = 4, Claim::InclusionProof, "not in the tree"),
    ("proof size, checkpoint", |b, _| proof(b).size = 4, Claim::Checkpoint, "another tree"),
    ("proof root", |b, _| proof(b).root = Hash::digest(b"x"), Claim::InclusionProof, "not in the tree"),
    ("proof root, checkpoint", |b, _| proof(b).root = Hash::digest(b"x"), Claim::Checkpoint, "another tree"),
    ("proof hash", |b, _| proof(b).hashes[0] = Hash::digest(b"x"), Claim::InclusionProof, "not in the tree"),
    ("proof shorter", |b, _| proof(b).hashes.truncate(1), Claim::InclusionProof, "not in the tree"),
    ("proof longer", |b, _| proof(b).hashes.push(Hash::default()), Claim::InclusionProof, "not in the tree"),
    ("checkpoint size", |b, _| replace(b, "\n5\n", "\n6\n"), Claim::Checkpoint, "does not verify"),
    (
        "checkpoint origin",
        |b, _| replace(b, "log.example\n", "log.exbmple\n"),
        Claim::Checkpoint,
        "does not verify",
    ),
    (
        "checkpoint name",
        |b, _| replace(b, " log.example ", " log.exbmple "),
        Claim::Checkpoint,
        "not signed by",
    ),
    ("no note", |b, _| proof(b).checkpoint = Some("x".into()), Claim::Checkpoint, "malformed note"),
    ("foreign checkpoint", foreign_checkpoint, Claim::Checkpoint, "not signed by the key of"),
    ("checkpoint of another tree", other_tree, Claim::Checkpoint, "another tree"),
    ("foreign CA", foreign_ca, Claim::CertificateChain, "no trusted certificate authority"),
    ("foreign CA, entry", foreign_ca, Claim::LogEntry, "another signer"),
    ("other certificate", other_certificate, Claim::Signature, "does not verify"),
    ("other certificate, entry", other_certificate, Claim::LogEntry, "another signer"),
    ("entry of another signature", transplanted, Claim::LogEntry, "another signature"),
    ("no timestamp", |b, _| b.timestamps.clear(), Claim::SigningTime, "Rekor v2 states none"),
    ("no timestamp, chain", |b, _| b.timestamps.clear(), Claim::CertificateChain, "without a trusted time"),
    ("broken timestamp", |b, _| b.timestamps[0].truncate(99), Claim::Timestamp, "malformed"),
    (
        "spoilt timestamp",
        |b, _| *b.timestamps[0].last_mut().unwrap() ^= 1,
        Claim::Timestamp,
        "does not verify",
    ),
    ("timestamp of another signature", other_stamp, Claim::Timestamp, "not over these bytes"),
    ("foreign timestamp", foreign_stamp, Claim::Timestamp, "not by a trusted timestamp authority"),
    ("late timestamp", late_stamp, Claim::Timestamp, "outside of the certificate's life"),
    ("late timestamp, time", late_stamp, Claim::SigningTime, "does not hold"),
];

fn replace(bundle: &mut Bundle, from: &str, to: &str) {
    let checkpoint = proof(bundle).checkpoint.as_mut().unwrap();
    assert!(checkpoint.contains(from));
    *checkpoint = checkpoint.replacen(from, to, 1);
}

fn v1_log(bundle: &mut Bundle, instance: &TestInstance) {
    bundle.entries[0].log_id = instance.log.public_key().fingerprint();
}

fn both_indexes(bundle: &mut Bundle, _: &TestInstance) {
    bundle.entries[0].index = 3;
    proof(bundle).index = 3;
}

fn foreign_checkpoint(bundle: &mut Bundle, _: &TestInstance) {
    let foreign = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    let tree = proof(bundle).clone();
    proof(bundle).checkpoint = Some(checkpoint_v2(HOST, &tree, &foreign));
}

fn other_tree(bundle: &mut Bundle, instance: &TestInstance) {
    let mut tree = proof(bundle).clone();
    tree.root = Hash::digest(b"other");
    proof(bundle).checkpoint = Some(checkpoint_v2(HOST, &tree, &instance.log_v2));
}

fn foreign_ca(bundle: &mut Bundle, instance: &TestInstance) {
    let SigningMaterial::Certificate(certificate) = &mut bundle.signer else { panic!() };
    let foreign = TestInstance::new();
    **certificate = foreign.issue(certificate.public_key(), &Leaf::workflow(), &instance.ct);
}

fn other_certificate(bundle: &mut Bundle, instance: &TestInstance) {
    bundle.signer = instance.provenance_v2().signer;
}

/// Another entry about the same content in the same log.
fn transplanted(bundle: &mut Bundle, instance: &TestInstance) {
    bundle.entries = match bundle.content {
        Content::Message(_) => instance.signature_v2().entries,
        Content::Envelope(_) => instance.provenance_v2().entries,
    };
}

fn other_stamp(bundle: &mut Bundle, instance: &TestInstance) {
    bundle.timestamps = instance.signature_v2().timestamps;
}

fn foreign_stamp(bundle: &mut Bundle, _: &TestInstance) {
    bundle.timestamps = vec![TestInstance::new().stamp(bundle.signature(), NOW)];
}

fn late_stamp(bundle: &mut Bundle, instance: &TestInstance) {
    bundle.timestamps = vec![instance.stamp(bundle.signature(), NOW + 541)];
}

#[test]
fn every_tampered_part_is_refused_by_the_claim_that_it_breaks() {
    let instance = TestInstance::new();
    for original in [instance.provenance_v2(), instance.signature_v2()] {
        for (name, tamper, claim, words) in TAMPERINGS {
            let mut bundle = original.clone();
            tamper(&mut bundle, &instance);
            assert_ne!(bundle, original, "{name} changes nothing");
            eprintln!("{name}");
            assert_refused(&judge_v2(&bundle, &instance), *claim, words);
        }
    }
}

#[test]
fn a_relabelled_entry_is_refused() {
    let instance = TestInstance::new();
    let relabelled = |mut bundle: Bundle, kind: &str| {
        bundle.entries[0].kind = kind.to_owned();
        judge_v2(&bundle, &instance)
    };
    let report = relabelled(instance.provenance_v2(), "dsse");
    assert_refused(&report, Claim::LogEntry, "a hashedrekord 0.0.2, but the bundle calls it dsse 0.0.2");
    let report = relabelled(instance.provenance_v2_as_dsse(), "hashedrekord");
    assert_refused(&report, Claim::LogEntry, "a dsse 0.0.2, but the bundle calls it hashedrekord 0.0.2");
    let report = relabelled(instance.signature_v2(), "dsse");
    assert_refused(&report, Claim::LogEntry, "another kind of signature");
}

#[test]
fn a_v1_leaf_that_says_more_than_the_bundle_is_refused() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature();
    let LogEntry { kind, version, body, .. } = bundle.entries[0].clone();
    let again = |body: &Value| vec![instance.log_leaf(&kind, &version, body.to_string().into_bytes(), NOW)];
    let mut leaf: Value = serde_json::from_slice(&body).unwrap();
    bundle.entries = again(&leaf);
    assert_verified(&judge_v2(&bundle, &instance));
    leaf["spec"]["data"]["url"] = json!("https://example.com/other");
    bundle.entries = again(&leaf);
    assert_refused(&judge_v2(&bundle, &instance), Claim::LogEntry, "says something else besides");
}

#[test]
fn the_log_is_found_by_its_whole_key_id() {
    let instance = TestInstance::new();
    let mut bundle = instance.signature_v2();
    // The four bytes that a signature line names are not enough.
    bundle.entries[0].log_id[31] ^= 1;
    assert_eq!(bundle.entries[0].log_id[..4], log_id(instance.log_v2.public_key())[..4]);
    assert_refused(&judge_v2(&bundle, &instance), Claim::LogEntry, "no log with id");
}
