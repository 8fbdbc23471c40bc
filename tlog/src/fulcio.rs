//! Fulcio's certificate extensions, 1.3.6.1.4.1.57264.1.N. Source: fulcio `docs/oid-info.md`.

use crate::certificate::Certificate;

/// How an extension's text is encoded inside `extnValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The bare bytes, no DER: the deprecated extensions 1 to 6.
    Raw,
    /// A DER UTF8String.
    Utf8String,
}

/// One row of the OID table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// N, the last arc.
    pub number: u8,
    /// Name for people, as the Fulcio documents spell it.
    pub name: &'static str,
    /// Key in `extension-templates` of a Fulcio YAML configuration.
    pub yaml_key: &'static str,
    /// Key in the JSON spelling of the same configuration (Go field name).
    pub json_key: &'static str,
    /// Encoding.
    pub encoding: Encoding,
}

/// All extensions, ascending. 7 is not one: it is the type of a SAN `otherName`.
pub const EXTENSIONS: &[Definition] = &[];

/// The definition of extension `number`.
pub fn definition(number: u8) -> Option<&'static Definition> {
    EXTENSIONS.iter().find(|d| d.number == number)
}

/// The `extnValue` contents of extension `number` with this text.
pub fn encode(_definition: &Definition, _text: &str) -> Vec<u8> {
    unimplemented!()
}

/// The text of extension `number` in a certificate; `None` if absent, `Some(Err)` never: malformed counts as
/// absent for [`Encoding::Utf8String`] and is lossy for [`Encoding::Raw`].
pub fn read(_certificate: &Certificate, _number: u8) -> Option<String> {
    unimplemented!()
}

/// The OIDC issuer of a certificate: extension 8, else 1.
pub fn issuer(certificate: &Certificate) -> Option<String> {
    read(certificate, 8).or_else(|| read(certificate, 1))
}
