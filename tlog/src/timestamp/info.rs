//! What a timestamp says: TSTInfo, RFC 3161 §2.4.2.

use super::TimestampError;
use super::token::hash_algorithm;
use crate::clock::Timestamp;
use crate::der::{self, Reader};
use crate::key::HashAlgorithm;

/// Longest object identifier, encoded: no registered one comes near.
const MAX_OID: usize = 64;
/// Longest serial number and nonce. RFC 3161 asks for 160 bits of serial; a sign byte may stand in front.
const MAX_INTEGER: usize = 64;

/// A TSTInfo's fields that decide something.
#[derive(Debug)]
pub(super) struct Info<'d> {
    pub(super) policy: String,
    pub(super) hash: HashAlgorithm,
    pub(super) digest: &'d [u8],
    /// Contents of the INTEGER. Not held to be positive: GitHub's authority made negative ones in 2023.
    pub(super) serial: &'d [u8],
    pub(super) time: Timestamp,
    /// Contents of the INTEGER.
    pub(super) nonce: Option<&'d [u8]>,
}

impl<'d> Info<'d> {
    pub(super) fn parse(der: &'d [u8]) -> Result<Self, TimestampError> {
        const MALFORMED: TimestampError = TimestampError::Malformed("not a TSTInfo of version 1");
        let mut fields = Reader::new(der::only(der, der::SEQUENCE).ok_or(MALFORMED)?);
        if fields.expect(der::INTEGER) != Some(&[1]) {
            return Err(MALFORMED);
        }
        let policy = fields.expect(der::OID).and_then(dotted).ok_or(MALFORMED)?;
        let (hash, digest) = imprint(fields.expect(der::SEQUENCE).ok_or(MALFORMED)?)?;
        let serial = fields
            .expect(der::INTEGER)
            .filter(|serial| (1..=MAX_INTEGER).contains(&serial.len()))
            .ok_or(TimestampError::Malformed("the serial number is missing, or very long"))?;
        let time = fields
            .expect(der::GENERALIZED_TIME)
            .and_then(generalized_time)
            .ok_or(TimestampError::Malformed("genTime is not a UTC time"))?;
        let nonce = optional_fields(fields)?;
        Ok(Self { policy, hash, digest, serial, time, nonce })
    }
}

/// Hash and digest of a MessageImprint.
fn imprint(contents: &[u8]) -> Result<(HashAlgorithm, &[u8]), TimestampError> {
    const MALFORMED: TimestampError = TimestampError::Malformed("not a MessageImprint");
    let mut fields = Reader::new(contents);
    let algorithm = fields.expect(der::SEQUENCE).ok_or(MALFORMED)?;
    let digest = fields.expect(der::OCTET_STRING).ok_or(MALFORMED)?;
    let hash = hash_algorithm(algorithm).ok_or(TimestampError::Unsupported("hash"))?;
    if !fields.is_empty() || digest.len() != hash.len() {
        return Err(MALFORMED);
    }
    Ok((hash, digest))
}

/// Everything after genTime: each at most once and in this order. Returns the nonce.
fn optional_fields(mut fields: Reader<'_>) -> Result<Option<&[u8]>, TimestampError> {
    const MALFORMED: TimestampError = TimestampError::Malformed("unexpected field in the TSTInfo");
    // Accuracy, ordering, nonce, tsa, extensions.
    const ORDER: [u8; 5] = [der::SEQUENCE, der::BOOLEAN, der::INTEGER, der::CONTEXT_0, der::CONTEXT_1];
    let (mut nonce, mut next) = (None, 0);
    while !fields.is_empty() {
        let field = fields.next().ok_or(MALFORMED)?;
        let skipped = ORDER[next..].iter().position(|&tag| tag == field.tag).ok_or(MALFORMED)?;
        next += skipped + 1;
        match field.tag {
            der::INTEGER if (1..=MAX_INTEGER).contains(&field.contents.len()) => nonce = Some(field.contents),
            der::INTEGER => return Err(MALFORMED),
            der::CONTEXT_1 => check_extensions(field.contents)?,
            _ => {}
        }
    }
    Ok(nonce)
}

/// Nothing critical: no extension is understood here.
fn check_extensions(contents: &[u8]) -> Result<(), TimestampError> {
    const MALFORMED: TimestampError = TimestampError::Malformed("the TSTInfo's extensions cannot be read");
    let mut extensions = Reader::new(contents);
    while !extensions.is_empty() {
        let mut extension = Reader::new(extensions.expect(der::SEQUENCE).ok_or(MALFORMED)?);
        extension.expect(der::OID).ok_or(MALFORMED)?;
        if extension.next().ok_or(MALFORMED)?.tag == der::BOOLEAN {
            return Err(TimestampError::Malformed("it has a critical extension that is not understood"));
        }
    }
    Ok(())
}

/// `YYYYMMDDHHMMSSZ`, with a fraction of up to nine digits that does not end in zero (RFC 3161 §2.4.2).
fn generalized_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    if whole.len() != 14 || !whole.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| whole[from..to].parse::<u8>().ok();
    let month = time::Month::try_from(part(4, 6)?).ok()?;
    let date = time::Date::from_calendar_date(whole[..4].parse().ok()?, month, part(6, 8)?).ok()?;
    let at = date.with_hms(part(8, 10)?, part(10, 12)?, part(12, 14)?).ok()?.assume_utc();
    let seconds = u64::try_from(at.unix_timestamp()).ok()?;
    let millis = fraction.map_or(Some(0), milliseconds)?;
    Some(Timestamp::from_millis(seconds.checked_mul(1000)?.checked_add(millis)?))
}

fn milliseconds(fraction: &str) -> Option<u64> {
    let digits = fraction.bytes().all(|b| b.is_ascii_digit());
    if !digits || fraction.is_empty() || fraction.len() > 9 || fraction.ends_with('0') {
        return None;
    }
    format!("{fraction:0<3}")[..3].parse().ok()
}

fn dotted(oid: &[u8]) -> Option<String> {
    (1..=MAX_OID).contains(&oid.len()).then(|| der::dotted(oid).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gen_time_is_utc_to_the_second_or_finer() {
        let at = |text: &str| generalized_time(text.as_bytes()).map(Timestamp::millis);
        assert_eq!(at("20261121120000Z"), Some(1_795_262_400_000));
        assert_eq!(at("20261121120000.5Z"), Some(1_795_262_400_500));
        assert_eq!(at("20261121120000.0019Z"), Some(1_795_262_400_001));
        for text in [
            "20261121120000",
            "202611211200Z",
            "20261121120000.Z",
            "20261121120000.50Z",
            "20261121120000.1234567891Z",
            "20261121120000+0100",
            "20261321120000Z",
            "20261121246000Z",
            "19691231235959Z",
            "2026112112000\u{661}Z",
            "",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
