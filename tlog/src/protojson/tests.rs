//! Every spelling of a value is that value, no member occurs twice, and what is written stays as it is.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    #[serde(deserialize_with = "or_default")]
    log_index: Int64,
    #[serde(deserialize_with = "uint32")]
    api_version: u32,
    #[serde(deserialize_with = "hash_algorithm")]
    hash_algorithm: String,
    #[serde(deserialize_with = "list::<_, _, 2>")]
    hashes: Vec<Base64>,
}

fn sample(json: &str) -> Result<Sample, String> {
    message(json.as_bytes()).map_err(|error| error.to_string())
}

fn index(spelling: &str) -> Option<u64> {
    sample(&format!(r#"{{"logIndex":{spelling}}}"#)).ok().map(|it| it.log_index.0)
}

#[test]
fn integers_are_read_in_every_form_and_exactly() {
    for spelling in
        ["120", "120.0", "12e1", "1.2E+2", "1200e-1", "0.12e3", r#""120""#, r#""1.2e2""#, r#""12000e-2""#]
    {
        assert_eq!(index(spelling), Some(120), "{spelling}");
    }
    for zero in ["0", "-0", "0.0", "0e9", r#""0""#, r#""0e4000000000""#, "null"] {
        assert_eq!(index(zero), Some(0), "{zero}");
    }
    let largest = i64::MAX.unsigned_abs();
    for spelling in [largest.to_string(), format!("\"{largest}\""), format!("\"{largest}00e-2\"")] {
        assert_eq!(index(&spelling), Some(largest), "{spelling}");
    }
    for bad in [
        "-1",
        "1.5",
        "9223372036854775808",
        "1e19",
        "9007199254740993.0",
        "true",
        "[1]",
        "{}",
        r#""""#,
        r#"" 1""#,
        r#""1 ""#,
        r#""+1""#,
        r#""-1""#,
        r#""01""#,
        r#""1.""#,
        r#"".5""#,
        r#""1e""#,
        r#""1e99999999999999999999""#,
        r#""1.5""#,
        r#""0x10""#,
        r#""9223372036854775808""#,
        r#""1e19""#,
    ] {
        assert_eq!(index(bad), None, "{bad}");
    }
    assert_eq!(sample(r#"{"api_version":"2.0"}"#).unwrap().api_version, 2);
    assert!(sample(r#"{"apiVersion":4294967296}"#).is_err());
}

#[test]
fn enums_are_read_by_name_and_number() {
    let algorithm =
        |spelling: &str| sample(&format!(r#"{{"hashAlgorithm":{spelling}}}"#)).unwrap().hash_algorithm;
    for spelling in [r#""SHA2_256""#, "1", "1.0"] {
        assert_eq!(algorithm(spelling), "SHA2_256", "{spelling}");
    }
    for zero in ["0", "null", r#""HASH_ALGORITHM_UNSPECIFIED""#] {
        assert_eq!(algorithm(zero), "", "{zero}");
    }
    assert_eq!(algorithm("77"), "77");
    assert_eq!(algorithm(r#""SHA9""#), "SHA9");
}

#[test]
fn a_long_list_is_kept_as_too_long() {
    let long = format!(r#"{{"hashes":[{}"AA=="]}}"#, r#""AA==","#.repeat(1000));
    assert_eq!(sample(&long).unwrap().hashes.len(), 3);
    assert_eq!(sample(r#"{"hashes":null}"#).unwrap().hashes.len(), 0);
    assert!(sample(r#"{"hashes":[null]}"#).is_err());
}

#[test]
fn members_may_not_be_repeated_in_any_spelling_or_depth() {
    for twice in [
        r#"{"logIndex":1,"logIndex":1}"#,
        r#"{"logIndex":1,"log_index":1}"#,
        r#"{"logIndex":null,"log_index":1}"#,
        r#"{"logIndex":1,"log\u0049ndex":1}"#,
        r#"{"unknown":1,"unknown":1}"#,
        r#"{"unknown":{"a":[{"b":1,"b":1}]}}"#,
    ] {
        assert!(sample(twice).unwrap_err().contains("duplicate field"), "{twice}");
    }
    assert!(json(br#"{"a_b":1,"aB":1}"#).is_ok(), "names of plain JSON are as they are written");
    assert!(json(br#"{"a":{"b":1,"b":1}}"#).is_err());
    assert!(json(b"{} {}").is_err());
}

#[test]
fn bytes_are_written_in_one_way_and_read_in_all() {
    assert_eq!(serde_json::to_string(&Base64(vec![0xff, 0xef])).unwrap(), r#""/+8=""#);
    for spelling in ["/+8=", "/+8", "_-8=", "_-8", "/+\r\n8=\n", "/+9="] {
        assert_eq!(Base64::decode(spelling), Some(vec![0xff, 0xef]), "{spelling}");
    }
    for bad in ["/-8=", "/+8 =", "/+8=x", "="] {
        assert_eq!(Base64::decode(bad), None, "{bad}");
    }
}

/// Any JSON without repeated members.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z_]{1,8}", inner, 1..4).prop_map(|map| json!(map)),
        ]
    })
}

/// The text of `value`, with the first member of the object number `at` written twice; `None` if there is no
/// such.
fn with_repeated(value: &Value, at: &mut usize) -> String {
    match value {
        Value::Object(members) => {
            let is_this = *at == 0;
            *at = at.wrapping_sub(1);
            let mut texts: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", json!(name), with_repeated(value, at)))
                .collect();
            if is_this {
                texts.extend(texts.first().cloned());
            }
            format!("{{{}}}", texts.join(","))
        }
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(|item| with_repeated(item, at)).collect();
            format!("[{}]", texts.join(","))
        }
        leaf => leaf.to_string(),
    }
}

fn objects(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(objects).sum::<usize>(),
        Value::Array(items) => items.iter().map(objects).sum(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn json_without_repeated_members_is_read_as_it_is(value in any_json()) {
        prop_assert_eq!(json(value.to_string().as_bytes()).unwrap(), value);
    }

    #[test]
    fn one_repeated_member_anywhere_is_refused(value in any_json(), at in any::<prop::sample::Index>()) {
        let count = objects(&value);
        prop_assume!(count > 0);
        let text = with_repeated(&value, &mut at.index(count));
        prop_assert!(json(text.as_bytes()).is_err(), "{}", text);
        prop_assert!(message::<Value>(text.as_bytes()).is_err(), "{}", text);
    }

    /// The value is that of the decimal number, or there is none.
    #[test]
    fn integers_in_text_are_exact(value in 0_u64..=i64::MAX.unsigned_abs(), point in 0_usize..19, zeros in 0_usize..4) {
        let digits = format!("{value}{}", "0".repeat(zeros));
        let (whole, fraction) = digits.split_at(digits.len().saturating_sub(point).max(1));
        let exponent = i64::try_from(fraction.len()).unwrap() - i64::try_from(zeros).unwrap();
        let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
        let spelling = format!("\"{whole}{fraction}e{exponent}\"");
        prop_assert_eq!(index(&spelling), Some(value), "{}", spelling);
    }

    #[test]
    fn any_text_of_a_number_is_answered(text in "[-+0-9.eE]{0,30}") {
        let _ = index(&format!("\"{text}\""));
    }
}
