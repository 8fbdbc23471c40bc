//! The issuer's HTTP face: discovery, keys, and tokens in the shape of GitHub's token endpoint.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{digest, rand};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery_tlog::clock::Clock;
use serde_json::{Value, json};

use crate::claims::{Claims, Job};

/// Claims that are numbers, so that `?exp=1` means the number.
const NUMERIC: [&str; 3] = ["exp", "iat", "nbf"];

/// The issuer could not make its key.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a signing key: the system's randomness failed")]
pub(crate) struct NoKey;

/// An issuer with a key and a bearer token of its own, both gone when the process ends.
pub(crate) struct Issuer {
    url: String,
    job: Job,
    key: RsaKeyPair,
    key_id: String,
    bearer: String,
    clock: Arc<dyn Clock>,
}

impl Issuer {
    /// An issuer that calls itself `url` and pretends to run `job`.
    pub(crate) fn new(url: String, job: Job, clock: Arc<dyn Clock>) -> Result<Self, NoKey> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| NoKey)?;
        let spki = key.public_key().as_der().map_err(|_| NoKey)?;
        let key_id = hex::encode(&digest::digest(&digest::SHA256, spki.as_ref()).as_ref()[..8]);
        Ok(Self { url, job, key, key_id, bearer: random_hex()?, clock })
    }

    /// What the program prints once it listens: its address, and the job's environment to `export`.
    pub(crate) fn announcement(&self) -> String {
        let mut text = format!("listening on {}\n", self.url);
        let mut variables = vec![
            ("ACTIONS_ID_TOKEN_REQUEST_URL", format!("{}/token?api-version=2.0", self.url)),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", self.bearer.clone()),
        ];
        variables.extend(self.job.environment());
        for (name, value) in variables {
            let quoted = value.replace('\'', r"'\''");
            let _ = writeln!(text, "export {name}='{quoted}'");
        }
        text
    }

    /// A signed token.
    fn mint(&self, audience: Option<&str>, overrides: &Claims) -> Result<String, NoKey> {
        let mut claims = self.job.claims(&self.url, audience, self.clock.now(), overrides);
        if claims.get("jti").is_some_and(|jti| jti == "") {
            claims.insert("jti".to_owned(), json!(random_hex()?));
        }
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": self.key_id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&Value::Object(claims)));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| NoKey)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// All routes.
pub(crate) fn router(issuer: Arc<Issuer>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(keys))
        .route("/token", get(token).post(token))
        .with_state(issuer)
}

async fn discovery(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    Json(json!({
        "issuer": issuer.url,
        "jwks_uri": format!("{}/jwks", issuer.url),
        "subject_types_supported": ["public"],
        "response_types_supported": ["id_token"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
    }))
}

async fn keys(State(issuer): State<Arc<Issuer>>) -> Json<Value> {
    let public = issuer.key.public_key();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Json(json!({"keys": [{
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": issuer.key_id,
        "n": number(public.modulus().big_endian_without_leading_zero()),
        "e": number(public.exponent().big_endian_without_leading_zero()),
    }]}))
}

/// `GET` or `POST /token`: GitHub's answer to a job that asks for its identity.
async fn token(
    State(issuer): State<Arc<Issuer>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer.and_then(|value| value.split_once(' ')).map(|(_, token)| token) != Some(&issuer.bearer) {
        return refusal(StatusCode::UNAUTHORIZED, "send ACTIONS_ID_TOKEN_REQUEST_TOKEN as a bearer token");
    }
    let Some(overrides) = overrides(&query, &body) else {
        return refusal(StatusCode::BAD_REQUEST, "the body must be empty or a JSON object of claims");
    };
    match issuer.mint(query.get("audience").map(String::as_str), &overrides) {
        Ok(token) => Json(json!({"count": 1, "value": token})).into_response(),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"message": message}))).into_response()
}

/// Claims to replace, from the query and the body; the body wins. `None` if the body is no object.
fn overrides(query: &HashMap<String, String>, body: &str) -> Option<Claims> {
    let mut claims: Claims = query
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "audience" | "api-version"))
        .map(|(name, value)| (name.clone(), query_value(name, value)))
        .collect();
    if !body.trim().is_empty() {
        let posted: Claims = serde_json::from_str(body).ok()?;
        claims.extend(posted);
    }
    Some(claims)
}

fn query_value(name: &str, value: &str) -> Value {
    match value.parse::<i64>() {
        Ok(number) if NUMERIC.contains(&name) => json!(number),
        _ => json!(value),
    }
}

fn random_hex() -> Result<String, NoKey> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| NoKey)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use axum::body::Body;
    use axum::http::Request;
    use chancery_tlog::clock::{FixedClock, Timestamp};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    fn issuer() -> Arc<Issuer> {
        let clock = Arc::new(FixedClock::new(Timestamp::from_seconds(1_790_000_000)));
        Arc::new(Issuer::new("http://127.0.0.1:8888".into(), Job::of(Job::REPOSITORY), clock).unwrap())
    }

    async fn answer(issuer: &Arc<Issuer>, request: Request<Body>) -> (StatusCode, Value) {
        let response = router(issuer.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn ask(issuer: &Issuer, query: &str, body: &str) -> Request<Body> {
        Request::post(format!("/token?api-version=2.0{query}"))
            .header(header::AUTHORIZATION, format!("bearer {}", issuer.bearer))
            .body(Body::from(body.to_owned()))
            .unwrap()
    }

    async fn claims(issuer: &Arc<Issuer>, query: &str, body: &str) -> Value {
        let (status, answer) = answer(issuer, ask(issuer, query, body)).await;
        assert_eq!((status, &answer["count"]), (StatusCode::OK, &json!(1)));
        let token = answer["value"].as_str().unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = issuer.key.public_key().as_der().unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref())
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_token_needs_the_bearer() {
        let request = Request::get("/token?audience=sigstore").body(Body::empty()).unwrap();
        assert_eq!(answer(&issuer(), request).await.0, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn the_audience_is_the_one_asked_for() {
        let issuer = issuer();
        assert_eq!(claims(&issuer, "&audience=sigstore", "").await["aud"], "sigstore");
        assert_eq!(claims(&issuer, "", "").await["aud"], "https://github.com/acme");
    }

    #[tokio::test]
    async fn query_and_body_override_claims() {
        let issuer = issuer();
        let minted =
            claims(&issuer, "&exp=7&repository=evil%2Frocket", r#"{"aud":["a","b"],"actor":null}"#).await;
        assert_eq!(minted["exp"], 7);
        assert_eq!(minted["repository"], "evil/rocket");
        assert_eq!(minted["aud"], json!(["a", "b"]));
        assert_eq!(minted.get("actor"), None);
    }

    #[tokio::test]
    async fn discovery_names_this_issuer_and_its_key() {
        let issuer = issuer();
        let request = |path: &str| Request::get(path).body(Body::empty()).unwrap();
        let (_, document) = answer(&issuer, request("/.well-known/openid-configuration")).await;
        assert_eq!(document["issuer"], "http://127.0.0.1:8888");
        let (_, set) = answer(&issuer, request("/jwks")).await;
        assert_eq!(set["keys"][0]["kid"], issuer.key_id.as_str());
        assert_eq!(URL_SAFE_NO_PAD.decode(set["keys"][0]["n"].as_str().unwrap()).unwrap().len(), 256);
    }

    #[test]
    fn the_announcement_is_shell() {
        let text = issuer().announcement();
        assert!(
            text.starts_with("listening on http://127.0.0.1:8888\nexport ACTIONS_ID_TOKEN_REQUEST_URL='http")
        );
        assert!(text.contains(
            "export GITHUB_WORKFLOW_REF='acme/rocket/.github/workflows/release.yml@refs/heads/main'"
        ));
    }
}
