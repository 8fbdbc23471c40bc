//! HTTP as the load needs it: one client for everything, and the outcome of one request.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Request, Response, StatusCode};
use serde::de::DeserializeOwned;

use crate::load::{Outcome, Reply};

/// Largest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
/// Bytes of an unclean answer that are shown.
const EXCERPT: usize = 160;

/// A client whose requests end after `timeout`. No proxy, because that would be measured too, and no redirects.
pub(crate) fn client(timeout: Duration) -> Result<Client> {
    client_from(timeout, None)
}

/// The same, whose connections come from an address of this machine.
pub(crate) fn client_from(timeout: Duration, address: impl Into<Option<IpAddr>>) -> Result<Client> {
    let builder = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let builder = builder.timeout(timeout).tcp_nodelay(true).user_agent("chancery-loadtest");
    builder.local_address(address).build().context("cannot make an HTTP client")
}

/// Sends one request of the load and reads its answer to the end.
pub(crate) async fn send(client: Client, request: Request) -> Reply {
    let ended = |outcome| Reply { outcome, body: Bytes::new() };
    let answer = match client.execute(request).await {
        Ok(answer) => answer,
        Err(error) => return ended(failure(&error)),
    };
    let status = answer.status();
    let says_when = answer.headers().contains_key(RETRY_AFTER);
    let body = match body(answer).await {
        Ok(body) => body,
        Err(error) => return ended(failure(&error)),
    };
    if status.is_success() {
        return Reply { outcome: Outcome::Accepted, body };
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) && says_when {
        return ended(Outcome::RefusedCleanly);
    }
    ended(Outcome::RefusedUncleanly(format!("{}: {}", status.as_u16(), excerpt(&body))))
}

/// The body of `url`, which must answer with success.
pub(crate) async fn get(client: &Client, url: &str) -> Result<Bytes> {
    let answer = client.get(url).send().await.with_context(|| format!("cannot reach {url}"))?;
    let status = answer.status();
    let body = body(answer).await.with_context(|| format!("{url} broke off"))?;
    ensure!(status.is_success(), "{url} answers {}: {}", status.as_u16(), excerpt(&body));
    Ok(body)
}

/// As [`get`], `None` if there is no such thing.
pub(crate) async fn find(client: &Client, url: &str) -> Result<Option<Bytes>> {
    let answer = client.get(url).send().await.with_context(|| format!("cannot reach {url}"))?;
    let status = answer.status();
    let body = body(answer).await.with_context(|| format!("{url} broke off"))?;
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    ensure!(status.is_success(), "{url} answers {}: {}", status.as_u16(), excerpt(&body));
    Ok(Some(body))
}

/// The JSON of `url`.
pub(crate) async fn get_json<T: DeserializeOwned>(client: &Client, url: &str) -> Result<T> {
    serde_json::from_slice(&get(client, url).await?)
        .with_context(|| format!("{url} is not the JSON that was expected"))
}

/// Reads a body of bounded size; a longer one is cut, and then makes no sense to whoever verifies it.
async fn body(mut answer: Response) -> reqwest::Result<Bytes> {
    let mut first = answer.chunk().await?.unwrap_or_default();
    let Some(mut next) = answer.chunk().await? else { return Ok(first) };
    let mut whole = Vec::with_capacity(first.len() + next.len());
    whole.append(&mut first.to_vec());
    loop {
        whole.extend_from_slice(&next);
        if whole.len() > MAX_ANSWER {
            break;
        }
        match answer.chunk().await? {
            Some(chunk) => next = chunk,
            None => break,
        }
    }
    first = whole.into();
    Ok(first)
}

fn failure(error: &reqwest::Error) -> Outcome {
    if error.is_timeout() {
        return Outcome::TimedOut;
    }
    // The innermost cause says what happened; the rest repeats the address.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Outcome::Broken(cause.to_string())
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.chars().take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
