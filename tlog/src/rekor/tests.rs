//! Known answers first, then one test per rule of Rekor's, by kind.

use p256::ecdsa::signature::Signer as _;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::certificate::Certificate;
use crate::fixture::{Authority, NOON, extension, p256_secret, p256_signer, p1363_signed};
use crate::key::{KeyKind, PublicKey, SoftwareSigner};
use crate::merkle::leaf_hash;
use crate::note::NoteKey;

mod dsse;
mod hashedrekord;
mod intoto;
mod intoto_v001;

const TREE_ID: u64 = 1_234_567_890_123_456_789;
const ARTIFACT: &[u8] = b"hello\n";
const PAYLOAD: &str = r#"{"_type":"https://in-toto.io/Statement/v1"}"#;
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A deterministic (RFC 6979) P-256 signature of the key of `label`.
fn sign(label: &str, message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::DerSignature =
        p256::ecdsa::SigningKey::from(p256_secret(label)).sign(message);
    signature.as_bytes().to_vec()
}

fn pem(label: &str) -> String {
    p256_signer(label).public_key().to_pem()
}

fn pae(payload_type: &str, payload: &str) -> Vec<u8> {
    format!("DSSEv1 {} {payload_type} {} {payload}", payload_type.len(), payload.len()).into_bytes()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn insert(entry: &Value) -> Result<CanonicalEntry, EntryError> {
    CanonicalEntry::from_proposed(&serde_json::to_vec(entry).unwrap())
}

/// One entry of every kind.
pub(crate) fn all_known() -> [Value; 4] {
    [hashedrekord::known(), dsse::known(), intoto_v001::known(), intoto::known()]
}

fn leaf(entry: &CanonicalEntry) -> Value {
    serde_json::from_slice(&entry.body).unwrap()
}

/// The text of a refusal that is HTTP 400.
#[track_caller]
fn refusal(entry: &Value) -> String {
    let error = insert(entry).unwrap_err();
    assert!(matches!(error, EntryError::Invalid(_) | EntryError::Algorithm), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("error processing entry: "), "{text}");
    text
}

/// Asserts that the entry is refused, as HTTP 400, once for each member that is replaced by null or taken away.
#[track_caller]
fn members_are_required(entry: &Value, pointers: &[&str]) {
    insert(entry).unwrap();
    for pointer in pointers {
        let mut without = entry.clone();
        *without.pointer_mut(pointer).unwrap() = Value::Null;
        refusal(&without);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        refusal(&without);
    }
}

#[test]
fn the_known_set_payload_is_signed_by_the_known_set() {
    let entry = insert(&hashedrekord::known()).unwrap();
    let log = p256_signer("kav-log-v1");
    let log_id = log.public_key().fingerprint();
    assert_eq!(hex::encode(log_id), "a16ad10158d0f0ce3ae3396457e03a7096e3b98c44799c71c4d6db55a5fdfb2a");
    let payload = set_payload(&entry.body, 1_700_000_000, &log_id, 0);
    assert_eq!(payload.len(), 871);
    assert_eq!(
        Hash::digest(&payload).to_hex(),
        "ecfdb107fcbbdd45e3292c3de01f49f53e9d3df21b0e59379e76307f2a2ccd2f"
    );
    let known =
        "MEQCIE32WZ+XcgEsm8rzKkd79eQa1y0Ul/nOhNGrEJG/cpAQAiAp26Mizs4Bnp/kMt57Gpknb2Y5WUMj83/c6AYfn9CCyw==";
    assert_eq!(b64(sign("kav-log-v1", &payload)), known);
    let set = sign_set(&entry.body, 1_700_000_000, &log_id, 0, &log).unwrap();
    log.public_key().verify(HashAlgorithm::Sha256, &payload, &set).unwrap();
}

#[test]
fn a_set_payload_is_canonical_json_with_whole_numbers() {
    let payload = set_payload(b"body", u64::MAX, &[0xab; 32], 1 << 53);
    let text = String::from_utf8(payload).unwrap();
    let id = "ab".repeat(32);
    assert_eq!(
        text,
        format!(
            r#"{{"body":"Ym9keQ==","integratedTime":18446744073709551615,"logID":"{id}","logIndex":9007199254740992}}"#
        )
    );
}

#[test]
fn the_known_checkpoint_is_ours_but_for_the_signature() {
    let root = Hash::from_hex("48175a5c4e0ac19add482463bbc609d9f122bf3a8e9c2f19845a81c7d03dc9e0").unwrap();
    let log = p256_signer("kav-log-v1");
    let known = "log.example - 1234567890123456789\n1\nSBdaXE4KwZrdSCRju8YJ2fEivzqOnC8ZhFqBx9A9yeA=\n\n\
        — log.example oWrRATBFAiEAuaZVbc+t4o/HGIQByQYIU2SXBFDn7zxVef72C82pFEcCIGiPnyRYRBNJWhSKOdC7DHlrIxKf5sN/4FpoUL03zzMs\n";
    let ours = sign_checkpoint("log.example", TREE_ID, 1, &root, &log).unwrap();
    let key = NoteKey::new(KeyName::new("log.example").unwrap(), log.public_key().clone()).unwrap();
    for text in [known, &ours] {
        let note = Note::parse(text.as_bytes()).unwrap();
        assert_eq!(note.verify(std::slice::from_ref(&key)).unwrap().len(), 1);
        assert_eq!(note.signatures().len(), 1, "clients refuse a v1 checkpoint with further lines");
    }
    // ECDSA signatures are random: the text, the name and the key id are the same.
    let until = known.find("oWrRAT").unwrap() + 5;
    assert_eq!(ours[..until], known[..until]);
}

#[test]
fn an_unknown_kind_is_422_and_a_known_one_that_is_off_is_400() {
    let error = insert(&json!({ "kind": "nope", "apiVersion": "0.0.1", "spec": {} })).unwrap_err();
    assert_eq!(error.to_string(), r#"invalid kind value: "nope""#);
    let off = refusal(&json!({ "kind": "rpm", "apiVersion": "0.0.1", "spec": {} }));
    assert!(off.contains("entry kind 'rpm' is not enabled for submission on this server"));
}

#[test]
fn an_unknown_version_is_400_and_named() {
    let mut entry = hashedrekord::known();
    entry["apiVersion"] = "0.0.9".into();
    assert!(refusal(&entry).contains("implementation for version '0.0.9' not found"));
}

#[test]
fn the_frame_of_an_entry_is_checked_before_anything_in_it() {
    for kind in ["hashedrekord", "dsse", "intoto", "rpm"] {
        let frame = json!({ "kind": kind, "apiVersion": "0.0.1", "spec": {} });
        for name in ["kind", "apiVersion", "spec"] {
            let (mut null, mut without) = (frame.clone(), frame.clone());
            null[name] = Value::Null;
            without.as_object_mut().unwrap().remove(name);
            for entry in [null, without] {
                assert_eq!(insert(&entry), Err(EntryError::Required(name)), "{entry}");
                assert_eq!(CanonicalEntry::from_query(&entry), Err(EntryError::Required(name)));
            }
        }
        for version in ["", "1", "v0.0.1", "0.0.1 ", "*"] {
            let mut entry = frame.clone();
            entry["apiVersion"] = version.into();
            assert_eq!(insert(&entry), Err(EntryError::Version), "{entry}");
        }
    }
    assert_eq!(insert(&Value::Null), Err(EntryError::Required("kind")));
    assert_eq!(insert(&json!({ "kind": "" })), Err(EntryError::Required("kind")));
}

#[test]
fn what_is_no_json_object_is_400() {
    for json in [&b""[..], b"{", b"[]", b"1", b"{}x", b"\"\xff\""] {
        assert!(matches!(CanonicalEntry::from_proposed(json), Err(EntryError::Invalid(_))));
    }
    let nested = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(CanonicalEntry::from_proposed(&nested).is_err());
    let large = vec![b' '; MAX_PROPOSED_ENTRY + 1];
    assert!(CanonicalEntry::from_proposed(&large).is_err());
}

#[test]
fn unknown_members_are_ignored_and_never_in_the_leaf() {
    for mut entry in all_known() {
        let plain = insert(&entry).unwrap();
        entry["extra"] = 1.into();
        entry["spec"]["extra"] = json!({ "a": null });
        assert_eq!(insert(&entry).unwrap(), plain);
    }
}

#[test]
fn a_query_finds_what_was_inserted() {
    for entry in all_known() {
        assert_eq!(CanonicalEntry::from_query(&entry).unwrap(), insert(&entry).unwrap());
    }
}

fn verifiers(entry: &CanonicalEntry) -> Vec<&Verifier> {
    entry.signatories.iter().map(|signatory| &signatory.verifier).collect()
}

#[test]
fn a_stored_body_of_every_kind_finds_itself() {
    for entry in all_known() {
        let logged = insert(&entry).unwrap();
        let found = CanonicalEntry::from_query(&leaf(&logged)).unwrap();
        assert_eq!(found.body, logged.body, "{} {}", logged.kind, logged.api_version);
        assert_eq!(verifiers(&found), verifiers(&logged));
    }
}

/// The same entry with each signature of `kav-signer` as the two halves of IEEE P1363.
fn in_p1363(entry: &Value) -> Value {
    let mut text = entry.to_string();
    for message in [ARTIFACT, &pae(IN_TOTO, PAYLOAD)] {
        let asn1 = sign("kav-signer", message);
        let halves = p256::ecdsa::Signature::from_der(&asn1).unwrap().to_bytes();
        text = text.replace(&b64(&asn1), &b64(halves)).replace(&b64(b64(&asn1)), &b64(b64(halves)));
    }
    serde_json::from_str(&text).unwrap()
}

#[test]
fn p1363_signatures_are_taken_by_every_kind_and_kept_as_sent() {
    for entry in all_known() {
        let (usual, sent) = (insert(&entry).unwrap(), in_p1363(&entry));
        assert_ne!(sent, entry);
        let logged = insert(&sent).unwrap();
        let name = format!("{} {}", logged.kind, logged.api_version);
        let mut expected = in_p1363(&leaf(&usual));
        // The hash of the envelope as it was sent, which differs with the signature inside.
        for pointer in ["/spec/envelopeHash", "/spec/content/hash"] {
            if let (Some(expected), Some(found)) =
                (expected.pointer_mut(pointer), leaf(&logged).pointer(pointer))
            {
                expected.clone_from(found);
            }
        }
        assert_eq!(leaf(&logged), expected, "{name}");
        Body::parse(&logged.body).unwrap();
        assert_eq!(CanonicalEntry::from_query(&leaf(&logged)).unwrap().body, logged.body, "{name}");

        // Another key's signature, in the same encoding.
        let mut text = sent.to_string();
        for message in [ARTIFACT, &pae(IN_TOTO, PAYLOAD)] {
            let halves =
                |label| p256::ecdsa::Signature::from_der(&sign(label, message)).unwrap().to_bytes().to_vec();
            let (right, wrong) = (halves("kav-signer"), halves("other"));
            text = text.replace(&b64(&right), &b64(&wrong)).replace(&b64(b64(right)), &b64(b64(wrong)));
        }
        refusal(&serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn only_canonical_bytes_are_a_leaf() {
    for entry in all_known() {
        let body = insert(&entry).unwrap().body;
        Body::parse(&body).unwrap();
        assert!(Body::parse(&[b" ", &body[..]].concat()).is_err());
        let pretty = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&body).unwrap()).unwrap();
        assert!(Body::parse(&pretty).is_err());
    }
}

#[test]
fn a_leaf_is_made_again_of_its_members_where_they_are_all_of_it() {
    for entry in all_known() {
        let leaf = insert(&entry).unwrap();
        let again = Body::parse(&leaf.body).unwrap().encode();
        let free = (leaf.kind, leaf.api_version) == ("intoto", "0.0.2");
        assert_eq!(again, (!free).then_some(leaf.body), "{} {}", leaf.kind, leaf.api_version);
    }
}

#[test]
fn a_leaf_that_says_more_than_its_members_is_told_by_making_it_again() {
    let mut leaf: Value = serde_json::from_slice(&insert(&all_known()[0]).unwrap().body).unwrap();
    leaf["spec"]["data"]["url"] = "https://example.com".into();
    let body = serde_json_canonicalizer::to_vec(&leaf).unwrap();
    assert_ne!(Body::parse(&body).unwrap().encode(), Some(body));
}

mod verifier {
    use super::*;

    #[test]
    fn whitespace_around_and_junk_before_are_tolerated() {
        let pem = pem("kav-signer");
        for text in [format!("\n  {pem} \n\n"), format!("junk\n{pem}"), pem.replace('\n', "\r\n")] {
            assert_eq!(Verifier::from_pem(text.as_bytes()).unwrap().to_pem(), pem);
        }
    }

    #[test]
    fn junk_after_two_keys_der_and_other_blocks_are_refused() {
        let (pem, key) = (pem("kav-signer"), p256_signer("kav-signer"));
        let private = key.to_pkcs8_pem(None).unwrap();
        for text in [
            format!("{pem}junk").into_bytes(),
            format!("{pem}{pem}").into_bytes(),
            key.public_key().spki_der().to_vec(),
            private.as_bytes().to_vec(),
            vec![],
            vec![0xff],
        ] {
            assert!(matches!(Verifier::from_pem(&text), Err(EntryError::Invalid(_))));
        }
    }

    #[test]
    fn a_lone_certificate_is_taken_whoever_made_it() {
        let alone = Authority::root("Self-made", |_| {}).leaf(p256_signer("x").public_key(), |_| {});
        let verifier = Verifier::from_pem(alone.to_pem().as_bytes()).unwrap();
        assert_eq!(verifier.certificate(), Some(&alone));
        assert_eq!(verifier.public_key(), alone.public_key());
    }

    #[test]
    fn a_chain_is_verified_at_the_leafs_not_before_and_keeps_its_order() {
        let root = Authority::root("Root", |_| {});
        let ca = root.intermediate("CA", |params| params.extended_key_usages = vec![]);
        let leaf = ca.leaf(p256_signer("x").public_key(), |params| params.extended_key_usages = vec![]);
        let text = |chain: &[&Certificate]| chain.iter().map(|c| c.to_pem()).collect::<String>();
        let good = text(&[&leaf, &ca.certificate, &root.certificate]);
        assert_eq!(Verifier::from_pem(good.as_bytes()).unwrap().to_pem(), good);
        for bad in [
            text(&[&leaf, &root.certificate]),
            text(&[&root.certificate, &ca.certificate, &leaf]),
            text(&[&leaf, &ca.certificate, &Authority::root("Root", |_| {}).certificate]),
        ] {
            assert!(Verifier::from_pem(bad.as_bytes()).is_err());
        }
        assert_eq!(leaf.not_before(), NOON);
    }

    #[test]
    fn more_than_ten_certificates_are_refused() {
        let pem = Authority::root("Root", |_| {}).certificate.to_pem();
        assert!(Verifier::from_pem(pem.repeat(11).as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,100}") {
        let _ = CanonicalEntry::from_proposed(&bytes);
        let _ = CanonicalEntry::from_proposed(text.as_bytes());
        let _ = Body::parse(&bytes);
        let _ = Verifier::from_pem(&bytes);
    }

    #[test]
    fn a_member_replaced_by_anything_never_panics(which in 0usize..4, at in any::<prop::sample::Index>(), with in 0usize..6) {
        let mut entry = all_known()[which].clone();
        let mut pointers = Vec::new();
        walk(&entry, &mut String::new(), &mut pointers);
        let value = [json!(null), json!(""), json!([]), json!({}), json!(1), json!([null])][with].clone();
        *entry.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = value;
        let _ = insert(&entry);
        let _ = CanonicalEntry::from_query(&entry);
        let _ = Body::parse(&serde_json_canonicalizer::to_vec(&entry).unwrap());
    }
}

/// JSON pointers of every member.
fn walk(json: &Value, path: &mut String, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match json {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in children {
        let child = format!("{path}/{name}");
        pointers.push(child.clone());
        walk(value, &mut child.clone(), pointers);
    }
}
