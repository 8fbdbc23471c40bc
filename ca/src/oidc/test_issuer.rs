//! An OIDC issuer on loopback whose behaviour a test can choose, and keys that mint any token.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key of an issuer.
pub(crate) struct TestKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    encoding: EncodingKey,
}

impl TestKey {
    pub(crate) fn es256(kid: &str) -> Self {
        let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(
            algorithm,
            &aws_lc_rs::rand::SystemRandom::new(),
        );
        let encoding = EncodingKey::from_ec_der(pkcs8.unwrap().as_ref());
        Self { kid: kid.to_owned(), algorithm: Algorithm::ES256, encoding }
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        use aws_lc_rs::encoding::AsDer as _;
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = key.as_der().unwrap();
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        let encoding = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self { kid: kid.to_owned(), algorithm: Algorithm::RS256, encoding }
    }

    /// The public JWK.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with an ordinary header.
    pub(crate) fn mint(&self, claims: &Value) -> String {
        self.mint_with(
            &json!({ "alg": format!("{:?}", self.algorithm), "kid": self.kid, "typ": "JWT" }),
            claims,
        )
    }

    /// A token with any header and JSON payload.
    pub(crate) fn mint_with(&self, header: &Value, claims: &Value) -> String {
        self.mint_raw(&header.to_string(), &claims.to_string())
    }

    /// A token around any texts.
    pub(crate) fn mint_raw(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.encoding, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

/// What the issuer does when asked.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mode {
    #[default]
    Normal,
    Redirect(String),
    Huge,
    HugeChunked,
    Slow,
    Fail,
}

#[derive(Default)]
struct Shared {
    discovery: Mutex<Value>,
    jwks: Mutex<Value>,
    discovery_mode: Mutex<Mode>,
    jwks_mode: Mutex<Mode>,
    cache_control: Mutex<Option<String>>,
    /// The `Authorization` that both documents need.
    bearer: Mutex<Option<String>>,
    discoveries: AtomicUsize,
    /// Requests for the discovery documents of tenants.
    tenants: AtomicUsize,
}

/// A running issuer; stops when dropped.
pub(crate) struct TestIssuer {
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl TestIssuer {
    pub(crate) async fn start(keys: &[&TestKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/org/{tenant}/.well-known/openid-configuration", get(tenant))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let issuer = Self { url, shared, server };
        issuer.set_discovery(json!({
            "issuer": issuer.url,
            "jwks_uri": format!("{}/jwks", issuer.url),
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        }));
        issuer.set_keys(keys);
        issuer
    }

    pub(crate) fn set_discovery(&self, document: Value) {
        *self.shared.discovery.lock().unwrap() = document;
    }

    pub(crate) fn discovery(&self) -> Value {
        self.shared.discovery.lock().unwrap().clone()
    }

    pub(crate) fn set_keys(&self, keys: &[&TestKey]) {
        self.set_jwks(json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }));
    }

    pub(crate) fn set_jwks(&self, jwks: Value) {
        *self.shared.jwks.lock().unwrap() = jwks;
    }

    pub(crate) fn set_discovery_mode(&self, mode: Mode) {
        *self.shared.discovery_mode.lock().unwrap() = mode;
    }

    pub(crate) fn set_jwks_mode(&self, mode: Mode) {
        *self.shared.jwks_mode.lock().unwrap() = mode;
    }

    pub(crate) fn set_cache_control(&self, value: &str) {
        *self.shared.cache_control.lock().unwrap() = Some(value.to_owned());
    }

    /// Answers 401 to requests without this `Authorization`.
    pub(crate) fn set_bearer(&self, value: &str) {
        *self.shared.bearer.lock().unwrap() = Some(value.to_owned());
    }

    /// How often the discovery document of a tenant `/org/…` was asked for.
    pub(crate) fn tenants(&self) -> usize {
        self.shared.tenants.load(Ordering::SeqCst)
    }

    /// How often discovery was asked for.
    pub(crate) fn discoveries(&self) -> usize {
        self.shared.discoveries.load(Ordering::SeqCst)
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A tenant exists if its name begins with `real`; another never answers in time.
async fn tenant(State(shared): State<Arc<Shared>>, Path(tenant): Path<String>) -> Response {
    shared.tenants.fetch_add(1, Ordering::SeqCst);
    let mut document = shared.discovery.lock().unwrap().clone();
    if !tenant.starts_with("real") {
        return answer(Mode::Slow, document).await;
    }
    document["issuer"] = json!(format!("{}/org/{tenant}", document["issuer"].as_str().unwrap()));
    answer(Mode::Normal, document).await
}

impl Shared {
    fn is_unauthorized(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(http::header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
        self.bearer.lock().unwrap().as_ref().is_some_and(|wanted| sent != Some(wanted.as_bytes()))
    }
}

async fn discovery(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.discoveries.fetch_add(1, Ordering::SeqCst);
    if shared.is_unauthorized(&headers) {
        return http::StatusCode::UNAUTHORIZED.into_response();
    }
    let mode = shared.discovery_mode.lock().unwrap().clone();
    let document = shared.discovery.lock().unwrap().clone();
    answer(mode, document).await
}

async fn jwks(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if shared.is_unauthorized(&headers) {
        return http::StatusCode::UNAUTHORIZED.into_response();
    }
    let mode = shared.jwks_mode.lock().unwrap().clone();
    let document = shared.jwks.lock().unwrap().clone();
    let mut response = answer(mode, document).await;
    if let Some(value) = shared.cache_control.lock().unwrap().as_deref() {
        response.headers_mut().insert(http::header::CACHE_CONTROL, value.parse().unwrap());
    }
    response
}

async fn answer(mode: Mode, document: Value) -> Response {
    match mode {
        Mode::Normal => axum::Json(document).into_response(),
        Mode::Redirect(to) => Redirect::temporary(&to).into_response(),
        Mode::Huge => format!("{document}{}", " ".repeat(2 * 1024 * 1024)).into_response(),
        // Without a Content-Length: only the cap on what is read can stop it.
        Mode::HugeChunked => {
            let chunks = (0..64).map(|_| Ok::<_, std::convert::Infallible>(vec![b' '; 64 * 1024]));
            axum::body::Body::from_stream(futures::stream::iter(chunks)).into_response()
        }
        Mode::Slow => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            axum::Json(document).into_response()
        }
        Mode::Fail => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
