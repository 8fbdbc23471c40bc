use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

/// Readers by the first letter of their token.
struct Letters;

#[async_trait]
impl Readers for Letters {
    async fn admit(&self, credentials: Credentials) -> Result<Reader, Denied> {
        match credentials.token().map(str::as_bytes) {
            None => Err(Denied::Missing),
            Some([b'f', ..]) => Err(Denied::Forbidden),
            Some([b'u', ..]) => Err(Denied::Unavailable),
            Some([b'r', ..]) => Ok(Reader::named("r")),
            Some([b'w', ..]) => std::future::pending().await,
            Some(_) => Err(Denied::Invalid),
        }
    }

    fn challenges(&self) -> &'static [&'static str] {
        &["Bearer realm=\"entries\"", "Basic realm=\"entries\""]
    }

    fn advice(&self) -> &'static str {
        "bring an r"
    }
}

fn zone(gate: &Gate) -> Router {
    let kept = async || ([(CACHE_CONTROL, "private, max-age=60")], "kept");
    Router::new()
        .route("/entry", gate.before(get(async || "entry")).post(async || "written"))
        .route("/bundle", gate.before(get(kept)))
}

async fn ask(router: &Router, method: &str, path: &str, authorization: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn without_credentials_no_method_of_a_sealed_route_answers_and_its_write_still_does() {
    let zone = zone(&Gate::closed(Arc::new(Letters)));
    for method in ["GET", "HEAD"] {
        let refused = ask(&zone, method, "/entry", None).await;
        assert_eq!(refused.status(), 401);
        assert_eq!(refused.headers().get_all(WWW_AUTHENTICATE).iter().count(), 2);
        assert_eq!(refused.headers()[CACHE_CONTROL], "private, no-store");
    }
    assert_eq!(ask(&zone, "POST", "/entry", None).await.status(), 200);
    let refused = ask(&zone, "GET", "/entry", None).await.into_body().collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&refused).unwrap();
    assert!(text.starts_with(r#"{"code":401,"message":"entries hold names"#), "{text}");
    assert!(text.contains("bring an r"), "{text}");
}

#[tokio::test]
async fn a_token_comes_as_bearer_or_as_a_password() {
    let zone = zone(&Gate::closed(Arc::new(Letters)));
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for good in ["Bearer reader", "bearer reader", &basic("anyone:reader"), &basic(":r:with:colons")] {
        let answer = ask(&zone, "GET", "/entry", Some(good)).await;
        assert_eq!(answer.status(), 200, "{good}");
        assert_eq!(answer.extensions().get::<Reader>(), Some(&Reader::named("r")));
    }
    for bad in ["reader", "Bearer", "Digest reader", "Basic reader", &basic("reader")] {
        assert_eq!(ask(&zone, "GET", "/entry", Some(bad)).await.status(), 401, "{bad}");
    }
}

#[tokio::test]
async fn each_denial_has_its_status() {
    let zone = zone(&Gate::closed(Arc::new(Letters)));
    for (token, status, challenged) in [("x", 401, true), ("f", 403, false), ("u", 503, false)] {
        let refused = ask(&zone, "GET", "/entry", Some(&format!("Bearer {token}"))).await;
        assert_eq!(refused.status(), status);
        assert_eq!(refused.headers().contains_key(WWW_AUTHENTICATE), challenged, "{token}");
        assert_eq!(refused.headers().contains_key("retry-after"), status == 503);
    }
}

async fn ask_from(router: &Router, last: u8, token: &str) -> Response {
    let peer = Peer { socket: ([192, 0, 2, last], 1).into(), proxy: None, usage: None };
    let request = Request::get("/entry").header(AUTHORIZATION, format!("Bearer {token}")).extension(peer);
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn tokens_that_wait_for_keys_hold_few_places_of_their_address() {
    let zone = zone(&Gate::closed(Arc::new(Letters)));
    let mut waiting = Vec::new();
    for number in 0..100 {
        let mut answer = Box::pin(ask_from(&zone, 1, "wait"));
        match futures::poll!(&mut answer) {
            Poll::Pending => waiting.push(answer),
            Poll::Ready(refused) => {
                assert!(number >= 16);
                assert_eq!(refused.status(), 429);
                assert!(refused.headers().contains_key("retry-after"));
            }
        }
    }
    assert_eq!(waiting.len(), 16);
    assert_eq!(ask_from(&zone, 1, "reader").await.status(), 200, "what is judged at once needs no place");
    assert!(futures::poll!(Box::pin(ask_from(&zone, 2, "wait"))).is_pending(), "another address");
    drop(waiting);
    assert!(futures::poll!(Box::pin(ask_from(&zone, 1, "wait"))).is_pending(), "places are given back");
}

#[tokio::test]
async fn what_is_behind_the_gate_is_for_the_reader_alone() {
    let zone = zone(&Gate::closed(Arc::new(Letters)));
    let caching = async |path: &str| {
        ask(&zone, "GET", path, Some("Bearer r")).await.headers()[CACHE_CONTROL].to_str().unwrap().to_owned()
    };
    assert_eq!(caching("/entry").await, "private, no-store");
    assert_eq!(caching("/bundle").await, "private, max-age=60", "a handler may allow the reader to keep it");
}

#[tokio::test]
async fn only_the_gate_creates_permits() {
    let shows = async |_: Permit| "shown";
    for (gate, status) in [(Gate::open(), 200), (Gate::closed(Arc::new(Letters)), 401)] {
        let router = Router::new().route("/entry", gate.before(get(shows)));
        assert_eq!(ask(&router, "GET", "/entry", None).await.status(), status);
        assert_eq!(ask(&router, "GET", "/entry", Some("Bearer r")).await.status(), 200);
        // Mounted outside of the gate by mistake.
        let router = Router::new().route("/entry", gate.before(get(async || "")).post(shows));
        assert_eq!(ask(&router, "POST", "/entry", Some("Bearer r")).await.status(), 500);
    }
}

#[tokio::test]
async fn without_a_gate_everyone_reads() {
    let zone = zone(&Gate::open());
    assert_eq!(ask(&zone, "GET", "/entry", None).await.status(), 200);
}

#[tokio::test]
async fn a_client_certificate_admits_under_its_name() {
    let certificate = ClientCertificate::new(b"no certificate that we can read");
    assert!(certificate.name().starts_with("certificate "), "{}", certificate.name());
    let shown = Credentials { token: None, certificate: Some(certificate.clone()), address: None };
    assert_eq!(CertificateReaders.admit(shown).await, Ok(Reader::named(certificate.name())));
    let token = Credentials { token: Some("r".to_owned()), certificate: None, address: None };
    assert_eq!(CertificateReaders.admit(token).await, Err(Denied::Missing));
}
