use super::*;

/// The known request, as text, with camelCase member names replaced by those of the `.proto` files.
fn snake_case() -> String {
    known_text()
        .replace("hashedRekordRequestV002", "hashed_rekord_request_v002")
        .replace("publicKey", "public_key")
        .replace("rawBytes", "raw_bytes")
        .replace("keyDetails", "key_details")
}

fn known_text() -> String {
    hashedrekord::known().to_string()
}

fn parse(json: &str) -> Result<CreateEntryRequest, EntryError> {
    CreateEntryRequest::from_json(json.as_bytes())
}

#[test]
fn member_names_are_camel_case_or_snake_case() {
    assert_eq!(parse(&snake_case()), parse(&known_text()));
    let dsse = dsse::known().to_string();
    assert_eq!(parse(&dsse.replace("dsseRequestV002", "dsse_request_v002")), parse(&dsse));
    let certificate =
        r#"{"hashedRekordRequestV002":{"signature":{"verifier":{"x509_certificate":{"raw_bytes":"AA"}}}}}"#;
    assert_eq!(parse(certificate), parse(&certificate.replace("x509_certificate", "x509Certificate")));
}

#[test]
fn unknown_members_are_refused_wherever_they_are() {
    for known in [hashedrekord::known(), dsse::known()] {
        let mut pointers = vec![String::new()];
        walk(&known, "", &mut pointers);
        for pointer in pointers {
            let mut changed = known.clone();
            let Some(object) = changed.pointer_mut(&pointer).unwrap().as_object_mut() else { continue };
            object.insert("extra".to_owned(), Value::Null);
            assert!(malformed(&changed.to_string()).contains("unknown field `extra`"), "{pointer}");
        }
    }
    assert!(
        malformed(&dsse::known().to_string().replace("payloadType", "payload_type"))
            .contains("unknown field")
    );
}

#[test]
fn repeated_members_are_refused_in_either_spelling() {
    for twice in [r#""digest":"AA","digest":"AA""#, r#""signature":null,"signature":{}"#] {
        assert!(
            malformed(&format!(r#"{{"hashedRekordRequestV002":{{{twice}}}}}"#)).contains("duplicate field")
        );
    }
    let both = r#"{"hashedRekordRequestV002":{"signature":{"verifier":{"keyDetails":5,"key_details":5}}}}"#;
    assert!(malformed(both).contains("duplicate field"));
}

#[test]
fn both_members_of_a_oneof_are_refused() {
    assert!(malformed(r#"{"hashedRekordRequestV002":{},"dsseRequestV002":{}}"#).contains("both set"));
    let verifier = r#"{"publicKey":{"rawBytes":""},"x509Certificate":{"rawBytes":""}}"#;
    let request = format!(r#"{{"hashedRekordRequestV002":{{"signature":{{"verifier":{verifier}}}}}}}"#);
    assert!(malformed(&request).contains("both set"));
    let null = known_text().replacen('{', r#"{"dsseRequestV002":null,"#, 1);
    assert_eq!(parse(&null), parse(&known_text()));
}

#[test]
fn without_a_type_there_is_no_request() {
    for empty in ["", " \n", "{}", r#"{"hashedRekordRequestV002":null}"#] {
        assert_eq!(parse(empty), Err(EntryError::NoType));
    }
    assert!(EntryError::NoType.to_string().starts_with("invalid type, must be hashedrekord"));
}

#[test]
fn what_is_no_object_is_malformed() {
    for json in ["null", "[]", "1", "\"\"", "{", "{}x", r#"{"hashedRekordRequestV002":[null,null]}"#] {
        malformed(json);
    }
    malformed(r#"{"dsseRequestV002":{"verifiers":[[null,null,null]]}}"#);
    malformed(r#"{"dsseRequestV002":{"verifiers":[null]}}"#);
    malformed(&"[".repeat(100_000));
    assert!(matches!(CreateEntryRequest::from_json(b"{\"\xff\":1}"), Err(EntryError::Malformed(_))));
}

#[test]
fn key_details_are_a_name_or_a_number() {
    for number in ["5", "5.0", "5e0", "50e-1"] {
        let numbered = known_text().replace(r#""PKIX_ECDSA_P256_SHA_256""#, number);
        assert_eq!(parse(&numbered), parse(&known_text()), "{number}");
    }
    for other in [
        "0",
        "-1",
        "6",
        "4294967301",
        "5.5",
        "-5.0",
        "1e300",
        "\"5\"",
        "\"PKIX_RSA_PSS_2048_SHA256\"",
        "true",
        "[]",
    ] {
        let text = malformed(&known_text().replace(r#""PKIX_ECDSA_P256_SHA_256""#, other));
        assert!(text.contains("PKIX_ECDSA_P256_SHA_256"), "{text}");
    }
}

#[test]
fn bytes_are_base64_in_either_alphabet_padded_or_not() {
    let digest = |text: &str| {
        let json = format!(r#"{{"hashedRekordRequestV002":{{"digest":{}}}}}"#, json!(text));
        parse(&json).map(|request| match request {
            CreateEntryRequest::HashedRekord(request) => request.digest,
            CreateEntryRequest::Dsse(_) => panic!("another kind"),
        })
    };
    let bytes = [0xfb, 0xff, 0xfe, 0xfb];
    let (standard, url_safe) = (STANDARD.encode(bytes), URL_SAFE.encode(bytes));
    assert_ne!(standard, url_safe);
    for text in [&standard, &url_safe] {
        assert_eq!(digest(text).unwrap(), bytes);
        assert_eq!(digest(text.trim_end_matches('=')).unwrap(), bytes);
        assert_eq!(digest(&format!("{}\n{}\r\n", &text[..4], &text[4..])).unwrap(), bytes);
    }
    for text in ["+_AA", "A", "AA=A", "AAA*", "A A="] {
        assert!(digest(text).is_err(), "{text}");
    }
}

#[test]
fn errors_do_not_echo_the_request() {
    let text = malformed(&format!(r#"{{"{}":1}}"#, "x".repeat(10_000)));
    assert!(text.len() <= 300);
}

#[test]
fn a_request_over_the_limit_is_not_parsed() {
    let spaces = vec![b' '; MAX_REQUEST + 1];
    assert_eq!(CreateEntryRequest::from_json(&spaces), Err(EntryError::RequestTooLarge));
    assert_eq!(EntryError::RequestTooLarge.to_string(), "http: request body too large");
}
