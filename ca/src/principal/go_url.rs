//! URIs as Go's `net/url` prints what it parsed, because Fulcio's SANs went through it and verifiers compare bytes.
//!
//! The scheme becomes lower case; a path or fragment that holds a character outside of Go's set is escaped as a
//! whole; everything else stays as it is. In particular nothing is resolved: dot segments and doubled slashes stay.
//! Stricter than Go: a scheme and a plain host are required, user information is not allowed.

/// The normal form; `None` if this is not a URI that may name somebody.
pub(super) fn normalize(text: &str) -> Option<String> {
    if text.bytes().any(|b| b.is_ascii_control()) {
        return None;
    }
    let (scheme, rest) = text.split_once("://")?;
    let mut letters = scheme.bytes();
    let scheme_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if !letters.next()?.is_ascii_alphabetic() || !letters.all(scheme_byte) {
        return None;
    }
    let (rest, fragment) = split_at_mark(rest, '#');
    let (rest, query) = split_at_mark(rest, '?');
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(host_byte) {
        return None;
    }
    let mut out = format!("{}://{host}{}", scheme.to_ascii_lowercase(), escape(path)?);
    if let Some(query) = query {
        // Go keeps a query as it came; what is not ASCII would not fit an IA5String, so it is refused.
        if !query.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        out.push('?');
        out.push_str(query);
    }
    if let Some(fragment) = fragment {
        out.push('#');
        out.push_str(&escape(fragment)?);
    }
    Some(out)
}

fn split_at_mark(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Keeps a part that Go finds validly encoded; else decodes and encodes it anew, as `EscapedPath` does.
fn escape(part: &str) -> Option<String> {
    let decoded = unescape(part)?;
    let valid = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'-' | b'_' | b'.' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+')
            || matches!(b, b',' | b';' | b'=' | b':' | b'@' | b'/' | b'[' | b']' | b'%')
    };
    if part.bytes().all(valid) {
        return Some(part.to_owned());
    }
    let kept = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@'
            )
    };
    let mut out = String::with_capacity(decoded.len());
    for byte in decoded {
        if kept(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 0x0f] {
                out.extend(char::from_digit(u32::from(nibble), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    Some(out)
}

/// Percent-decodes; `None` for a `%` without two hexadecimal digits.
fn unescape(part: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}
