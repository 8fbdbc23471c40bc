//! The strict URI rule: the URIs that may stand in a certificate, at issuance and at verification.
//!
//! Certificates are compared as text, and people and programs read the same text through parsers of their
//! own. A URI is strict if those parsers cannot disagree: Go's `net/url` and the WHATWG parser find the same
//! scheme, host and path, nothing in it is removed, resolved or decoded on the way, and every character is
//! visible. `acme/rocket` is then never another spelling of `evil/../acme/rocket`.
//!
//! The rule refuses user information, dot segments (raw or encoded), escapes of characters that need none,
//! backslashes, white space, schemes and hosts in capitals, default ports, and characters that are invisible or
//! change the direction of text.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::escape::is_hidden;

/// Schemes whose host browsers find even where the two slashes are missing.
const WEB: [&str; 5] = ["http", "https", "ws", "wss", "ftp"];

/// The reason why a text is not a strict URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStrict {
    /// No scheme, a malformed one, or one in capitals.
    #[error("it does not begin with a scheme such as https:")]
    Scheme,
    /// Nothing behind the scheme.
    #[error("it has nothing behind its scheme")]
    Empty,
    /// A character that is invisible, changes the direction of text or must be escaped.
    #[error("it has the character U+{:04X}", u32::from(*.0))]
    Character(char),
    /// A `%` that is not an escape, or an escape that hides a character.
    #[error("it has the escape `{0}`")]
    Escape(String),
    /// A segment `.` or `..`.
    #[error("its path has a segment `.` or `..`")]
    DotSegment,
    /// A name or password in front of the host.
    #[error("it has user information in front of its host")]
    UserInfo,
    /// The host is missing, or parsers read it differently.
    #[error("its host `{0}` is missing, malformed or not in its usual spelling")]
    Host(String),
    /// The port is not a number between 1 and 65535, or the one that needs not be written.
    #[error("its port `{0}` is not a number from 1 to 65535, or is the scheme's own, which is left out")]
    Port(String),
}

/// Checks that `text` is a strict URI.
pub fn check(text: &str) -> Result<(), NotStrict> {
    check_reference(text)?;
    if let Some(odd) = text.chars().find(|c| is_unescaped(*c)) {
        return Err(NotStrict::Character(odd));
    }
    let (scheme, rest) = text.split_once(':').ok_or(NotStrict::Scheme)?;
    if !is_scheme(scheme) {
        return Err(NotStrict::Scheme);
    }
    check_behind(scheme, rest)
}

/// Checks a text that names a place and need not be a URI: it has no second reading, and where it has a scheme,
/// the host is that of a strict URI. Extensions of certificates are such texts.
pub fn check_place(text: &str) -> Result<(), NotStrict> {
    check_reference(text)?;
    let Some((scheme, rest)) = text.split_once(':') else { return Ok(()) };
    // One in capitals is a scheme to every parser.
    let has_host = is_scheme(&scheme.to_ascii_lowercase()) && (rest.starts_with("//") || is_web(scheme));
    match has_host {
        true if !is_scheme(scheme) => Err(NotStrict::Scheme),
        true => check_behind(scheme, rest),
        false => Ok(()),
    }
}

/// Checks that `text` has no second reading, for texts that name a place and need not be URIs: extensions of
/// certificates, which hold paths and git refs as they are, with spaces and braces.
pub fn check_reference(text: &str) -> Result<(), NotStrict> {
    // Almost all are: every certificate has a dozen of them.
    if is_plain(text) {
        return check_segments(path(text));
    }
    if let Some(odd) = text.chars().find(|c| is_hidden(*c) || *c == '\\') {
        return Err(NotStrict::Character(odd));
    }
    check_escapes(text)?;
    // An encoded separator separates for every parser that decodes before it splits.
    let mut path = path(text).to_ascii_lowercase();
    for separator in ["%2f", "%3a", "%3b", "%3f", "%23"] {
        path = path.replace(separator, "/");
    }
    check_segments(&path)
}

/// Whether `text` is visible ASCII without escapes and backslashes.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'%'))
}

/// `text` up to its query or fragment.
fn path(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

fn check_segments(path: &str) -> Result<(), NotStrict> {
    // Behind a semicolon are parameters, which some servers remove before they resolve the segment.
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    // The colon separates the parts of a name without a host: `urn:acme:../x`.
    if path.split(['/', ':']).any(is_dots) { Err(NotStrict::DotSegment) } else { Ok(()) }
}

/// Characters that a URI has only as escapes (RFC 3986 §2). Letters of other scripts are left to the host's
/// rule.
fn is_unescaped(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '<' | '>' | '^' | '`' | '{' | '|' | '}')
}

fn check_escapes(text: &str) -> Result<(), NotStrict> {
    if !text.contains('%') {
        return Ok(());
    }
    let mut rest = text;
    let mut decoded = Vec::new();
    let mut beyond_ascii = None;
    while let Some(at) = rest.find('%') {
        decoded.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let escape = || NotStrict::Escape(rest.chars().take(3).collect());
        let byte = hex_pair(&rest[1..]).ok_or_else(escape)?;
        // An escaped escape is an escape for a parser that decodes twice.
        if hides(byte) || byte == b'%' && hex_pair(&rest[3..]).is_some() {
            return Err(escape());
        }
        if !byte.is_ascii() {
            beyond_ascii.get_or_insert_with(escape);
        }
        decoded.push(byte);
        rest = &rest[3..];
    }
    decoded.extend_from_slice(rest.as_bytes());
    // Escapes beyond ASCII are text without hidden characters.
    match beyond_ascii {
        Some(escape) if !String::from_utf8(decoded).is_ok_and(|text| !text.contains(is_hidden)) => {
            Err(escape)
        }
        _ => Ok(()),
    }
}

/// The byte of the two hexadecimal digits that `text` begins with.
fn hex_pair(text: &str) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Whether an escape of this byte is a second spelling of the text (RFC 3986 §2.3), or hides what may not be
/// in it.
fn hides(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte.is_ascii_control()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'\\')
}

/// Checks what stands behind a scheme and its colon.
fn check_behind(scheme: &str, rest: &str) -> Result<(), NotStrict> {
    match rest.strip_prefix("//") {
        None if rest.is_empty() => Err(NotStrict::Empty),
        None if is_web(scheme) => Err(NotStrict::Host(String::new())),
        None => Ok(()),
        Some(rest) => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            check_authority(scheme, without_user(scheme, authority)?)
        }
    }
}

/// Whether the scheme is one of the web, also as `git+https` has it.
fn is_web(scheme: &str) -> bool {
    scheme.split('+').any(|part| WEB.iter().any(|web| web.eq_ignore_ascii_case(part)))
}

fn is_scheme(scheme: &str) -> bool {
    let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(tail)
}

/// The host and port. `ssh://git@host/…` names a repository, and its user name is part of the name; in a web address
/// one only makes another host look like this one. A password is never part of a name.
fn without_user<'a>(scheme: &str, authority: &'a str) -> Result<&'a str, NotStrict> {
    let Some((user, address)) = authority.rsplit_once('@') else { return Ok(authority) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if is_web(scheme) || user.is_empty() || !user.bytes().all(plain) {
        Err(NotStrict::UserInfo)
    } else {
        Ok(address)
    }
}

fn check_authority(scheme: &str, authority: &str) -> Result<(), NotStrict> {
    let end_of_address = authority.find(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end_of_address..].find(':') {
        Some(at) => (&authority[..end_of_address + at], Some(&authority[end_of_address + at + 1..])),
        None => (authority, None),
    };
    if !is_host(host) {
        return Err(NotStrict::Host(host.to_owned()));
    }
    match port {
        Some(port) if !is_port(port) || is_default(scheme, port) => Err(NotStrict::Port(port.to_owned())),
        _ => Ok(()),
    }
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit())
        && !port.starts_with('0')
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether parsers leave out this port when they print the URI again.
fn is_default(scheme: &str, port: &str) -> bool {
    // `git+https` is reached as https.
    scheme.split('+').any(|part| match part {
        "http" | "ws" => port == "80",
        "https" | "wss" => port == "443",
        "ftp" => port == "21",
        "ssh" => port == "22",
        _ => false,
    })
}

/// A name of non-empty labels in lower case, or an address as every parser prints it.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        let parsed = address.strip_suffix(']').and_then(|text| Some((text, text.parse::<Ipv6Addr>().ok()?)));
        return parsed.is_some_and(|(text, address)| address.to_string() == text);
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    if !host.split('.').all(label) {
        return false;
    }
    // Browsers read a name whose last label is a number as an address: 127.1 and 0x7f.1 are the loopback.
    let last = host.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x");
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    !is_number || host.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests;
