//! New issuers of a pattern: how many an unsigned token can make us contact, and what never suffers from it.

use std::net::Ipv4Addr;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::*;
use crate::oidc::source::{MAX_WAITING, MAX_WAITING_STRANGERS};
use crate::oidc::sources::{
    MAX_PROVEN, MAX_UNPROVEN, NEW_OVERALL, NEW_PER_ADDRESS, NEW_PER_PATTERN, RESERVED_PER_PATTERN,
};

fn address(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + n).into()
}

impl Fixture {
    /// A token of a tenant. Garbage is signed by nobody, but everything before the signature is right.
    fn of_tenant(&self, tenant: &str) -> String {
        self.key.mint(&self.claims_with("iss", json!(format!("{}/org/{tenant}", self.issuer.url))))
    }

    async fn outcome(&self, token: &str, from: IpAddr) -> &'static str {
        match self.verifier.verify(token, Some(from)).await {
            Ok(verified) => {
                verified.permit(|_| Ok("accepted")).await.unwrap_or_else(|never: Infallible| match never {})
            }
            Err(error) => error.reason(),
        }
    }
}

async fn patient() -> Fixture {
    Fixture::with(|settings| settings.fetch_timeout = Duration::from_secs(10)).await
}

#[tokio::test]
async fn two_hundred_garbage_tokens_of_one_address_cause_ten_requests() {
    let fixture = Fixture::start().await;
    let tokens: Vec<String> = (0..200).map(|n| fixture.of_tenant(&format!("no{n}"))).collect();
    let outcomes =
        futures::future::join_all(tokens.iter().map(|token| fixture.outcome(token, address(1)))).await;
    assert!(fixture.issuer.tenants() <= NEW_PER_ADDRESS.burst as usize, "{}", fixture.issuer.tenants());
    let refused = outcomes.iter().filter(|outcome| **outcome == "token_new_issuers").count();
    assert_eq!(refused, 200 - NEW_PER_ADDRESS.burst as usize);
    let again = fixture.verifier.verify(&fixture.of_tenant("no200"), Some(address(1))).await.unwrap_err();
    assert!(
        matches!(again, TokenError::TooManyIssuers { retry_after, .. } if !retry_after.is_zero()),
        "{again}"
    );
}

#[tokio::test]
async fn new_issuers_of_a_pattern_are_bounded_over_all_addresses() {
    let fixture = Fixture::with(|settings| settings.fetch_timeout = Duration::from_millis(50)).await;
    let tokens: Vec<String> = (0..400).map(|n| fixture.of_tenant(&format!("no{n}"))).collect();
    let asked = tokens.iter().zip(0..).map(|(token, n)| fixture.outcome(token, address(n)));
    let outcomes = futures::future::join_all(asked).await;
    let refused = outcomes.iter().filter(|outcome| **outcome == "token_new_issuers").count();
    assert_eq!(refused, 400 - NEW_PER_PATTERN.burst as usize);
    assert!(fixture.issuer.tenants() <= NEW_PER_PATTERN.burst as usize);
    // One pattern leaves room for another.
    const { assert!(NEW_PER_PATTERN.burst < NEW_OVERALL.burst) };
}

/// The attacker's issuers accept the connection and never answer.
#[tokio::test]
async fn a_cold_issuer_does_not_wait_for_the_garbage_of_another_address() {
    let fixture = patient().await;
    let tokens: Vec<String> = (0..200).map(|n| fixture.of_tenant(&format!("no{n}"))).collect();
    let garbage = futures::future::join_all(tokens.iter().map(|token| fixture.outcome(token, address(1))));
    let genuine = async {
        while fixture.issuer.tenants() == 0 {
            tokio::task::yield_now().await;
        }
        let started = std::time::Instant::now();
        let outcome = fixture.outcome(&fixture.of_tenant("real"), address(2)).await;
        (outcome, started.elapsed())
    };
    tokio::select! {
        (outcome, took) = genuine => {
            assert_eq!(outcome, "accepted");
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        _ = garbage => panic!("the garbage was answered first"),
    }
}

#[tokio::test]
async fn a_proven_issuer_is_never_displaced_by_unproven_ones() {
    let fixture = Fixture::start().await;
    let token = fixture.of_tenant("real");
    assert_eq!(fixture.outcome(&token, address(1)).await, "accepted");
    assert_eq!((fixture.issuer.tenants(), fixture.verifier.sources.counts()), (1, (1, 0)));
    let make = |n: usize| {
        let iss = format!("{}/org/no{n}", fixture.issuer.url);
        let issuer = fixture.verifier.issuers.find(&iss).unwrap().clone();
        let make = |slots| fixture.verifier.new_source(&iss, &issuer, slots, fixture.clock.now());
        fixture.clock.advance(Duration::from_millis(1));
        fixture.verifier.sources.add(&iss, "pattern", Some(address(9)), make).unwrap();
    };
    (0..MAX_UNPROVEN + 100).for_each(make);
    assert_eq!(fixture.verifier.sources.counts(), (1, MAX_UNPROVEN));
    for _ in 0..50 {
        assert_eq!(fixture.outcome(&token, address(1)).await, "accepted", "limits do not concern it");
    }
    assert_eq!(fixture.issuer.tenants(), 1, "its keys are still there");
}

#[tokio::test]
async fn proven_issuers_are_bounded_too() {
    let fixture = Fixture::start().await;
    for n in 0..MAX_PROVEN + 5 {
        let iss = format!("{}/org/real{n}", fixture.issuer.url);
        let issuer = fixture.verifier.issuers.find(&iss).unwrap().clone();
        let make = |slots| fixture.verifier.new_source(&iss, &issuer, slots, fixture.clock.now());
        let source = fixture.verifier.sources.add(&iss, "pattern", None, make).unwrap();
        fixture.verifier.sources.prove(&source);
    }
    assert_eq!(fixture.verifier.sources.counts(), (MAX_PROVEN, 0));
}

/// Anyone can be an issuer of a pattern whose tokens verify.
#[tokio::test]
async fn a_token_that_is_not_permitted_proves_no_issuer_and_makes_no_address_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proven");
    let fixture = Fixture::with(|settings| settings.proven_issuers = Some(path.clone())).await;
    let token = fixture.of_tenant("real");
    for _ in 0..3 {
        let verified = fixture.verifier.verify(&token, Some(address(1))).await.unwrap();
        assert_eq!(verified.permit(|_| Err::<(), _>("refused")).await, Err("refused"));
    }
    assert_eq!(fixture.verifier.sources.counts(), (0, 1));
    assert_eq!(fixture.verifier.sources.standing(Some(address(1))), Standing::Stranger);
    assert!(!path.exists());
    assert_eq!(fixture.outcome(&token, address(1)).await, "accepted");
    assert_eq!(fixture.verifier.sources.counts(), (1, 0));
    assert_eq!(fixture.verifier.sources.standing(Some(address(1))), Standing::Known);
    assert!(path.exists());
}

#[tokio::test]
async fn an_unproven_issuer_that_failed_is_left_alone_for_half_a_minute() {
    let fixture = Fixture::with(|settings| settings.fetch_timeout = Duration::from_millis(50)).await;
    let token = fixture.of_tenant("no");
    for _ in 0..20 {
        assert_eq!(fixture.outcome(&token, address(1)).await, "token_keys_unavailable");
        fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(fixture.issuer.tenants(), 1);
    fixture.clock.advance(Duration::from_secs(11));
    assert_eq!(fixture.outcome(&token, address(1)).await, "token_keys_unavailable");
    assert_eq!(fixture.issuer.tenants(), 2);
}

#[tokio::test]
async fn one_fetch_serves_many_tokens_of_a_new_issuer() {
    let fixture = Fixture::start().await;
    let token = fixture.of_tenant("real");
    let all = futures::future::join_all((0..32).map(|n| fixture.outcome(&token, address(n)))).await;
    assert!(all.iter().all(|outcome| *outcome == "accepted"), "{all:?}");
    assert_eq!(fixture.issuer.tenants(), 1);
}

impl Fixture {
    /// The errors of those of these requests that are answered within a second, while the others wait.
    async fn refused_at_once(&self, requests: &[(String, IpAddr)]) -> Vec<TokenError> {
        let asked: FuturesUnordered<_> =
            requests.iter().map(|(token, from)| self.verifier.verify(token, Some(*from))).collect();
        let mut refused = Vec::new();
        let answers = asked.for_each(|answer| {
            refused.extend(answer.err());
            futures::future::ready(())
        });
        // The rest is dropped, as when the clients hang up.
        let _ = tokio::time::timeout(Duration::from_secs(1), answers).await;
        refused
    }

    /// Another verifier of the same issuers: the CA after a restart.
    fn restarted(self) -> Self {
        let (issuers, settings) = (Arc::clone(&self.verifier.issuers), (*self.verifier.settings).clone());
        let verifier = Arc::new(Verifier::new(issuers, settings, self.clock.clone()).unwrap());
        Self { verifier, ..self }
    }

    /// Names new issuers, each from an address of its own, until no stranger may name another.
    async fn exhaust_pattern(&self) {
        let pattern = format!("{}/org/*", self.issuer.url);
        let named =
            (50_000..).take_while(|n| self.verifier.sources.admit(&pattern, Some(address(*n))).is_ok());
        assert!(named.count() <= 2 * NEW_PER_PATTERN.burst as usize);
        assert_eq!(self.outcome(&self.of_tenant("real-late"), address(60_000)).await, "token_new_issuers");
    }
}

fn is_busy(error: &TokenError) -> bool {
    matches!(error, TokenError::Keys { error: FetchError::Busy, retry_after: Some(_), .. })
}

/// Garbage that names an issuer which does not answer: every waiting request holds a place of the instance.
#[tokio::test]
async fn few_requests_wait_for_an_issuer_that_does_not_answer() {
    let fixture = patient().await;
    fixture.issuer.set_discovery_mode(Mode::Slow);
    let requests: Vec<_> = (0..300).map(|n| (fixture.token(), address(n))).collect();
    let refused = fixture.refused_at_once(&requests).await;
    assert_eq!(refused.len(), 300 - MAX_WAITING);
    assert!(refused.iter().all(is_busy), "{:?}", refused.first());
}

#[tokio::test]
async fn few_requests_wait_for_new_keys_of_an_issuer_that_stopped_answering() {
    let fixture = patient().await;
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    fixture.clock.advance(Duration::from_mins(1));
    fixture.issuer.set_discovery_mode(Mode::Slow);
    let garbage = TestKey::es256("key-1").mint(&fixture.claims());
    let requests: Vec<_> = (0..300).map(|n| (garbage.clone(), address(n))).collect();
    let refused = fixture.refused_at_once(&requests).await;
    assert_eq!(refused.len(), 300 - MAX_WAITING);
    assert!(refused.iter().all(is_busy), "{:?}", refused.first());
}

/// Thirty-two requests for each of thirty issuers would be too many still.
#[tokio::test]
async fn few_requests_wait_for_all_new_issuers_and_known_addresses_have_room() {
    let fixture = patient().await;
    assert_eq!(fixture.outcome(&fixture.of_tenant("real-1"), address(9999)).await, "accepted");
    let requests: Vec<_> =
        (0..600).map(|n| (fixture.of_tenant(&format!("no{}", n % 30)), address(n % 30))).collect();
    let genuine = async {
        while fixture.issuer.tenants() < 4 {
            tokio::task::yield_now().await;
        }
        let first = fixture.outcome(&fixture.of_tenant("real-1"), address(3)).await;
        (first, fixture.outcome(&fixture.of_tenant("real-2"), address(9999)).await)
    };
    let (refused, genuine) = tokio::join!(fixture.refused_at_once(&requests), genuine);
    assert_eq!(genuine, ("accepted", "accepted"));
    assert_eq!(refused.len(), 600 - MAX_WAITING_STRANGERS);
    assert!(refused.iter().all(is_busy), "{:?}", refused.first());
}

#[tokio::test]
async fn part_of_a_patterns_rate_is_for_addresses_that_have_proven_an_issuer() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.outcome(&fixture.of_tenant("real-1"), address(9999)).await, "accepted");
    fixture.exhaust_pattern().await;
    for n in 2..=9 {
        let token = fixture.of_tenant(&format!("real-{n}"));
        assert_eq!(fixture.outcome(&token, address(9999)).await, "accepted", "{n}");
    }
    const { assert!(RESERVED_PER_PATTERN.burst > NEW_PER_ADDRESS.burst) };
}

#[tokio::test]
async fn an_issuer_that_was_proven_before_a_restart_is_not_new_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proven");
    let fixture = Fixture::with(|settings| settings.proven_issuers = Some(file.clone())).await;
    for tenant in ["real-1", "real-2"] {
        assert_eq!(fixture.outcome(&fixture.of_tenant(tenant), address(1)).await, "accepted");
    }
    let fixture = fixture.restarted();
    fixture.exhaust_pattern().await;
    // One of the two is used and one is not: after another restart both are known still.
    assert_eq!(fixture.outcome(&fixture.of_tenant("real-1"), address(2)).await, "accepted");
    let known = fixture.verifier.sources.proven();
    assert_eq!(known.len(), 2, "{known:?}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("/org/real-2\n"));
    let fixture = fixture.restarted();
    fixture.exhaust_pattern().await;
    assert_eq!(fixture.outcome(&fixture.of_tenant("real-2"), address(2)).await, "accepted");
}

/// The file is input like any other. Whatever is in its place, the CA starts, and contacts nobody that no pattern
/// matches.
#[tokio::test]
async fn a_hostile_file_of_proven_issuers_is_tolerated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proven");
    let fixture = Fixture::with(|settings| settings.proven_issuers = Some(file.clone())).await;
    let url = fixture.issuer.url.clone();
    let many: Vec<String> = (0..5000).map(|n| format!("{url}/org/real{n}\n")).collect();
    let long = format!("{url}/org/{}\n", "a".repeat(1 << 20)).repeat(4);
    let mixed = format!(
        "# heading\n\n{url}/org/real-1\r\n{url}/org/real-1\n\0\u{feff}\nhttps://evil.example/org/x\n{url}\n\
         {url}/org/../x\n{url}/org/a?b\n{url}/org/real-1 x\nfile:///etc/passwd\n"
    );
    let mut fixture = fixture;
    for (content, read) in [
        (Vec::new(), 0),
        (b"\xff\xfe\0\n\r\n".to_vec(), 0),
        (mixed.into_bytes(), 1),
        (many.concat().into_bytes(), MAX_PROVEN),
        (long.into_bytes(), 0),
    ] {
        std::fs::write(&file, &content).unwrap();
        fixture = fixture.restarted();
        assert_eq!(fixture.verifier.sources.proven().len(), read);
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    fixture = fixture.restarted();
    assert_eq!(fixture.outcome(&fixture.of_tenant("real-1"), address(1)).await, "accepted", "unwritable");
    std::fs::remove_dir(&file).unwrap();
    make_fifo(&file);
    fixture = fixture.restarted();
    assert_eq!(fixture.verifier.sources.proven(), Vec::<String>::new());
    assert_eq!(fixture.outcome(&fixture.of_tenant("real-1"), address(1)).await, "accepted", "replaced");
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("/org/real-1\n"));
}

/// Nothing ever writes to it, so opening it would wait for ever.
fn make_fifo(path: &std::path::Path) {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn only_an_issuer_that_ought_to_answer_makes_the_bearer_come_again() {
    let fixture = Fixture::with(|settings| settings.fetch_timeout = Duration::from_millis(50)).await;
    let unknown = fixture.verifier.verify(&fixture.of_tenant("no"), Some(address(1))).await.unwrap_err();
    assert!(matches!(unknown, TokenError::Keys { retry_after: None, .. }), "{unknown}");
    fixture.issuer.set_discovery_mode(Mode::Fail);
    let configured = fixture.verifier.verify(&fixture.token(), Some(address(1))).await.unwrap_err();
    assert!(matches!(configured, TokenError::Keys { retry_after: Some(_), .. }), "{configured}");
}
