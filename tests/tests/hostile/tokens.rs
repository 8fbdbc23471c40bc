//! Tokens at the real CA: claims that read as another name, claims that are no text, unsigned tokens that make
//! the CA fetch, and issuers that do not answer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chancery_tests::ca::CaClient;
use chancery_tests::{DevIssuer, IdToken, Instance, Rekor, Server};
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use serde_json::{Value, json};

const TRICKS: [&str; 10] = [
    "evil/../acme/rocket/.github/workflows/release.yml@refs/heads/main",
    "acme/./rocket/.github/workflows/release.yml@refs/heads/main",
    "evil/%2e%2e/acme/rocket/.github/workflows/release.yml@refs/heads/main",
    "evil%2f..%2facme/rocket/.github/workflows/release.yml@refs/heads/main",
    "acme\\rocket/.github/workflows/release.yml@refs/heads/main",
    "acme%5Crocket/.github/workflows/release.yml@refs/heads/main",
    "acme/rocket\u{202e}/.github/workflows/release.yml@refs/heads/main",
    "acme/rocket%E2%80%AE/.github/workflows/release.yml@refs/heads/main",
    "acme/rocket\u{1}/.github/workflows/release.yml@refs/heads/main",
    "%61cme/rocket/.github/workflows/release.yml@refs/heads/main",
];

fn not_names() -> [Value; 8] {
    [json!(""), Value::Null, json!(5), json!(0.5), json!(true), json!([]), json!(["acme"]), json!({"a": 1})]
}

#[tokio::test]
async fn a_claim_that_reads_as_another_name_gets_no_certificate() -> Result<()> {
    let instance = Instance::start().await?;
    let ca = CaClient::new(instance.server.url(), &instance.server.trust("ct.pub"))?;
    ensure!(ca.request(&instance.issuer.token().await?).await?.0 == 200, "a good token");
    for claim in ["job_workflow_ref", "workflow_ref", "repository", "ref"] {
        for trick in TRICKS {
            let token = instance.issuer.token_with(json!({ claim: trick })).await?;
            let (status, body) = ca.request(&token).await?;
            ensure!(status == 400 && !body.contains("CERTIFICATE"), "{claim} {trick:?}: {status} {body}");
        }
    }
    let log = instance.server.output().await?;
    ensure!(log.contains("its path has a segment `.` or `..`"), "the audit log names the reason: {log}");
    Ok(())
}

/// By the template type that `init` writes and by Fulcio's older one.
#[tokio::test]
async fn a_claim_that_is_no_text_makes_no_name() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let issuer = DevIssuer::start(scratch.path()).await?;
    for (name, kind) in
        [("templates", "ci-provider\n    ci-provider: github-workflow"), ("older", "github-workflow")]
    {
        let url = issuer.url();
        let issuers = format!(
            "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: {kind}\n"
        );
        let mut server = Server::init(scratch.path(), name, &issuers, Rekor::V2)?;
        server.start().await?;
        let ca = CaClient::new(server.url(), &server.trust("ct.pub"))?;
        let issued = ca.issue(&issuer.token().await?).await?.context("a good token")?;
        let san = issued.certificate.subject_names().first().map(|name| name.value().to_owned());
        ensure!(
            san.is_some_and(|san| san.starts_with("https://github.com/acme/")),
            "the name of a good token"
        );
        for value in not_names() {
            let token = issuer.token_with(json!({ "job_workflow_ref": value })).await?;
            let (status, body) = ca.request(&token).await?;
            ensure!(status == 400 && !body.contains("CERTIFICATE"), "{name} {value}: {status} {body}");
        }
    }
    Ok(())
}

/// An issuer on loopback with any number of tenants under `/org/`. Those named `real…` exist; the others take
/// the connection and do not answer.
struct Tenants {
    url: String,
    key: EcdsaKeyPair,
    requests: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    url: String,
    jwks: Value,
    requests: Arc<AtomicUsize>,
}

impl Tenants {
    async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let public = key.public_key().as_ref();
        let coordinate = |at: usize| URL_SAFE_NO_PAD.encode(&public[at..at + 32]);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": coordinate(1), "y": coordinate(33),
        });
        let requests = Arc::<AtomicUsize>::default();
        let shared =
            Shared { url: url.clone(), jwks: json!({ "keys": [jwk] }), requests: Arc::clone(&requests) };
        let router = Router::new()
            .route("/org/{tenant}/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(async |State(shared): State<Shared>| axum::Json(shared.jwks)))
            .with_state(shared);
        let server = tokio::spawn(async move {
            // Ends when the test drops it.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, key, requests, server })
    }

    /// A token of a tenant, signed or with a signature of zeros.
    fn token(&self, tenant: &str, signed: bool) -> Result<IdToken> {
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
        let header = json!({ "alg": "ES256", "kid": "k" });
        let claims = json!({
            "iss": format!("{}/org/{tenant}", self.url), "sub": "system:serviceaccount:ci:builder", "aud": "sigstore",
            "iat": now, "nbf": now, "exp": now + 300,
            "kubernetes.io": { "namespace": "ci", "serviceaccount": { "name": "builder", "uid": "u" } },
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = if signed {
            self.key.sign(&SystemRandom::new(), text.as_bytes())?.as_ref().to_vec()
        } else {
            vec![0; 64]
        };
        IdToken::new(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Drop for Tenants {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn discovery(State(shared): State<Shared>, Path(tenant): Path<String>) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    if !tenant.starts_with("real") {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    let document = json!({
        "issuer": format!("{}/org/{tenant}", shared.url), "jwks_uri": format!("{}/jwks", shared.url),
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    axum::Json(document).into_response()
}

/// A client at an address of this machine, with a connection for each request.
///
/// Made once for each address: a client reads the system's roots, which takes some 100 ms. When each of 200 requests made
/// its own, this test's only thread did that for longer than the server waits for the head of a request on a connection
/// that is open already (`header_timeout`), so the server closed it.
fn client_at(from: Ipv4Addr) -> Result<reqwest::Client> {
    let builder = reqwest::Client::builder().local_address(IpAddr::from(from)).pool_max_idle_per_host(0);
    Ok(builder.no_proxy().build()?)
}

/// Requests a certificate; the status of the answer.
async fn ask(server: &Server, client: &reqwest::Client, token: &IdToken) -> Result<u16> {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    let request = json!({
        "credentials": { "oidcIdentityToken": token.as_str() },
        "publicKeyRequest": {
            "publicKey": { "algorithm": "ECDSA", "content": signer.public_key().to_pem() },
            "proofOfPossession": STANDARD.encode(signer.sign(token.claim("sub").as_bytes())?),
        },
    });
    let answer = client.post(format!("{}/api/v2/signingCert", server.url())).json(&request).send().await?;
    if answer.status() == 429 {
        ensure!(answer.headers().contains_key("retry-after"), "429 without Retry-After");
    }
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn unsigned_tokens_cause_few_requests_and_keep_no_other_issuer_waiting() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let dev = DevIssuer::start(scratch.path()).await?;
    let tenants = Tenants::start().await?;
    let issuers = format!(
        "oidc-issuers:\n  {0}:\n    issuer-url: {0}\n    client-id: sigstore\n    type: github-workflow\n\
         meta-issuers:\n  {1}/org/*:\n    client-id: sigstore\n    type: kubernetes\n",
        dev.url(),
        tenants.url
    );
    let mut server = Server::init(scratch.path(), "server", &issuers, Rekor::V2)?;
    server.start().await?;
    let server = Arc::new(server);
    let (attacker, bystander) = (client_at(Ipv4Addr::LOCALHOST)?, client_at(Ipv4Addr::new(127, 0, 0, 2))?);
    ensure!(ask(&server, &bystander, &tenants.token("real-proven", true)?).await? == 200, "a good token");
    let before = tenants.requests.load(Ordering::SeqCst);

    let mut garbage = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (server, client) = (Arc::clone(&server), attacker.clone());
        let token = tenants.token(&format!("no-{n}"), false)?;
        garbage.spawn(async move { ask(&server, &client, &token).await });
    }
    let started = Instant::now();
    while tenants.requests.load(Ordering::SeqCst) == before {
        ensure!(started.elapsed() < Duration::from_secs(30), "no garbage has arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let started = Instant::now();
    ensure!(ask(&server, &bystander, &tenants.token("real-cold", true)?).await? == 200, "a cold issuer");
    ensure!(ask(&server, &attacker, &tenants.token("real-proven", true)?).await? == 200, "a proven issuer");
    ensure!(ask(&server, &attacker, &dev.token().await?).await? == 200, "a configured issuer");
    ensure!(started.elapsed() < Duration::from_secs(4), "they waited {:?}", started.elapsed());

    let mut refused = 0;
    while let Some(status) = garbage.join_next().await {
        match status?? {
            429 => refused += 1,
            400 => {}
            other => anyhow::bail!("garbage is answered {other}"),
        }
    }
    ensure!(refused >= 190, "{refused} of 200 were refused without a fetch");
    let requests = tenants.requests.load(Ordering::SeqCst) - before;
    ensure!(requests <= 11, "{requests} requests were caused");
    ensure!(server.output().await?.contains("token_new_issuers"), "the audit log names the reason");
    Ok(())
}

/// The server's answer to a request for a certificate, with the `Retry-After`.
async fn answer_of(
    server: &Server,
    client: &reqwest::Client,
    token: &IdToken,
) -> Result<(u16, Option<String>, String)> {
    let request = json!({ "credentials": { "oidcIdentityToken": token.as_str() } });
    let url = format!("{}/api/v2/signingCert", server.url());
    let answer = client.post(&url).json(&request).send().await?;
    let after =
        answer.headers().get("retry-after").map(|after| after.to_str().map(str::to_owned)).transpose()?;
    Ok((answer.status().as_u16(), after, answer.text().await?))
}

/// One address sends garbage for an issuer that does not answer, another wants a certificate of one that does.
#[tokio::test]
async fn an_issuer_that_does_not_answer_takes_few_places_and_is_no_fault_of_the_token() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let dev = DevIssuer::start(scratch.path()).await?;
    let tenants = Tenants::start().await?;
    let silent = format!("{}/org/silent", tenants.url);
    let issuers = format!(
        "oidc-issuers:\n  {0}:\n    issuer-url: {0}\n    client-id: sigstore\n    type: github-workflow\n  \
         {silent}:\n    issuer-url: {silent}\n    client-id: sigstore\n    type: kubernetes\n",
        dev.url(),
    );
    let mut server = Server::init(scratch.path(), "server", &issuers, Rekor::V2)?;
    server.start().await?;
    let server = Arc::new(server);
    let attacker = client_at(Ipv4Addr::LOCALHOST)?;
    let mut garbage = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (server, client) = (Arc::clone(&server), attacker.clone());
        let token = tenants.token("silent", false)?;
        garbage.spawn(async move { answer_of(&server, &client, &token).await });
    }
    let started = Instant::now();
    let mut refused = 0;
    while refused < 60 {
        let (status, after, body) = garbage.join_next().await.context("100 requests")???;
        if status != 429 {
            ensure!(status == 503 && after.is_some(), "{status} {after:?} {body}");
            ensure!(
                body.contains("try again later") && !body.contains("processing the identity token"),
                "{body}"
            );
        }
        refused += 1;
    }
    ensure!(started.elapsed() < Duration::from_secs(4), "they waited {:?}", started.elapsed());
    let bystander = client_at(Ipv4Addr::new(127, 0, 0, 2))?;
    ensure!(ask(&server, &bystander, &dev.token().await?).await? == 200, "another issuer");
    Ok(())
}

/// *Proven* outlives a restart.
#[tokio::test]
async fn a_restart_does_not_make_a_proven_issuer_new_again() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let tenants = Tenants::start().await?;
    let issuers =
        format!("meta-issuers:\n  {0}/org/*:\n    client-id: sigstore\n    type: kubernetes\n", tenants.url);
    let mut server = Server::init(scratch.path(), "server", &issuers, Rekor::V2)?;
    server.start().await?;
    let here = client_at(Ipv4Addr::LOCALHOST)?;
    ensure!(ask(&server, &here, &tenants.token("real-old", true)?).await? == 200, "a new issuer");
    server.stop().await?;
    server.start().await?;
    // Eighteen addresses, five garbage tokens each, of issuers that answer.
    let mut refused = 0;
    for address in 0..18 {
        let client = client_at(Ipv4Addr::new(127, 0, 1, address))?;
        for n in 0..5 {
            let token = tenants.token(&format!("real-no{address}-{n}"), false)?;
            refused += usize::from(ask(&server, &client, &token).await? == 429);
        }
    }
    ensure!(refused >= 10, "the pattern's rate is used up: {refused}");
    ensure!(ask(&server, &here, &tenants.token("real-old", true)?).await? == 200, "an issuer proven before");
    Ok(())
}
