//! A certified OpenID provider (npm `oidc-provider`), and the login of a person who holds no browser.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::dev_issuer::IdToken;
use crate::peers;
use crate::program::{self, Program};

const CLIENT: &str = "sigstore";
const REDIRECT: &str = "http://127.0.0.1/callback";
/// PKCE verifier: constant, since nobody here races us for the code.
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-in-length";

/// A running provider.
pub struct OidcProvider {
    _program: Program,
    url: String,
}

impl OidcProvider {
    /// Starts one.
    pub async fn start(scratch: &Path) -> Result<Self> {
        let port = program::free_port()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc-provider").join("provider.mjs");
        let mut command = Command::new(peers::program("node")?);
        command.arg(script).arg(peers::oidc_provider()?).arg(port.to_string());
        let mut program = Program::start("oidc-provider", &mut command, &scratch.join("oidc-provider.log"))?;
        program.wait_for(|said| said.contains("listening on")).await?;
        Ok(Self { _program: program, url: format!("http://127.0.0.1:{port}") })
    }

    /// Issuer URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Signs in as a job of `OWNER/NAME` on its main branch, by the authorization code flow with PKCE, filling in the provider's own login and
    /// consent pages, and redeems the code for an ID token.
    pub async fn login(&self, repository: &str) -> Result<IdToken> {
        let subject = format!("repo:{repository}:ref:refs/heads/main");
        let mut browser = Browser { http: crate::http()?, cookies: BTreeMap::new() };
        let mut url = self.authorization_url()?;
        for _ in 0..12 {
            if url.as_str().starts_with(REDIRECT) {
                let code =
                    url.query_pairs().find(|(name, _)| name == "code").context("no code")?.1.into_owned();
                return self.redeem(&code).await;
            }
            url = browser.step(url, &subject).await?;
        }
        bail!("the login does not end; it stands at {url}")
    }

    fn authorization_url(&self) -> Result<Url> {
        let mut url = Url::parse(&self.url)?.join("auth")?;
        url.query_pairs_mut().extend_pairs([
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("scope", "openid"),
            ("redirect_uri", REDIRECT),
            ("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))),
            ("code_challenge_method", "S256"),
            ("nonce", "chancery"),
            ("state", "chancery"),
        ]);
        Ok(url)
    }

    async fn redeem(&self, code: &str) -> Result<IdToken> {
        let form = encoded(&[
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
            ("code", code),
        ]);
        let answer = post(&crate::http()?, &format!("{}/token", self.url), form).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the token endpoint answers {status}: {text}");
        let answer: Value = serde_json::from_str(&text)?;
        IdToken::new(answer["id_token"].as_str().context("no id_token")?)
    }
}

/// Just enough of a browser: it keeps cookies and fills in forms.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Opens a page. A redirect is followed one step; a form is sent, and the redirect of that followed.
    async fn step(&mut self, url: Url, login: &str) -> Result<Url> {
        let page = self.send(self.http.get(url.clone())).await?;
        if let Some(next) = redirect(&url, &page)? {
            return Ok(next);
        }
        let html = page.text().await?;
        let prompt = ["login", "consent"].into_iter().find(|p| html.contains(&format!("value=\"{p}\"")));
        let Some(prompt) = prompt else { bail!("unexpected page at {url}:\n{html}") };
        let form = encoded(&[("prompt", prompt), ("login", login), ("password", "any")]);
        let answer = self.send(post(&self.http, url.as_str(), form)).await?;
        redirect(&url, &answer)?.context("the form leads nowhere")
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = request.header(COOKIE, cookies.join("; ")).send().await?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }
}

fn redirect(from: &Url, answer: &reqwest::Response) -> Result<Option<Url>> {
    let Some(location) = answer.headers().get(LOCATION) else { return Ok(None) };
    Ok(Some(from.join(location.to_str()?)?))
}

fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn post(http: &reqwest::Client, url: &str, form: String) -> reqwest::RequestBuilder {
    http.post(url).header("Content-Type", "application/x-www-form-urlencoded").body(form)
}
