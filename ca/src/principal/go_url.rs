//! URIs as Go's `net/url` prints what it parsed, because Fulcio's SANs went through it and verifiers compare
//! bytes.
//!
//! The scheme becomes lower case; a path or fragment that holds a character outside of Go's set is escaped as
//! a whole; everything else stays as it is. Nothing is resolved: dot segments are refused, doubled slashes
//! stay. What Go prints must also be a [strict URI](strict_uri), so a URI that Go or another parser reads
//! otherwise is never certified.

use chancery_tlog::strict_uri::{self, NotStrict};

/// The normal form of a URI that may name an identity: `url.Parse(text).String()`.
pub(super) fn normalize(text: &str) -> Result<String, NotStrict> {
    strict_uri::check_reference(text)?;
    let (rest, fragment) = split_at_mark(text, '#');
    let (rest, query) = split_at_mark(rest, '?');
    let (scheme, rest) = rest.split_once(':').ok_or(NotStrict::Scheme)?;
    let mut out = format!("{}:", scheme.to_ascii_lowercase());
    push_hierarchy(&mut out, rest);
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
        out.push('#');
        out.push_str(&escape(fragment, Part::Fragment));
    }
    finished(out)
}

/// A base URL and a path that Go joined: `url.Parse(base).JoinPath(path).String()`, where `text` is both, one
/// after the other. Unlike in [`normalize`] everything after the host is path, so `?` and `#` are escaped,
/// and doubled slashes become one.
pub(super) fn joined(text: &str) -> Result<String, NotStrict> {
    strict_uri::check_reference(text)?;
    let (scheme, rest) = text.split_once("://").ok_or(NotStrict::Scheme)?;
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let mut out = format!("{}://{host}", scheme.to_ascii_lowercase());
    let mut plain = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !plain.ends_with('/') {
            plain.push(c);
        }
    }
    out.push_str(&escape(&plain, Part::Path));
    finished(out)
}

/// A strict URI in ASCII. An opaque part and a query keep their letters, and a certificate has no room for others.
fn finished(uri: String) -> Result<String, NotStrict> {
    strict_uri::check(&uri)?;
    match uri.chars().find(|c| !c.is_ascii()) {
        Some(foreign) => Err(NotStrict::Character(foreign)),
        None => Ok(uri),
    }
}

/// Scheme and host name of a normal form, without user information and port, as Go's `Hostname` returns it.
pub(super) fn origin(normal: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = normal.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let address = authority.rsplit('@').next()?;
    let host = match address.strip_prefix('[') {
        Some(literal) => literal.split(']').next()?,
        None => address.split(':').next()?,
    };
    (!host.is_empty()).then_some((scheme, host))
}

/// Authority and path, or what is opaque. Go keeps an opaque part and a query as they came.
fn push_hierarchy(out: &mut String, rest: &str) {
    if !rest.starts_with('/') {
        out.push_str(rest);
        return;
    }
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            out.push_str("//");
            out.push_str(authority);
            path
        }
    };
    out.push_str(&escape(path, Part::Path));
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Go's sets differ a little between the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Fragment,
}

impl Part {
    /// Bytes that Go leaves in a part that it encodes itself (`shouldEscape`).
    fn keeps(self, byte: u8) -> bool {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';')
            || matches!(byte, b'=' | b'@')
            || self == Self::Fragment && matches!(byte, b'?' | b'!' | b'(' | b')' | b'*')
    }

    /// Bytes of a part that Go takes for encoded already (`validEncoded`).
    fn is_valid(self, byte: u8) -> bool {
        self.keeps(byte) || matches!(byte, b'!' | b'\'' | b'(' | b')' | b'*' | b'[' | b']' | b'%')
    }
}

/// Keeps a part that Go finds validly encoded; else decodes and encodes it anew, as `EscapedPath` does. Its escapes
/// have been checked.
fn escape(text: &str, part: Part) -> String {
    if text.bytes().all(|b| part.is_valid(b)) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for byte in unescape(text) {
        if part.keeps(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 0x0f] {
                out.extend(char::from_digit(u32::from(nibble), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    out
}

/// Percent-decodes; a `%` without two hexadecimal digits stays.
fn unescape(part: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        if let (b'%', Some(high), Some(low)) = (byte, digit(0), digit(1)) {
            out.push(high << 4 | low);
            rest = &after[2..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    out
}
