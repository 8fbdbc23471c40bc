//! Chains and keys that make no authority.

use std::time::Duration;

use chancery_tlog::clock::{FixedClock, SystemClock};
use chancery_tlog::key::{KeyKind, SoftwareSigner};

use super::*;
use crate::ceremony::{self, Ceremony, CeremonyError, make_intermediate, make_root_and_intermediate};
use crate::profile::{Extension, ca_extensions, params, serial};

fn clock() -> FixedClock {
    FixedClock::new(SystemClock.now())
}

fn ceremony(clock: &FixedClock) -> Ceremony {
    make_root_and_intermediate("Example Org", KeyKind::EcdsaP256, clock).unwrap()
}

/// A CA certificate with chosen extensions, signed by itself an hour ago.
fn self_signed(signer: &Arc<SoftwareSigner>, name: rcgen::DnValue, extensions: &[Extension]) -> Certificate {
    let now = SystemClock.now().minus(Duration::from_hours(1));
    let mut subject = rcgen::DistinguishedName::new();
    subject.push(rcgen::DnType::OrganizationName, name);
    let validity = (now, now.plus(Duration::from_hours(24)));
    let params = params(subject, &serial().unwrap(), validity, extensions).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, SignerKey::new(signer.clone()));
    let key = rcgen::SubjectPublicKeyInfo::from_der(signer.public_key().spki_der()).unwrap();
    Certificate::from_der(params.signed_by(&key, &issuer).unwrap().der()).unwrap()
}

fn load(pem: &str, signer: Arc<SoftwareSigner>, clock: &FixedClock) -> Result<Authority, AuthorityError> {
    Authority::load(pem, signer, clock)
}

#[test]
fn a_fresh_ceremony_makes_an_authority() {
    let clock = clock();
    for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384] {
        let made = make_root_and_intermediate("Example Org", kind, &clock).unwrap();
        let authority = load(&made.chain_pem(), made.issuing_key.clone(), &clock).unwrap();
        assert_eq!(authority.chain(), [made.issuing.clone(), made.root.clone()]);
        assert_eq!(authority.key_id().map(<[u8]>::len), Some(20));
    }
}

#[test]
fn both_certificates_follow_the_ca_profile() {
    let made = ceremony(&clock());
    for (certificate, name, path_len) in
        [(&made.root, "Chancery Root CA", 1), (&made.issuing, "Chancery Code Signing CA", 0)]
    {
        assert_eq!(certificate.subject_o_cn(), (Some("Example Org".into()), Some(name.into())));
        assert!(certificate.is_ca() && certificate.may_sign_certificates() && !certificate.may_sign());
        assert_eq!(certificate.path_len(), Some(path_len));
        assert_eq!(certificate.issuer_der(), made.root.subject_der());
        assert!(certificate.verify_signed_by(made.root.public_key()).is_ok());
        assert_eq!(certificate.serial().len(), 20);
        assert!(certificate.extension("2.5.29.14").is_some(), "subject key identifier");
    }
    assert_eq!(made.root.extended_key_usages(), None);
    assert_eq!(made.issuing.extended_key_usages(), Some(&[oid::CODE_SIGNING.to_owned()][..]));
    assert!(made.issuing.extension("2.5.29.35").is_some(), "authority key identifier");
    assert!(made.root.not_after() > made.issuing.not_after());
}

#[test]
fn a_ceremony_refuses_names_and_keys_that_clients_would_misread() {
    for name in ["", "  ", "sigstore.dev", "Sigstore.Dev", "a\nb", &"x".repeat(65)] {
        let made = make_root_and_intermediate(name, KeyKind::EcdsaP256, &clock());
        assert!(matches!(made, Err(CeremonyError::Organization(_))), "{name:?}");
    }
    let made = make_root_and_intermediate("Example", KeyKind::Ed25519, &clock());
    assert!(matches!(made, Err(CeremonyError::KeyKind(KeyKind::Ed25519))));
}

#[test]
fn the_order_of_the_chain_matters() {
    let clock = clock();
    let made = ceremony(&clock);
    let reversed = made.root.to_pem() + &made.issuing.to_pem();
    assert!(load(&reversed, made.issuing_key.clone(), &clock).is_err());
    assert!(matches!(load("", made.issuing_key.clone(), &clock), Err(AuthorityError::Chain(_))));
}

#[test]
fn the_signer_must_hold_the_first_certificates_key() {
    let clock = clock();
    let made = ceremony(&clock);
    let refused = load(&made.chain_pem(), made.root_key.clone(), &clock);
    assert!(matches!(refused, Err(AuthorityError::KeyMismatch)));
}

/// Before its time and after it, a chain is loaded and issues nothing: what else the process does goes on.
#[test]
fn a_chain_out_of_its_time_is_loaded_and_covers_nothing() {
    let clock = clock();
    let made = ceremony(&clock);
    let (start, end) = (made.issuing.not_before(), made.issuing.not_after());
    let day = Duration::from_hours(24);
    for (now, covers) in [(start.minus(day), false), (start, true), (end, false), (end.plus(day), false)] {
        clock.set(now);
        let authority = load(&made.chain_pem(), made.issuing_key.clone(), &clock).unwrap();
        assert_eq!(authority.outlives(now, now.plus(Duration::from_mins(10))), covers, "{now}");
    }
}

#[test]
fn certificates_that_are_never_valid_together_are_refused() {
    let clock = clock();
    let made = ceremony(&clock);
    clock.set(made.root.not_after().plus(Duration::from_secs(1)));
    let later = ceremony(&clock);
    let mixed = made.issuing.to_pem() + &later.root.to_pem();
    assert!(matches!(load(&mixed, made.issuing_key.clone(), &clock), Err(AuthorityError::NeverValid)));
}

#[test]
fn the_next_issuing_certificate_is_of_the_same_root_and_does_not_outlive_it() {
    let clock = clock();
    let made = ceremony(&clock);
    clock.advance(Duration::from_hours(24 * 365 * 9));
    let key = Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap());
    let next = make_intermediate(&made.root, made.root_key.clone(), key.public_key(), &clock).unwrap();
    assert_eq!(next.not_after(), made.root.not_after());
    assert_eq!(next.subject_der(), made.issuing.subject_der());
    let pem = next.to_pem() + &made.root.to_pem();
    load(&pem, key.clone(), &clock).unwrap();
    for (root, root_key) in [(&made.root, &made.issuing_key), (&made.issuing, &made.root_key)] {
        let refused = make_intermediate(root, root_key.clone(), key.public_key(), &clock);
        assert!(matches!(refused, Err(CeremonyError::Root(_))));
    }
    clock.set(made.root.not_after().plus(Duration::from_secs(1)));
    let refused = make_intermediate(&made.root, made.root_key.clone(), key.public_key(), &clock);
    assert!(matches!(refused, Err(CeremonyError::Root(_))));
}

#[test]
fn a_request_proves_its_key() {
    let key = Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP384).unwrap());
    let pem = ceremony::signing_request(key.clone()).unwrap();
    assert_eq!(&ceremony::requested_key(&pem).unwrap(), key.public_key());
    assert!(ceremony::requested_key(&pem.replace('A', "B")).is_err());
}

#[test]
fn another_root_does_not_validate() {
    let clock = clock();
    let (made, other) = (ceremony(&clock), ceremony(&clock));
    let mixed = made.issuing.to_pem() + &other.root.to_pem();
    assert!(matches!(load(&mixed, made.issuing_key.clone(), &clock), Err(AuthorityError::Path(_))));
}

#[test]
fn a_lone_self_signed_ca_may_issue() {
    let clock = clock();
    let signer = Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap());
    let extensions = ca_extensions(signer.public_key(), 0, None).unwrap();
    let root = self_signed(&signer, "Example Org".into(), &extensions);
    let authority = load(&root.to_pem(), signer, &clock).unwrap();
    assert_eq!(authority.chain().len(), 1);
}

#[test]
fn an_intermediate_must_state_code_signing() {
    let clock = clock();
    let signer = Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap());
    let extensions = ca_extensions(signer.public_key(), 0, None).unwrap();
    let root = self_signed(&signer, "Example Org".into(), &extensions);
    let twice = root.to_pem() + &root.to_pem();
    assert!(matches!(load(&twice, signer, &clock), Err(AuthorityError::Issuing(_))));
}

#[test]
fn a_certificate_that_is_no_ca_may_not_issue() {
    let clock = clock();
    let signer = Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap());
    let leaf = self_signed(&signer, "Example Org".into(), &[]);
    assert!(matches!(load(&leaf.to_pem(), signer, &clock), Err(AuthorityError::Issuing(_))));
}

#[test]
fn issuer_names_in_other_string_types_are_reproduced_or_refused() {
    let clock = clock();
    let printable = rcgen::string::PrintableString::try_from("Example Org").unwrap();
    let teletex = rcgen::string::TeletexString::try_from("Example Org").unwrap();
    for name in [rcgen::DnValue::PrintableString(printable), rcgen::DnValue::TeletexString(teletex)] {
        let signer = Arc::new(SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap());
        let extensions = ca_extensions(signer.public_key(), 0, None).unwrap();
        let root = self_signed(&signer, name, &extensions);
        match load(&root.to_pem(), signer, &clock) {
            Ok(_) | Err(AuthorityError::Name | AuthorityError::Chain(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// A signer that must not be called on an async thread.
struct Slow(Arc<SoftwareSigner>);

impl Signer for Slow {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, chancery_tlog::key::SignError> {
        assert!(std::thread::current().name().is_none_or(|name| !name.contains("authority")));
        self.0.sign(message)
    }

    fn may_block(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_signer_that_may_block_signs_elsewhere() {
    let clock = clock();
    let made = ceremony(&clock);
    let signer = Arc::new(Slow(made.issuing_key.clone()));
    let authority = Arc::new(Authority::load(&made.chain_pem(), signer, &clock).unwrap());
    let principal = crate::principal::Principal {
        subject: chancery_tlog::certificate::SubjectName::Uri("https://example.com/x".into()),
        challenge: String::new(),
        other_challenge: None,
        extensions: Vec::new(),
    };
    let leaf = Leaf::new(&principal, made.root_key.public_key(), authority.key_id(), clock.now()).unwrap();
    let certificate = authority.sign(&leaf, &Seal::None).await.unwrap();
    assert!(certificate.verify_signed_by(authority.public_key()).is_ok());
}
