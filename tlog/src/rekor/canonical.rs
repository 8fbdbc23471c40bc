//! RFC 8785 of entries, by the short way where there is one.
//!
//! Invariant: the bytes are serde_json_canonicalizer's. It sorts members and writes numbers, and copies what it has
//! written once for each level to do so. Rekor's entries have no numbers, and serde_json keeps their members in order
//! as it is: it writes strings as RFC 8785 demands, so there is nothing left to do.

use serde_json::Value;

use super::EntryError;

/// The RFC 8785 bytes of `json`.
pub(super) fn canonical(json: &Value) -> Result<Vec<u8>, EntryError> {
    let written =
        if is_in_order(json) { serde_json::to_vec(json) } else { serde_json_canonicalizer::to_vec(json) };
    written.map_err(|e| EntryError::invalid(format!("error generating canonicalized entry: {e}")))
}

/// Whether there is no number in it, and the names of every object ascend as they would be written. RFC 8785 compares UTF-16,
/// which for ASCII is the order of bytes.
fn is_in_order(json: &Value) -> bool {
    match json {
        Value::Number(_) => false,
        Value::Array(elements) => elements.iter().all(is_in_order),
        Value::Object(members) => {
            members.keys().all(|name| name.is_ascii())
                && members.keys().is_sorted()
                && members.values().all(is_in_order)
        }
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x7f\u{80}\u{fffd}\u{1f600}]{0,20}".prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
        ];
        let name = prop_oneof!["[a-zA-Z\\x00-\\x20]{0,3}", "[a\u{fffd}\u{1f600}]{0,3}"];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn both_ways_lead_to_the_same_bytes(json in any_json()) {
            prop_assert_eq!(canonical(&json).unwrap(), serde_json_canonicalizer::to_vec(&json).unwrap());
        }
    }

    #[test]
    fn what_serde_json_would_write_otherwise_goes_the_long_way() {
        assert!(is_in_order(&json!({ "a": ["\u{1f}\"", null, true], "b": { "": "\u{1f600}" } })));
        // U+FFFD sorts after U+1F600 in UTF-16, and before it in bytes.
        let names = json!({ "\u{fffd}": null, "\u{1f600}": null });
        assert!(!is_in_order(&names));
        assert_eq!(canonical(&names).unwrap(), "{\"\u{1f600}\":null,\"\u{fffd}\":null}".as_bytes());
        assert_eq!(canonical(&json!([1.0])).unwrap(), b"[1]");
    }
}
