//! The object identifiers that every certificate here has, with their text made before.
//!
//! Invariant: what [`of`] gives is what the arcs say; the test of [`dotted`](super::dotted) compares it with x509-parser's.

/// Fulcio's arc, 1.3.6.1.4.1.57264.1, without the number of the extension.
const FULCIO_ARC: [u8; 9] = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1];
/// Google's arc for Certificate Transparency, 1.3.6.1.4.1.11129.2.4.
const CT_ARC: [u8; 9] = [0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4];
/// 2.5.29: extensions of X.509.
const CE_ARC: [u8; 2] = [0x55, 0x1d];

/// Fulcio's object identifiers by their last number.
pub(crate) const FULCIO: [&str; 25] = [
    "1.3.6.1.4.1.57264.1.0",
    "1.3.6.1.4.1.57264.1.1",
    "1.3.6.1.4.1.57264.1.2",
    "1.3.6.1.4.1.57264.1.3",
    "1.3.6.1.4.1.57264.1.4",
    "1.3.6.1.4.1.57264.1.5",
    "1.3.6.1.4.1.57264.1.6",
    "1.3.6.1.4.1.57264.1.7",
    "1.3.6.1.4.1.57264.1.8",
    "1.3.6.1.4.1.57264.1.9",
    "1.3.6.1.4.1.57264.1.10",
    "1.3.6.1.4.1.57264.1.11",
    "1.3.6.1.4.1.57264.1.12",
    "1.3.6.1.4.1.57264.1.13",
    "1.3.6.1.4.1.57264.1.14",
    "1.3.6.1.4.1.57264.1.15",
    "1.3.6.1.4.1.57264.1.16",
    "1.3.6.1.4.1.57264.1.17",
    "1.3.6.1.4.1.57264.1.18",
    "1.3.6.1.4.1.57264.1.19",
    "1.3.6.1.4.1.57264.1.20",
    "1.3.6.1.4.1.57264.1.21",
    "1.3.6.1.4.1.57264.1.22",
    "1.3.6.1.4.1.57264.1.23",
    "1.3.6.1.4.1.57264.1.24",
];

/// The text, if this is one of them.
pub(super) fn of(contents: &[u8]) -> Option<&'static str> {
    let (&last, arc) = contents.split_last()?;
    if arc == FULCIO_ARC {
        return FULCIO.get(usize::from(last)).copied();
    }
    if arc == CE_ARC {
        return Some(match last {
            14 => "2.5.29.14",
            15 => "2.5.29.15",
            17 => "2.5.29.17",
            19 => "2.5.29.19",
            35 => "2.5.29.35",
            37 => "2.5.29.37",
            _ => return None,
        });
    }
    match (arc == CT_ARC, last) {
        (true, 2) => Some("1.3.6.1.4.1.11129.2.4.2"),
        (true, 3) => Some("1.3.6.1.4.1.11129.2.4.3"),
        _ => None,
    }
}
