//! Key sets as real issuers publish them: odd, valid, and with neighbours that nobody can use.

use super::*;

/// An RSA key and its entry.
fn rsa() -> (TestKey, Value) {
    let key = TestKey::rs256("key-1");
    let jwk = key.jwk();
    (key, jwk)
}

fn changed(jwk: &Value, member: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[member] = value;
    jwk
}

fn decode(text: &Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

fn encode(octets: &[u8]) -> Value {
    use base64::Engine as _;
    json!(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets))
}

/// Neighbours that are left out and spoil nothing.
fn neighbours() -> Vec<Value> {
    let (_, good) = rsa();
    let ec = TestKey::es256("other").jwk();
    vec![
        Value::Null,
        json!(5),
        json!([]),
        json!({}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "RSA", "kid": "key-1"}),
        changed(&good, "use", json!("enc")),
        changed(&good, "use", json!("future")),
        changed(&good, "use", json!(["sig"])),
        changed(&good, "kid", json!(1)),
        changed(&good, "kty", json!(null)),
        changed(&good, "n", json!("!!!")),
        changed(&good, "n", json!("AQAB")),
        changed(&good, "e", json!("")),
        changed(&good, "alg", json!("RS999")),
        changed(&good, "alg", json!(7)),
        changed(&good, "key_ops", json!(["encrypt"])),
        changed(&good, "key_ops", json!("verify")),
        changed(&ec, "x", encode(&[1; 40])),
    ]
}

#[tokio::test]
async fn an_odd_entry_verifies_and_a_bad_neighbour_spoils_nothing() {
    let fixture = Fixture::start().await;
    let (key, jwk) = rsa();
    let modulus = decode(&jwk["n"]);
    let zeros = |count: usize| encode(&[vec![0; count], modulus.clone()].concat());
    let mut padded = jwk["n"].as_str().unwrap().to_owned();
    padded.push_str(&"=".repeat((4 - padded.len() % 4) % 4));
    let mut sets: Vec<(String, Vec<Value>)> = vec![
        ("plain".into(), vec![jwk.clone()]),
        ("the same key twice".into(), vec![jwk.clone(), jwk.clone()]),
        ("one kid for two keys".into(), vec![TestKey::rs256("key-1").jwk(), jwk.clone()]),
        ("one kid for two keys, ours first".into(), vec![jwk.clone(), TestKey::rs256("key-1").jwk()]),
        ("one kid for two kinds of key".into(), vec![TestKey::es256("key-1").jwk(), jwk.clone()]),
        ("a zero octet before the modulus".into(), vec![changed(&jwk, "n", zeros(1))]),
        ("many zero octets".into(), vec![changed(&jwk, "n", zeros(7)), changed(&jwk, "e", json!("AAEAAQ"))]),
        ("the exponent with a zero octet".into(), vec![changed(&jwk, "e", json!("AAEAAQ"))]),
        ("padding".into(), vec![changed(&jwk, "n", json!(padded))]),
    ];
    for member in ["alg", "use", "key_ops", "x5c", "x5t", "unknown"] {
        sets.push((format!("`{member}` null"), vec![changed(&jwk, member, Value::Null)]));
    }
    for member in ["alg", "use", "key_ops"] {
        let mut without = jwk.clone();
        without.as_object_mut().unwrap().remove(member);
        sets.push((format!("no `{member}`"), vec![without]));
    }
    for value in [json!("text"), json!(1), json!([]), json!({"a": 1})] {
        sets.push((format!("an unknown member {value}"), vec![changed(&jwk, "future", value)]));
    }
    for neighbour in neighbours() {
        sets.push((format!("after {neighbour}"), vec![neighbour.clone(), jwk.clone()]));
        sets.push((format!("before {neighbour}"), vec![jwk.clone(), neighbour]));
    }
    for (what, keys) in sets {
        fixture.clock.advance(Duration::from_hours(2));
        fixture.issuer.set_jwks(json!({ "keys": keys }));
        assert_eq!(fixture.reason(&key.mint(&fixture.claims())).await, "accepted", "{what}");
        let unnamed = key.mint_with(&json!({ "alg": "RS256" }), &fixture.claims());
        assert_eq!(fixture.reason(&unnamed).await, "accepted", "{what}, without kid");
        for kid in [Value::Null, json!("")] {
            let unnamed = key.mint_with(&json!({ "alg": "RS256", "kid": kid }), &fixture.claims());
            assert_eq!(fixture.reason(&unnamed).await, "accepted", "{what}, with kid {kid}");
        }
        let stranger = TestKey::rs256("key-1").mint(&fixture.claims());
        assert_ne!(fixture.reason(&stranger).await, "accepted", "{what}");
    }
}

#[tokio::test]
async fn the_coordinates_of_a_curve_may_have_zeros_too_many_or_too_few() {
    let fixture = Fixture::start().await;
    let mut tried = 0;
    while tried < 2 {
        let key = TestKey::es256("key-1");
        let jwk = key.jwk();
        let (x, y) = (decode(&jwk["x"]), decode(&jwk["y"]));
        let shorter = if x[0] == 0 { Some(changed(&jwk, "x", encode(&x[1..]))) } else { None };
        let shorter = shorter.or_else(|| (y[0] == 0).then(|| changed(&jwk, "y", encode(&y[1..]))));
        let longer = changed(&jwk, "x", encode(&[vec![0], x].concat()));
        let Some(shorter) = shorter else { continue };
        tried += 1;
        for entry in [longer, shorter] {
            fixture.clock.advance(Duration::from_hours(2));
            fixture.issuer.set_jwks(json!({ "keys": [entry] }));
            assert_eq!(fixture.reason(&key.mint(&fixture.claims())).await, "accepted", "{entry}");
        }
    }
}

#[tokio::test]
async fn a_bounded_number_of_keys_is_tried() {
    let fixture = Fixture::start().await;
    let keys: Vec<TestKey> = (0..17).map(|n| TestKey::es256(&format!("key-{n}"))).collect();
    fixture.issuer.set_keys(&keys.iter().collect::<Vec<_>>());
    let unnamed = |key: &TestKey| key.mint_with(&json!({ "alg": "ES256" }), &fixture.claims());
    assert_eq!(fixture.reason(&unnamed(&keys[15])).await, "accepted");
    let error = fixture.verifier.verify(&unnamed(&keys[16]), None).await.unwrap_err();
    assert!(matches!(error, TokenError::Signature { tried: 16 }), "{error}");
    assert_eq!(fixture.reason(&keys[16].mint(&fixture.claims())).await, "accepted", "its kid names it");
}

#[tokio::test]
async fn a_refusal_names_its_reason() {
    let fixture = Fixture::start().await;
    let (key, jwk) = rsa();
    let error = |token: String| {
        let verifier = Arc::clone(&fixture.verifier);
        async move { verifier.verify(&token, None).await.unwrap_err().to_string() }
    };
    fixture.issuer.set_jwks(json!({ "keys": [changed(&jwk, "use", json!("enc")), fixture.key.jwk(), null] }));
    let said = error(key.mint_with(&json!({ "alg": "RS256", "kid": "key-7" }), &fixture.claims())).await;
    for part in ["1 usable", "`key-7`", "1 × not for signatures (`use`)"] {
        assert!(said.contains(part), "{said}");
    }
    let said = error(key.mint(&fixture.claims())).await;
    assert!(said.contains("`key-1` is not for the algorithm RS256"), "{said}");
    let said = error(TestKey::es256("key-1").mint(&fixture.claims())).await;
    assert!(said.contains("any of the 1 keys"), "{said}");

    let empty = Fixture::start().await;
    empty.issuer.set_jwks(json!({ "keys": neighbours() }));
    let said = empty.verifier.verify(&empty.token(), None).await.unwrap_err().to_string();
    for part in ["no usable key", "an unknown curve", "an unknown kind of key", "not base64url"] {
        assert!(said.contains(part), "{said}");
    }
}

/// An issuer that restarts with a new key under the old `kid`, or that uses none.
#[tokio::test]
async fn a_replaced_key_is_noticed_although_its_kid_is_known() {
    for kid in [Some("key-1"), None] {
        let fixture = Fixture::start().await;
        let header = kid.map_or(json!({ "alg": "ES256" }), |kid| json!({ "alg": "ES256", "kid": kid }));
        let mint = |key: &TestKey| key.mint_with(&header, &fixture.claims());
        assert_eq!(fixture.reason(&mint(&fixture.key)).await, "accepted");
        let replaced = TestKey::es256("key-1");
        fixture.issuer.set_keys(&[&replaced]);
        assert_eq!(fixture.reason(&mint(&replaced)).await, "token_signature", "the interval has not passed");
        fixture.clock.advance(Duration::from_secs(30));
        assert_eq!(fixture.reason(&mint(&replaced)).await, "accepted");
        for _ in 0..10 {
            assert_eq!(fixture.reason(&mint(&fixture.key)).await, "token_signature");
        }
        assert_eq!(fixture.issuer.discoveries(), 2, "garbage causes one fetch in an interval");
    }
}
