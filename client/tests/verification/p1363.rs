//! ECDSA signatures in the encoding of IEEE P1363, which sigstore-go accepts: only in the signature itself, and only as
//! the log has it.

use super::*;
use crate::fixture::{hashedrekord_v2, verifier};

/// The bundle's signature as two halves.
fn halves(bundle: &Bundle) -> Vec<u8> {
    p256::ecdsa::Signature::from_der(bundle.signature()).unwrap().to_bytes().to_vec()
}

/// The bundle with another signature, and nothing else changed.
fn with_signature(mut bundle: Bundle, to: Vec<u8>) -> Bundle {
    match &mut bundle.content {
        Content::Message(message) => message.signature = to,
        Content::Envelope(envelope) => {
            *envelope = Envelope::new(envelope.payload_type(), envelope.payload().to_vec(), to);
        }
    }
    bundle
}

/// The bundle as it is when its signer wrote two halves, logged in Rekor v1.
fn in_v1(instance: &TestInstance, bundle: &Bundle) -> Bundle {
    let mut bundle = with_signature(bundle.clone(), halves(bundle));
    let SigningMaterial::Certificate(certificate) = &bundle.signer else { panic!("a certificate") };
    bundle.entries = vec![match &bundle.content {
        Content::Message(message) => {
            let (_, digest) = message.digest.as_ref().unwrap();
            instance.log_hashedrekord(digest, &message.signature, &certificate.to_pem())
        }
        Content::Envelope(envelope) => instance.log_dsse(envelope, &certificate.to_pem(), NOW),
    }];
    bundle
}

/// The same in Rekor v2, with a timestamp.
fn in_v2(instance: &TestInstance, bundle: &Bundle) -> Bundle {
    let mut bundle = with_signature(bundle.clone(), halves(bundle));
    bundle.entries = vec![instance.log_leaf_v2(&hashedrekord_v2(&bundle, verifier(&bundle)))];
    bundle.timestamps = vec![instance.stamp(bundle.signature(), NOW)];
    bundle
}

#[test]
fn files_and_statements_verify_in_both_dialects() {
    let instance = TestInstance::new();
    for bundle in [instance.signature(), instance.provenance()] {
        for signed in [in_v1(&instance, &bundle), in_v2(&instance, &bundle)] {
            assert_eq!(signed.signature().len(), 64);
            let report = judge(&signed, &instance.trust_of_both(), &workflow_policy());
            assert_verified(&report);
            assert!(matches!(outcome(&report, Claim::Signature), Outcome::Proven(_)));
            assert_eq!(Bundle::parse(signed.to_json().as_bytes()), Ok(signed));
        }
    }
}

#[test]
fn one_encoding_is_in_the_log_and_the_other_is_another_signature() {
    let instance = TestInstance::new();
    for bundle in [instance.signature(), instance.provenance()] {
        for signed in [in_v1(&instance, &bundle), in_v2(&instance, &bundle)] {
            let reencoded = with_signature(signed, bundle.signature().to_vec());
            let report = judge(&reencoded, &instance.trust_of_both(), &workflow_policy());
            assert_refused(&report, Claim::LogEntry, "another signature");
        }
    }
}

#[test]
fn halves_of_another_signature_are_refused() {
    let instance = TestInstance::new();
    let bundle = instance.signature();
    for at in [0, 31, 32, 63] {
        let mut signature = halves(&bundle);
        signature[at] ^= 1;
        let report = judge(&with_signature(bundle.clone(), signature), &instance.trust(), &workflow_policy());
        assert!(matches!(outcome(&report, Claim::Signature), Outcome::Refused(_)));
    }
}
