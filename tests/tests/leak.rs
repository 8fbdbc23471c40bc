//! The two zones, from outside: after a full run of signing, whoever has no token finds no repository name, workflow,
//! run, commit, e-mail address or artifact digest in anything that the server gives out, however it is written down.
//!
//! The crawler and the search are tested by themselves, in `chancery_tests::{crawler, needles}`; here also by instances
//! that do give names out, where they must be found.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::crawler::{Answer, Crawler};
use chancery_tests::needles::{Found, Needles};
use chancery_tests::rekor::Submitter;
use chancery_tests::{Chancery, Cosign, DevIssuer, IdToken, Instance, Server, issuers_yaml, program};
use chancery_tlog::merkle::Hash;
use serde_json::json;

const OWNER: &str = "zyxwombat-holdings";
const REPOSITORY: &str = "quokka-rocketry";
const WORKFLOW: &str = "launch-quokkas.yaml";
const BRANCH: &str = "numbat-release-branch";
const RUN: &str = "7706421984203377";
const COMMIT: &str = "5ec2e7c0ffee5ec2e7c0ffee5ec2e7c0ffee5ec2";
const WORKFLOW_COMMIT: &str = "ab5e17ab5e17ab5e17ab5e17ab5e17ab5e17ab5e";
const ACTOR: &str = "petra-bandicoot";
const EMAIL: &str = "petra.bandicoot@zyxwombat.example";
const FILE: &str = "quokka-telemetry.tar";
const PREDICATE: &str = "https://zyxwombat.example/flight-test";
/// Signed as a blob: the log has its digest.
const BLOB: &[u8] = b"telemetry of the first quokka in orbit";
/// Attested: the statement has its digest, the log the statement's.
const ATTESTED: &[u8] = b"telemetry of the second quokka in orbit";

/// Requests for what is sealed.
const SEALED: [&str; 9] = [
    "GET /tile/entries/000.p/",
    "GET /api/v2/tile/entries/000.p/",
    "GET /rekor-v1/tile/entries/000.p/",
    "GET /ct/tile/entries/000.p/",
    "GET /api/v1/log/entries?logIndex=",
    "GET /api/v1/log/entries/",
    "POST /api/v1/log/entries/retrieve {",
    "GET /ct/ct/v1/get-entries?start=",
    "GET /ct/ct/v1/get-entry-and-proof?leaf_index=",
];

/// Everything that must not be found.
fn needles() -> Result<Needles> {
    let digests = [BLOB, ATTESTED].map(|artifact| *Hash::digest(artifact).as_bytes());
    let (repository, commit) = (format!("{OWNER}/{REPOSITORY}"), hex::decode(COMMIT)?);
    Needles::new(&[
        ("owner", OWNER.as_bytes()),
        ("repository", REPOSITORY.as_bytes()),
        ("owner/repository", repository.as_bytes()),
        ("workflow", WORKFLOW.as_bytes()),
        ("branch", BRANCH.as_bytes()),
        ("run", RUN.as_bytes()),
        ("commit", COMMIT.as_bytes()),
        ("commit's bytes", &commit),
        ("workflow's commit", WORKFLOW_COMMIT.as_bytes()),
        ("actor", ACTOR.as_bytes()),
        ("e-mail address", EMAIL.as_bytes()),
        ("file name", FILE.as_bytes()),
        ("predicate type", PREDICATE.as_bytes()),
        ("digest of a blob", &digests[0]),
        ("digest of an attested artifact", &digests[1]),
    ])
}

/// An instance that a CI job and a person have signed with.
struct Session {
    instance: Instance,
    metrics: String,
    people: DevIssuer,
}

impl Session {
    async fn with(entries: &str) -> Result<Self> {
        let mut instance = Instance::stopped().await?;
        let scratch = instance.home("people")?;
        let people = DevIssuer::start(&scratch).await?;
        let metrics = format!("127.0.0.1:{}", program::free_port()?);
        let folder = instance.server.folder();
        change(
            &folder.join("chancery.toml"),
            &[
                ("entries = \"open\"", &format!("entries = \"{entries}\"")),
                ("[listen]\n", &format!("[listen]\nmetrics = \"{metrics}\"\n")),
            ],
        )?;
        if entries == "token" {
            name_a_reader(&instance)?;
        }
        let person =
            format!("  {0}:\n    issuer-url: {0}\n    client-id: sigstore\n    type: email\n", people.url());
        let issuers = issuers_yaml(&[instance.issuer.url()]);
        let issuers = issuers.replacen("oidc-issuers:\n", &format!("oidc-issuers:\n{person}"), 1);
        std::fs::write(folder.join("fulcio.yaml"), issuers)?;
        instance.server.start().await?;
        let session = Self { instance, metrics, people };
        session.sign().await?;
        Ok(session)
    }

    async fn job(&self) -> Result<IdToken> {
        let workflow = format!("{OWNER}/{REPOSITORY}/.github/workflows/{WORKFLOW}@refs/heads/{BRANCH}");
        let claims = json!({
            "sub": format!("repo:{OWNER}/{REPOSITORY}:ref:refs/heads/{BRANCH}"),
            "repository": format!("{OWNER}/{REPOSITORY}"),
            "repository_owner": OWNER,
            "ref": format!("refs/heads/{BRANCH}"),
            "workflow_ref": workflow,
            "job_workflow_ref": workflow,
            "sha": COMMIT,
            "workflow_sha": WORKFLOW_COMMIT,
            "job_workflow_sha": WORKFLOW_COMMIT,
            "run_id": RUN,
            "actor": ACTOR,
        });
        self.instance.issuer.token_with(claims).await
    }

    async fn person(&self) -> Result<IdToken> {
        self.people.token_with(json!({ "sub": ACTOR, "email": EMAIL, "email_verified": true })).await
    }

    /// Every way to sign that leaves something behind: both dialects, both cosigns and our client, blobs and
    /// attestations, a job and a person. Every certificate goes to the issuance log.
    async fn sign(&self) -> Result<()> {
        let blob = self.instance.file(FILE, BLOB)?.display().to_string();
        let folder = self.instance.home("attested")?;
        let attested = folder.join(FILE).display().to_string();
        std::fs::write(&attested, ATTESTED)?;
        let predicate = json!({ "repository": format!("{OWNER}/{REPOSITORY}"), "by": EMAIL }).to_string();
        let predicate = self.instance.file("predicate.json", predicate)?.display().to_string();
        let bundle = self.instance.scratch().join("bundle.json").display().to_string();
        let (v3, v2) = (Cosign::v3(&self.instance)?, Cosign::v2(&self.instance)?);
        for token in [self.job().await?, self.person().await?] {
            let attest = ["--type", PREDICATE, "--predicate", &predicate, "--bundle", &bundle, &attested];
            v3.sign("sign-blob", &token, &["--bundle", &bundle, &blob])?.success()?;
            v3.sign("attest-blob", &token, &attest)?.success()?;
            v2.sign("sign-blob", &token, &["--new-bundle-format", "--bundle", &bundle, &blob])?.success()?;
            for kind in ["dsse", "intoto"] {
                let flags = ["--new-bundle-format", "--rekor-entry-type", kind];
                v2.sign("attest-blob", &token, &[&flags[..], &attest].concat())?.success()?;
            }
        }
        let chancery = Chancery::trusting(&self.instance)?;
        let job = self.job().await?;
        for verb in ["attest", "sign"] {
            chancery.run(&[verb, "--identity-token", job.as_str(), &attested])?.success()?;
            std::fs::remove_file(format!("{attested}.sigstore.json"))?;
        }
        Ok(())
    }

    /// What somebody without a token gets to see.
    async fn crawl(&self) -> Result<Vec<Answer>> {
        let mut answers = Crawler::new(self.instance.server.url())?.crawl().await?;
        // The operator's own port; no names are wanted there either.
        let metrics = chancery_tests::http()?.get(format!("http://{}/metrics", self.metrics)).send().await?;
        ensure!(metrics.status().is_success(), "no metrics: {}", metrics.status());
        let bytes = metrics.bytes().await?.to_vec();
        answers.push(Answer { request: "GET metrics".to_owned(), status: 200, bytes });
        let bytes: usize = answers.iter().map(|answer| answer.bytes.len()).sum();
        eprintln!("{} answers, {bytes} bytes", answers.len());
        Ok(answers)
    }
}

/// Somebody who may read what is sealed, without whom nothing is.
fn name_a_reader(instance: &Instance) -> Result<()> {
    let mut make = Server::command(&["reader-token"])?;
    program::run(make.arg(instance.server.folder()).arg("auditor"))?.success()?;
    Ok(())
}

/// Replaces texts in a file, each of which must be there.
fn change(file: &Path, replacements: &[(&str, &str)]) -> Result<()> {
    let mut text = std::fs::read_to_string(file)?;
    for (old, new) in replacements {
        ensure!(text.contains(old), "{} has no `{old}`:\n{text}", file.display());
        text = text.replacen(old, new, 1);
    }
    Ok(std::fs::write(file, text)?)
}

/// Every word that was found, with the first request that gave it out.
fn leaks(answers: &[Answer]) -> Result<Vec<(String, Found)>> {
    let (needles, mut seen, mut leaks) = (needles()?, BTreeSet::new(), Vec::new());
    for answer in answers {
        for found in needles.find(&answer.bytes).into_iter().chain(needles.find(answer.request.as_bytes())) {
            if seen.insert(found.clone()) {
                leaks.push((answer.request.clone(), found));
            }
        }
    }
    Ok(leaks)
}

/// Whether some request that contains `part` was answered with `status`.
fn was_answered(answers: &[Answer], part: &str, status: u16) -> bool {
    answers.iter().any(|answer| answer.request.contains(part) && answer.status == status)
}

#[tokio::test]
async fn sealed_entries_give_no_name_to_whoever_has_no_token() -> Result<()> {
    let session = Session::with("token").await?;
    let mut answers = session.crawl().await?;
    // The crawler was in front of the right doors, and the open ones opened.
    for sealed in SEALED {
        ensure!(was_answered(&answers, sealed, 401), "{sealed} is never refused");
        ensure!(!was_answered(&answers, sealed, 200), "{sealed} is open");
    }
    let spelled = answers.iter().filter(|answer| answer.request.starts_with("raw ")).count();
    ensure!(spelled > 5000, "only {spelled} other spellings were tried");
    for open in
        ["/tile/0/000.p/", "/checkpoint", "get-proof-by-hash", "get-sth-consistency", "/log/proof", "gRPC"]
    {
        ensure!(was_answered(&answers, open, 200), "{open} is never answered");
    }
    // Whoever sends an entry a second time learns nothing but that.
    let (submitter, http) = (Submitter::new()?, chancery_tests::http()?);
    let entry = submitter.hashedrekord(b"an artifact of somebody else")?;
    for _ in 0..2 {
        let url = format!("{}/api/v1/log/entries", session.instance.server.url());
        let answer = http.post(url).json(&entry).send().await?;
        let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
        let bytes = [headers.as_bytes(), &answer.bytes().await?].concat();
        answers.push(Answer { request: "a second submission".to_owned(), status, bytes });
    }
    let leaks = leaks(&answers)?;
    let shown: Vec<String> = leaks.iter().map(|(request, found)| format!("{request}: {found}")).collect();
    ensure!(leaks.is_empty(), "of {} answers these give names out:\n{}", answers.len(), shown.join("\n"));
    Ok(())
}

/// The test of the test: the same crawl where the entries are open finds all that they hold.
#[tokio::test]
async fn open_entries_give_every_name_to_the_crawler() -> Result<()> {
    let session = Session::with("open").await?;
    let answers = session.crawl().await?;
    let leaks = leaks(&answers)?;
    let words: BTreeSet<&str> = leaks.iter().map(|(_, found)| found.word.as_str()).collect();
    for word in [
        "owner",
        "repository",
        "owner/repository",
        "workflow",
        "branch",
        "run",
        "commit",
        "workflow's commit",
        "e-mail address",
        "digest of a blob",
    ] {
        ensure!(words.contains(word), "{word} is in the log, and the crawler has not found it: {leaks:#?}");
    }
    // Behind each of the doors that the zones close, apart from the others.
    let needles = needles()?;
    for door in SEALED {
        let mut behind = answers.iter().filter(|answer| answer.request.contains(door));
        ensure!(behind.any(|answer| !needles.find(&answer.bytes).is_empty()), "nothing found behind {door}");
    }
    Ok(())
}

/// The test of the test: one name in one open resource of a sealed instance is enough.
#[tokio::test]
async fn a_name_in_an_open_resource_is_found() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let folder = instance.server.folder().to_owned();
    change(&folder.join("chancery.toml"), &[("entries = \"open\"", "entries = \"token\"")])?;
    // Issuers are public, so what their configuration says is as well.
    let named = format!("https://zyxwombat.example/{OWNER}");
    let issuers = issuers_yaml(&[instance.issuer.url(), &named]);
    std::fs::write(folder.join("fulcio.yaml"), issuers)?;
    name_a_reader(&instance)?;
    instance.server.start().await?;
    let answers = Crawler::new(instance.server.url())?.crawl().await?;
    let leaks = leaks(&answers)?;
    let configuration = leaks.iter().find(|(request, _)| request.contains("/api/v2/configuration"));
    let (_, found) = configuration.with_context(|| format!("the name was not found: {leaks:?}"))?;
    ensure!(found.word == "owner", "{found}");
    Ok(())
}
