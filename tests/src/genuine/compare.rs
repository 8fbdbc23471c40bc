//! One request, two answers: what may differ stands in a table, and everything in the table must occur.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::dice;
use super::wire::{Answer, Request, send};

/// More are of the same kinds, and a report is for reading.
const SHOWN: usize = 25;

/// A request, and what it tries.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it tries, as words that the table of differences names.
    pub what: String,
    /// The request.
    pub request: Request,
}

/// A genuine server and ours, each as host and port.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Of the genuine one.
    pub genuine: String,
    /// Of ours.
    pub ours: String,
    /// Words in paths and bodies that stand for something else on each side: the genuine one's, and ours.
    pub words: Vec<(&'static str, String, String)>,
}

impl Pair {
    /// Two servers, and no words.
    pub fn new(genuine: &str, ours: String) -> Self {
        Self { genuine: genuine.to_owned(), ours, words: Vec::new() }
    }

    /// Sends a request to both.
    pub async fn ask(&self, request: &Request) -> Result<(Answer, Answer)> {
        let (mut theirs, mut own) = (request.clone(), request.clone());
        for (word, genuine, ours) in &self.words {
            (theirs, own) = (theirs.with(word, genuine), own.with(word, ours));
        }
        let genuine = send(&self.genuine, &theirs).await?;
        let ours = send(&self.ours, &own).await?;
        Ok((genuine, ours))
    }
}

/// A deliberate difference.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// Words that a case must all have, each as one of its words; `a|b` is either.
    pub cases: &'static [&'static str],
    /// What the genuine server answers: the start of a finding's value.
    pub genuine: &'static str,
    /// What ours answers.
    pub ours: &'static str,
    /// Why it stays so.
    pub reason: &'static str,
}

impl Difference {
    fn explains(&self, case: &Case, genuine: &str, ours: &str) -> bool {
        let words: BTreeSet<&str> = case.what.split_whitespace().collect();
        self.cases.iter().all(|either| either.split('|').any(|word| words.contains(word)))
            && genuine.starts_with(self.genuine)
            && ours.starts_with(self.ours)
    }
}

/// Sends every case to both and compares the answers: status, and if it is the same, media type and what `show` makes of
/// the body. Fails with what no row explains, and with rows of `deliberate` that explain nothing.
pub async fn compare(
    pair: &Pair,
    cases: &[Case],
    deliberate: &[Difference],
    show: impl Fn(&Case, &Answer) -> Result<String>,
) -> Result<()> {
    let mut unexplained = Vec::new();
    let mut used = BTreeSet::new();
    for case in cases {
        let (genuine, ours) = pair.ask(&case.request).await?;
        for (theirs, own) in differences(case, &genuine, &ours, &show)? {
            if let Some(row) = deliberate.iter().position(|row| row.explains(case, &theirs, &own)) {
                used.insert(row);
            } else {
                let long = unexplained.len() < SHOWN;
                unexplained.push(if long {
                    report(case, &theirs, &own, &genuine, &ours)
                } else {
                    line(case, &theirs, &own)
                });
            }
        }
    }
    let unused: Vec<_> =
        (0..deliberate.len()).filter(|row| !used.contains(row)).map(|row| deliberate[row]).collect();
    ensure!(
        unexplained.is_empty() && unused.is_empty(),
        "CHANCERY_SEED={} of {} cases {} differ without a reason:\n\n{}\n\nrows that explain nothing: {unused:#?}",
        dice::seed(),
        cases.len(),
        unexplained.len(),
        unexplained.join("\n")
    );
    Ok(())
}

fn report(case: &Case, theirs: &str, own: &str, genuine: &Answer, ours: &Answer) -> String {
    format!(
        "{}\n  genuine: {theirs}\n  ours:    {own}\n  genuine said: {}\n  we said:      {}\n  asked: {}\n",
        case.what,
        said(genuine),
        said(ours),
        case.request.shown()
    )
}

fn line(case: &Case, theirs: &str, own: &str) -> String {
    format!("{}   genuine: {theirs:.80}   ours: {own:.80}", case.what)
}

/// What differs, each as the two sides have it.
fn differences(
    case: &Case,
    genuine: &Answer,
    ours: &Answer,
    show: &impl Fn(&Case, &Answer) -> Result<String>,
) -> Result<Vec<(String, String)>> {
    if genuine.status != ours.status {
        return Ok(vec![(genuine.status.to_string(), ours.status.to_string())]);
    }
    let aspects = [
        (format!("type {}", genuine.media_type), format!("type {}", ours.media_type)),
        (format!("body {}", show(case, genuine)?), format!("body {}", show(case, ours)?)),
    ];
    Ok(aspects.into_iter().filter(|(theirs, own)| theirs != own).collect())
}

fn said(answer: &Answer) -> String {
    let text = String::from_utf8(answer.body.clone()).unwrap_or_else(|_| hex::encode(&answer.body));
    format!("{} {} {}", answer.status, answer.media_type, text.chars().take(400).collect::<String>())
}

/// A refusal as JSON: its members and every value but the message, which is in each server's own words.
pub fn refusal(body: &[u8]) -> String {
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    if let Some(message) =
        value.get_mut("message").filter(|message| message.as_str().is_some_and(|m| !m.is_empty()))
    {
        *message = "(words)".into();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(what: &str) -> Case {
        Case { what: what.to_owned(), request: Request::get("/") }
    }

    fn answer(status: u16, media_type: &str, body: &str) -> Answer {
        Answer { status, media_type: media_type.to_owned(), body: body.as_bytes().to_vec() }
    }

    #[test]
    fn a_row_explains_its_cases_and_its_answers_alone() {
        let row = Difference { cases: &["a", "b=1"], genuine: "404", ours: "200", reason: "" };
        assert!(row.explains(&case("x b=1 a"), "404", "200"));
        assert!(!row.explains(&case("x b=11 a"), "404", "200"));
        assert!(!row.explains(&case("b=1"), "404", "200"));
        assert!(!row.explains(&case("a b=1"), "400", "200"));
        assert!(!row.explains(&case("a b=1"), "404", "500"));
        let either = Difference { cases: &["a", "b=1|b=2"], ..row };
        assert!(
            either.explains(&case("a b=2"), "404", "200") && !either.explains(&case("a b=3"), "404", "200")
        );
    }

    #[test]
    fn another_status_says_it_all_and_the_rest_is_compared_apart() {
        let show = |_: &Case, answer: &Answer| Ok(String::from_utf8(answer.body.clone())?);
        let found = |a: &Answer, b: &Answer| differences(&case("x"), a, b, &show).unwrap();
        let pair = |theirs: &str, own: &str| (theirs.to_owned(), own.to_owned());
        let known = answer(200, "a/b", "x");
        assert_eq!(found(&known, &known.clone()), []);
        assert_eq!(found(&known, &answer(201, "c/d", "y")), [pair("200", "201")]);
        assert_eq!(
            found(&known, &answer(200, "c/d", "y")),
            [pair("type a/b", "type c/d"), pair("body x", "body y")]
        );
    }

    #[test]
    fn the_words_of_a_refusal_are_free_and_nothing_else_is() {
        assert_eq!(refusal(br#"{"code":5,"message":"a"}"#), refusal(br#"{"code":5,"message":"b"}"#));
        assert_ne!(refusal(br#"{"code":5,"message":"a"}"#), refusal(br#"{"code":5,"message":""}"#));
        assert_ne!(refusal(br#"{"code":5,"message":"a"}"#), refusal(br#"{"code":3,"message":"a"}"#));
        assert_ne!(refusal(b"not found"), refusal(b"no"));
    }
}
