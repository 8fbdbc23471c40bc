use time::OffsetDateTime;

use super::*;
use crate::clock::FixedClock;
use crate::fixture::{Authority, NOON, any_key, minutes_after_noon};
use crate::rekor::Covers;
use crate::serve::rate::{IdentityLimiter, Rate};
use crate::server::log::Fee as _;

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
    fn signer(&self) -> Signatory {
        certified(self.issuing.leaf(&any_key(), |_| {}))
    }
}

fn certified(leaf: Certificate) -> Signatory {
    Signatory::new(Verifier::Certificates(vec![leaf]))
}

fn key() -> Signatory {
    Signatory::new(Verifier::Key(any_key()))
}

fn admit(rules: &Admission, signatories: &[Signatory]) -> Result<(), Refusal> {
    rules.admit(signatories).map(drop)
}

fn at(minutes: i64) -> Timestamp {
    let at: OffsetDateTime = minutes_after_noon(minutes);
    Timestamp::from_seconds(u64::try_from(at.unix_timestamp()).unwrap())
}

#[test]
fn only_certificates_of_the_own_ca_are_admitted_where_that_is_the_rule() {
    let (house, stranger) = (House::new(), House::new());
    let own_only = house.own_only();
    admit(&own_only, &[house.signer()]).unwrap();
    assert_eq!(admit(&own_only, &[key()]), Err(Refusal::Key));
    assert!(matches!(admit(&own_only, &[stranger.signer()]), Err(Refusal::Foreign(_))));
    assert!(matches!(admit(&own_only, &[house.signer(), stranger.signer()]), Err(Refusal::Foreign(_))));
    assert_eq!(admit(&own_only, &[]), Err(Refusal::Key), "nobody is no signer of ours");
    let words = admit(&own_only, &[key()]).unwrap_err().to_string();
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
    assert_eq!(
        admit(&house.own_only(), &[Signatory::new(Verifier::Certificates(chain))]),
        Err(Refusal::Beside)
    );
}

/// Every chain of up to four of these certificates behind an own leaf: only the instance's own may be there.
#[test]
fn certificates_of_others_beside_an_own_leaf_are_refused_wherever_they_stand() {
    let (house, stranger) = (House::new(), House::new());
    let signer = house.signer();
    let leaf = signer.verifier.certificate().unwrap();
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
        let verifier = Signatory::new(Verifier::Certificates(chain.cloned().collect()));
        let ours = picked.iter().all(|(_, ours)| *ours);
        let expected = if ours { Ok(()) } else { Err(Refusal::Beside) };
        assert_eq!(admit(&own_only, std::slice::from_ref(&verifier)), expected);
        assert_eq!(admit(&own_only, &[house.signer(), verifier.clone()]), expected, "not the first signer");
        admit(&any, &[verifier]).unwrap();
    }
}

#[test]
fn a_certificate_that_is_for_something_else_is_no_signers() {
    let house = House::new();
    let tls = certified(house.issuing.leaf(&any_key(), |params| params.extended_key_usages.clear()));
    assert!(matches!(admit(&house.own_only(), &[tls]), Err(Refusal::Foreign(ChainError::Unsuitable { .. }))));
    let ca = certified(house.issuing.certificate.clone());
    assert!(matches!(admit(&house.own_only(), &[ca]), Err(Refusal::Foreign(_))));
}

#[test]
fn a_certificate_is_admitted_while_it_is_valid_and_a_minute_around_it() {
    let house = House::new();
    let (own_only, signer) = (house.own_only(), [house.signer()]);
    for (minutes, admitted) in [(-2, false), (-1, true), (0, true), (10, true), (11, true), (12, false)] {
        house.clock.set(at(minutes));
        let expected = if admitted { Ok(()) } else { Err(Refusal::NotNow) };
        assert_eq!(admit(&own_only, &signer), expected, "{minutes} minutes after noon");
    }
}

#[test]
fn any_signer_is_admitted_where_that_is_the_rule() {
    let (house, stranger) = (House::new(), House::new());
    let any = Admission::any(house.authorities(), house.clock.clone());
    house.clock.set(at(60));
    admit(&any, &[key(), stranger.signer(), house.signer()]).unwrap();
}

#[test]
fn an_authority_of_the_past_is_admitted_until_its_end_and_a_minute_longer() {
    let (house, former, older) = (House::new(), House::new(), House::new());
    let past = |house: &House, end: i64| {
        house.authorities().into_iter().map(move |certificate| (certificate, at(end)))
    };
    let own_only = house.own_only().with_past(past(&older, 2).chain(past(&former, 5)).collect());
    for (minutes, former_is_admitted, older_is_admitted) in
        [(0, true, true), (3, true, true), (4, true, false), (6, true, false), (7, false, false)]
    {
        house.clock.set(at(minutes));
        admit(&own_only, &[house.signer()]).unwrap();
        assert_eq!(admit(&own_only, &[former.signer()]).is_ok(), former_is_admitted, "{minutes}");
        assert_eq!(admit(&own_only, &[older.signer()]).is_ok(), older_is_admitted, "{minutes}");
    }
    let signer = house.signer();
    let leaf = signer.verifier.certificate().unwrap().clone();
    let company = Signatory::new(Verifier::Certificates(vec![leaf, former.root.certificate.clone()]));
    assert_eq!(admit(&own_only, &[company]), Err(Refusal::Beside));
}

/// A burst of two for each share.
fn identities() -> Arc<Identities> {
    Arc::new(Identities::new(Arc::new(IdentityLimiter::new(Rate { per_minute: 6, burst: 2 }))))
}

fn pay(rules: &Admission, signatory: &Signatory) -> Result<(), Duration> {
    rules.admit(std::slice::from_ref(signatory)).unwrap().pay()
}

/// The same signer with another signature.
fn signing(signatory: &Signatory, signature: &[u8], covers: Covers) -> Signatory {
    let mut signing = Signatory::new(signatory.verifier.clone());
    signing.signed(signature, covers);
    signing
}

/// ECDSA signatures whose `r` is this, in ASN.1.
fn ecdsa(r: u8, s: u8) -> Vec<u8> {
    vec![0x30, 6, 2, 1, r, 2, 1, s]
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_limited_whatever_its_certificates_and_nobody_can_use_up_its_share() {
    let (house, stranger) = (House::new(), House::new());
    let any = Admission::any(house.authorities(), house.clock.clone()).limited(Some(identities()));
    // The same name, by a CA that anyone can make.
    for n in 1..6 {
        pay(&any, &signing(&stranger.signer(), &ecdsa(n, 1), Covers::Message)).unwrap();
    }
    pay(&any, &signing(&house.signer(), &ecdsa(1, 1), Covers::Message)).unwrap();
    pay(&any, &signing(&house.signer(), &ecdsa(2, 1), Covers::Message)).unwrap();
    let refused = pay(&any, &signing(&house.signer(), &ecdsa(3, 1), Covers::Message));
    assert_eq!(refused, Err(Duration::from_secs(10)));
    let key = key();
    for (n, paid) in [(1, true), (2, true), (3, false)] {
        let entry = signing(&key, &ecdsa(n, 1), Covers::Message);
        assert_eq!(pay(&any, &entry).is_ok(), paid, "a key is an identity too");
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    pay(&any, &signing(&house.signer(), &ecdsa(3, 1), Covers::Message)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_signature_that_was_seen_is_charged_to_the_share_of_replays_however_it_is_spelled() {
    let house = House::new();
    let own_only = house.own_only().limited(Some(identities()));
    let signer = house.signer();
    pay(&own_only, &signing(&signer, &ecdsa(7, 1), Covers::Message)).unwrap();
    let spellings = [ecdsa(7, 1), ecdsa(7, 9), vec![7, 1], vec![0, 7, 0, 9]];
    let paid =
        spellings.iter().map(|bytes| pay(&own_only, &signing(&signer, bytes, Covers::Message)).is_ok());
    assert_eq!(paid.collect::<Vec<_>>(), [true, true, false, false], "replays are limited too");
    pay(&own_only, &signing(&signer, &ecdsa(8, 1), Covers::Message)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn signatures_over_a_bare_digest_that_anyone_can_make_have_a_share_of_their_own() {
    let house = House::new();
    let own_only = house.own_only().limited(Some(identities()));
    let signer = house.signer();
    pay(&own_only, &signing(&signer, &ecdsa(1, 1), Covers::Digest)).unwrap();
    let forged = (2..5).map(|n| pay(&own_only, &signing(&signer, &ecdsa(n, 1), Covers::Digest)).is_ok());
    assert_eq!(forged.collect::<Vec<_>>(), [true, true, false]);
    pay(&own_only, &signing(&house.signer(), &ecdsa(5, 1), Covers::Digest)).expect("a new certificate");
    assert!(pay(&own_only, &signing(&house.signer(), &ecdsa(6, 1), Covers::Digest)).is_err(), "its third");
}

#[tokio::test(start_paused = true)]
async fn what_one_of_several_signers_cannot_pay_costs_the_others_nothing() {
    let house = House::new();
    let any = Admission::any(house.authorities(), house.clock.clone()).limited(Some(identities()));
    let (rich, poor) = (key(), key());
    for n in 1..3 {
        pay(&any, &signing(&poor, &ecdsa(n, 1), Covers::Message)).unwrap();
    }
    for n in 3..9 {
        let both = [&rich, &poor].map(|key| signing(key, &ecdsa(n, 1), Covers::Message));
        any.admit(&both).unwrap().pay().unwrap_err();
    }
    let fee = any.admit(&[signing(&rich, &ecdsa(20, 1), Covers::Message)]).unwrap();
    fee.pay().unwrap();
    fee.give_back();
    for n in 21..23 {
        pay(&any, &signing(&rich, &ecdsa(n, 1), Covers::Message)).unwrap();
    }
    pay(&any, &signing(&rich, &ecdsa(23, 1), Covers::Message)).unwrap_err();
}
