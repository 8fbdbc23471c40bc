//! Enums of protobuf-specs `sigstore_common.proto` and `sigstore_trustroot.proto`: read by name or number,
//! kept as names.
//!
//! A number without a name here is kept as its digits, as a name of tomorrow is: what does not know it says
//! so.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::number::Integer;

const HASH_ALGORITHMS: [&str; 6] =
    ["HASH_ALGORITHM_UNSPECIFIED", "SHA2_256", "SHA2_384", "SHA2_512", "SHA3_256", "SHA3_384"];
const KEY_DETAILS: [&str; 21] = [
    "PUBLIC_KEY_DETAILS_UNSPECIFIED",
    "PKCS1_RSA_PKCS1V5",
    "PKCS1_RSA_PSS",
    "PKIX_RSA_PKCS1V5",
    "PKIX_RSA_PSS",
    "PKIX_ECDSA_P256_SHA_256",
    "PKIX_ECDSA_P256_HMAC_SHA_256",
    "PKIX_ED25519",
    "PKIX_ED25519_PH",
    "PKIX_RSA_PKCS1V15_2048_SHA256",
    "PKIX_RSA_PKCS1V15_3072_SHA256",
    "PKIX_RSA_PKCS1V15_4096_SHA256",
    "PKIX_ECDSA_P384_SHA_384",
    "PKIX_ECDSA_P521_SHA_512",
    "LMS_SHA256",
    "LMOTS_SHA256",
    "PKIX_RSA_PSS_2048_SHA256",
    "PKIX_RSA_PSS_3072_SHA256",
    "PKIX_RSA_PSS_4096_SHA256",
    "PKIX_ECDSA_P384_SHA_256",
    "PKIX_ECDSA_P521_SHA_256",
];
const SERVICE_SELECTORS: [&str; 4] = ["SERVICE_SELECTOR_UNDEFINED", "ALL", "ANY", "EXACT"];

/// A field of type `HashAlgorithm`, for `deserialize_with`.
pub fn hash_algorithm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    named(deserializer, &HASH_ALGORITHMS)
}

/// A field of type `PublicKeyDetails`, for `deserialize_with`.
pub fn key_details<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    named(deserializer, &KEY_DETAILS)
}

/// A field of type `ServiceSelector`, for `deserialize_with`.
pub fn service_selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    named(deserializer, &SERVICE_SELECTORS)
}

/// The value's name; empty for the zero value and null, which is the same as absent.
fn named<'de, D: Deserializer<'de>>(
    deserializer: D,
    names: &'static [&'static str],
) -> Result<String, D::Error> {
    let value = Option::<NameOrNumber>::deserialize(deserializer)?;
    Ok(match value {
        None | Some(NameOrNumber::Number(0)) => String::new(),
        Some(NameOrNumber::Name(name)) if names.first() == Some(&name.as_str()) => String::new(),
        Some(NameOrNumber::Name(name)) => name,
        Some(NameOrNumber::Number(number)) => {
            let name = usize::try_from(number).ok().and_then(|at| names.get(at));
            name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
        }
    })
}

enum NameOrNumber {
    Name(String),
    Number(u64),
}

impl<'de> Deserialize<'de> for NameOrNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = NameOrNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name or number of an enum's value")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<NameOrNumber, E> {
                Ok(NameOrNumber::Name(name.to_owned()))
            }
            fn visit_string<E: de::Error>(self, name: String) -> Result<NameOrNumber, E> {
                Ok(NameOrNumber::Name(name))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<NameOrNumber, E> {
                NUMBERS.visit_u64(number).map(NameOrNumber::Number)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<NameOrNumber, E> {
                NUMBERS.visit_i64(number).map(NameOrNumber::Number)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<NameOrNumber, E> {
                NUMBERS.visit_f64(number).map(NameOrNumber::Number)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Enum numbers are `int32`; none of these enums has a negative one.
const NUMBERS: Integer = Integer { most: 2_147_483_647 };
