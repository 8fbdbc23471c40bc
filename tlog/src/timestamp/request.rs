//! How a timestamp is asked for: TimeStampReq, RFC 3161 §2.4.1.

use super::token;
use crate::der;
use crate::key::HashAlgorithm;

/// Length of a nonce: the 64 bits that RFC 3161 suggests.
pub const NONCE: usize = 8;

/// A DER TimeStampReq over the SHA-256 of `message`, under whatever policy the authority has, with its certificate in
/// the answer. The answer is held to the nonce by [`Expected::nonce`](super::Expected::nonce).
pub fn request(message: &[u8], nonce: &[u8; NONCE]) -> Vec<u8> {
    let null = der::encode(der::NULL, &[]);
    let sha256 = [der::encode(der::OID, token::SHA256), null].concat();
    let digest = der::encode(der::OCTET_STRING, &HashAlgorithm::Sha256.digest(message));
    let imprint = [der::encode(der::SEQUENCE, &sha256), digest].concat();
    let fields = [
        der::encode(der::INTEGER, &[1]),
        der::encode(der::SEQUENCE, &imprint),
        der::encode(der::INTEGER, &der::unsigned(nonce)),
        der::encode(der::BOOLEAN, &[0xff]),
    ];
    der::encode(der::SEQUENCE, &fields.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl ts -query -data hello -sha256 -cert` wrote, and the nonce that it chose.
    #[test]
    fn the_request_is_that_of_openssl() {
        let nonce = [0x43, 0x93, 0x27, 0x86, 0xd1, 0x69, 0x75, 0x74];
        let written = "30430201013031300d0609608648016503040201050004205891b5b522d5df086d0ff0b110fbd9d21bb4fc71\
                       63af34d08286a2e846f6be03020843932786d16975740101ff";
        assert_eq!(hex::encode(request(b"hello\n", &nonce)), written);
    }

    #[test]
    fn a_nonce_is_never_negative_and_always_minimal() {
        for (nonce, contents) in [
            ([0; NONCE], &[0][..]),
            ([0, 0, 0, 0, 0, 0, 0, 0x7f], &[0x7f]),
            ([0, 0, 0, 0, 0, 0, 0x80, 1], &[0, 0x80, 1]),
            ([0xff; NONCE], &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(der::unsigned(&nonce), contents);
        }
    }
}
