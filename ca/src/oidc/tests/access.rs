//! Clusters and self-hosted issuers: keys at another place, behind a bearer token, in a file, behind a
//! certificate that is its own root.

use std::io::Write as _;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::*;

#[tokio::test]
async fn keys_are_at_another_host_or_port_only_where_the_operator_writes_so() {
    let keys = TestKey::es256("key-1");
    let other = TestIssuer::start(&[&keys]).await;
    let (_, port) = other.url.rsplit_once(':').unwrap();
    for (written, uri, expected) in [
        (String::new(), format!("{}/jwks", other.url), "token_keys_unavailable"),
        (format!("127.0.0.1:{port}"), format!("{}/jwks", other.url), "accepted"),
        (format!("localhost:{port}"), format!("http://localhost:{port}/jwks"), "accepted"),
        (format!("localhost:{port}"), format!("{}/jwks", other.url), "token_keys_unavailable"),
        ("127.0.0.1".to_owned(), format!("{}/jwks", other.url), "token_keys_unavailable"),
    ] {
        let lines =
            if written.is_empty() { String::new() } else { format!("    jwks-hosts: ['{written}']\n") };
        let fixture = Fixture::configured(&lines, |_| {}).await;
        let mut document = fixture.issuer.discovery();
        document["jwks_uri"] = json!(uri);
        fixture.issuer.set_discovery(document);
        let token = keys.mint(&fixture.claims());
        let error = fixture.verifier.verify(&token, None).await;
        let outcome = error.as_ref().map_or_else(TokenError::reason, |_| "accepted");
        assert_eq!(outcome, expected, "{written} {uri}");
        if let Err(error) = error {
            assert!(error.to_string().contains(&format!("add `127.0.0.1:{port}`")), "{error}");
        }
    }
}

#[tokio::test]
async fn a_bearer_token_is_read_for_every_fetch_and_sent_to_named_places_only() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first\n").unwrap();
    let lines = format!("    bearer-token-file: {}\n", file.path().display());
    let fixture = Fixture::configured(&lines, |_| {}).await;
    fixture.issuer.set_bearer("Bearer first");
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");

    std::fs::write(file.path(), "second").unwrap();
    fixture.issuer.set_bearer("Bearer second");
    fixture.clock.advance(Duration::from_hours(25));
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");

    for content in ["", "two words", "\u{e4}", "line\nbreak"] {
        std::fs::write(file.path(), content).unwrap();
        fixture.clock.advance(Duration::from_hours(25));
        assert_eq!(fixture.reason(&fixture.token()).await, "token_keys_unavailable", "{content:?}");
    }

    // Google's second host is known to the program, not named by the operator: the token does not go there.
    std::fs::write(file.path(), "second").unwrap();
    let hosts = BTreeMap::from([("127.0.0.1".to_owned(), vec!["localhost".to_owned()])]);
    let settings = Settings { jwks_hosts: hosts, development: true, ..Settings::default() };
    let issuer = IssuerUrl::parse("http://127.0.0.1:1").unwrap();
    let client = tls::client(&settings, "test", None).unwrap();
    let place = Place::new(issuer, client, crate::config::KeyAccess::default());
    let trusted = |uri: &str| place.check_key_host(uri, &settings).map(|(_, is_ours)| is_ours);
    assert_eq!(trusted("http://127.0.0.1:1/jwks"), Ok(true));
    assert_eq!(trusted("https://localhost/jwks"), Ok(false));
    for elsewhere in
        ["https://localhost:444/jwks", "http://127.0.0.1:2/jwks", "https://127.0.0.1:1@localhost/jwks"]
    {
        assert!(trusted(elsewhere).is_err(), "{elsewhere}");
    }
}

#[tokio::test]
async fn keys_of_a_file_need_no_discovery_and_are_read_again() {
    let key = TestKey::es256("key-1");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": [key.jwk()] }).to_string()).unwrap();
    let lines = format!("    jwks-file: {}\n", file.path().display());
    let fixture = Fixture::configured(&lines, |_| {}).await;
    assert_eq!(fixture.reason(&key.mint(&fixture.claims())).await, "accepted");
    let next = TestKey::rs256("key-2");
    std::fs::write(file.path(), json!({ "keys": [next.jwk()] }).to_string()).unwrap();
    fixture.clock.advance(Duration::from_mins(1));
    assert_eq!(fixture.reason(&next.mint(&fixture.claims())).await, "accepted");
    assert_eq!(fixture.issuer.discoveries(), 0);
}

#[tokio::test]
async fn a_bad_file_of_keys_is_found_at_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for content in ["", "{}", "{\"keys\": []}", "no JSON"] {
        std::fs::write(file.path(), content).unwrap();
        let text = format!(
            "oidc-issuers:\n  https://h.example:\n    issuer-url: https://h.example\n    client-id: a\n    type: kubernetes\n    \
             jwks-file: {}\n",
            file.path().display()
        );
        let config = Arc::new(IssuerConfig::parse(&text).unwrap());
        let refused = Verifier::new(config, Settings::default(), Arc::new(SystemClock));
        assert!(matches!(refused, Err(VerifierError::KeyFile { .. })), "{content:?}");
    }
}

#[test]
fn the_way_to_keys_is_checked_at_load() {
    let parse = |section: &str, key: &str, lines: &str| {
        let url = if section == "oidc-issuers" { format!("    issuer-url: {key}\n") } else { String::new() };
        IssuerConfig::parse(&format!(
            "{section}:\n  {key}:\n{url}    client-id: a\n    type: kubernetes\n{lines}"
        ))
    };
    let one = |lines: &str| parse("oidc-issuers", "https://h.example", lines);
    for good in [
        "    jwks-hosts: [a.example, 'b.example:6443', '10.0.0.1:6443', '[::1]:443']\n",
        "    bearer-token-file: /var/run/secrets/kubernetes.io/serviceaccount/token\n",
        "    jwks-file: /etc/keys.json\n",
    ] {
        let config = one(good).unwrap();
        assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    }
    for bad in [
        "    jwks-hosts: [https://a.example]\n",
        "    jwks-hosts: [a.example/jwks]\n",
        "    jwks-hosts: ['a.example:x']\n",
        "    jwks-hosts: ['']\n",
        "    jwks-hosts: [u@a.example]\n",
        "    jwks-hosts: a.example\n",
        "    bearer-token-file: token\n",
        "    jwks-file: keys.json\n",
        "    jwks-file: /a\n    bearer-token-file: /b\n",
        "    jwks-file: /a\n    jwks-hosts: [b.example]\n",
    ] {
        assert!(one(bad).is_err(), "{bad}");
    }
    let many = |lines: &str| parse("meta-issuers", "https://h.example/*", lines);
    assert!(many("    jwks-hosts: [a.example]\n").is_ok());
    assert!(many("    bearer-token-file: /b\n").is_err(), "it would go to every host of the pattern");
    assert!(many("    jwks-file: /b\n").is_err());
}

/// What `openssl req -x509` makes: a certificate that is a CA, signed by itself, with the server's name.
fn self_signed(name: &str) -> (String, rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    let pem = pem::encode(&pem::Pem::new("CERTIFICATE", certificate.der().to_vec()));
    (pem, certificate, key)
}

/// A handshake in memory with a server that has this certificate.
fn handshake(
    roots: &str,
    certificate: &rcgen::Certificate,
    key: &rcgen::KeyPair,
    name: &str,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let configuration = Arc::new(tls::configuration(roots).unwrap());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(configuration, name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_self_signed_certificate_is_its_own_ca_cert_under_its_own_name() {
    let (pem, certificate, key) = self_signed("issuer.corp.example");
    assert_eq!(handshake(&pem, &certificate, &key, "issuer.corp.example"), Ok(()));
    assert!(handshake(&pem, &certificate, &key, "other.corp.example").is_err(), "another name");
    let (other, other_certificate, other_key) = self_signed("issuer.corp.example");
    assert!(
        handshake(&pem, &other_certificate, &other_key, "issuer.corp.example").is_err(),
        "another certificate"
    );
    let both = format!("{other}\n{pem}");
    assert_eq!(handshake(&both, &certificate, &key, "issuer.corp.example"), Ok(()));
}

#[test]
fn a_certificate_below_a_ca_cert_verifies_as_before() {
    let (pem, _, key) = self_signed("ca.corp.example");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&pem, key).unwrap();
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["issuer.corp.example".to_owned()]).unwrap();
    let leaf = parameters.signed_by(&leaf_key, &issuer).unwrap();
    assert_eq!(handshake(&pem, &leaf, &leaf_key, "issuer.corp.example"), Ok(()));
    assert!(handshake(&pem, &leaf, &leaf_key, "other.corp.example").is_err());
}
