//! Documents of equal meaning are read alike, whichever of protojson's spellings they use; members that occur
//! twice are refused in bundles, statements, trusted roots and signing configs.

use std::sync::LazyLock;

use chancery::instance::Instance;
use proptest::prelude::*;

use super::*;
use crate::fixture::services::client_trust_config_v2;

/// Fields that hold integers, bytes and enums; the DSSE envelope's `payloadType` has one spelling.
const INTEGERS: [&str; 4] = ["logIndex", "treeSize", "integratedTime", "majorApiVersion"];
const BYTES: [&str; 11] = [
    "rawBytes",
    "keyId",
    "signedEntryTimestamp",
    "rootHash",
    "hashes",
    "canonicalizedBody",
    "signedTimestamp",
    "digest",
    "signature",
    "payload",
    "sig",
];
const ENUMS: [(&str, u8); 5] =
    [("SHA2_256", 1), ("PKIX_ECDSA_P256_SHA_256", 5), ("PKIX_ED25519", 7), ("ANY", 2), ("ALL", 1)];

/// Writes a document, asking `choices` for every spelling.
struct Writer {
    choices: Vec<u8>,
    at: usize,
    /// Objects to come before the one that gets a member twice.
    repeat_in: Option<usize>,
}

impl Writer {
    fn choose(&mut self, of: u8) -> u8 {
        self.at += 1;
        self.choices[self.at % self.choices.len()] % of
    }

    fn name(&mut self, name: &str) -> String {
        if name == "payloadType" || self.choose(2) == 0 { name.to_owned() } else { snake_case(name) }
    }

    fn value(&mut self, field: &str, value: &Value) -> String {
        match value {
            Value::Object(members) => self.object(members),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.value(field, item)).collect();
                format!("[{}]", items.join(","))
            }
            leaf => self.leaf(field, leaf),
        }
    }

    fn object(&mut self, members: &serde_json::Map<String, Value>) -> String {
        let is_repeated = self.repeat_in == Some(0);
        self.repeat_in = self.repeat_in.and_then(|left| left.checked_sub(1));
        let mut texts = Vec::new();
        for (name, value) in members {
            let member = format!("{}:{}", json!(self.name(name)), self.value(name, value));
            texts.insert(usize::from(self.choose(2)).min(texts.len()), member);
        }
        if is_repeated && let Some((name, value)) = members.iter().next() {
            let again = if self.choose(3) == 0 { "null".to_owned() } else { self.value(name, value) };
            texts.push(format!("{}:{again}", json!(self.name(name))));
        }
        format!("{{{}}}", texts.join(","))
    }

    fn leaf(&mut self, field: &str, leaf: &Value) -> String {
        let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
        if INTEGERS.contains(&field) {
            return match self.choose(6) {
                0 => text,
                1 => json!(text).to_string(),
                2 => format!("{text}.0"),
                3 => format!("{text}e0"),
                4 => format!("\"{text}00E-2\""),
                _ => format!("\"{text}.000\""),
            };
        }
        if let Some((_, number)) = ENUMS.iter().find(|(name, _)| *name == text) {
            return [json!(text).to_string(), number.to_string(), format!("{number}.0")]
                [usize::from(self.choose(3))]
            .clone();
        }
        if BYTES.contains(&field) && leaf.is_string() {
            let other = text.replace('+', "-").replace('/', "_");
            let spelling = if self.choose(2) == 0 { text } else { other };
            let spelling =
                if self.choose(2) == 0 { spelling } else { spelling.trim_end_matches('=').to_owned() };
            return json!(spelling).to_string();
        }
        leaf.to_string()
    }
}

fn snake_case(name: &str) -> String {
    name.chars()
        .flat_map(|c| [c.is_ascii_uppercase().then_some('_'), Some(c.to_ascii_lowercase())])
        .flatten()
        .collect()
}

fn objects(value: &Value) -> usize {
    match value {
        Value::Object(members) => {
            usize::from(!members.is_empty()) + members.values().map(objects).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(objects).sum(),
        _ => 0,
    }
}

fn respelled(document: &Value, choices: Vec<u8>) -> String {
    Writer { choices, at: 0, repeat_in: None }.value("", document)
}

fn repeated(document: &Value, choices: Vec<u8>, at: prop::sample::Index) -> String {
    let repeat_in = Some(at.index(objects(document)));
    Writer { choices, at: 0, repeat_in }.value("", document)
}

/// The documents with what they mean.
struct Documents {
    bundles: Vec<(Bundle, Value)>,
    root: Value,
    config: Value,
}

/// Each once: keys cost more than reading.
static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| {
    let instance = TestInstance::new();
    let bundles =
        [instance.provenance(), instance.signature(), instance.provenance_v2(), instance.signature_v2()];
    let json = |bundle: &Bundle| serde_json::from_str(&bundle.to_json()).unwrap();
    let root = instance.trusted_root_of_both();
    let config = serde_json::from_str(&client_trust_config_v2(&root, "https://ca.example")).unwrap();
    let bundles = bundles.into_iter().map(|bundle| (bundle.clone(), json(&bundle))).collect();
    Documents { bundles, root, config }
});

/// Null is the same as absent in every place of a bundle that need not be there.
#[test]
fn nulls_are_absent() {
    let (bundle, mut json) = DOCUMENTS.bundles[0].clone();
    for (path, name) in [
        ("", "messageSignature"),
        ("/verificationMaterial", "publicKey"),
        ("/verificationMaterial", "x509CertificateChain"),
        ("/verificationMaterial", "timestampVerificationData"),
        ("/dsseEnvelope/signatures/0", "keyid"),
    ] {
        json.pointer_mut(path).unwrap()[name] = Value::Null;
    }
    assert_eq!(Bundle::parse(json.to_string().as_bytes()), Ok(bundle));
}

/// The document with one object written as the array of its members' values, for every object.
fn as_arrays(document: &Value) -> Vec<String> {
    fn places(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.push(path.to_owned());
                members.iter().for_each(|(name, value)| places(value, &format!("{path}/{name}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, item)| places(item, &format!("{path}/{at}"), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    places(document, "", &mut found);
    let bent = |path: &String| {
        let mut bent = document.clone();
        let place = bent.pointer_mut(path).unwrap();
        *place = place.as_object().unwrap().values().cloned().collect();
        bent.to_string()
    };
    found.iter().map(bent).collect()
}

/// serde's derive alone would read them.
#[test]
fn an_array_is_not_a_message() {
    for (_, json) in &DOCUMENTS.bundles {
        for text in as_arrays(json) {
            assert!(Bundle::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
    for text in as_arrays(&DOCUMENTS.root) {
        assert!(Keyring::parse(text.as_bytes()).is_err(), "{text}");
    }
    for text in as_arrays(&DOCUMENTS.config) {
        assert!(Instance::parse("u", text.clone(), "t").is_err(), "{text}");
    }
}

#[test]
fn statements_with_repeated_members_are_refused_at_any_depth() {
    for payload in [
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}],"predicateType":"p","predicateType":"q"}"#,
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00","sha256":"11"}}],"predicateType":"p"}"#,
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}],"predicateType":"p","predicate":{"a":{"b":1,"b":2}}}"#,
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}],"predicateType":"p","predicate":{},"predicate":{}}"#,
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}],"predicateType":"p","x":1,"x":2}"#,
    ] {
        let error = Statement::parse(payload.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("duplicate field"), "{payload}: {error}");
    }
}

proptest! {
    #[test]
    fn every_spelling_of_a_bundle_is_that_bundle(which in 0_usize..4, choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let (bundle, json) = &DOCUMENTS.bundles[which];
        let text = respelled(json, choices);
        prop_assert_eq!(&Bundle::parse(text.as_bytes()), &Ok(bundle.clone()), "{}", text);
    }

    #[test]
    fn every_spelling_of_trust_files_is_those(choices in prop::collection::vec(any::<u8>(), 1..64)) {
        let Documents { root, config, .. } = &*DOCUMENTS;
        let keyring = Keyring::parse(root.to_string().as_bytes()).unwrap();
        let text = respelled(root, choices.clone());
        prop_assert_eq!(Keyring::parse(text.as_bytes()).unwrap(), keyring, "{}", text);
        let text = respelled(config, choices);
        let instance = Instance::parse("u", text.clone(), "t").unwrap();
        let plain = Instance::parse("u", config.to_string(), "t").unwrap();
        prop_assert_eq!((instance.trust, instance.signing), (plain.trust, plain.signing), "{}", text);
    }

    #[test]
    fn a_repeated_member_is_refused_wherever_it_is(
        which in 0_usize..4, choices in prop::collection::vec(any::<u8>(), 1..64), at in any::<prop::sample::Index>()
    ) {
        let Documents { bundles, root, config } = &*DOCUMENTS;
        let text = repeated(&bundles[which].1, choices.clone(), at);
        let error = Bundle::parse(text.as_bytes()).unwrap_err().to_string();
        prop_assert!(error.contains("duplicate field"), "{}: {}", error, text);
        let text = repeated(root, choices.clone(), at);
        prop_assert!(Keyring::parse(text.as_bytes()).is_err(), "{}", text);
        let text = repeated(config, choices, at);
        prop_assert!(Instance::parse("u", text.clone(), "t").is_err(), "{}", text);
    }
}
