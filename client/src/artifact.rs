//! What is signed or verified: an artifact, known by its digests.
//!
//! A file is read once, in pieces, through all the hash functions that are needed, so its size does not matter.

use std::io::{self, Read};

use aws_lc_rs::digest;
use chancery_tlog::key::HashAlgorithm;

/// Bytes read at a time: large enough that the hash and not the call costs, small enough for any cache.
const PIECE: usize = 256 * 1024;

/// Why a text is no digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest; write sha256:, sha384: or sha512: and its hex digits")]
pub struct DigestParseError(String);

/// An artifact by its digests; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    digests: Vec<(HashAlgorithm, Vec<u8>)>,
}

impl Artifact {
    /// Parses `sha256:<hex>` (also sha384 and sha512), in either case.
    pub fn parse_digest(text: &str) -> Result<Self, DigestParseError> {
        let parsed = text.split_once(':').and_then(|(name, value)| {
            let algorithm = HashAlgorithm::from_name(&name.to_ascii_lowercase())?;
            let digest = hex::decode(value).ok()?;
            (digest.len() == algorithm.len()).then_some((algorithm, digest))
        });
        let digest = parsed.ok_or_else(|| DigestParseError(text.chars().take(200).collect()))?;
        Ok(Self { digests: vec![digest] })
    }

    /// Whether `text` means a digest and not a file's name.
    pub fn looks_like_digest(text: &str) -> bool {
        text.split_once(':')
            .is_some_and(|(name, _)| HashAlgorithm::from_name(&name.to_ascii_lowercase()).is_some())
    }

    /// Hashes all of `source` with SHA-256 and `more`. `progress` is told the bytes read so far.
    pub fn read(
        mut source: impl Read,
        more: &[HashAlgorithm],
        mut progress: impl FnMut(u64),
    ) -> io::Result<Self> {
        let mut algorithms = vec![HashAlgorithm::Sha256];
        algorithms.extend(more.iter().copied().filter(|algorithm| *algorithm != HashAlgorithm::Sha256));
        algorithms.dedup();
        let mut contexts: Vec<_> =
            algorithms.iter().map(|algorithm| digest::Context::new(function(*algorithm))).collect();
        let mut piece = vec![0; PIECE];
        let mut total = 0;
        loop {
            let length = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for context in &mut contexts {
                context.update(&piece[..length]);
            }
            total += length as u64;
            progress(total);
        }
        let digests = contexts.into_iter().map(|context| context.finish().as_ref().to_vec());
        Ok(Self { digests: algorithms.into_iter().zip(digests).collect() })
    }

    /// The digest made with `algorithm`, if it is known.
    pub fn digest(&self, algorithm: HashAlgorithm) -> Option<&[u8]> {
        self.digests.iter().find(|(a, _)| *a == algorithm).map(|(_, digest)| digest.as_slice())
    }

    /// All known digests; the first is the one to name the artifact by.
    pub fn digests(&self) -> &[(HashAlgorithm, Vec<u8>)] {
        &self.digests
    }

    /// `sha256:<hex>`.
    pub fn name(&self) -> String {
        self.digests
            .first()
            .map(|(algorithm, digest)| format!("{}:{}", algorithm.name(), hex::encode(digest)))
            .unwrap_or_default()
    }
}

fn function(algorithm: HashAlgorithm) -> &'static digest::Algorithm {
    match algorithm {
        HashAlgorithm::Sha256 => &digest::SHA256,
        HashAlgorithm::Sha384 => &digest::SHA384,
        HashAlgorithm::Sha512 => &digest::SHA512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_in_either_case_and_whole() {
        let hex = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let name = format!("sha256:{hex}");
        for text in [name.clone(), name.to_uppercase(), format!("sha256:{}", hex.to_uppercase())] {
            assert!(Artifact::looks_like_digest(&text), "{text}");
            assert_eq!(Artifact::parse_digest(&text).unwrap().name(), name);
        }
        for bad in [hex, "sha256:", "sha256:00", "md5:00", &format!("sha256:{hex} ")] {
            assert!(Artifact::parse_digest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reading_hashes_once_with_every_function() {
        let mut seen = 0;
        let artifact =
            Artifact::read(&b"hello\n"[..], &[HashAlgorithm::Sha512], |total| seen = total).unwrap();
        assert_eq!(seen, 6);
        assert_eq!(
            hex::encode(artifact.digest(HashAlgorithm::Sha256).unwrap()),
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
        );
        assert_eq!(artifact.digest(HashAlgorithm::Sha512).unwrap().len(), 64);
        assert_eq!(artifact.digest(HashAlgorithm::Sha384), None);
    }
}
