//! Header values from proxies in the wild, and from clients that forge them.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const DIRECT: &str = "10.0.0.9";

fn forwarding(json: &str, header: ForwardedHeader) -> Forwarding {
    Forwarding { proxies: serde_json::from_str(json).unwrap(), header }
}

/// The client's address by these header lines.
fn client(forwarding: &Forwarding, lines: &[&[u8]]) -> String {
    let name = match forwarding.header {
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
        ForwardedHeader::Forwarded => "forwarded",
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    forwarding.client(DIRECT.parse().unwrap(), &headers).to_string()
}

#[test]
fn an_address_is_read_however_a_proxy_writes_it() {
    let one = Forwarding::default();
    for (written, read) in [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7:51234", "192.0.2.7"),
        ("\"192.0.2.7:51234\"", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("\"[2001:db8::7]:443\"", "2001:db8::7"),
        ("[fe80::7%eth0]:443", "fe80::7"),
        ("fe80::7%3", "fe80::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7:1", "192.0.2.7"),
        ("192.0.2.7:_hidden", "192.0.2.7"),
    ] {
        assert_eq!(client(&one, &[written.as_bytes()]), read, "{written}");
    }
    for unread in [
        "",
        ",",
        "unknown",
        "_hidden",
        "192.0.2",
        "192.0.2.7:",
        "192.0.2.7:x",
        "192.0.2.7:123456",
        "[192.0.2.7]",
        "[2001:db8::7",
        "2001:db8::7]",
        "[2001:db8::7]443",
        "192.0.2.7 192.0.2.8",
        "\"192.0.2.7",
        "host.example",
        "6.6.6.6, ",
        "6.6.6.6, unknown",
        "for=192.0.2.7",
    ] {
        assert_eq!(client(&one, &[unread.as_bytes()]), DIRECT, "{unread}");
    }
    assert_eq!(client(&one, &[b"6.6.6.6, \xff"]), DIRECT);
    assert_eq!(client(&one, &[]), DIRECT);
    assert_eq!(client(&one, &[b"6.6.6.6", b"192.0.2.7"]), "192.0.2.7", "the last line counts");
}

#[test]
fn as_many_hops_are_believed_as_there_are_proxies() {
    let header = b"6.6.6.6, 7.7.7.7, 192.0.2.7:5, 10.0.0.8".as_slice();
    for (count, read) in [("1", "10.0.0.8"), ("2", "192.0.2.7"), ("3", "7.7.7.7"), ("9", "6.6.6.6")] {
        assert_eq!(client(&forwarding(count, ForwardedHeader::default()), &[header]), read, "{count}");
    }
    let two = forwarding("2", ForwardedHeader::default());
    assert_eq!(client(&two, &[b"192.0.2.7", b"10.0.0.8"]), "192.0.2.7", "lines are one list");
    assert_eq!(client(&two, &[b"192.0.2.7"]), "192.0.2.7");
    assert_eq!(client(&two, &[b"6.6.6.6, nonsense, 10.0.0.8"]), "10.0.0.8");
}

#[test]
fn proxies_are_believed_by_their_networks_from_the_nearest_on() {
    let ours = forwarding(r#"["10.0.0.0/8", "2001:db8:1::/48"]"#, ForwardedHeader::default());
    for (header, read) in [
        ("6.6.6.6, 192.0.2.7, 10.0.0.8", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7", "192.0.2.7"),
        ("10.6.6.6, 192.0.2.7, 10.0.0.8", "192.0.2.7"),
        ("192.0.2.7, [2001:db8:1::5]:443, 10.0.0.8", "192.0.2.7"),
        ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
        ("6.6.6.6, unknown, 10.0.0.8", "10.0.0.8"),
    ] {
        assert_eq!(client(&ours, &[header.as_bytes()]), read, "{header}");
    }
    let others = forwarding(r#"["10.0.0.8"]"#, ForwardedHeader::default());
    assert_eq!(client(&others, &[b"192.0.2.7"]), DIRECT, "the direct peer is not trusted");
}

#[test]
fn forwarded_is_read_as_rfc_7239_has_it_and_its_neighbour_is_not() {
    let one = forwarding("1", ForwardedHeader::Forwarded);
    for (written, read) in [
        ("for=192.0.2.7", "192.0.2.7"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("by=203.0.113.43; for=\"192.0.2.60:80\"", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("for=6.6.6.6;x=\"a, b;c\", for=192.0.2.7;host=\"a,b\"", "192.0.2.7"),
        // The client sent an unclosed quote.
        ("for=\"6.6.6.6, for=192.0.2.7", "192.0.2.7"),
        ("for=\"6.6.6.6, for=\"[2001:db8::7]:1\"", "2001:db8::7"),
        ("for=unknown", DIRECT),
        ("for=_gazonk", DIRECT),
        ("proto=https", DIRECT),
        ("for=6.6.6.6;for=192.0.2.7", DIRECT),
        ("192.0.2.7", DIRECT),
    ] {
        assert_eq!(client(&one, &[written.as_bytes()]), read, "{written}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    assert_eq!(one.client(DIRECT.parse().unwrap(), &headers).to_string(), DIRECT);
    headers.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
    headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.7"));
    assert_eq!(Forwarding::default().client(DIRECT.parse().unwrap(), &headers).to_string(), "192.0.2.7");
}

#[test]
fn proxies_are_a_count_or_networks() {
    let read = |json: &str| serde_json::from_str::<Proxies>(json);
    assert_eq!(read("2").unwrap(), Proxies::Count(2));
    let networks = read(r#"["10.0.0.0/8", "192.0.2.7", "::1"]"#).unwrap();
    assert_eq!(serde_json::to_string(&networks).unwrap(), r#"["10.0.0.0/8","192.0.2.7/32","::1/128"]"#);
    for (wrong, words) in [
        ("0", "from 1 to 16"),
        ("17", "from 1 to 16"),
        ("-1", "from 1 to 16"),
        ("[]", "a list of their networks"),
        ("true", "a list of their networks"),
        (r#""10.0.0.0/8""#, "a list of their networks"),
        (r#"["10.0.0.0/33"]"#, "write it as in 10.0.0.0/8"),
        (r#"["10.0.0.0/"]"#, "write it as in 10.0.0.0/8"),
        (r#"["proxy.example"]"#, "write it as in 10.0.0.0/8"),
        (r#"["10.0.0.7/8"]"#, "write 10.0.0.0/8"),
        (r#"["2001:db8::1/32"]"#, "write 2001:db8::/32"),
    ] {
        let refused = read(wrong).unwrap_err().to_string();
        assert!(refused.contains(words), "{wrong}: {refused}");
    }
    let everything: Network = "0.0.0.0/0".parse().unwrap();
    assert!(everything.contains("8.8.8.8".parse().unwrap()) && !everything.contains("::1".parse().unwrap()));
    assert!(everything.contains("::ffff:8.8.8.8".parse().unwrap()));
}

proptest! {
    /// The element appended by a trusted proxy decides, whatever the client sent.
    #[test]
    fn no_prefix_of_a_header_changes_the_client(sent in "[ -~]{0,60}", own_line in any::<bool>()) {
        for (header, appended) in [
            (ForwardedHeader::XForwardedFor, "192.0.2.7:51234"),
            (ForwardedHeader::Forwarded, "for=\"192.0.2.7:51234\";proto=https"),
        ] {
            let joined = format!("{sent}, {appended}");
            let lines = if own_line { vec![sent.as_bytes(), appended.as_bytes()] } else { vec![joined.as_bytes()] };
            for proxies in ["1", r#"["10.0.0.0/8"]"#] {
                prop_assert_eq!(client(&forwarding(proxies, header), &lines), "192.0.2.7");
            }
        }
    }

    #[test]
    fn any_header_is_read_without_panic(line in proptest::collection::vec(32_u8.., 0..60)) {
        prop_assume!(HeaderValue::from_bytes(&line).is_ok());
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            client(&forwarding("3", header), &[&line]);
        }
    }
}
