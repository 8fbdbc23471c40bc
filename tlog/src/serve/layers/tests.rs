//! The parts of the layers that need no socket.

use super::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

#[test]
fn a_sane_request_id_is_taken_over_and_another_is_replaced() {
    let id = |text: &str| RequestId::of(&headers(&[("x-request-id", text)]));
    assert_eq!(id("abc-1").as_str(), "abc-1");
    for bad in ["", "two words", &"x".repeat(129)] {
        assert_eq!(id(bad).as_str().len(), 32, "{bad:?}");
    }
    assert_ne!(RequestId::fresh().as_str(), RequestId::fresh().as_str());
}

#[test]
fn forwarded_addresses_are_believed_from_a_proxy_only_and_only_the_last() {
    let socket = "10.0.0.9:1".parse().unwrap();
    let forwarded = headers(&[("x-forwarded-for", "6.6.6.6, 192.0.2.7")]);
    let client = |proxy, headers: &HeaderMap| Peer { socket, proxy }.client(headers).to_string();
    assert_eq!(client(true, &forwarded), "192.0.2.7");
    assert_eq!(client(false, &forwarded), "10.0.0.9");
    assert_eq!(client(true, &headers(&[("x-forwarded-for", "nonsense")])), "10.0.0.9");
    assert_eq!(client(true, &HeaderMap::new()), "10.0.0.9");
}

#[test]
fn metric_labels_are_closed_sets() {
    assert_eq!(known_method("GET"), "GET");
    assert_eq!(known_method("BREW"), "other");
    assert_eq!([200, 204, 404, 499, 503].map(code_class), ["2xx", "2xx", "4xx", "4xx", "5xx"]);
}
