//! HTTP/1.1 without an opinion: paths, methods and headers go out as they were written, which no client library does.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(40);

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Headers besides `Host`, `Connection` and `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request {
    /// A GET.
    pub fn get(path: &str) -> Self {
        Self { method: "GET", path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A POST of this media type.
    pub fn post(path: &str, media_type: &str, body: Vec<u8>) -> Self {
        let headers = vec![("Content-Type", media_type.to_owned())];
        Self { method: "POST", path: path.to_owned(), headers, body }
    }

    /// The same with another text in the place of a word, in the path and the body.
    #[must_use]
    pub fn with(mut self, word: &str, text: &str) -> Self {
        self.path = self.path.replace(word, text);
        if let Ok(body) = std::str::from_utf8(&self.body)
            && body.contains(word)
        {
            self.body = body.replace(word, text).into_bytes();
        }
        self
    }

    /// Everything about it for a reader of a failure; a long body is cut.
    pub fn shown(&self) -> String {
        let body = String::from_utf8(self.body.clone()).unwrap_or_else(|_| hex::encode(&self.body));
        let body: String = body.chars().take(2000).collect();
        format!("{} {} {:?}\n{body}", self.method, self.path, self.headers)
    }

    fn head(&self, authority: &str) -> String {
        let own: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let own = own.concat();
        let length = if !self.body.is_empty() || self.method == "POST" || self.method == "PUT" {
            format!("Content-Length: {}\r\n", self.body.len())
        } else {
            String::new()
        };
        format!(
            "{} {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{own}{length}\r\n",
            self.method, self.path
        )
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Content-Type` without its parameters, in small letters.
    pub media_type: String,
    /// Body.
    pub body: Vec<u8>,
}

/// Sends a request to `authority`, a host and a port.
pub async fn send(authority: &str, request: &Request) -> Result<Answer> {
    let exchange = tokio::time::timeout(PATIENCE, exchange(authority, request));
    let bytes =
        exchange.await.with_context(|| format!("{authority} does not answer {}", request.shown()))??;
    parse(&bytes).with_context(|| format!("{authority} answers {}", request.shown()))
}

async fn exchange(authority: &str, request: &Request) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(request.head(authority).as_bytes()).await?;
    // A server that refuses by the head alone closes while the body is under way.
    let _ = stream.write_all(&request.body).await;
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes).await
        && bytes.is_empty()
    {
        return Err(error.into());
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the head")?;
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let header = |wanted: &str| {
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let media_type = header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    let body = &bytes[end + 4..];
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunked(body)?
    } else {
        body.to_vec()
    };
    Ok(Answer { status, media_type: media_type.trim().to_ascii_lowercase(), body })
}

fn unchunked(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("a chunk's length")?;
        let length = std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(length, 16)?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Ok(body);
        }
        let Some(chunk) = rest.get(..length) else { bail!("a chunk is cut") };
        body.extend_from_slice(chunk);
        rest = rest.get(length + 2..).context("the end of a chunk")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_both_framings() {
        let plain =
            parse(b"HTTP/1.1 404 Not Found\r\nContent-Type: Text/Plain; charset=x\r\n\r\nno").unwrap();
        assert_eq!(
            (plain.status, plain.media_type.as_str(), &plain.body[..]),
            (404, "text/plain", &b"no"[..])
        );
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!((chunked.status, &chunked.body[..]), (200, &b"abcde"[..]));
        for cut in
            [&b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\na"]
        {
            assert!(parse(cut).is_err());
        }
    }
}
