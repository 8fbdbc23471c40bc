//! The guard refuses before it contacts, whoever is asked for.

use super::*;

fn refused(url: &str) -> Option<GuardError> {
    check(&Url::parse(url).unwrap(), false).err()
}

#[test]
fn public_instances_are_refused_in_every_spelling() {
    for url in [
        "https://fulcio.sigstore.dev",
        "https://FULCIO.SIGSTORE.DEV/api",
        "https://rekor.sigstore.dev.:443",
        "https://sigstore.dev",
        "https://log2025-1.rekor.sigstore.dev",
        "https://fulcio.sigstage.dev",
        "https://fulcio.githubapp.com",
        "https://timestamp.githubapp.com",
        "https://tuf-repo.github.com",
    ] {
        assert!(matches!(refused(url), Some(GuardError::PublicInstance(_))), "{url}");
        assert_eq!(check(&Url::parse(url).unwrap(), true), Ok(()), "{url}");
    }
    for url in ["https://sigstore.dev.example.com", "https://notsigstore.dev", "https://chancery.example.com"]
    {
        assert_eq!(refused(url), None, "{url}");
    }
}

#[test]
fn plain_http_is_for_loopback_only() {
    for url in ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost"] {
        assert_eq!(refused(url), None, "{url}");
    }
    for url in ["http://chancery.example.com", "http://10.0.0.1", "http://localhost.example.com"] {
        assert!(matches!(refused(url), Some(GuardError::Insecure(_))), "{url}");
    }
}

#[test]
fn addresses_with_credentials_or_other_schemes_are_refused() {
    for url in
        ["https://a:b@host.example", "https://a@host.example", "file:///etc/passwd", "ftp://host.example"]
    {
        assert!(matches!(refused(url), Some(GuardError::NotWeb(_))), "{url}");
    }
}

#[test]
fn a_path_is_appended_without_doubled_slashes() {
    for base in ["https://h.example", "https://h.example/"] {
        assert_eq!(join(&Url::parse(base).unwrap(), "/api").as_str(), "https://h.example/api");
    }
    assert_eq!(
        join(&Url::parse("https://h.example/x/?q#f").unwrap(), "/a").as_str(),
        "https://h.example/x/a"
    );
}

#[test]
fn what_servers_say_is_fit_for_a_terminal() {
    let answer = |body: &str| {
        let (body, request) = (body.into(), RequestId::default());
        Answer { status: 400, location: None, body, request, after_loss: false }.explain()
    };
    assert_eq!(answer(r#"{"code":3,"message":"no \u001b[31m"}"#), "400 no [31m");
    assert_eq!(answer("plain"), "400 plain");
    assert!(answer(&"x".repeat(10_000)).len() < 400);
}

#[tokio::test]
async fn unlisted_hosts_are_not_contacted() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let listed = Url::parse("http://127.0.0.1:9").unwrap();
    let other = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let guard = Guard::new(&[(Purpose::Instance, &listed)], false).unwrap();
    assert!(matches!(guard.send(Request::get(other)).await, Err(HttpError::NotListed(_))));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(guard.contacts()[0].requests, 0);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream
            .write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    let guard = Guard::new(&[(Purpose::Instance, &url)], false).unwrap();
    assert!(matches!(guard.send(Request::get(url)).await, Err(HttpError::Redirect(..))));
    server.join().unwrap();
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again() {
    let url = answering(&["503 Service Unavailable\r\nretry-after: 0", "200 OK"]);
    let guard = Guard::new(&[(Purpose::TransparencyLog, &url)], false).unwrap();
    assert_eq!(guard.send(Request::get(url)).await.unwrap().status, 200);
    assert_eq!(guard.contacts()[0].requests, 2);
}

/// An earlier attempt may have been carried out, so what a later one is told does not count as a refusal.
#[tokio::test]
async fn an_answer_after_a_lost_one_is_not_a_refusal() {
    const OVERLOAD: &str = "503 Service Unavailable\r\nretry-after: 0";
    const CASES: [(&[&str], bool); 5] = [
        (&["403 Forbidden"], true),
        (&[OVERLOAD, "403 Forbidden"], true),
        // Not HTTP: the connection ends without an answer.
        (&["", "403 Forbidden"], false),
        (&["502 Bad Gateway\r\nretry-after: 0", OVERLOAD, "403 Forbidden"], false),
        (&["500 Internal Server Error"], false),
    ];
    for (answers, is_refusal) in CASES {
        let url = answering(answers);
        let guard = Guard::new(&[(Purpose::TransparencyLog, &url)], false).unwrap();
        let answer = guard.send(Request::get(url)).await.unwrap();
        assert_eq!(answer.is_refusal(), is_refusal, "{answers:?}");
    }
    // A redirect says that nothing was done, but not of the attempt before it.
    let url = answering(&["", "308 Permanent Redirect"]);
    let guard = Guard::new(&[(Purpose::TransparencyLog, &url)], false).unwrap();
    assert!(guard.send(Request::get(url)).await.unwrap_err().may_have_arrived());
}

/// Regression: the wait was doubled before it was capped, and the largest `Retry-After` ended the program.
#[test]
fn a_server_cannot_ask_for_an_endless_wait() {
    let planned = Duration::from_secs(1);
    assert_eq!(wait(planned, None), planned);
    assert_eq!(wait(planned, Some(Duration::from_secs(3))), Duration::from_secs(3));
    assert_eq!(wait(planned, Some(Duration::from_secs(u64::MAX))), MAX_WAIT);
    assert!(wait(planned, Some(Duration::MAX)).checked_mul(2).is_some());
}

/// A server on loopback that gives these answers, one a connection: status line and headers.
fn answering(answers: &'static [&'static str]) -> Url {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            write!(connection, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap();
        }
    });
    url
}
