//! `chancery-server explain-token`: a dry run of issuance, in words, for whoever writes rules or wonders at a
//! refusal.
//!
//! Reads the configuration and the issuers, not the keys, so that it works beside a running server and
//! without the passphrase. The token itself is never printed; its claims are, with nothing in them that a
//! terminal obeys.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::IssuerConfig;
use chancery_ca::explain::{Explainer, Explanation, Outcome, Policy, Verdict};
use chancery_ca::oidc::{self, MAX_TOKEN, TokenError};
use chancery_ca::policy::{RuleTrace, TraceLine};
use chancery_tlog::clock::SystemClock;
use chancery_tlog::fulcio;
use clap::Args;

use crate::config::Config;
use crate::{output, roles};

/// The token would be refused.
const REFUSED: u8 = 1;
/// Nothing is known.
const UNKNOWN: u8 = 2;

/// A token to be explained.
#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// Folder of the instance
    dir: PathBuf,
    /// File with the token alone; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Contact nobody: the signature is not checked, everything else is
    #[arg(long)]
    no_fetch: bool,
}

/// Explains the token on standard output.
pub(crate) async fn explain(arguments: &ExplainArguments) -> ExitCode {
    match explained(arguments).await {
        Ok((text, code)) => match output::print(&text) {
            Ok(()) => ExitCode::from(code),
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    output::say(&format!("error: {}\n", output::in_full(error)));
    ExitCode::from(UNKNOWN)
}

async fn explained(arguments: &ExplainArguments) -> anyhow::Result<(String, u8)> {
    let config = Config::load(&arguments.dir)?;
    let Some(ca) = &config.ca else { bail!("this instance has no `[ca]`, so it takes no tokens") };
    let text = std::fs::read_to_string(&ca.issuers)
        .with_context(|| format!("cannot read {}", ca.issuers.display()))?;
    let issuers = IssuerConfig::parse(&text).with_context(|| ca.issuers.display().to_string())?;
    let settings = oidc::Settings { development: ca.development, ..oidc::Settings::default() };
    let explainer = Explainer::new(issuers, ca.policy.clone(), settings, Arc::new(SystemClock));
    let explainer = explainer.map_err(roles::in_words)?;
    let token = read_token(&arguments.file)?;
    Ok(match explainer.explain(token.trim(), !arguments.no_fetch).await {
        Ok(explanation) => {
            let code = match explanation.verdict {
                Verdict::Permitted | Verdict::PermittedIfSigned => 0,
                Verdict::Refused => REFUSED,
                Verdict::Unknown => UNKNOWN,
            };
            (render(&explanation), code)
        }
        Err(error) => (unreadable(&error), REFUSED),
    })
}

/// The text of a file, or of standard input. A little more than a token may have is read, so that one that is
/// too long is seen to be.
fn read_token(file: &Path) -> anyhow::Result<String> {
    let limit = MAX_TOKEN as u64 + 1024;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        opened
            .take(limit)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(text)
}

fn unreadable(error: &TokenError) -> String {
    let hint = match error {
        TokenError::UnknownIssuer(_) => {
            "\n             its issuers are listed by `chancery-server check-config DIR`"
        }
        TokenError::Absent | TokenError::Malformed(_) | TokenError::TooLong => {
            "\n             the file must hold the token alone: three parts of base64url with dots between them"
        }
        _ => "",
    };
    format!("verdict      refused: {error}{hint}\n")
}

fn render(explanation: &Explanation) -> String {
    let mut text = Text::default();
    let (location, kind) = &explanation.issuer;
    text.field("token", &format!("of {}", explanation.iss));
    text.field("", &format!("subject {}", explanation.sub));
    text.field("issuer", &format!("{location} as {kind}"));
    for (name, outcome) in &explanation.checks {
        text.field(name, &in_words(outcome));
    }
    if explanation.single_use {
        text.field(
            "single use",
            "each token gets one certificate; whether this one was used is not known here",
        );
    }
    match &explanation.policy {
        Policy::None => text.field("rules", "none: all tokens of this issuer are permitted"),
        Policy::AnyTenant => {
            text.field("rules", "none: `any_tenant = true` permits all tokens of this issuer");
        }
        Policy::Rules(rules) => rules.iter().for_each(|rule| text.rule(rule)),
    }
    match &explanation.principal {
        Err(error) => text.field("certificate", &format!("none: {error}")),
        Ok((subject, extensions)) => {
            text.field("certificate", subject);
            for (number, value) in extensions {
                let name = fulcio::definition(*number).map_or("", |definition| definition.name);
                text.field("", &format!("1.{number:<3} {name}: {value}"));
            }
        }
    }
    text.field("verdict", &verdict(explanation));
    text.0
}

fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Good => "ok".to_owned(),
        Outcome::Bad(why) => format!("REFUSED: {why}"),
        Outcome::Unchecked(why) => why.clone(),
    }
}

fn verdict(explanation: &Explanation) -> String {
    let by = match &explanation.decision {
        Ok(Some(rule)) => format!(" by rule {rule}"),
        _ => String::new(),
    };
    let check = explanation.checks.iter().find_map(|(_, outcome)| match outcome {
        Outcome::Bad(why) => Some(why.clone()),
        _ => None,
    });
    let claims = || explanation.decision.as_ref().err().map(ToString::to_string);
    let name = || explanation.principal.as_ref().err().map(ToString::to_string);
    match explanation.verdict {
        Verdict::Permitted => format!("permitted{by}"),
        Verdict::PermittedIfSigned => format!("permitted{by}, if the signature is the issuer's"),
        Verdict::Refused => {
            let why = check.or_else(claims).or_else(name).unwrap_or_default();
            format!("refused: {why}")
        }
        Verdict::Unknown => {
            "unknown: the signature could not be checked; --no-fetch leaves it out".to_owned()
        }
    }
}

/// Lines with a name on the left.
#[derive(Default)]
struct Text(String);

impl Text {
    fn field(&mut self, name: &str, value: &str) {
        self.0.push_str(format!("{name:<12} {value}").trim_end());
        self.0.push('\n');
    }

    fn rule(&mut self, rule: &RuleTrace) {
        let answer = if rule.holds { "permits the token" } else { "does not permit the token" };
        let level = rule.max_build_level.map(|level| format!(", at most SLSA build level {level}"));
        self.field("rule", &format!("{}: {answer}{}", rule.name, level.unwrap_or_default()));
        rule.lines.iter().for_each(|line| self.condition(line));
    }

    fn condition(&mut self, line: &TraceLine) {
        let mark = if line.holds { "yes" } else { "no " };
        let found = match &line.found {
            Some(found) if !line.holds => format!("; it is {found}"),
            Some(found) if line.text.contains(" or ") || line.text.contains(" like ") => format!(": {found}"),
            _ => String::new(),
        };
        self.field("", &format!("{mark} {:indent$}{}{found}", "", line.text, indent = 2 * line.depth));
    }
}
