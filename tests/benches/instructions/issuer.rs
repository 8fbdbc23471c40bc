//! An OIDC issuer on loopback with one RSA key, as GitHub's: tokens that it signed, and the two documents that a
//! verifier fetches once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Checked in, because making one is slow under valgrind. It guards nothing.
const KEY: &str = include_str!("issuer-key.pem");

/// The key of [`Issuer`].
pub(crate) struct IssuerKey(KeyPair);

/// A running issuer. Its thread ends with the process.
pub(crate) struct Issuer {
    pub(crate) url: String,
    key: IssuerKey,
}

impl IssuerKey {
    /// PKCS#1 v1.5 with SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let signed = self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
        signed.map_err(|_| anyhow!("the issuer's key does not sign"))?;
        Ok(signature)
    }

    /// PKCS#1.
    pub(crate) fn public_key_der(&self) -> Vec<u8> {
        self.0.public_key().as_ref().to_vec()
    }

    fn jwk(&self) -> Value {
        let key = self.0.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "key-1",
            "n": number(key.modulus().big_endian_without_leading_zero()),
            "e": number(key.exponent().big_endian_without_leading_zero()),
        })
    }
}

impl Issuer {
    pub(crate) fn key() -> Result<IssuerKey> {
        let base64: String = KEY.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).context("the issuer's key")?;
        Ok(IssuerKey(KeyPair::from_pkcs8(&der).context("the issuer's key")?))
    }

    pub(crate) fn start() -> Result<Self> {
        let key = Self::key()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let discovery = json!({
            "issuer": url, "jwks_uri": format!("{url}/jwks"), "id_token_signing_alg_values_supported": ["RS256"],
        });
        let keys = json!({ "keys": [key.jwk()] });
        thread::spawn(move || serve(&listener, &discovery, &keys));
        Ok(Self { url, key })
    }

    /// A token of these claims.
    pub(crate) fn token(&self, claims: &Value) -> Result<String> {
        let header = json!({ "alg": "RS256", "kid": "key-1", "typ": "JWT" }).to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())?);
        Ok(format!("{signed}.{signature}"))
    }
}

/// One request a connection.
fn serve(listener: &TcpListener, discovery: &Value, keys: &Value) -> std::io::Result<()> {
    for stream in listener.incoming() {
        let mut reader = BufReader::new(stream?);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let body = if request.starts_with("GET /jwks ") { keys } else { discovery }.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let length = body.len();
        reader.get_mut().write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes())?;
    }
    Ok(())
}
