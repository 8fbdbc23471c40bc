//! E-mail addresses: those that a certificate may name, and those that Fulcio takes for one.
//!
//! The two differ on purpose. An address in a certificate is strict ASCII. A user name or URI must not be
//! what Fulcio's check (govalidator's `IsEmail`) takes for an address, so that what is refused there is
//! refused here and nothing else.

/// One `@`, something on both sides, printable ASCII without the characters that mail headers give a meaning.
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'(' | b')' | b',' | b';' | b'"' | b'\\');
    let domain_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    text.len() <= 254
        && !local.is_empty()
        && !domain.is_empty()
        && local.bytes().all(plain)
        && domain.bytes().all(domain_byte)
        && !domain.split('.').any(str::is_empty)
}

/// govalidator's `IsEmail`: a dotted or quoted local part, and a domain of at least two labels whose last
/// begins and ends with a letter. `user@realm` is not one, `bob@host_1.example` is.
pub(super) fn go_calls_it_an_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let is_quoted = local.len() > 1 && local.starts_with('"') && local.ends_with('"');
    let is_dotted =
        !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom));
    (is_quoted || is_dotted) && is_domain(domain)
}

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || is_foreign(c) || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

fn is_domain(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let Some((labels, last)) = domain.rsplit_once('.') else { return false };
    let edge = |c: char| c.is_ascii_alphanumeric() || is_foreign(c);
    let letter = |c: char| c.is_ascii_alphabetic() || is_foreign(c);
    let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '~');
    labels.starts_with(edge)
        && labels.ends_with(edge)
        && labels.chars().all(|c| inner(c) || c == '.')
        && last.starts_with(letter)
        && last.ends_with(letter)
        && last.chars().all(inner)
}

/// The expression's ranges beyond ASCII.
fn is_foreign(c: char) -> bool {
    matches!(c, '\u{a0}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{ffef}')
}
