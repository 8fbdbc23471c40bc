//! Tokens: the rules one by one, hostile tokens beside openidconnect, and how keys are fetched.

mod access;
mod issuers;
mod keys;
mod renewed;

use std::convert::Infallible;
use std::str::FromStr as _;

use chancery_tlog::clock::{FixedClock, SystemClock};
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{ClientId, Nonce};
use proptest::prelude::*;
use serde_json::json;

use super::test_issuer::{Mode, TestIssuer, TestKey};
use super::*;

struct Fixture {
    verifier: Arc<Verifier>,
    clock: Arc<FixedClock>,
    issuer: TestIssuer,
    key: TestKey,
}

impl Fixture {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::configured("", change).await
    }

    /// With further lines of the issuer's section, indented by four spaces, in which `URL` stands for its URL.
    async fn configured(lines: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Arc::new(FixedClock::new(SystemClock.now()));
        let key = TestKey::es256("key-1");
        let issuer = TestIssuer::start(&[&key]).await;
        let url = &issuer.url;
        let lines = lines.replace("URL", url);
        let config = format!(
            "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: kubernetes\n{lines}\
             meta-issuers:\n  {url}/org/*:\n    client-id: sigstore\n    type: kubernetes\n"
        );
        let mut settings =
            Settings { development: true, fetch_timeout: Duration::from_millis(400), ..Settings::default() };
        change(&mut settings);
        let config = Arc::new(IssuerConfig::parse(&config).unwrap());
        let verifier = Arc::new(Verifier::new(config, settings, clock.clone()).unwrap());
        Self { verifier, clock, issuer, key }
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().seconds();
        json!({
            "iss": self.issuer.url, "sub": "someone", "aud": "sigstore",
            "iat": now, "nbf": now, "exp": now + 300,
        })
    }

    fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    fn claims_without(&self, name: &str) -> Value {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    fn token(&self) -> String {
        self.key.mint(&self.claims())
    }

    async fn reason(&self, token: &str) -> &'static str {
        match self.verifier.verify(token, None).await {
            Ok(verified) => {
                verified.permit(|_| Ok("accepted")).await.unwrap_or_else(|never: Infallible| match never {})
            }
            Err(error) => error.reason(),
        }
    }

    /// openidconnect's verdict with the same audience, issuer, keys and algorithms.
    fn openidconnect_accepts(&self, token: &str, keys: &[&TestKey]) -> bool {
        let keys = json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() });
        let keys: CoreJsonWebKeySet = serde_json::from_value(keys).unwrap();
        let verifier = CoreIdTokenVerifier::new_public_client(
            ClientId::new("sigstore".to_owned()),
            openidconnect::IssuerUrl::new(self.issuer.url.clone()).unwrap(),
            keys,
        )
        .set_allowed_algs([
            CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        ])
        .set_other_audience_verifier_fn(|_| true);
        CoreIdToken::from_str(token)
            .is_ok_and(|token| token.claims(&verifier, |_: Option<&Nonce>| Ok(())).is_ok())
    }
}

#[tokio::test]
async fn an_ordinary_token_gives_its_claims() {
    let fixture = Fixture::start().await;
    let verified = fixture.verifier.verify(&fixture.token(), None).await.unwrap();
    let verified = verified.token();
    assert_eq!((verified.iss.as_str(), verified.sub.as_str()), (fixture.issuer.url.as_str(), "someone"));
    assert_eq!(Value::Object(verified.claims.clone()), fixture.claims());
}

/// Each row: what is wrong, the token, our verdict. For every row that we accept, openidconnect accepts too.
#[tokio::test]
async fn hostile_tokens_are_refused_and_we_are_never_laxer_than_openidconnect() {
    let fixture = Fixture::start().await;
    let rsa = TestKey::rs256("key-2");
    let stranger = TestKey::es256("key-1");
    fixture.issuer.set_keys(&[&fixture.key, &rsa]);
    let key = &fixture.key;
    let now = fixture.clock.now().seconds();
    let header = json!({ "alg": "ES256", "kid": "key-1" });
    let with = |name: &str, value: Value| key.mint(&fixture.claims_with(name, value));
    let without = |name: &str| key.mint(&fixture.claims_without(name));
    let headed = |header: Value| key.mint_with(&header, &fixture.claims());
    let good = fixture.token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = signed.split_once('.').unwrap();
    let other_payload = with("sub", json!("other")).split('.').nth(1).unwrap().to_owned();
    let claims = fixture.claims().to_string();
    let twice =
        |extra: &str| key.mint_raw(&header.to_string(), &claims.replacen('{', &format!("{{{extra},"), 1));
    let big = "x".repeat(MAX_TOKEN);

    let rows: Vec<(&str, String, &str)> = vec![
        ("nothing wrong, ES256", good.clone(), "accepted"),
        ("nothing wrong, RS256", rsa.mint(&fixture.claims()), "accepted"),
        ("our audience among others", with("aud", json!(["a", "sigstore"])), "accepted"),
        ("no token", String::new(), "token_absent"),
        ("one part", "abc".into(), "token_malformed"),
        ("two parts", signed.into(), "token_malformed"),
        ("four parts", format!("{good}.x"), "token_malformed"),
        ("five parts, as a JWE", "a.b.c.d.e".into(), "token_malformed"),
        ("only dots", "..".into(), "token_malformed"),
        ("a million dots", ".".repeat(MAX_TOKEN), "token_malformed"),
        ("too long", with("x", json!(big)), "token_malformed"),
        ("padding in the payload", format!("{head}.{payload}==.{signature}"), "token_malformed"),
        ("a space inside of the payload", format!("{head}.{payload} .{signature}"), "token_malformed"),
        ("a payload that is a list", key.mint_raw(&header.to_string(), "[]"), "token_malformed"),
        (
            "a payload with a tail",
            key.mint_raw(&header.to_string(), &format!("{claims}{{}}")),
            "token_malformed",
        ),
        ("sub twice", twice(r#""sub":"admin""#), "token_malformed"),
        ("aud twice", twice(r#""aud":"other""#), "token_malformed"),
        ("a nested name twice", twice(r#""k":{"a":1,"a":2}"#), "token_malformed"),
        (
            "a header name twice",
            key.mint_raw(r#"{"alg":"none","alg":"ES256","kid":"key-1"}"#, &claims),
            "token_malformed",
        ),
        ("no iss", without("iss"), "token_malformed"),
        ("iss not text", with("iss", json!(["x"])), "token_malformed"),
        ("a foreign iss", with("iss", json!("https://evil.example")), "token_issuer"),
        ("iss with a slash more", with("iss", json!(format!("{}/", fixture.issuer.url))), "token_issuer"),
        ("iss with a query", with("iss", json!(format!("{}?x", fixture.issuer.url))), "token_issuer"),
        ("iss in another case", with("iss", json!(fixture.issuer.url.to_uppercase())), "token_issuer"),
        ("no sub", without("sub"), "token_malformed"),
        ("sub not text", with("sub", json!(1)), "token_malformed"),
        ("no aud", without("aud"), "token_malformed"),
        ("another aud", with("aud", json!("sigstore2")), "token_audience"),
        ("aud as a prefix", with("aud", json!("sig")), "token_audience"),
        ("aud in another case", with("aud", json!("Sigstore")), "token_audience"),
        ("an empty list of aud", with("aud", json!([])), "token_audience"),
        ("aud with a number", with("aud", json!(["sigstore", 1])), "token_malformed"),
        ("aud an object", with("aud", json!({"sigstore": 1})), "token_malformed"),
        ("no exp", without("exp"), "token_malformed"),
        ("exp in the past", with("exp", json!(now - 1)), "token_expired"),
        ("exp at the epoch", with("exp", json!(0)), "token_expired"),
        ("exp negative", with("exp", json!(-1)), "token_expired"),
        ("exp as text", with("exp", json!((now + 300).to_string())), "token_malformed"),
        ("nbf in the future", with("nbf", json!(now + 3600)), "token_not_yet_valid"),
        ("iat in the future", with("iat", json!(now + 3600)), "accepted"),
        ("iat as text", with("iat", json!("now")), "token_malformed"),
        ("alg none", headed(json!({ "alg": "none" })), "token_algorithm"),
        ("alg None", headed(json!({ "alg": "None" })), "token_algorithm"),
        ("alg none without signature", format!("{}.{payload}.", b64(r#"{"alg":"none"}"#)), "token_algorithm"),
        ("alg HS256", headed(json!({ "alg": "HS256", "kid": "key-1" })), "token_algorithm"),
        (
            "alg that the issuer does not list",
            headed(json!({ "alg": "ES384", "kid": "key-1" })),
            "token_algorithm",
        ),
        ("alg of another family", headed(json!({ "alg": "RS256", "kid": "key-1" })), "token_key_unknown"),
        ("no alg", headed(json!({ "kid": "key-1" })), "token_malformed"),
        (
            "crit",
            headed(json!({ "alg": "ES256", "kid": "key-1", "crit": ["b64"], "b64": false })),
            "token_algorithm",
        ),
        ("an empty crit", headed(json!({ "alg": "ES256", "kid": "key-1", "crit": [] })), "token_algorithm"),
        ("kid not text", headed(json!({ "alg": "ES256", "kid": 1 })), "token_malformed"),
        ("an unknown kid", headed(json!({ "alg": "ES256", "kid": "key-9" })), "token_key_unknown"),
        (
            "the key in the header",
            stranger.mint_with(&json!({"alg": "ES256", "jwk": stranger.jwk()}), &fixture.claims()),
            "token_signature",
        ),
        ("a stranger's key under our kid", stranger.mint(&fixture.claims()), "token_signature"),
        ("another payload", format!("{head}.{other_payload}.{signature}"), "token_signature"),
        ("an empty signature", format!("{signed}."), "token_signature"),
        ("a cut signature", format!("{signed}.{}", &signature[..signature.len() - 4]), "token_signature"),
        ("a zero signature", format!("{signed}.{}", "A".repeat(86)), "token_signature"),
    ];
    for (what, token, expected) in rows {
        let ours = fixture.reason(&token).await;
        assert_eq!(ours, expected, "{what}");
        if ours == "accepted" {
            assert!(
                fixture.openidconnect_accepts(&token, &[&fixture.key, &rsa]),
                "laxer than openidconnect: {what}"
            );
        }
    }
}

fn b64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// Fulcio removes white space before it verifies: a newline of the file that the token was in, a second space after
/// `Bearer`.
#[tokio::test]
async fn white_space_of_the_tokens_way_is_removed_as_in_fulcio() {
    let fixture = Fixture::start().await;
    let good = fixture.token();
    let parts: Vec<&str> = good.split('.').collect();
    let (head, payload, signature) = (parts[0], parts[1], parts[2]);
    let (half, rest) = payload.split_at(payload.len() / 2);
    for token in [
        format!("{good}\n"),
        format!("{good}\r\n"),
        format!(" {good}"),
        format!("\t {good} \n"),
        format!("{head} .{payload}. {signature}"),
        format!("{head}\n.{half}\r\n{rest}\n.{signature}"),
    ] {
        assert_eq!(fixture.reason(&token).await, "accepted", "{token:?}");
    }
    for token in [
        format!("{head}.{half} {rest}.{signature}"),
        format!("{head}.{half}\t{rest}.{signature}"),
        format!("{head}.{payload}.{signature}\u{a0}"),
        format!("{head}\u{b}.{payload}.{signature}"),
        " \n".to_owned(),
    ] {
        assert_ne!(fixture.reason(&token).await, "accepted", "{token:?}");
    }
}

#[tokio::test]
async fn the_leeway_is_fulcios_for_nbf_none_for_exp_and_iat_is_not_compared() {
    let fixture = Fixture::start().await;
    let now = fixture.clock.now().seconds();
    let with = |claim: &str, value: Value| fixture.key.mint(&fixture.claims_with(claim, value));
    assert_eq!(fixture.reason(&with("nbf", json!(now + 299))).await, "accepted");
    assert_eq!(fixture.reason(&with("nbf", json!(now + 302))).await, "token_not_yet_valid");
    assert_eq!(fixture.reason(&with("nbf", Value::Null)).await, "accepted");
    assert_eq!(fixture.reason(&with("iat", json!(now + 86_400))).await, "accepted");
    assert_eq!(fixture.reason(&with("iat", json!(0))).await, "accepted");
    let token = fixture.token();
    fixture.clock.set(Timestamp::from_seconds(now + 299));
    assert_eq!(fixture.reason(&token).await, "accepted");
    fixture.clock.set(Timestamp::from_seconds(now + 300));
    assert_eq!(fixture.reason(&token).await, "token_expired");
}

#[tokio::test]
async fn a_maximum_age_counts_from_iat_and_demands_it() {
    let fixture = Fixture::with(|settings| settings.max_age = Some(Duration::from_mins(10))).await;
    let now = fixture.clock.now().seconds();
    let old = |age: u64| fixture.key.mint(&fixture.claims_with("iat", json!(now - age)));
    assert_eq!(fixture.reason(&old(599)).await, "accepted");
    assert_eq!(fixture.reason(&old(602)).await, "token_expired");
    let ahead = fixture.key.mint(&fixture.claims_with("iat", json!(now + 302)));
    assert_eq!(fixture.reason(&ahead).await, "token_not_yet_valid", "else its age would not be bounded");
    assert_eq!(fixture.reason(&fixture.key.mint(&fixture.claims_without("iat"))).await, "token_malformed");
}

#[tokio::test]
async fn keys_that_are_not_for_this_use_are_not_used() {
    for (member, value) in [
        ("use", json!("enc")),
        ("alg", json!("ES384")),
        ("alg", json!("RSA-OAEP")),
        ("key_ops", json!(["encrypt"])),
        ("kty", json!("oct")),
        ("crv", json!("P-384")),
    ] {
        let fixture = Fixture::start().await;
        let mut jwk = fixture.key.jwk();
        jwk[member] = value.clone();
        let good = TestKey::es256("other").jwk();
        fixture.issuer.set_jwks(json!({ "keys": [jwk, good] }));
        assert_eq!(fixture.reason(&fixture.token()).await, "token_key_unknown", "{member} {value}");
    }
}

#[tokio::test]
async fn an_issuer_that_lists_no_algorithms_means_rs256() {
    let fixture = Fixture::start().await;
    let rsa = TestKey::rs256("key-2");
    fixture.issuer.set_keys(&[&fixture.key, &rsa]);
    let mut document = fixture.issuer.discovery();
    document.as_object_mut().unwrap().remove("id_token_signing_alg_values_supported");
    fixture.issuer.set_discovery(document);
    assert_eq!(fixture.reason(&fixture.token()).await, "token_algorithm");
    assert_eq!(fixture.reason(&rsa.mint(&fixture.claims())).await, "accepted");
}

#[tokio::test]
async fn discovery_and_keys_are_bounded_and_never_redirected() {
    let other = TestIssuer::start(&[]).await;
    for mode in
        [Mode::Redirect(format!("{}/jwks", other.url)), Mode::Huge, Mode::HugeChunked, Mode::Slow, Mode::Fail]
    {
        for of_keys in [false, true] {
            let fixture = Fixture::start().await;
            if of_keys {
                fixture.issuer.set_jwks_mode(mode.clone());
            } else {
                fixture.issuer.set_discovery_mode(mode.clone());
            }
            assert_eq!(
                fixture.reason(&fixture.token()).await,
                "token_keys_unavailable",
                "{mode:?} {of_keys}"
            );
        }
    }
    assert_eq!(other.discoveries(), 0);
}

#[tokio::test]
async fn a_discovery_document_about_another_issuer_or_with_foreign_keys_is_refused() {
    let other = TestKey::es256("key-1");
    let foreign = TestIssuer::start(&[&other]).await;
    let foreign_host = foreign.url.replace("127.0.0.1", "localhost");
    for (member, value) in [
        ("issuer", json!("https://evil.example")),
        ("issuer", Value::Null),
        ("jwks_uri", json!(format!("{foreign_host}/jwks"))),
        ("jwks_uri", json!(format!("{}/jwks", foreign.url))),
        ("jwks_uri", json!("https://evil.example/jwks")),
        ("jwks_uri", json!("http://evil.example/jwks")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("jwks_uri", json!("jwks")),
        ("jwks_uri", Value::Null),
    ] {
        let fixture = Fixture::start().await;
        let mut document = fixture.issuer.discovery();
        document[member] = value.clone();
        fixture.issuer.set_discovery(document);
        assert_eq!(fixture.reason(&fixture.token()).await, "token_keys_unavailable", "{member}: {value}");
    }
}

#[tokio::test]
async fn http_is_for_development_only() {
    let text = "oidc-issuers:\n  http://127.0.0.1:1:\n    issuer-url: http://127.0.0.1:1\n    client-id: a\n    type: email\n";
    let config = Arc::new(IssuerConfig::parse(text).unwrap());
    let refused = Verifier::new(config, Settings::default(), Arc::new(SystemClock));
    assert!(matches!(refused, Err(VerifierError::PlainHttp(_))));
}

#[tokio::test]
async fn an_issuers_own_roots_are_loaded_at_start() {
    let made = crate::make_root_and_intermediate(
        "Example Org",
        chancery_tlog::key::KeyKind::EcdsaP256,
        &SystemClock,
    );
    let pem = made.unwrap().root.to_pem().replace('\n', "\n      ");
    let url = "https://gitlab.corp.example";
    let text = format!(
        "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: a\n    type: email\n    ca-cert: |\n      {pem}\n"
    );
    let config = Arc::new(IssuerConfig::parse(&text).unwrap());
    assert!(config.find(url).unwrap().ca_certificates.is_some());
    assert!(Verifier::new(config, Settings::default(), Arc::new(SystemClock)).is_ok());
}

#[tokio::test]
async fn a_stranger_causes_no_fetch() {
    let fixture = Fixture::start().await;
    for claims in [
        fixture.claims_with("iss", json!("https://evil.example")),
        fixture.claims_with("aud", json!("other")),
        fixture.claims_with("exp", json!(1)),
    ] {
        assert!(fixture.verifier.verify(&fixture.key.mint(&claims), None).await.is_err());
    }
    assert_eq!(fixture.issuer.discoveries(), 0);
}

#[tokio::test]
async fn one_fetch_serves_many_tokens_at_once() {
    let fixture = Fixture::start().await;
    let token = fixture.token();
    let all = (0..32).map(|_| fixture.verifier.verify(&token, None));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(fixture.issuer.discoveries(), 1);
}

#[tokio::test]
async fn an_unknown_kid_refreshes_at_most_every_thirty_seconds() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    let rotated = TestKey::es256("key-2");
    fixture.issuer.set_keys(&[&rotated]);
    let token = rotated.mint(&fixture.claims());
    assert_eq!(fixture.reason(&token).await, "token_key_unknown", "the interval has not passed");
    fixture.clock.advance(Duration::from_secs(29));
    assert_eq!(fixture.reason(&token).await, "token_key_unknown");
    assert_eq!(fixture.issuer.discoveries(), 1);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.reason(&token).await, "accepted");
    for _ in 0..10 {
        let garbage = fixture.key.mint_with(&json!({"alg": "ES256", "kid": "none"}), &fixture.claims());
        assert_eq!(fixture.reason(&garbage).await, "token_key_unknown");
    }
    assert_eq!(fixture.issuer.discoveries(), 2);
}

#[tokio::test]
async fn keys_stay_fresh_for_max_age_and_a_removed_key_is_dropped_then() {
    let fixture = Fixture::start().await;
    fixture.issuer.set_cache_control("public, max-age=120");
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    fixture.issuer.set_keys(&[&TestKey::es256("key-2")]);
    fixture.clock.advance(Duration::from_secs(119));
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.reason(&fixture.token()).await, "token_key_unknown");
}

#[tokio::test]
async fn old_keys_serve_for_a_day_while_the_issuer_is_down() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    fixture.issuer.set_discovery_mode(Mode::Fail);
    fixture.clock.advance(Duration::from_hours(23));
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    fixture.clock.advance(Duration::from_secs(3601));
    assert_eq!(fixture.reason(&fixture.token()).await, "token_keys_unavailable");
    fixture.issuer.set_discovery_mode(Mode::Normal);
    fixture.clock.advance(Duration::from_secs(5));
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_abort_the_fetch() {
    let fixture = Fixture::start().await;
    let token = fixture.token();
    // Polled once: enough to start the fetch, too little to finish it.
    assert!(tokio::time::timeout(Duration::ZERO, fixture.verifier.verify(&token, None)).await.is_err());
    assert_eq!(fixture.reason(&token).await, "accepted");
    assert_eq!(fixture.issuer.discoveries(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_text_makes_the_token_parser_panic(text in ".{0,100}", a in ".{0,40}", b in ".{0,60}") {
        let _ = CompactToken::parse(&text);
        let _ = CompactToken::parse(&format!("{}.{}.x", b64(&a), b64(&b)));
    }
}
