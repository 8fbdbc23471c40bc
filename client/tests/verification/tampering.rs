//! Bundles with one part changed: the claim that stands on that part refuses, in words that name it.

use super::*;

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
    for claim in [Claim::Artifact, Claim::PredicateType, Claim::Source, Claim::Builder, Claim::Provenance] {
        assert!(matches!(outcome(&report, claim), Outcome::NotJudged(_)), "{:?}", report.claims);
    }
}

#[test]
fn a_signed_payload_that_is_not_a_statement_is_refused() {
    let instance = TestInstance::new();
    let key = EphemeralKey::generate().unwrap();
    let certificate = instance.issue(key.public_key(), &Leaf::workflow(), &instance.ct);
    let payload = statement().encode().unwrap();
    let signature = key.sign(&chancery::dsse::pae("text/plain", &payload)).unwrap();
    let envelope = Envelope::new("text/plain", payload, signature);
    let entry = instance.log_dsse(&envelope, &certificate.to_pem(), NOW);
    let bundle = fixture::bundle(certificate, entry, Content::Envelope(envelope));
    let report = judge(&bundle, &instance.trust(), &workflow_policy());
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
