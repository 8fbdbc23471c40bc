//! Request bodies, with the leniency of grpc-gateway's JSON: both spellings of a name, unknown members and enum texts
//! ignored, both base64 alphabets with or without padding, only the first JSON value of the body, an empty body for
//! an empty message. Refused are wrong types, a known member twice in whichever spellings, and both members of a
//! oneof.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::status::Status;
use crate::issuance::CertificateRequest;
use crate::possession::KeyRequest;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The key part of a request. A request that is not empty wins over a public key.
#[derive(Debug, Default)]
pub(super) struct Fields {
    key: Vec<u8>,
    proof: Vec<u8>,
    signing_request: Vec<u8>,
}

impl Fields {
    pub(super) fn into_key(self) -> KeyRequest {
        if self.signing_request.is_empty() {
            return KeyRequest::PublicKey { key: self.key, proof: self.proof };
        }
        KeyRequest::SigningRequest(self.signing_request)
    }
}

/// `dev.sigstore.fulcio.v2.CreateSigningCertificateRequest`.
pub(super) fn v2(body: &[u8], headers: &HeaderMap) -> Result<CertificateRequest, Status> {
    let mut message = Message::parse(body)?;
    let mut token = None;
    if let Some(mut credentials) = message.message("credentials")? {
        token = credentials.text("oidcIdentityToken")?;
    }
    let mut fields = Fields::default();
    let request = message.message("publicKeyRequest")?;
    let signing_request = message.bytes("certificateSigningRequest")?;
    if request.is_some() && signing_request.is_some() {
        return Err(malformed("error parsing \"certificateSigningRequest\", oneof key is already set"));
    }
    if let Some(mut request) = request {
        if let Some(mut key) = request.message("publicKey")? {
            key.enumeration("algorithm")?;
            fields.key = key.text("content")?.unwrap_or_default().into_bytes();
        }
        fields.proof = request.bytes("proofOfPossession")?.unwrap_or_default();
    }
    fields.signing_request = signing_request.unwrap_or_default();
    Ok(super::certificate_request(token, headers, fields))
}

/// `dev.sigstore.fulcio.v1beta.CreateSigningCertificateRequest`. The token is in the header only.
pub(super) fn v1(body: &[u8], headers: &HeaderMap) -> Result<CertificateRequest, Status> {
    let mut message = Message::parse(body)?;
    let mut fields = Fields::default();
    if let Some(mut key) = message.message("publicKey")? {
        key.text("algorithm")?;
        fields.key = key.bytes("content")?.unwrap_or_default();
    }
    fields.proof = message.bytes("signedEmailAddress")?.unwrap_or_default();
    fields.signing_request = message.bytes("certificateSigningRequest")?.unwrap_or_default();
    Ok(super::certificate_request(None, headers, fields))
}

fn malformed(problem: impl Into<String>) -> Status {
    Status::malformed(format!("proto: {}", problem.into()))
}

/// A JSON object read as a protobuf message: its members as they came, so that none hides another of its name.
struct Message(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Message;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Message, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Message(members))
    }
}

impl Message {
    fn parse(body: &[u8]) -> Result<Self, Status> {
        match serde_json::Deserializer::from_slice(body).into_iter::<Self>().next() {
            None => Ok(Self(Vec::new())),
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) if error.is_data() => {
                Err(malformed("syntax error: unexpected token, expected an object"))
            }
            Some(Err(error)) => Err(malformed(format!("syntax error: {error}"))),
        }
    }

    /// The member under its camelCase or snake_case name; null counts as absent.
    fn take(&mut self, name: &str) -> Result<Option<Box<RawValue>>, Status> {
        let snake = snake_case(name);
        let mut found = self.0.extract_if(.., |(member, _)| *member == name || *member == snake);
        let first = found.next();
        if first.is_some() && found.next().is_some() {
            return Err(malformed(format!("duplicate field \"{name}\"")));
        }
        Ok(first.map(|(_, value)| value).filter(|value| value.get() != "null"))
    }

    fn value(&mut self, name: &str) -> Result<Option<Value>, Status> {
        let value = self.take(name)?.map(|value| serde_json::from_str(value.get()));
        value.transpose().map_err(|error| malformed(format!("syntax error: {error}")))
    }

    fn message(&mut self, name: &str) -> Result<Option<Self>, Status> {
        let wrong = |_| malformed(format!("invalid value for message field {name}"));
        self.take(name)?.map(|value| serde_json::from_str(value.get())).transpose().map_err(wrong)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Status> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(format!("invalid value for string field {name}"))),
        }
    }

    /// Base64 in either alphabet. Line breaks are skipped, as Go's decoder does.
    fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, Status> {
        let Some(mut text) = self.text(name)? else { return Ok(None) };
        text.retain(|c| c != '\r' && c != '\n');
        let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        let bytes = engine.decode(text);
        bytes.map(Some).map_err(|_| malformed(format!("invalid value for bytes field {name}")))
    }

    /// A value that nobody reads; only its type must be right.
    fn enumeration(&mut self, name: &str) -> Result<(), Status> {
        match self.value(name)? {
            None | Some(Value::String(_) | Value::Number(_)) => Ok(()),
            Some(_) => Err(malformed(format!("invalid value for enum field {name}"))),
        }
    }
}

fn snake_case(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
