//! ECDSA signatures in the encoding of IEEE P1363: `r` and `s` side by side, as WebCrypto, JWS and PKCS#11 write them.
//!
//! The rule is that of sigstore `pkg/signature/ecdsa.go`, because its verdicts decide what the genuine logs hold and
//! what Go clients accept: a signature that reads as ASN.1 is ASN.1 and nothing else. Any other one of an even length
//! up to twice the largest field is two halves; a half may be longer or shorter than the key's field.

use std::borrow::Cow;

use super::KeyKind;
use crate::der::{self, INTEGER, Reader, SEQUENCE};

/// Twice the length of a P-521 field element, whatever the key's curve is.
const MAX: usize = 132;

/// The signature in ASN.1, if the key is ECDSA and the signature can be P1363; otherwise as it is.
///
/// Decides by shape, so that every signature is verified once.
pub(super) fn to_asn1(kind: KeyKind, signature: &[u8]) -> Cow<'_, [u8]> {
    let ecdsa = matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521);
    if !ecdsa || is_asn1(signature) || signature.len() > MAX || !signature.len().is_multiple_of(2) {
        return Cow::Borrowed(signature);
    }
    let (r, s) = signature.split_at(signature.len() / 2);
    let numbers = [r, s].map(|half| der::encode(INTEGER, &der::unsigned(half)));
    Cow::Owned(der::encode(SEQUENCE, &numbers.concat()))
}

/// `r` as an ASN.1 INTEGER's contents, if the key is ECDSA and the signature can be read; otherwise the signature.
pub(super) fn first_number(kind: KeyKind, signature: &[u8]) -> Cow<'_, [u8]> {
    if !matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521) {
        return Cow::Borrowed(signature);
    }
    let asn1 = to_asn1(kind, signature);
    let number = Reader::new(&asn1).expect(SEQUENCE).and_then(|numbers| Reader::new(numbers).expect(INTEGER));
    number.map_or(Cow::Borrowed(signature), |number| Cow::Owned(number.to_vec()))
}

/// Whether Go's `asn1.Unmarshal` reads two integers: it takes negative ones and bytes after the two or after the whole.
fn is_asn1(signature: &[u8]) -> bool {
    let Some(contents) = Reader::new(signature).expect(SEQUENCE) else { return false };
    let mut numbers = Reader::new(contents);
    (0..2).all(|_| numbers.expect(INTEGER).is_some_and(is_minimal))
}

fn is_minimal(integer: &[u8]) -> bool {
    match integer {
        [] => false,
        [0, second, ..] => *second >= 0x80,
        [0xff, second, ..] => *second < 0x80,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
