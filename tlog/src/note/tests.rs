//! One test per MUST of <https://c2sp.org/signed-note>, known-answer keys, and `signed_note` as the oracle.

use ed25519_dalek::Signer as _;
use proptest::prelude::*;

use super::*;

/// The vkey that the specification prints.
const SPEC_VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
/// Rekor v2 key of the project's known-answer vectors: seed SHA-256("kav-log-v2").
const KAV_VKEY: &str = "log.example+0bd00b3d+ASuXGGFbkXS80eGskOyFdbYruH4d5RVmtrMm5+p+crJY";
const KAV_NOTE: &str = "log.example\n1\nhrW1hYS++XrsvOlN2MwrgFt+X7gWyUd/sBOJWZ46jMI=\n\n\
    \u{2014} log.example C9ALPY4m9EOyWfgyzp9gK09PKGgaL5Rmt9tx4mXcjdv225myxJkG361Hbsnuc0p3kz1j+wDAsE7tBwJGeaj8HRaZ7g8=\n";
/// Rekor v1 key of the vectors: scalar SHA-256("kav-log-v1").
const KAV_V1_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAER2KZyXNF1e5F9OWM2WvoaLFtS/nI8xoRk+DdeOd7F4TrOVgP+vvZ\
    /xShb5tWcjvdTOeNIH+Lrdex46de42hwXQ==";
const KAV_V1_NOTE: &str = "log.example - 1234567890123456789\n1\nSBdaXE4KwZrdSCRju8YJ2fEivzqOnC8ZhFqBx9A9yeA=\n\n\
    \u{2014} log.example oWrRATBFAiEAuaZVbc+t4o/HGIQByQYIU2SXBFDn7zxVef72C82pFEcCIGiPnyRYRBNJWhSKOdC7DHlrIxKf5sN/4FpoUL03zzMs\n";

/// Ed25519 from a seed, so that signatures are known answers.
struct SeedSigner {
    key: ed25519_dalek::SigningKey,
    public: PublicKey,
}

impl SeedSigner {
    fn new(label: &str) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(Hash::digest(label.as_bytes()).as_bytes());
        let spki = [ED25519_SPKI.as_slice(), key.verifying_key().as_bytes()].concat();
        Self { key, public: PublicKey::from_spki_der(&spki).unwrap() }
    }
}

impl Signer for SeedSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.key.sign(message).to_bytes().to_vec())
    }
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn signed(text: &str, signers: &[(&str, &SeedSigner)]) -> (Note, Vec<NoteKey>) {
    let lines = signers.iter().map(|(key, signer)| Note::sign(text, &name(key), *signer).unwrap()).collect();
    let keys =
        signers.iter().map(|(key, signer)| NoteKey::new(name(key), signer.public.clone()).unwrap()).collect();
    (Note::new(text.to_owned(), lines).unwrap(), keys)
}

fn malformed(note: impl AsRef<[u8]>) -> &'static str {
    match Note::parse(note.as_ref()) {
        Err(NoteError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_vkey_that_the_specification_prints_is_read_and_written() {
    let key = NoteKey::parse_vkey(SPEC_VKEY).unwrap();
    assert_eq!(key.name().as_str(), "example.com/foo");
    assert_eq!(key.id(), [0x53, 0x0d, 0x90, 0x3a]);
    assert_eq!(key.to_vkey().as_deref(), Some(SPEC_VKEY));
}

#[test]
fn rekor_v2_log_ids_are_the_full_key_hash() {
    let vectors = [
        (
            "log.example",
            "K5cYYVuRdLzR4ayQ7IV1tiu4fh3lFWa2sybn6n5yslg=",
            "C9ALPUjJtd2FaiQtfWKIFYh0oLL26OLnsJ0Y+ZWOlWw=",
        ),
        (
            "log2025-1.rekor.sigstore.dev",
            "t8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=",
            "zxGZFVvd0FEmjR8WrFwMdcAJ9vtaY/QXf44Y1wUeP6A=",
        ),
        (
            "rekor-local",
            "REvJyNZGjX6B3DAIuD3BTg9rIwV00GY8Xg5FU+IFDUQ=",
            "2AtEIMfG6Y41yK0tcwRTBS2tjhOrjKGIpDkHFgp65g0=",
        ),
    ];
    for (log, key, id) in vectors {
        let spki = [ED25519_SPKI.to_vec(), BASE64.decode(key).unwrap()].concat();
        let key = NoteKey::new(name(log), PublicKey::from_spki_der(&spki).unwrap()).unwrap();
        assert_eq!(BASE64.encode(key.full_id()), id);
        assert_eq!(key.full_id()[..4], key.id());
    }
}

#[test]
fn a_v2_checkpoint_is_signed_and_verified_to_the_byte() {
    let signer = SeedSigner::new("kav-log-v2");
    let (text, _) = KAV_NOTE.split_once("\n\n").unwrap();
    let (note, keys) = signed(&format!("{text}\n"), &[("log.example", &signer)]);
    assert_eq!(note.encode(), KAV_NOTE);
    assert_eq!(keys[0].to_vkey().as_deref(), Some(KAV_VKEY));
    let keys = [NoteKey::parse_vkey(KAV_VKEY).unwrap()];
    assert_eq!(Note::parse(KAV_NOTE.as_bytes()).unwrap().verify(&keys).unwrap().len(), 1);
}

#[test]
fn an_ecdsa_key_id_is_the_start_of_the_hash_of_its_spki() {
    let key = PublicKey::from_spki_der(&BASE64.decode(KAV_V1_SPKI).unwrap()).unwrap();
    let key = NoteKey::new(name("log.example"), key).unwrap();
    assert_eq!(
        hex::encode(key.full_id()),
        "a16ad10158d0f0ce3ae3396457e03a7096e3b98c44799c71c4d6db55a5fdfb2a"
    );
    assert_eq!(key.id(), [0xa1, 0x6a, 0xd1, 0x01]);
    assert_eq!(key.to_vkey(), None);
    let note = Note::parse(KAV_V1_NOTE.as_bytes()).unwrap();
    assert_eq!(note.verify(&[key]).unwrap().len(), 1);
    assert_eq!(note.encode(), KAV_V1_NOTE);
}

#[test]
fn vkeys_with_another_id_type_length_or_spelling_are_refused() {
    for vkey in [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        // Wrong id, upper-case id, short id.
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        // Another name has another id.
        "example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/ foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        // Type 0x04, a cosigner; and a key of 31 bytes.
        "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U0=",
        "example.com/foo+530d903a+",
    ] {
        assert!(NoteKey::parse_vkey(vkey).is_err(), "{vkey}");
    }
}

#[test]
fn a_key_name_is_not_empty_and_has_no_space_plus_or_control_character() {
    for bad in ["", "a b", "a+b", "a\u{a0}b", "a\u{2003}b", "a\u{85}b", "a\nb", "a\tb", "a\u{1}b"] {
        assert_eq!(KeyName::new(bad), Err(NoteError::KeyName(bad.to_owned())));
    }
    assert_eq!(name("log.example/2026").as_str(), "log.example/2026");
}

#[test]
fn the_text_is_everything_before_the_last_empty_line() {
    let signer = SeedSigner::new("a");
    for text in
        ["a\n\nb\n\n\nc\n", "\n", "\n\n", "\u{2014} looks like a line AAAAAAA=\n\nb\n", "ü\u{7f}\u{85}\n"]
    {
        let (note, keys) = signed(text, &[("log", &signer)]);
        let parsed = Note::parse(note.encode().as_bytes()).unwrap();
        assert_eq!(parsed.text(), text);
        assert_eq!(parsed.verify(&keys).unwrap().len(), 1);
    }
}

#[test]
fn a_note_without_an_empty_line_or_signature_is_refused() {
    assert_eq!(malformed(""), "no empty line before the signatures");
    assert_eq!(malformed("text\n"), "no empty line before the signatures");
    assert_eq!(malformed("text\n\n"), "the last signature line has no newline");
    assert_eq!(malformed("text\n\n\n"), "the last signature line has no newline");
    assert_eq!(malformed(KAV_NOTE.replace("\n\n", "\n")), "no empty line before the signatures");
}

#[test]
fn a_note_without_its_last_newline_is_refused() {
    assert_eq!(malformed(KAV_NOTE.trim_end()), "the last signature line has no newline");
}

#[test]
fn bytes_after_the_signatures_are_refused() {
    for tail in ["\n", "x", "x\n", "\n\n", " \n"] {
        assert!(Note::parse(format!("{KAV_NOTE}{tail}").as_bytes()).is_err(), "{tail:?}");
    }
}

#[test]
fn carriage_returns_and_other_control_characters_are_refused() {
    assert!(Note::parse(KAV_NOTE.replace('\n', "\r\n").as_bytes()).is_err());
    for control in (0..0x20).filter(|c| *c != b'\n').map(char::from) {
        assert_eq!(
            malformed(format!("a{control}{KAV_NOTE}")),
            "the text has a control character other than newline",
            "{control:?}"
        );
        assert!(Note::parse(KAV_NOTE.replace(" log", &format!(" {control}log")).as_bytes()).is_err());
    }
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    assert_eq!(malformed([b"\xff\n", KAV_NOTE.as_bytes()].concat()), "not UTF-8");
}

#[test]
fn a_signature_line_starts_with_an_em_dash_and_one_space() {
    for start in ["- ", "\u{2013} ", "-- ", "\u{2014}", "\u{2014}  ", " \u{2014} ", "\u{2014}\u{a0}", ""] {
        assert!(Note::parse(KAV_NOTE.replace(LINE_START, start).as_bytes()).is_err(), "{start:?}");
    }
}

#[test]
fn a_signature_is_canonical_padded_standard_base64() {
    let line = |blob: &str| format!("text\n\n\u{2014} log {blob}\n");
    assert!(Note::parse(line("AAAAAAE=").as_bytes()).is_ok());
    // Bits beyond the last byte, no padding, the URL alphabet, spaces, a fourth field, nothing.
    for blob in ["AAAAAAF=", "AAAAAAE", "AAAAAA-=", "AAAAAAE= ", " AAAAAAE=", "AAAAAAE= x", "AAAA AAE=", ""] {
        assert!(Note::parse(line(blob).as_bytes()).is_err(), "{blob:?}");
    }
}

#[test]
fn a_signature_has_a_key_id_and_at_least_one_byte() {
    assert_eq!(
        malformed("text\n\n\u{2014} log AAAAAA==\n"),
        "a signature is a key id of four bytes and at least one byte"
    );
    assert_eq!(
        malformed("text\n\n\u{2014} log AAAA\n"),
        "a signature is a key id of four bytes and at least one byte"
    );
}

#[test]
fn sixteen_signatures_are_read_and_more_than_max_signatures_are_not() {
    let note = |count| format!("text\n\n{}", "\u{2014} log AAAAAAE=\n".repeat(count));
    assert_eq!(Note::parse(note(16).as_bytes()).unwrap().signatures().len(), 16);
    assert_eq!(Note::parse(note(MAX_SIGNATURES).as_bytes()).unwrap().signatures().len(), MAX_SIGNATURES);
    assert_eq!(malformed(note(MAX_SIGNATURES + 1)), "a note has 1 to 64 signature lines");
}

#[test]
fn sixteen_post_quantum_signatures_fit_and_more_than_max_note_does_not() {
    let line = format!("\u{2014} log {}\n", BASE64.encode([7; 5_000]));
    assert!(Note::parse(format!("text\n\n{}", line.repeat(16)).as_bytes()).is_ok());
    assert_eq!(malformed(format!("{}\n{KAV_NOTE}", "x".repeat(MAX_NOTE))), TOO_LONG);
    let one = Note::parse(KAV_NOTE.as_bytes()).unwrap().signatures().to_vec();
    assert_eq!(Note::new("x".repeat(MAX_NOTE) + "\n", one), Err(NoteError::Malformed(TOO_LONG)));
}

#[test]
fn a_note_is_made_only_of_what_would_parse() {
    let line = Note::parse(KAV_NOTE.as_bytes()).unwrap().signatures()[0].clone();
    let empty = NoteSignature { signature: Vec::new(), ..line.clone() };
    assert!(Note::new("text".to_owned(), vec![line.clone()]).is_err());
    assert!(Note::new(String::new(), vec![line.clone()]).is_err());
    assert!(Note::new("te\rxt\n".to_owned(), vec![line]).is_err());
    assert!(Note::new("text\n".to_owned(), vec![empty]).is_err());
    assert!(Note::new("text\n".to_owned(), Vec::new()).is_err());
    assert!(Note::sign("no newline", &name("log"), &SeedSigner::new("a")).is_err());
}

#[test]
fn lines_of_unknown_keys_are_ignored() {
    let (log, witness) = (SeedSigner::new("log"), SeedSigner::new("witness"));
    let (note, keys) = signed("text\n", &[("witness", &witness), ("log", &log), ("log", &witness)]);
    let known = [keys[1].clone()];
    let by: Vec<_> = note.verify(&known).unwrap().iter().map(|key| key.id()).collect();
    assert_eq!(by, [keys[1].id()]);
}

#[test]
fn a_note_that_no_known_key_signed_is_refused() {
    let (note, keys) = signed("text\n", &[("log", &SeedSigner::new("log"))]);
    let same_key_other_name = NoteKey::new(name("other"), keys[0].key().clone()).unwrap();
    let same_name_other_key = NoteKey::new(name("log"), SeedSigner::new("other").public).unwrap();
    assert_eq!(note.verify(&[same_key_other_name, same_name_other_key]).unwrap_err(), NoteError::Unsigned);
    assert_eq!(note.verify(&[]).unwrap_err(), NoteError::Unsigned);
}

#[test]
fn a_known_key_whose_line_fails_refuses_the_note_even_beside_a_good_one() {
    let (log, witness) = (SeedSigner::new("log"), SeedSigner::new("witness"));
    let (note, keys) = signed("text\n", &[("log", &log), ("witness", &witness)]);
    let mut lines = note.signatures().to_vec();
    lines[1].signature[10] ^= 1;
    let forged = Note::new("text\n".to_owned(), lines).unwrap();
    assert_eq!(forged.verify(&keys).unwrap_err(), NoteError::BadSignature("witness".to_owned()));
    assert_eq!(forged.verify(&keys[..1]).unwrap().len(), 1);
    // A second line of the same key has to hold as well.
    let mut lines = vec![note.signatures()[0].clone(); 2];
    lines[1].signature[0] ^= 1;
    assert!(Note::new("text\n".to_owned(), lines).unwrap().verify(&keys).is_err());
}

#[test]
fn a_key_that_signed_twice_counts_once() {
    let log = SeedSigner::new("log");
    let (note, keys) = signed("text\n", &[("log", &log), ("log", &log)]);
    assert_eq!(note.verify(&keys[..1]).unwrap().len(), 1);
}

#[test]
fn a_signature_over_another_text_is_refused() {
    let (note, keys) = signed("text\n", &[("log", &SeedSigner::new("log"))]);
    let moved = Note::new("other\n".to_owned(), note.signatures().to_vec()).unwrap();
    assert_eq!(moved.verify(&keys).unwrap_err(), NoteError::BadSignature("log".to_owned()));
}

fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("([a-z0-9 ü+\u{2014}=]{0,12}\n){1,6}").unwrap()
}

fn lines() -> impl Strategy<Value = Vec<NoteSignature>> {
    let line = ("[a-zü./-]{1,9}", any::<[u8; 4]>(), proptest::collection::vec(any::<u8>(), 1..90))
        .prop_map(|(key, id, signature)| NoteSignature { name: name(&key), id, signature });
    proptest::collection::vec(line, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_encoded_parses_to_the_same_note(text in text(), lines in lines()) {
        let note = Note::new(text, lines).unwrap();
        prop_assert_eq!(Note::parse(note.encode().as_bytes()), Ok(note));
    }

    #[test]
    fn what_parses_encodes_to_the_same_bytes(
        text in text(), lines in lines(), at in any::<prop::sample::Index>(), with in "[\n \u{2014}+=Aa0\r]{0,3}"
    ) {
        let mut note: Vec<char> = Note::new(text, lines).unwrap().encode().chars().collect();
        let at = at.index(note.len());
        note.splice(at..=at, with.chars());
        let note: String = note.into_iter().collect();
        if let Ok(parsed) = Note::parse(note.as_bytes()) {
            prop_assert_eq!(parsed.encode(), note);
        }
    }

    #[test]
    fn the_signed_note_crate_agrees_on_what_is_a_note(
        text in text(), lines in lines(), at in any::<prop::sample::Index>(), with in "[\n \u{2014}+=Aa0\r]{0,2}"
    ) {
        let mut note: Vec<char> = Note::new(text, lines).unwrap().encode().chars().collect();
        let at = at.index(note.len());
        note.splice(at..=at, with.chars());
        let note: String = note.into_iter().collect();
        prop_assert_eq!(Note::parse(note.as_bytes()).is_ok(), signed_note::Note::from_bytes(note.as_bytes()).is_ok());
    }

}

proptest! {
    // Each case signs and verifies four times with unoptimised curve arithmetic.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_signed_note_crate_signs_and_verifies_the_same_bytes(text in text(), seed in "[a-z]{1,8}") {
        let signer = SeedSigner::new(&seed);
        let (note, keys) = signed(&text, &[("log.example", &signer)]);
        let vkey = keys[0].to_vkey().unwrap();
        let theirs = signed_note::StandardVerifier::new(&vkey).unwrap();
        let parsed = signed_note::Note::from_bytes(note.encode().as_bytes()).unwrap();
        prop_assert!(parsed.verify(&signed_note::VerifierList::new(vec![Box::new(theirs)])).is_ok());

        let seed = [&[TYPE_ED25519], signer.key.as_bytes().as_slice()].concat();
        let skey = format!("PRIVATE+KEY+log.example+{}+{}", hex::encode(keys[0].id()), BASE64.encode(seed));
        let mut made = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        made.add_sigs(&[&signed_note::StandardSigner::new(&skey).unwrap()]).unwrap();
        prop_assert_eq!(made.to_bytes(), note.encode().into_bytes());
    }
}
