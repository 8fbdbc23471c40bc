//! The chassis over real sockets: what a client can do to it, and what it answers.

use std::time::Instant;

use axum::routing::{get, post};
use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::super::settings::TlsFiles;
use super::*;

mod idle;
mod tls;

/// Short enough for tests, long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ListenError>>,
}

impl Running {
    async fn start(router: Router, limits: Limits, tls: Option<TlsFiles>) -> Self {
        let mut settings = ListenSettings::new("127.0.0.1:0".parse().unwrap(), tls);
        settings.hosts.push("x".to_owned());
        let listener = Listener::bind(&settings, &limits).await.unwrap();
        let (address, shutdown) = (listener.local_addr(), CancellationToken::new());
        let server = tokio::spawn(listener.serve(router, shutdown.clone()));
        Self { address, shutdown, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LONG, self.server).await.unwrap().unwrap().unwrap();
    }
}

fn hello() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/echo", post(async |body: bytes::Bytes| body))
        .route("/panic", get(async || -> &'static str { panic!("the secret is 42") }))
        .fallback(super::super::reply::not_found)
}

/// Sends `request` and reads until the server closes or says nothing for long.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(stream).await
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    read.expect("the server neither answers nor closes").unwrap_or_default();
    String::from_utf8(answer).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_with_its_id() {
    let running = Running::start(hello(), Limits::default(), None).await;
    let answer = exchange(&mut running.connect().await, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");
    let request = GET.replace("host", "x-request-id: my-own-1\r\nhost");
    let answer = exchange(&mut running.connect().await, &request).await;
    assert!(answer.contains("x-request-id: my-own-1\r\n"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn an_unknown_path_is_a_404_in_json() {
    let running = Running::start(hello(), Limits::default(), None).await;
    let answer = exchange(&mut running.connect().await, &GET.replace("/ ", "/nope ")).await;
    assert!(answer.ends_with("{\"code\":404,\"message\":\"path /nope was not found\"}\n"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_header_timeout() {
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    assert_eq!(read_all(&mut running.connect().await).await, "");
    running.stop().await;
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off_at_the_header_timeout() {
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let (mut reader, mut writer) = running.connect().await.into_split();
    let begun = Instant::now();
    let trickle = async {
        writer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while writer.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(SHORT / 6).await;
        }
    };
    let closed = read_all(&mut reader);
    tokio::select! {
        () = trickle => {}
        answer = closed => assert!(!answer.contains("200 OK"), "{answer}"),
    }
    assert!(begun.elapsed() < LONG / 2);
    running.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let limits = Limits { idle_timeout: SHORT, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let request = GET.replace("connection: close\r\n", "");
    let answer = exchange(&mut running.connect().await, &request).await;
    assert!(answer.ends_with("hello"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_that_the_client_can_read() {
    let limits = Limits { max_body: 1000, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let body = "x".repeat(2000);
    let announced = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2000\r\n\r\n{body}");
    let chunked = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n{body}\r\n0\r\n\r\n"
    );
    for request in [announced, chunked] {
        let answer = exchange(&mut running.connect().await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let body = "{\"code\":413,\"message\":\"Request Entity Too Large. Limit set to 1000\"}\n";
        assert!(answer.ends_with(body), "{answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken() {
    // The second is above what axum's extractors take of their own accord.
    for max_body in [1000, 3 << 20] {
        let running = Running::start(hello(), Limits { max_body, ..Limits::default() }, None).await;
        let body = "x".repeat(max_body);
        let head =
            format!("POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {max_body}");
        let answer = exchange(&mut running.connect().await, &format!("{head}\r\n\r\n{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&body), "{}", &answer[..200]);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_asked_for() {
    let limits = Limits { max_body: 1000, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2000\r\n\r\n";
    let answer = exchange(&mut running.connect().await, head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408() {
    let limits = Limits { body_timeout: SHORT, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc";
    let answer = exchange(&mut running.connect().await, head).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":408"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing_and_the_server_goes_on() {
    let running = Running::start(hello(), Limits::default(), None).await;
    let answer = exchange(&mut running.connect().await, &GET.replace("/ ", "/panic ")).await;
    assert!(answer.ends_with("{\"code\":500,\"message\":\"internal error\"}\n"), "{answer}");
    assert!(!answer.contains("secret"), "{answer}");
    assert!(exchange(&mut running.connect().await, GET).await.ends_with("hello"));
    running.stop().await;
}

/// A handler that says when it has begun and waits to be let go.
fn waiting() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let handler = move || {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            "done"
        }
    };
    let router = Router::new()
        .route("/wait", get(handler))
        .merge(health::Readiness::new().router())
        .merge(Router::new().route("/", get(async || "hello")));
    (router, begun, go)
}

const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn shutdown_answers_what_was_accepted_and_takes_nothing_new() {
    let (router, begun, go) = waiting();
    let running = Running::start(router, Limits::default(), None).await;
    let mut stream = running.connect().await;
    stream.write_all(WAIT.as_bytes()).await.unwrap();
    begun.notified().await;
    running.shutdown.cancel();
    // The socket closes as soon as the accept loop has seen the cancellation.
    let closed = async { while TcpStream::connect(running.address).await.is_ok() {} };
    tokio::time::timeout(LONG, closed).await.unwrap();
    assert!(!running.server.is_finished());
    go.notify_one();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_the_grace() {
    let (router, begun, _go) = waiting();
    let limits = Limits { shutdown_grace: SHORT, ..Limits::default() };
    let running = Running::start(router, limits, None).await;
    let mut stream = running.connect().await;
    stream.write_all(WAIT.as_bytes()).await.unwrap();
    begun.notified().await;
    running.stop().await;
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn more_requests_than_allowed_are_a_503_with_retry_after_and_health_is_not_counted() {
    let (router, begun, go) = waiting();
    let limits = Limits { max_requests: 1, ..Limits::default() };
    let running = Running::start(router, limits, None).await;
    let mut first = running.connect().await;
    first.write_all(WAIT.as_bytes()).await.unwrap();
    begun.notified().await;
    let answer = exchange(&mut running.connect().await, GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let answer = exchange(&mut running.connect().await, &GET.replace("/ ", "/healthz ")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    go.notify_one();
    running.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_for_another_to_end() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let first = running.connect().await;
    // Connected by the kernel, not accepted by us.
    let mut second = running.connect().await;
    second.write_all(GET.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(early.is_err(), "answered beside an open connection");
    drop(first);
    assert!(read_all(&mut second).await.ends_with("hello"));
    running.stop().await;
}

#[tokio::test]
async fn http2_works_without_tls() {
    let running = Running::start(hello(), Limits::default(), None).await;
    let io = TokioIo::new(running.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://{}/", running.address)).body(Empty::<bytes::Bytes>::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    drop(sender);
    connection.await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test]
async fn routes_are_replaced_while_requests_are_in_flight() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, left) = (Arc::clone(&entered), Arc::clone(&leave));
    let old = Router::new().route(
        "/",
        get(async move || {
            enter.notify_one();
            left.notified().await;
            "old"
        }),
    );
    let settings = ListenSettings::new("127.0.0.1:0".parse().unwrap(), None);
    let listener = Listener::bind(&settings, &Limits::default()).await.unwrap();
    let (address, shutdown) = (listener.local_addr(), CancellationToken::new());
    let serving = listener.with_routes(old, &shutdown);
    let changer = serving.changer();
    let server = tokio::spawn(serving.run());
    let mut first = TcpStream::connect(address).await.unwrap();
    let get_it = "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    first.write_all(get_it.as_bytes()).await.unwrap();
    entered.notified().await;
    changer.replace(Router::new().route("/", get(async || "new")));
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut second, get_it).await.ends_with("new"));
    leave.notify_one();
    assert!(read_all(&mut first).await.ends_with("old"));
    shutdown.cancel();
    server.await.unwrap();
}

#[test]
fn a_port_that_may_not_be_bound_is_explained() {
    let refused = |port: u16| {
        let source = std::io::ErrorKind::PermissionDenied.into();
        ListenError::Bind { address: SocketAddr::from(([0, 0, 0, 0], port)), source }.to_string()
    };
    assert!(refused(443).contains("CAP_NET_BIND_SERVICE"), "{}", refused(443));
    assert!(!refused(8443).contains("CAP_NET_BIND_SERVICE"), "{}", refused(8443));
}

#[tokio::test]
async fn a_silent_client_does_not_hold_a_handshake_open() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = tls::write_pair(folder.path());
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let running = Running::start(hello(), limits, Some(files)).await;
    assert_eq!(read_all(&mut running.connect().await).await, "");
    running.stop().await;
}

#[tokio::test]
async fn plain_http_on_every_address_does_not_bind() {
    let settings = ListenSettings::new("0.0.0.0:0".parse().unwrap(), None);
    let refused = Listener::bind(&settings, &Limits::default()).await;
    assert!(matches!(refused, Err(ListenError::Settings(SettingsError::PlainHttp(_)))));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_504() {
    let (router, _begun, _go) = waiting();
    let limits = Limits { request_timeout: SHORT, ..Limits::default() };
    let running = Running::start(router, limits, None).await;
    let answer = exchange(&mut running.connect().await, WAIT).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    running.stop().await;
}

async fn connect_from(running: &Running, last: u8) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(running.address).await.unwrap()
}

#[tokio::test]
async fn one_address_has_a_share_of_the_connections() {
    let mut limits = Limits { max_connections: 8, ..Limits::default() };
    limits.per_address.connections = 2;
    let running = Running::start(hello(), limits, None).await;
    let keep = GET.replace("connection: close\r\n", "").replace("/ ", "/healthz ");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect_from(&running, 2).await;
        stream.write_all(keep.as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(read_all(&mut connect_from(&running, 2).await).await, "", "closed at once");
        assert!(exchange(&mut connect_from(&running, 3).await, GET).await.ends_with("hello"));
    }
    drop(held);
    let again = async {
        while !exchange(&mut connect_from(&running, 2).await, GET).await.ends_with("hello") {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::time::timeout(LONG, again).await.expect("a share is given back");
    running.stop().await;
}

#[tokio::test]
async fn health_checks_do_not_keep_a_connection_open() {
    let limits = Limits { idle_timeout: SHORT, ..Limits::default() };
    let running = Running::start(hello(), limits, None).await;
    let (mut reader, mut writer) = running.connect().await.into_split();
    let keep = GET.replace("connection: close\r\n", "").replace("/ ", "/healthz ");
    let probing = async {
        while writer.write_all(keep.as_bytes()).await.is_ok() {
            tokio::time::sleep(SHORT / 6).await;
        }
    };
    tokio::select! {
        () = probing => {}
        _ = read_all(&mut reader) => {}
    }
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let min_rate = 1 << 20;
    let limits = Limits { idle_timeout: SHORT, header_timeout: SHORT, min_rate, ..Limits::default() };
    let large = "x".repeat(16 << 20);
    let router = Router::new().route("/", get(async move || large));
    let running = Running::start(router, limits, None).await;
    let mut stream = running.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_err() || answer.len() < 16 << 20, "{} bytes", answer.len());
    running.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_requests_that_do_not_come() {
    let running = Running::start(hello(), Limits::default(), None).await;
    let mut half = Vec::new();
    for request in [
        "GET / HT",
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc",
        "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nho",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = running.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        half.push(stream);
    }
    tokio::time::sleep(SHORT).await;
    let begun = Instant::now();
    running.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
