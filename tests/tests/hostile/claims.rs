//! Tokens that are valid and not meant: claim policies at the border of the real server.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::program::{self, Outcome};
use chancery_tests::{Instance, Rekor, Server};
use chancery_tlog::certificate::SubjectName;
use serde_json::{Value, json};

/// Fulcio's answer to any token that it does not take.
const SENTENCE: &str = "There was an error processing the identity token";

const RULES: &str = r#"
[[ca.policy.rule]]
name = "acme-protected"
max_build_level = 3
[ca.policy.rule.claims]
repository_owner_id = "65001"
repository_visibility = ["private", "internal"]
ref_protected = "true"
ref = { glob = "refs/heads/*" }
runner_environment = "github-hosted"

[[ca.policy.rule]]
name = "acme-deployments"
claims = { repository_owner_id = "65001" }
any = [
    { claims = { environment = "production", run_number = 7 } },
    { claims = { "kubernetes.io".namespace = "builds" } },
    { claims = { groups = { contains = "release" }, trusted = true } },
]
"#;

/// Claims that the first rule permits.
fn permitted() -> Value {
    json!({
        "repository_owner": "acme", "repository_owner_id": "65001", "repository_visibility": "private",
        "ref": "refs/heads/main", "ref_protected": "true", "runner_environment": "github-hosted",
        "environment": null,
    })
}

fn with(changes: &Value) -> Value {
    let mut claims = permitted();
    for (name, value) in changes.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

/// A stopped instance with a policy for its issuer.
async fn ruled(more: &str) -> Result<Instance> {
    let instance = Instance::stopped().await?;
    add_policy(&instance, more)?;
    Ok(instance)
}

fn add_policy(instance: &Instance, more: &str) -> Result<()> {
    let policy = format!("[[ca.policy]]\nissuer = \"{}\"\n{more}\n", instance.issuer.url());
    let place = "# The issuance log: every";
    instance.server.configure(&[(place, &format!("{policy}{place}"))])
}

fn client(instance: &Instance) -> Result<CaClient> {
    CaClient::new(instance.server.url(), &instance.server.trust("ct.pub"))
}

fn explain(instance: &Instance, token: &Path, more: &[&str]) -> Result<Outcome> {
    let mut command = Server::command(&["explain-token"])?;
    program::run(command.arg(instance.server.folder()).arg(token).args(more))
}

/// Demands an exit code and words.
fn expect(outcome: Outcome, code: i32, words: &[&str]) -> Result<Outcome> {
    if code > 0 {
        return outcome.refused(code, words);
    }
    let outcome = outcome.success()?;
    let said = outcome.said();
    ensure!(words.iter().all(|word| said.contains(word)), "one of {words:?} is missing:\n{said}");
    Ok(outcome)
}

#[tokio::test]
async fn only_tokens_that_a_rule_permits_get_certificates() -> Result<()> {
    let mut instance = ruled(RULES).await?;
    instance.server.start().await?;
    let ca = client(&instance)?;
    for (changes, rule) in [
        (json!({}), "acme-protected"),
        (json!({"repository_visibility": "internal", "ref": "refs/heads/x"}), "acme-protected"),
        (json!({"ref_protected": "false", "environment": "production", "run_number": 7}), "acme-deployments"),
        (json!({"ref_protected": "false", "kubernetes.io": {"namespace": "builds"}}), "acme-deployments"),
        (json!({"ref_protected": "false", "groups": ["x", "release"], "trusted": true}), "acme-deployments"),
    ] {
        let token = instance.issuer.token_with(with(&changes)).await?;
        let said = instance.server.output().await?.len();
        let issued = ca.issue(&token).await?.with_context(|| format!("{changes} is permitted"))?;
        let [SubjectName::Uri(name)] = issued.certificate.subject_names() else { anyhow::bail!("one name") };
        ensure!(*name == token.identity(), "{name}");
        let log = instance.server.output().await?.split_off(said);
        ensure!(log.contains(&format!("rule=\"{rule}\"")), "{changes}: the audit line lacks {rule}:\n{log}");
        ensure!(log.contains("max_build_level=3") == (rule == "acme-protected"), "{changes}:\n{log}");
    }
    for (changes, claim, found) in [
        // Another account, by number, with the same name; and a number where GitHub has text.
        (json!({"repository_owner_id": "65002"}), "repository_owner_id", "\"65002\""),
        (json!({"repository_owner_id": 65001}), "repository_owner_id", "65001"),
        (json!({"repository_owner_id": null}), "repository_owner_id", "absent"),
        (json!({"repository_owner_id": ["65001"]}), "repository_owner_id", "[\"65001\"]"),
        (json!({"repository_owner_id": "65001 "}), "repository_owner_id", "\"65001 \""),
        (json!({"repository_owner_id": "65001\u{0}"}), "repository_owner_id", "\"65001\\u0000\""),
        (json!({"repository_visibility": "public"}), "repository_visibility", "\"public\""),
        (json!({"ref_protected": true}), "ref_protected", "true"),
        (json!({"ref_protected": "True"}), "ref_protected", "\"True\""),
        (json!({"ref": "refs/heads/a/b"}), "ref", "\"refs/heads/a/b\""),
        (json!({"ref": "x/refs/heads/main"}), "ref", "\"x/refs/heads/main\""),
        (json!({"runner_environment": "self-hosted"}), "runner_environment", "\"self-hosted\""),
        (
            json!({"ref": "refs/tags/\u{202e}\nINFO forged=1"}),
            "ref",
            "\"refs/tags/\u{fffd}\\nINFO forged=1\"",
        ),
    ] {
        let token = instance.issuer.token_with(with(&changes)).await?;
        let said = instance.server.output().await?.len();
        let (status, body) = ca.request(&token).await?;
        ensure!(status == 400 && body.contains(SENTENCE), "{changes} is answered {status}: {body}");
        ensure!(!body.contains(claim), "the answer says too much: {body}");
        let log = instance.server.output().await?.split_off(said);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("certificate refused")).collect();
        let [line] = lines.as_slice() else { anyhow::bail!("{changes}: one audit line expected:\n{log}") };
        ensure!(line.contains("reason=\"claim_policy\""), "{line}");
        ensure!(line.contains(&format!("claim=\"{claim}\"")), "{changes}: {line}");
        ensure!(line.contains(&format!("found={found:?}")), "{changes}: no {found:?} in {line}");
    }
    for changes in [
        json!({"ref_protected": "false", "environment": "production", "run_number": "7"}),
        json!({"ref_protected": "false", "kubernetes.io": {"namespace": ["builds"]}}),
        json!({"ref_protected": "false", "kubernetes": {"io": {"namespace": "builds"}}}),
        json!({"ref_protected": "false", "groups": "release", "trusted": true}),
        json!({"ref_protected": "false", "groups": ["release"], "trusted": "true"}),
        json!({"ref_protected": "false", "environment": "production"}),
    ] {
        let token = instance.issuer.token_with(with(&changes)).await?;
        let (status, body) = ca.request(&token).await?;
        ensure!(status == 400 && body.contains(SENTENCE), "{changes} is answered {status}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_for_single_use_gets_one_certificate() -> Result<()> {
    let mut instance = ruled("single_use = true\n").await?;
    let before = instance.issuer.token_with(json!({"jti": "before"})).await?;
    instance.server.start().await?;
    let ca = client(&instance)?;
    // Times of tokens are whole seconds, and one of the second of the start may have been used before it.
    let later = before.number("iat") + 60;
    let token = instance.issuer.token_with(json!({"jti": "one", "iat": later})).await?;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (ca, token) = (ca.clone(), token.clone());
        attempts.spawn(async move { ca.request(&token).await });
    }
    let answers: Vec<(u16, String)> = attempts.join_all().await.into_iter().collect::<Result<_>>()?;
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    ensure!(statuses.iter().filter(|status| **status == 200).count() == 1, "{statuses:?}");
    ensure!(statuses.iter().all(|status| matches!(status, 200 | 400)), "{statuses:?}");

    // A proof that fails does not spend a token: it may be a mistake, or another's attempt.
    let unspent = instance.issuer.token_with(json!({"jti": "two", "iat": later})).await?;
    let bad = json!({
        "credentials": { "oidcIdentityToken": unspent.as_str() },
        "publicKeyRequest": { "publicKey": { "content": "no key" }, "proofOfPossession": "AAAA" },
    });
    let sign = format!("{}/api/v2/signingCert", instance.server.url());
    let refused = chancery_tests::http()?.post(sign).json(&bad).send().await?;
    ensure!(refused.status() == 400, "{}", refused.status());
    ca.issue(&unspent).await?.context("the token is unspent")?;

    for (token, why) in [
        (before, "not issued after this server began"),
        (instance.issuer.token_with(json!({"jti": "far", "iat": later + 900})).await?, "lies in the future"),
        (
            instance.issuer.token_with(json!({"jti": "long", "iat": later, "exp": later + 3601})).await?,
            "lives longer than 60 minutes",
        ),
        (instance.issuer.token_with(json!({"jti": null})).await?, "no usable claim `jti`"),
        (token, "has been used"),
    ] {
        let (status, body) = ca.request(&token).await?;
        ensure!(status == 400 && body.contains(SENTENCE), "{why}: {status} {body}");
        let said = instance.server.output().await?;
        ensure!(said.contains(why), "{why}:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_what_issuance_says_and_never_prints_the_token() -> Result<()> {
    let instance = ruled(RULES).await?;
    let now = i64::try_from(instance.issuer.token().await?.number("iat"))?;
    for (changes, code, words) in [
        (json!({}), 0, &["permitted by rule acme-protected", "Runner Environment: github-hosted"][..]),
        (
            json!({"repository_owner_id": "65002"}),
            1,
            &[
                "no  ",
                "repository_owner_id is \"65001\"; it is \"65002\"",
                "verdict      refused: no rule permits",
            ],
        ),
        (
            json!({"exp": now - 60}),
            1,
            &["times        REFUSED: the token has expired", "acme-protected: permits"],
        ),
        (json!({"aud": "other"}), 1, &["audience     REFUSED: the token is not for the audience"]),
        (json!({"job_workflow_ref": null}), 1, &["certificate  none: ", "job_workflow_ref"]),
    ] {
        let token = instance.issuer.token_with(with(&changes)).await?;
        let file = instance.file("token", format!("{}\n", token.as_str()))?;
        for more in [&[][..], &["--no-fetch"]] {
            let outcome = expect(explain(&instance, &file, more)?, code, words)?;
            let said = outcome.said();
            let unchecked = said.contains("signature    not checked");
            ensure!(unchecked != more.is_empty(), "{changes}: {said}");
            let parts: Vec<&str> = token.as_str().split('.').collect();
            ensure!(parts.iter().all(|part| !said.contains(part)), "the token is in the output: {said}");
        }
    }
    let token = instance.issuer.token_with(permitted()).await?;
    let mut forged = token.as_str().to_owned();
    forged.truncate(forged.len() - 8);
    let file = instance.file("token", forged + "AAAAAAAA")?;
    explain(&instance, &file, &[])?.refused(1, &["signature    REFUSED", "verdict      refused"])?;
    expect(explain(&instance, &file, &["--no-fetch"])?, 0, &["if the signature is the issuer's"])?;
    for (text, words) in [("", "no token"), ("not.a.token", "malformed"), ("x", "malformed")] {
        let file = instance.file("token", text)?;
        explain(&instance, &file, &[])?.refused(1, &["verdict      refused", words])?;
    }
    let foreign = instance.issuer.token_with(json!({"iss": "https://\u{1b}[31mevil.example"})).await?;
    let file = instance.file("token", foreign.as_str())?;
    let outcome = explain(&instance, &file, &[])?.refused(1, &["is not configured"])?;
    ensure!(!outcome.said().contains('\u{1b}'), "{}", outcome.said());
    explain(&instance, &instance.scratch().join("missing"), &[])?.refused(2, &["missing"])?;
    let file = instance.file("token", "a".repeat(1 << 20))?;
    explain(&instance, &file, &[])?.refused(1, &["longer than"])?;
    Ok(())
}

#[tokio::test]
async fn an_unreachable_issuer_leaves_the_dry_run_without_an_answer() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let port = program::free_port()?;
    let gone = format!("http://127.0.0.1:{port}");
    let server = Server::init(scratch.path(), "s", &chancery_tests::issuers_yaml(&[&gone]), Rekor::Both)?;
    let instance = Instance::stopped().await?;
    let token = instance.issuer.token_with(json!({ "iss": gone })).await?;
    let file = instance.file("token", token.as_str())?;
    let mut command = Server::command(&["explain-token"])?;
    let outcome = program::run(command.arg(server.folder()).arg(&file))?;
    outcome.refused(2, &["verdict      unknown", "cannot be fetched"])?;
    Ok(())
}

#[tokio::test]
async fn an_instance_that_would_certify_anyone_does_not_start() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let github = "https://token.actions.githubusercontent.com";
    let folder = scratch.path().join("instance");
    let url = format!("http://127.0.0.1:{}", program::free_port()?);
    let init = |more: &[&str]| -> Result<Outcome> {
        program::run(Server::command(&["init"])?.arg(&folder).args(["--url", &url]).args(more))
    };
    init(&[])?.failure(&["GitHub Actions", "--github-owner", "--any-tenant"])?;
    ensure!(!folder.exists(), "nothing is made");
    init(&["--github-owner", "acme/65001"])?.success()?;
    let file = folder.join("chancery.toml");
    let text = std::fs::read_to_string(&file)?;
    ensure!(text.contains("repository_owner_id = \"65001\""), "{text}");
    let (start, end) = (
        text.find("\n[[ca.policy]]").context("rules")?,
        text.find("# The issuance log: every").context("log")?,
    );
    std::fs::write(&file, [&text[..start], "\n", &text[end..]].concat())?;
    for subcommand in ["check-config", "run"] {
        program::run(Server::command(&[subcommand])?.arg(&folder))?.failure(&[
            "anyone with an account at GitHub Actions",
            &format!("issuer = \"{github}\""),
            "[[ca.policy.rule]]",
            "any_tenant = true",
        ])?;
    }
    // Old copies can still be looked at and kept: only what certifies is refused.
    program::run(Server::command(&["export-trust"])?.arg(&folder))?.success()?;
    program::run(Server::command(&["fsck"])?.arg(&folder))?.success()?;
    Ok(())
}
