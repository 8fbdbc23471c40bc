//! TLS of a listener, and its replacement.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::super::super::tls::TlsIdentity;
use super::*;

/// Writes a new self-signed pair for `localhost` and returns its certificate.
pub(super) fn write_pair(folder: &Path) -> (TlsFiles, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let files = TlsFiles { certificate, key, client_ca: None, names: vec!["localhost".to_owned()] };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().to_vec())
}

/// Does a handshake; returns the stream, and says which certificate and protocol the server chose.
pub(super) async fn handshake(
    running: &Running,
    trusted: &[u8],
    alpn: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await
}

#[tokio::test]
async fn tls_speaks_both_protocols_by_alpn() {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = write_pair(folder.path());
    let running = Running::start(hello(), Limits::default(), Some(files)).await;
    for alpn in [&[b"http/1.1".as_slice()][..], &[]] {
        let mut stream = handshake(&running, &certificate, alpn).await.unwrap();
        assert!(exchange(&mut stream, GET).await.ends_with("hello"));
    }
    let stream = handshake(&running, &certificate, &[b"h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    drop(sender);
    connection.await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_changed_certificate_is_taken_over_while_serving() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(folder.path());
    let running = Running::start(hello(), Limits::default(), Some(files)).await;
    let (_, renewed) = write_pair(folder.path());
    let taken_over = async {
        while handshake(&running, &renewed, &[]).await.is_err() {
            tokio::time::sleep(SHORT / 3).await;
        }
    };
    tokio::time::timeout(LONG, taken_over).await.expect("the new certificate is not served");
    running.stop().await;
}

#[tokio::test]
async fn a_broken_certificate_leaves_the_old_one_in_use_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = write_pair(folder.path());
    let tls = Tls::load(&files).unwrap();
    let loaded = tls.current();
    let settings = ListenSettings::new("127.0.0.1:0".parse().unwrap(), Some(files.clone()));
    std::fs::write(&files.certificate, "not a certificate").unwrap();
    tls.look();
    assert!(matches!(
        Listener::bind(&settings, &Limits::default()).await,
        Err(ListenError::Tls(TlsError::Pem { .. }))
    ));
    // A key that belongs to another certificate.
    let other = tempfile::tempdir().unwrap();
    let (others, _) = write_pair(other.path());
    std::fs::copy(&others.certificate, &files.certificate).unwrap();
    tls.look();
    assert!(Arc::ptr_eq(&tls.current(), &loaded));
    assert!(matches!(TlsIdentity::read(&files), Err(TlsError::Mismatch { .. })));
    std::fs::copy(&others.key, &files.key).unwrap();
    tls.look();
    assert!(!tls.current().has_chain_of(&loaded));
}

#[tokio::test]
async fn an_operators_reload_is_not_undone_by_an_older_look() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ((files, _), (others, _)) = (write_pair(one.path()), write_pair(two.path()));
    let tls = Tls::load(&files).unwrap();
    let before = tls.current();
    let renewed = TlsIdentity::read(&files).unwrap();
    tls.adopt(TlsIdentity::read(&others).unwrap());
    tls.take_over(&before, renewed);
    assert_eq!(tls.current().certificate_file(), others.certificate);
    assert!(!before.retired().is_cancelled(), "nobody's client certificates are judged anew");
}

/// An authority of client certificates.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new([]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A connection of a client that shows a certificate of `authority`.
async fn connect_as_client(
    running: &Running,
    server: &[u8],
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["reader".to_owned()]).unwrap();
    parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let shown = parameters.signed_by(&key, authority).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![shown.der().clone()], key)
        .unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, running.connect().await).await.unwrap()
}

/// The answer to a request on a connection that stays open.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn connections_of_a_client_ca_that_is_gone_end_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, certificate) = write_pair(folder.path());
    let client_ca = folder.path().join("clients.pem");
    let (old, new) = (authority(), authority());
    std::fs::write(&client_ca, old.pem()).unwrap();
    files.client_ca = Some(client_ca.clone());
    let mut settings = ListenSettings::new("127.0.0.1:0".parse().unwrap(), Some(files.clone()));
    settings.hosts.push("x".to_owned());
    let listener = Listener::bind(&settings, &Limits::default()).await.unwrap();
    let (address, shutdown) = (listener.local_addr(), CancellationToken::new());
    let tls = Arc::clone(listener.tls().unwrap());
    let server = tokio::spawn(listener.serve(hello(), shutdown.clone()));
    let running = Running { address, shutdown, server };

    let mut reader = connect_as_client(&running, &certificate, &old).await;
    let mut anyone = handshake(&running, &certificate, &[]).await.unwrap();
    assert!(ask(&mut reader).await.starts_with("HTTP/1.1 200"));
    assert!(ask(&mut anyone).await.starts_with("HTTP/1.1 200"));
    // The same authority: nothing ends.
    tls.adopt(TlsIdentity::read(&files).unwrap());
    assert!(ask(&mut reader).await.starts_with("HTTP/1.1 200"));
    std::fs::write(&client_ca, new.pem()).unwrap();
    tls.adopt(TlsIdentity::read(&files).unwrap());
    assert_eq!(read_all(&mut reader).await, "", "the connection ends");
    assert!(ask(&mut anyone).await.starts_with("HTTP/1.1 200"));
    assert!(
        ask(&mut connect_as_client(&running, &certificate, &new).await).await.starts_with("HTTP/1.1 200")
    );
    drop(anyone);
    running.stop().await;
}
