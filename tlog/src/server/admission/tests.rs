use time::OffsetDateTime;

use super::*;
use crate::clock::FixedClock;
use crate::fixture::{Authority, NOON, any_key, minutes_after_noon};
use crate::serve::rate::Rate;

/// A root, its issuing CA, and the clock of a log that trusts them.
struct House {
    root: Authority,
    issuing: Authority,
    clock: Arc<FixedClock>,
}

impl House {
    fn new() -> Self {
        let root = Authority::root("root", |_| {});
        let issuing = root.intermediate("issuing", |_| {});
        Self { root, issuing, clock: Arc::new(FixedClock::new(NOON)) }
    }

    fn authorities(&self) -> Vec<Certificate> {
        vec![self.issuing.certificate.clone(), self.root.certificate.clone()]
    }

    fn own_only(&self) -> Admission {
        Admission::own_ca(self.authorities(), self.clock.clone())
    }

    /// A signer whom this house has certified from noon to ten past.
    fn signer(&self) -> Verifier {
        certified(self.issuing.leaf(&any_key(), |_| {}))
    }
}

fn certified(leaf: Certificate) -> Verifier {
    Verifier::Certificates(vec![leaf])
}

fn at(minutes: i64) -> Timestamp {
    let at: OffsetDateTime = minutes_after_noon(minutes);
    Timestamp::from_seconds(u64::try_from(at.unix_timestamp()).unwrap())
}

#[test]
fn only_certificates_of_the_own_ca_are_admitted_where_that_is_the_rule() {
    let (house, stranger) = (House::new(), House::new());
    let own_only = house.own_only();
    own_only.admit(&[house.signer()]).unwrap();
    assert_eq!(own_only.admit(&[Verifier::Key(any_key())]), Err(Refusal::Key));
    assert!(matches!(own_only.admit(&[stranger.signer()]), Err(Refusal::Foreign(_))));
    assert!(matches!(own_only.admit(&[house.signer(), stranger.signer()]), Err(Refusal::Foreign(_))));
    assert_eq!(own_only.admit(&[]), Err(Refusal::Key), "nobody is no signer of ours");
    let words = own_only.admit(&[Verifier::Key(any_key())]).unwrap_err().to_string();
    assert!(words.contains("sign keyless"), "{words}");
}

#[test]
fn a_chain_that_a_submitter_brings_along_proves_nothing() {
    let (house, stranger) = (House::new(), House::new());
    let chain = vec![
        stranger.issuing.leaf(&any_key(), |_| {}),
        stranger.issuing.certificate.clone(),
        stranger.root.certificate.clone(),
    ];
    assert_eq!(house.own_only().admit(&[Verifier::Certificates(chain)]), Err(Refusal::Beside));
}

/// Every chain of up to four of these certificates behind an own leaf: only the instance's own may be there.
#[test]
fn certificates_of_others_beside_an_own_leaf_are_refused_wherever_they_stand() {
    let (house, stranger) = (House::new(), House::new());
    let signer = house.signer();
    let leaf = signer.certificate().unwrap();
    let company = [
        (house.issuing.certificate.clone(), true),
        (house.root.certificate.clone(), true),
        (stranger.issuing.certificate.clone(), false),
        (stranger.issuing.leaf(&any_key(), |_| {}), false),
        (house.issuing.leaf(&any_key(), |_| {}), false),
    ];
    let own_only = house.own_only();
    let any = Admission::any(house.authorities(), house.clock.clone());
    for choice in 0..company.len().pow(4) {
        let length = u32::try_from(choice % 5).unwrap();
        let picked = (0..length).map(|at| &company[choice / company.len().pow(at) % company.len()]);
        let picked: Vec<_> = picked.collect();
        let chain = std::iter::once(leaf).chain(picked.iter().map(|(certificate, _)| certificate));
        let verifier = Verifier::Certificates(chain.cloned().collect());
        let ours = picked.iter().all(|(_, ours)| *ours);
        let expected = if ours { Ok(()) } else { Err(Refusal::Beside) };
        assert_eq!(own_only.admit(std::slice::from_ref(&verifier)), expected);
        assert_eq!(own_only.admit(&[house.signer(), verifier.clone()]), expected, "not the first signer");
        any.admit(&[verifier]).unwrap();
    }
}

#[test]
fn a_certificate_that_is_for_something_else_is_no_signers() {
    let house = House::new();
    let tls = certified(house.issuing.leaf(&any_key(), |params| params.extended_key_usages.clear()));
    assert!(matches!(house.own_only().admit(&[tls]), Err(Refusal::Foreign(ChainError::Unsuitable { .. }))));
    let ca = certified(house.issuing.certificate.clone());
    assert!(matches!(house.own_only().admit(&[ca]), Err(Refusal::Foreign(_))));
}

#[test]
fn a_certificate_is_admitted_while_it_is_valid_and_a_minute_around_it() {
    let house = House::new();
    let (own_only, signer) = (house.own_only(), [house.signer()]);
    for (minutes, admitted) in [(-2, false), (-1, true), (0, true), (10, true), (11, true), (12, false)] {
        house.clock.set(at(minutes));
        let expected = if admitted { Ok(()) } else { Err(Refusal::NotNow) };
        assert_eq!(own_only.admit(&signer), expected, "{minutes} minutes after noon");
    }
}

#[test]
fn any_signer_is_admitted_where_that_is_the_rule() {
    let (house, stranger) = (House::new(), House::new());
    let any = Admission::any(house.authorities(), house.clock.clone());
    house.clock.set(at(60));
    any.admit(&[Verifier::Key(any_key()), stranger.signer(), house.signer()]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_limited_whatever_its_keys_and_nobody_can_use_up_anothers_share() {
    let (house, stranger) = (House::new(), House::new());
    let limiter = || Some(Arc::new(IdentityLimiter::new(Rate { per_minute: 6, burst: 2 })));
    let any = Admission::any(house.authorities(), house.clock.clone()).limited(limiter());
    // The same name, by a CA that anyone can make.
    for _ in 0..5 {
        any.admit(&[stranger.signer()]).unwrap();
    }
    any.admit(&[house.signer()]).unwrap();
    any.admit(&[house.signer()]).unwrap();
    let refused = any.admit(&[house.signer()]);
    assert_eq!(refused, Err(Refusal::TooMany { retry_after: Duration::from_secs(10) }));
    let key = Verifier::Key(any_key());
    any.admit(std::slice::from_ref(&key)).unwrap();
    any.admit(std::slice::from_ref(&key)).unwrap();
    assert!(any.admit(&[key]).is_err(), "a key is an identity too");
    tokio::time::advance(Duration::from_secs(10)).await;
    any.admit(&[house.signer()]).unwrap();
}
