//! The development issuer, and the tokens it mints: those of a GitHub Actions job, claim by claim as a test wishes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::program::{self, Program};

const REQUEST_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// A running `chancery-dev-issuer`.
pub struct DevIssuer {
    program: Program,
    url: String,
    job: BTreeMap<String, String>,
}

impl DevIssuer {
    /// Starts one; it keeps nothing in `scratch` but its log.
    pub async fn start(scratch: &Path) -> Result<Self> {
        let port = program::free_port()?;
        let mut command = Command::new(program::own("chancery-dev-issuer")?);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        let mut program = Program::start("dev-issuer", &mut command, &scratch.join("dev-issuer.log"))?;
        let ready = |said: &str| said.contains("listening on") && exported(said).contains_key(BEARER);
        let said = program.wait_for(ready).await?;
        Ok(Self { program, url: format!("http://127.0.0.1:{port}"), job: exported(&said) })
    }

    /// Its issuer URL: `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The environment of a GitHub Actions job whose tokens this issuer mints.
    pub fn job_environment(&self) -> &BTreeMap<String, String> {
        &self.job
    }

    /// A token of the default job for Sigstore's audience.
    pub async fn token(&self) -> Result<IdToken> {
        self.token_with(json!({})).await
    }

    /// A token with claims replaced; `null` removes one.
    pub async fn token_with(&self, claims: Value) -> Result<IdToken> {
        let mut url = url::Url::parse(&self.job[REQUEST_URL])?;
        url.query_pairs_mut().append_pair("audience", "sigstore");
        let request = crate::http()?.post(url).bearer_auth(&self.job[BEARER]).json(&claims);
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "dev-issuer answers {status}: {text}\n{}", self.program.output()?);
        let answer: Value = serde_json::from_str(&text)?;
        IdToken::new(answer["value"].as_str().context("the answer has no `value`")?)
    }
}

/// The variables of all complete `export NAME=VALUE` lines, quotes removed.
fn exported(said: &str) -> BTreeMap<String, String> {
    let lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let pairs = lines.filter_map(|line| line.trim().strip_prefix("export ")?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches(['\'', '"']).to_owned())).collect()
}

/// An ID token and what it claims.
#[derive(Clone, Debug)]
pub struct IdToken {
    jwt: String,
    claims: Value,
}

impl IdToken {
    /// Reads a compact JWS, without any judgement on it.
    pub fn new(jwt: &str) -> Result<Self> {
        let payload = jwt.split('.').nth(1).context("a JWT has three parts")?;
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
        Ok(Self { jwt: jwt.to_owned(), claims })
    }

    /// The token as it travels.
    pub fn as_str(&self) -> &str {
        &self.jwt
    }

    /// One claim as text; empty if it is absent or no text.
    pub fn claim(&self, name: &str) -> &str {
        self.claims[name].as_str().unwrap_or_default()
    }

    /// One claim as a number; 0 if it is absent or none.
    pub fn number(&self, name: &str) -> u64 {
        self.claims[name].as_u64().unwrap_or_default()
    }

    /// The subject that a certificate for this token names: GitHub's URL of the workflow that runs the job.
    pub fn identity(&self) -> String {
        format!("https://github.com/{}", self.claim("job_workflow_ref"))
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        self.claim("iss")
    }
}

/// Whom a verifier expects to have signed.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The subject that the certificate names.
    pub subject: String,
    /// The issuer that vouched for it.
    pub issuer: String,
}

impl Identity {
    /// The one that a certificate for `token` names.
    pub fn of(token: &IdToken) -> Self {
        Self { subject: token.identity(), issuer: token.issuer().to_owned() }
    }
}
