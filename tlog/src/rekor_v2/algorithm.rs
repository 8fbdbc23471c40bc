//! `keyDetails`: which algorithms may sign, by the names and numbers of protobuf-specs' `PublicKeyDetails`.
//!
//! An allow-list: rekor-tiles' default set. No RSA-PSS, no curves with a foreign hash, no algorithms of tomorrow
//! before somebody verifies them.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::key::{HashAlgorithm, KeyKind};

/// A kind of key together with how it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyDetails {
    /// RSA of 2,048 bits, PKCS#1 v1.5, SHA-256.
    Rsa2048,
    /// RSA of 3,072 bits, PKCS#1 v1.5, SHA-256.
    Rsa3072,
    /// RSA of 4,096 bits, PKCS#1 v1.5, SHA-256.
    Rsa4096,
    /// ECDSA on P-256, SHA-256.
    EcdsaP256,
    /// ECDSA on P-384, SHA-384.
    EcdsaP384,
    /// ECDSA on P-521, SHA-512.
    EcdsaP521,
    /// Pure Ed25519: in envelopes only, it cannot be verified over a digest.
    Ed25519,
    /// Ed25519ph: Ed25519 over SHA-512.
    Ed25519ph,
}

impl KeyDetails {
    /// All that are taken.
    pub const ALL: [Self; 8] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Ed25519,
        Self::Ed25519ph,
    ];

    /// The name, such as `PKIX_ECDSA_P256_SHA_256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            Self::Rsa3072 => "PKIX_RSA_PKCS1V15_3072_SHA256",
            Self::Rsa4096 => "PKIX_RSA_PKCS1V15_4096_SHA256",
            Self::EcdsaP256 => "PKIX_ECDSA_P256_SHA_256",
            Self::EcdsaP384 => "PKIX_ECDSA_P384_SHA_384",
            Self::EcdsaP521 => "PKIX_ECDSA_P521_SHA_512",
            Self::Ed25519 => "PKIX_ED25519",
            Self::Ed25519ph => "PKIX_ED25519_PH",
        }
    }

    /// The number on the binary wire.
    pub const fn number(self) -> i32 {
        match self {
            Self::EcdsaP256 => 5,
            Self::Ed25519 => 7,
            Self::Ed25519ph => 8,
            Self::Rsa2048 => 9,
            Self::Rsa3072 => 10,
            Self::Rsa4096 => 11,
            Self::EcdsaP384 => 12,
            Self::EcdsaP521 => 13,
        }
    }

    /// The algorithm of a [`KeyDetails::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|details| details.name() == name)
    }

    /// The algorithm of a [`KeyDetails::number`].
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|details| details.number() == number)
    }

    /// What a key of `kind` signs a `hashedrekord` with: ECDSA by curve, RSA PKCS#1 v1.5, Ed25519ph. `None` for RSA
    /// of other lengths.
    pub const fn of_prehash(kind: KeyKind) -> Option<Self> {
        match kind {
            KeyKind::Rsa(2048) => Some(Self::Rsa2048),
            KeyKind::Rsa(3072) => Some(Self::Rsa3072),
            KeyKind::Rsa(4096) => Some(Self::Rsa4096),
            KeyKind::Rsa(_) => None,
            KeyKind::EcdsaP256 => Some(Self::EcdsaP256),
            KeyKind::EcdsaP384 => Some(Self::EcdsaP384),
            KeyKind::EcdsaP521 => Some(Self::EcdsaP521),
            KeyKind::Ed25519 => Some(Self::Ed25519ph),
        }
    }

    /// The hash whose digest is signed; `None` for pure Ed25519, which signs the message itself.
    pub const fn prehash(self) -> Option<HashAlgorithm> {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 | Self::EcdsaP256 => Some(HashAlgorithm::Sha256),
            Self::EcdsaP384 => Some(HashAlgorithm::Sha384),
            Self::EcdsaP521 | Self::Ed25519ph => Some(HashAlgorithm::Sha512),
            Self::Ed25519 => None,
        }
    }

    /// Whether a key of `kind` can sign so.
    pub fn fits(self, kind: KeyKind) -> bool {
        Self::of_prehash(kind) == Some(self) || (self, kind) == (Self::Ed25519, KeyKind::Ed25519)
    }
}

impl fmt::Display for KeyDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for KeyDetails {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for KeyDetails {
    /// By name or number, as protojson allows for every enum.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrNumber)
    }
}

struct NameOrNumber;

impl Visitor<'_> for NameOrNumber {
    type Value = KeyDetails;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = KeyDetails::ALL.map(KeyDetails::name);
        write!(f, "a keyDetails of the list {}", names.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<KeyDetails, E> {
        let refused = || {
            let shown: String = name.chars().take(64).collect();
            E::invalid_value(de::Unexpected::Str(&shown), &self)
        };
        KeyDetails::from_name(name).ok_or_else(refused)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<KeyDetails, E> {
        let known = i32::try_from(number).ok().and_then(KeyDetails::from_number);
        known.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<KeyDetails, E> {
        let known = i32::try_from(number).ok().and_then(KeyDetails::from_number);
        known.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    /// `5.0` and `5e0` are whole numbers to protojson.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<KeyDetails, E> {
        let known = KeyDetails::ALL
            .into_iter()
            .find(|details| f64::from(details.number()).total_cmp(&number).is_eq());
        known.ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }
}
