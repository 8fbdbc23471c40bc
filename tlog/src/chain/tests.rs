use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::fixture::{Authority, NOON, any_key, extension, minutes_after_noon};

const POISON: &[u64] = &[1, 3, 6, 1, 4, 1, 11_129, 2, 4, 3];

/// OID of code signing, in DER contents.
const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];

/// What rustls-webpki says about the same leaf path.
fn oracle(leaf: &Certificate, intermediates: &[Certificate], roots: &[Certificate], at: Timestamp) -> bool {
    let ders = |certificates: &[Certificate]| -> Vec<CertificateDer<'static>> {
        certificates.iter().map(|c| c.der().to_vec().into()).collect()
    };
    let (leaf, intermediates, roots) = (leaf.der().into(), ders(intermediates), ders(roots));
    let Ok(end_entity) = webpki::EndEntityCert::try_from(&leaf) else { return false };
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.seconds())),
            webpki::KeyUsage::required(CODE_SIGNING),
            None,
            None,
        )
        .is_ok()
}

/// Our verdict on a signing certificate, after checking that the oracle agrees.
fn judge(
    leaf: &Certificate,
    intermediates: &[Certificate],
    roots: &[Certificate],
    at: Timestamp,
) -> Result<Vec<Certificate>, ChainError> {
    let verdict = verify(leaf, intermediates, roots, at, Purpose::CodeSigning);
    assert_eq!(verdict.is_ok(), oracle(leaf, intermediates, roots, at), "{verdict:?}");
    verdict
}

fn problem(verdict: Result<Vec<Certificate>, ChainError>) -> &'static str {
    match verdict.unwrap_err() {
        ChainError::Unsuitable { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn a_path_through_an_intermediate_is_found_whatever_the_order() {
    let (root, other) = (Authority::root("Root", |_| {}), Authority::root("Other", |_| {}));
    let (upper, stray) = (root.intermediate("Upper", |_| {}), other.intermediate("Stray", |_| {}));
    let lower = upper.intermediate("Lower", |_| {});
    let leaf = lower.leaf(&any_key(), |_| {});
    let intermediates = [stray.certificate, upper.certificate.clone(), lower.certificate.clone()];
    let path = judge(&leaf, &intermediates, &[other.certificate, root.certificate.clone()], NOON).unwrap();
    assert_eq!(path, [leaf, lower.certificate, upper.certificate, root.certificate]);
}

#[test]
fn a_leaf_directly_under_the_root_is_found() {
    let root = Authority::root("Root", |_| {});
    let leaf = root.leaf(&any_key(), |_| {});
    assert_eq!(judge(&leaf, &[], std::slice::from_ref(&root.certificate), NOON).unwrap().len(), 2);
}

#[test]
fn every_member_is_judged_at_the_given_time() {
    let root = Authority::root("Root", |_| {});
    let short = root.intermediate("Short", |params| params.not_after = minutes_after_noon(5));
    let leaf = short.leaf(&any_key(), |_| {});
    let (chain, roots) = ([short.certificate], [root.certificate]);
    judge(&leaf, &chain, &roots, NOON).unwrap();
    let late = NOON.plus(std::time::Duration::from_mins(6));
    let error = judge(&leaf, &chain, &roots, late).unwrap_err();
    assert_eq!(error, ChainError::NotValidAt { subject: "O=Example, CN=Short".to_owned(), at: late });
    let error = judge(&leaf, &chain, &roots, NOON.plus(std::time::Duration::from_secs(601))).unwrap_err();
    assert!(error.to_string().starts_with("`https://ci.example/build@v1` was not valid at 2026-11-21T"));
}

#[test]
fn an_expired_root_is_no_root() {
    // rustls-webpki reads no dates of an anchor, so it has no say here.
    let root = Authority::root("Root", |params| params.not_after = minutes_after_noon(-1));
    let leaf = root.leaf(&any_key(), |_| {});
    let error = verify(&leaf, &[], &[root.certificate], NOON, Purpose::CodeSigning).unwrap_err();
    assert!(matches!(error, ChainError::NotValidAt { .. }));
}

#[test]
fn the_extended_key_usage_must_be_code_signing_at_every_level() {
    let root = Authority::root("Root", |_| {});
    let leaf = root.leaf(&any_key(), |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping]);
    let roots = [root.certificate.clone()];
    assert_eq!(problem(judge(&leaf, &[], &roots, NOON)), "its extended key usage does not list code signing");
    let leaf = root.leaf(&any_key(), |p| p.extended_key_usages = vec![]);
    assert_eq!(problem(judge(&leaf, &[], &roots, NOON)), "its extended key usage does not list code signing");

    let tls = root.intermediate("TLS", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let leaf = tls.leaf(&any_key(), |_| {});
    let verdict = judge(&leaf, &[tls.certificate], &roots, NOON);
    assert_eq!(problem(verdict), "its extended key usage does not allow code signing below it");
}

#[test]
fn only_certificate_authorities_issue() {
    let root = Authority::root("Root", |_| {});
    let roots = [root.certificate.clone()];
    let no_ca = root.intermediate("No CA", |p| p.is_ca = IsCa::ExplicitNoCa);
    let leaf = no_ca.leaf(&any_key(), |_| {});
    assert_eq!(problem(judge(&leaf, &[no_ca.certificate], &roots, NOON)), NOT_CA);

    let no_cert_sign =
        root.intermediate("No keyCertSign", |p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let leaf = no_cert_sign.leaf(&any_key(), |_| {});
    // rustls-webpki reads no key usage.
    let verdict = verify(&leaf, &[no_cert_sign.certificate], &roots, NOON, Purpose::CodeSigning);
    assert_eq!(problem(verdict), "its key usage does not allow signing certificates");
}

#[test]
fn a_path_length_constraint_counts_the_authorities_below() {
    let constrained = |length| {
        move |p: &mut rcgen::CertificateParams| {
            p.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
        }
    };
    let root = Authority::root("Root", |_| {});
    for (length, allowed) in [(0, false), (1, true)] {
        let upper = root.intermediate("Upper", constrained(length));
        let lower = upper.intermediate("Lower", constrained(0));
        let leaf = lower.leaf(&any_key(), |_| {});
        let chain = [upper.certificate, lower.certificate];
        let verdict = judge(&leaf, &chain, std::slice::from_ref(&root.certificate), NOON);
        assert_eq!(verdict.is_ok(), allowed);
    }
    let closed = Authority::root("Closed", constrained(0));
    let issuing = closed.intermediate("Issuing", |_| {});
    let verdict = verify(&issuing.certificate, &[], &[closed.certificate], NOON, Purpose::CodeSigningCa);
    assert!(
        problem(verdict).starts_with("its path length constraint"),
        "it could issue nothing that verifies"
    );
}

#[test]
fn an_unknown_critical_extension_is_refused_and_an_unknown_other_is_not() {
    let root = Authority::root("Root", |_| {});
    for (critical, allowed) in [(true, false), (false, true)] {
        let mut unknown = extension(&[1, 2, 3, 4], b"\x05\x00");
        unknown.set_criticality(critical);
        let leaf = root.leaf(&any_key(), |p| p.custom_extensions = vec![unknown.clone()]);
        let roots = [root.certificate.clone()];
        assert_eq!(judge(&leaf, &[], &roots, NOON).is_ok(), allowed);
        let ca = root.intermediate("Unknown", |p| p.custom_extensions = vec![unknown]);
        let leaf = ca.leaf(&any_key(), |_| {});
        assert_eq!(judge(&leaf, &[ca.certificate], &roots, NOON).is_ok(), allowed);
    }
}

#[test]
fn a_name_without_the_key_and_a_key_without_the_name_issue_nothing() {
    let (root, impostor) = (Authority::root("Root", |_| {}), Authority::root("Root", |_| {}));
    let leaf = impostor.leaf(&any_key(), |_| {});
    let error = judge(&leaf, &[], std::slice::from_ref(&root.certificate), NOON).unwrap_err();
    assert_eq!(error, ChainError::UnknownIssuer("https://ci.example/build@v1".to_owned()));
    let stranger = Authority::root("Stranger", |_| {});
    let verdict = judge(&leaf, &[root.certificate], &[stranger.certificate], NOON);
    assert!(matches!(verdict, Err(ChainError::UnknownIssuer(_))));
}

#[test]
fn name_constraints_are_refused_rather_than_ignored() {
    let root = Authority::root("Root", |p| {
        p.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example".to_owned())],
            excluded_subtrees: vec![],
        });
    });
    let leaf = root.leaf(&any_key(), |_| {});
    let verdict = verify(&leaf, &[], &[root.certificate], NOON, Purpose::CodeSigning);
    assert_eq!(problem(verdict), "it has name constraints, which Chancery does not support");
}

#[test]
fn a_precertificate_verifies_as_one_and_as_nothing_else() {
    let root = Authority::root("Root", |_| {});
    let mut poison = extension(POISON, &[5, 0]);
    poison.set_criticality(true);
    let (final_one, precert) =
        (root.leaf(&any_key(), |_| {}), root.leaf(&any_key(), |p| p.custom_extensions = vec![poison]));
    let roots = [root.certificate];
    verify(&precert, &[], &roots, NOON, Purpose::Precertificate).unwrap();
    assert!(judge(&precert, &[], &roots, NOON).is_err());
    assert!(verify(&precert, &[], &roots, NOON, Purpose::Any).is_err());
    assert!(verify(&final_one, &[], &roots, NOON, Purpose::Precertificate).is_err());
}

#[test]
fn an_issuing_ca_needs_code_signing_unless_it_is_the_root() {
    let root = Authority::root("Root", |_| {});
    let roots = [root.certificate.clone()];
    let ca = |certificate: &Certificate| verify(certificate, &[], &roots, NOON, Purpose::CodeSigningCa);
    assert_eq!(ca(&root.certificate).unwrap(), roots);
    assert_eq!(ca(&root.intermediate("Good", |_| {}).certificate).unwrap().len(), 2);
    let plain = root.intermediate("Plain", |p| p.extended_key_usages = vec![]);
    assert_eq!(problem(ca(&plain.certificate)), "its extended key usage does not list code signing");
    assert_eq!(problem(ca(&root.leaf(&any_key(), |_| {}))), NOT_CA);
}

#[test]
fn a_certificate_authority_signs_no_artifacts() {
    let root = Authority::root("Root", |_| {});
    let ca = root.intermediate("CA", |p| p.key_usages.push(KeyUsagePurpose::DigitalSignature));
    assert!(judge(&ca.certificate, &[], std::slice::from_ref(&root.certificate), NOON).is_err());
    assert!(judge(&root.certificate, &[], std::slice::from_ref(&root.certificate), NOON).is_err());
}

#[test]
fn anything_with_a_path_is_good_enough_for_any() {
    let root = Authority::root("Root", |_| {});
    let leaf =
        root.leaf(&any_key(), |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection]);
    verify(&leaf, &[], &[root.certificate], NOON, Purpose::Any).unwrap();
}

#[test]
fn a_path_longer_than_the_limit_is_refused() {
    let root = Authority::root("Root", |_| {});
    let mut chain = Vec::new();
    let mut last = root.intermediate("CA 0", |_| {});
    for level in 1..MAX_PATH - 1 {
        let next = last.intermediate(&format!("CA {level}"), |_| {});
        chain.push(std::mem::replace(&mut last, next).certificate);
    }
    let roots = [root.certificate.clone()];
    let leaf = last.leaf(&any_key(), |_| {});
    chain.push(last.certificate.clone());
    let verdict = verify(&leaf, &chain, &roots, NOON, Purpose::CodeSigning);
    assert_eq!(verdict.unwrap_err(), ChainError::TooLong(MAX_PATH));
}

#[test]
fn look_alikes_do_not_cost_a_factorial() {
    // Twenty CAs of one name and one key, cross-signed by each other: every order of them is a valid path.
    let root = Authority::root("Same", |_| {});
    let twins: Vec<Certificate> =
        (0u8..20).map(|serial| root.reissue(|p| p.serial_number = Some(vec![serial + 1].into()))).collect();
    let leaf = root.leaf(&any_key(), |_| {});
    let stranger = Authority::root("Stranger", |_| {});
    assert!(verify(&leaf, &twins, &[stranger.certificate], NOON, Purpose::CodeSigning).is_err());
}

/// Checks that a submitted chain took, and whether it has a path.
fn submitted(leaf: &Certificate, intermediates: &[Certificate], root: &Certificate) -> (usize, bool) {
    let effort = Effort::of(1000);
    let roots = std::slice::from_ref(root);
    let verdict = verify_submitted(leaf, intermediates, roots, NOON, Purpose::Any, &effort);
    (1000 - effort.left(), verdict.is_ok())
}

#[test]
fn the_longest_submitted_chain_is_found_in_any_order() {
    // With names of their own, and under the root's name as after many changes of its key.
    for name in [|level: usize| format!("CA {level}"), |_| "Root".to_owned()] {
        let root = Authority::root("Root", |_| {});
        let mut authorities = vec![root.intermediate(&name(0), |_| {})];
        for level in 1..MAX_PATH - 2 {
            authorities.push(authorities[level - 1].intermediate(&name(level), |_| {}));
        }
        let leaf = authorities[MAX_PATH - 3].leaf(&any_key(), |_| {});
        let mut chain: Vec<_> = authorities.iter().rev().map(|ca| ca.certificate.clone()).collect();
        let own_names = name(0) != name(1);
        let (checks, found) = submitted(&leaf, &chain, &root.certificate);
        assert!(
            found && checks <= if own_names { MAX_PATH } else { MAX_SUBMITTED_CHECKS },
            "{checks} checks"
        );
        for at in 0..chain.len() {
            chain.swap(at, (at * 5 + 3) % (MAX_PATH - 2));
            assert!(!own_names || submitted(&leaf, &chain, &root.certificate) == (MAX_PATH - 1, true));
        }
    }
}

#[test]
fn look_alikes_in_a_submitted_chain_take_few_checks() {
    let twins = Authority::root("Same", |_| {});
    let chain: Vec<Certificate> =
        (0..8).map(|serial| twins.reissue(|p| p.serial_number = Some(vec![serial + 1].into()))).collect();
    let leaf = twins.leaf(&any_key(), |_| {});
    let root = Authority::root("Same", |_| {}).certificate;
    assert_eq!(submitted(&leaf, &chain, &root), (MAX_SUBMITTED_CHECKS, false));
    let effort = Effort::little();
    let roots = std::slice::from_ref(&root);
    verify_submitted(&leaf, &chain, roots, NOON, Purpose::Any, &effort).unwrap_err();
    assert!(effort.is_exceeded() && effort.left() == 0, "nothing was decided");
}

/// The same certificate with the last byte of its signature changed.
fn forged(certificate: &Certificate) -> Certificate {
    let mut der = certificate.der().to_vec();
    *der.last_mut().unwrap() ^= 1;
    Certificate::from_der(&der).unwrap()
}

#[test]
fn known_links_spare_no_check_but_the_signature_they_remember() {
    let root = Authority::root("Root", |_| {});
    let issuing = root.intermediate("Issuing", |_| {});
    let leaf = issuing.leaf(&any_key(), |_| {});
    let (roots, known) = ([root.certificate.clone()], KnownLinks::default());
    let judge = |leaf: &Certificate, issuer: &Certificate, at| {
        let issuers = std::slice::from_ref(issuer);
        let verdict = verify_knowing(leaf, issuers, &roots, at, Purpose::CodeSigning, &known, &Effort::any());
        assert_eq!(verdict, verify(leaf, issuers, &roots, at, Purpose::CodeSigning), "both say the same");
        verdict.is_ok()
    };
    assert!(judge(&leaf, &issuing.certificate, NOON));
    assert_eq!(known.0.lock().unwrap().len(), 1, "the link above the leaf, and not the leaf's own");
    assert!(judge(&leaf, &issuing.certificate, NOON), "and again");
    assert!(!judge(&forged(&leaf), &issuing.certificate, NOON), "the leaf's signature is always verified");
    assert!(!judge(&leaf, &forged(&issuing.certificate), NOON), "another signature is another link");
    assert!(
        !judge(&leaf, &issuing.certificate, NOON.plus(std::time::Duration::from_hours(24 * 365 * 50))),
        "dates are judged anew"
    );
    let stranger = Authority::root("Root", |_| {});
    let elsewhere = verify_knowing(
        &leaf,
        std::slice::from_ref(&issuing.certificate),
        &[stranger.certificate],
        NOON,
        Purpose::CodeSigning,
        &known,
        &Effort::any(),
    );
    assert!(elsewhere.is_err(), "a root of the same name and another key has signed nothing");
}

#[test]
fn what_is_known_is_bounded() {
    let root = Authority::root("Root", |_| {});
    let issuing = root.intermediate("Issuing", |_| {});
    let known = KnownLinks::default();
    let fill = |n: u64| [Hash::digest(&n.to_be_bytes()), Hash::digest(b"key")];
    known.0.lock().unwrap().extend((0..MAX_KNOWN_LINKS as u64).map(fill));
    assert!(known.holds(&issuing.certificate, root.certificate.public_key(), &Effort::any()));
    assert_eq!(known.0.lock().unwrap().len(), 1);
}
