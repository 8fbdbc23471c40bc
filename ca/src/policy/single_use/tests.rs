use serde_json::json;

use super::*;

const START: u64 = 1_790_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(START + seconds)
}

fn of(iss: &str, sub: &str, jti: &str, issued: u64, expires: u64) -> TokenUse {
    let claims = json!({"jti": jti, "iat": START + issued, "exp": START + expires});
    TokenUse::of(iss, sub, claims.as_object().unwrap()).unwrap()
}

fn token(jti: &str, issued: u64, expires: u64) -> TokenUse {
    of("https://issuer.example", jti, jti, issued, expires)
}

fn memory(capacity: usize) -> Arc<SpentTokens> {
    Arc::new(SpentTokens { capacity, ..SpentTokens::new(false, at(0)) })
}

impl SpentTokens {
    /// The number of tokens that are recorded until the first is refused.
    fn fill(self: &Arc<Self>, iss: &str, sub: impl Fn(usize) -> String) -> usize {
        let spend = |n: &usize| {
            let token = of(iss, &sub(*n), &format!("{iss} {} {n}", sub(*n)), 1, 300);
            self.reserve(&token, at(1)).map(Reservation::keep) == Ok(())
        };
        (0..1000).take_while(spend).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_spent_once_and_given_back_if_no_certificate_came_about() {
    let memory = memory(10);
    let used = token("a", 1, 300);
    let first = memory.reserve(&used, at(2)).unwrap();
    assert_eq!(memory.reserve(&used, at(2)).unwrap_err(), SpendError::Used, "while it is in use");
    drop(first);
    memory.reserve(&used, at(3)).unwrap().keep();
    for later in [3, 299, 301, 599] {
        assert_eq!(memory.reserve(&used, at(later)).unwrap_err(), SpendError::Used, "{later}");
    }
    memory.reserve(&token("b", 1, 300), at(3)).unwrap().keep();
}

#[tokio::test(start_paused = true)]
async fn a_full_memory_refuses_and_empties_by_expiry_only() {
    let memory = memory(3);
    for (jti, expires) in [("a", 300), ("b", 400), ("c", 500)] {
        memory.reserve(&token(jti, 1, expires), at(1)).unwrap().keep();
    }
    let more = token("d", 1, 900);
    tokio::time::advance(Duration::from_secs(598)).await;
    assert_eq!(memory.reserve(&more, at(599)).unwrap_err(), SpendError::Full);
    assert_eq!(memory.reserve(&token("a", 1, 300), at(599)).unwrap_err(), SpendError::Used);
    tokio::time::advance(Duration::from_secs(1)).await;
    memory.reserve(&more, at(600)).unwrap().keep();
    let records = memory.records.lock().unwrap();
    assert_eq!((records.by_id.len(), records.by_expiry.len(), records.held.len()), (3, 3, 4));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_and_back_makes_no_token_good_again() {
    let memory = memory(3);
    let used = token("a", 1, 300);
    memory.reserve(&used, at(2)).unwrap().keep();
    memory.reserve(&token("b", 86_000, 86_300), at(86_400)).unwrap().keep();
    assert_eq!(memory.reserve(&used, at(3)).unwrap_err(), SpendError::Used, "ahead and back");
    tokio::time::advance(Duration::from_hours(2)).await;
    assert_eq!(memory.reserve(&used, at(3)).unwrap_err(), SpendError::Used, "set back");
}

#[test]
fn a_token_that_was_not_issued_after_the_start_is_refused() {
    let memory = memory(3);
    let claims = json!({"jti": "a", "iat": START - 1, "exp": START + 300});
    let before = TokenUse::of("https://issuer.example", "a", claims.as_object().unwrap()).unwrap();
    assert_eq!(memory.reserve(&before, at(1)).unwrap_err(), SpendError::BeforeStart);
    let same_second = memory.reserve(&token("a", 0, 300), at(1)).unwrap_err();
    assert_eq!(same_second, SpendError::BeforeStart, "the process before may have taken it in that second");
    memory.reserve(&token("a", 1, 300), at(1)).unwrap().keep();
}

#[test]
fn a_memory_that_starts_later_refuses_what_may_have_been_used_unrecorded() {
    let memory = memory(3);
    memory.start(at(10));
    assert_eq!(memory.reserve(&token("a", 10, 300), at(11)).unwrap_err(), SpendError::BeforeStart);
    memory.reserve(&token("b", 11, 300), at(11)).unwrap().keep();
}

#[test]
fn nobody_records_more_tokens_than_there_is_room_left() {
    let memory = memory(120);
    let greedy = memory.fill("https://issuer.example", |_| "greedy".to_owned());
    assert_eq!(greedy, 60);
    assert_eq!(memory.fill("https://issuer.example", |_| "other".to_owned()), 30);
    memory.reserve(&token("third", 1, 300), at(1)).unwrap().keep();
}

#[test]
fn an_issuer_of_a_pattern_leaves_room_to_others_whatever_subjects_it_invents() {
    let shared = Arc::new(SpentTokens { capacity: 120, ..SpentTokens::new(true, at(0)) });
    assert_eq!(shared.fill("https://greedy.example", |n| n.to_string()), 60);
    assert_eq!(shared.fill("https://other.example", |n| n.to_string()), 30);
}

#[test]
fn a_token_lives_an_hour_at_most_and_does_not_come_from_the_future() {
    let of = |issued: u64, expires: f64| {
        let claims = json!({"jti": "a", "iat": START + issued, "exp": expires});
        TokenUse::of("https://issuer.example", "a", claims.as_object().unwrap())
    };
    #[expect(clippy::cast_precision_loss, reason = "a date")]
    let hour = (START + 3601) as f64;
    of(1, hour).unwrap();
    assert_eq!(of(0, hour).unwrap_err(), PolicyRefusal::LivesTooLong);
    assert_eq!(of(0, 1e300).unwrap_err(), PolicyRefusal::LivesTooLong);
    let memory = memory(3);
    assert_eq!(memory.reserve(&token("a", 302, 303), at(1)).unwrap_err(), SpendError::NotYetIssued);
    memory.reserve(&token("a", 301, 303), at(1)).unwrap().keep();
}

#[test]
fn a_token_needs_an_id_and_times_and_ids_belong_to_their_issuer() {
    let whole = json!({"jti": "a", "iat": START, "exp": 1_790_000_300.5});
    let whole = whole.as_object().unwrap();
    for claim in ["jti", "iat", "exp"] {
        let mut lacking = whole.clone();
        lacking.remove(claim);
        assert_eq!(TokenUse::of("i", "s", &lacking).unwrap_err(), PolicyRefusal::NotSingleUse(claim));
    }
    for odd in [json!(""), json!(7), json!(null), json!(["a"])] {
        let mut odd_id = whole.clone();
        odd_id.insert("jti".to_owned(), odd);
        assert_eq!(TokenUse::of("i", "s", &odd_id).unwrap_err(), PolicyRefusal::NotSingleUse("jti"));
    }
    assert_ne!(TokenUse::of("i", "s", whole).unwrap().id, TokenUse::of("j", "s", whole).unwrap().id);
}
