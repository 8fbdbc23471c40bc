//! Reads a leaf that is spelled as [`Body::encode`](super::Body::encode) spells it, without making it again.
//!
//! Invariant: what is read here encodes to the same bytes. Everything but the base64 between quotes is compared
//! byte for byte, and base64 has one spelling. Whoever reads millions of leaves needs a tenth of the time that parsing any
//! JSON and encoding it again takes; what is not read here is left to that, which knows what is wrong.

use std::borrow::Cow;

use super::{
    DsseJson, HashJson, HashName, HashedRekordJson, KeyDetails, RawJson, SignatureJson, SpecJson,
    VerifierJson,
};

/// What the leaf says; `None` if it is spelled otherwise.
pub(super) fn read(leaf: &[u8]) -> Option<SpecJson<'_>> {
    let mut rest = Rest(leaf);
    rest.skip(r#"{"apiVersion":"0.0.2","kind":""#)?;
    let spec = if rest.skip(r#"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":""#).is_some() {
        SpecJson::HashedRekord(rest.hashed_rekord()?)
    } else {
        rest.skip(r#"dsse","spec":{"dsseV002":{"payloadHash":{"algorithm":""#)?;
        SpecJson::Dsse(rest.dsse()?)
    };
    rest.skip("}}}")?;
    rest.0.is_empty().then_some(spec)
}

/// What is not read yet.
struct Rest<'l>(&'l [u8]);

impl<'l> Rest<'l> {
    fn skip(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal.as_bytes())?;
        Some(())
    }

    /// Up to the next quotation mark, and past it. An escape stays in the text, which is no base64 then, and no name.
    fn text(&mut self) -> Option<&'l str> {
        let end = self.0.iter().position(|byte| *byte == b'"')?;
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest.get(1..)?;
        std::str::from_utf8(text).ok()
    }

    fn hashed_rekord(&mut self) -> Option<HashedRekordJson<'l>> {
        let algorithm = match self.text()? {
            "SHA2_256" => HashName::Sha256,
            "SHA2_384" => HashName::Sha384,
            "SHA2_512" => HashName::Sha512,
            _ => return None,
        };
        let data = self.digest(algorithm)?;
        self.skip(r#","signature":"#)?;
        Some(HashedRekordJson { data, signature: self.signature()? })
    }

    fn dsse(&mut self) -> Option<DsseJson<'l>> {
        self.skip(r#"SHA2_256""#)?;
        let payload_hash = self.digest(HashName::Sha256)?;
        self.skip(r#","signatures":["#)?;
        let mut signatures = vec![self.signature()?];
        while self.skip("]").is_none() {
            self.skip(",")?;
            signatures.push(self.signature()?);
        }
        Some(DsseJson { payload_hash, signatures })
    }

    fn digest(&mut self, algorithm: HashName) -> Option<HashJson<'l>> {
        self.skip(r#","digest":""#)?;
        let digest = Cow::Borrowed(self.text()?);
        self.skip("}")?;
        Some(HashJson { algorithm, digest })
    }

    fn signature(&mut self) -> Option<SignatureJson<'l>> {
        self.skip(r#"{"content":""#)?;
        let content = Cow::Borrowed(self.text()?);
        self.skip(r#","verifier":{"keyDetails":""#)?;
        let key_details = KeyDetails::from_name(self.text()?)?;
        let is_key = self.skip(r#","publicKey":"#).is_some();
        if !is_key {
            self.skip(r#","x509Certificate":"#)?;
        }
        self.skip(r#"{"rawBytes":""#)?;
        let raw = Some(RawJson { raw_bytes: Cow::Borrowed(self.text()?) });
        self.skip("}}}")?;
        let (public_key, x509_certificate) = if is_key { (raw, None) } else { (None, raw) };
        Some(SignatureJson { content, verifier: VerifierJson { key_details, public_key, x509_certificate } })
    }
}
