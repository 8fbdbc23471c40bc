//! An HTTP/1.1 client that sends paths, hosts and methods unchanged, without a library that corrects them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Time limit for a response.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with one connection, which is reopened when the server has closed it.
pub struct RawClient {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

/// A response.
#[derive(Debug)]
pub struct RawAnswer {
    /// Status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }

    /// Head and body.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), &self.body].concat()
    }
}

impl RawClient {
    /// A client of the server at this `http://` URL.
    pub fn new(url: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("an http:// URL")?;
        Ok(Self { address: address.trim_end_matches('/').to_owned(), stream: None })
    }

    /// Host and port of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request with these headers. `Host` is the server's address unless `headers` has a `host`; an
    /// empty `host` is omitted.
    pub async fn ask(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<RawAnswer> {
        let request = self.request(method, target, headers, body);
        let fresh = self.stream.is_none();
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, &request)).await;
        match answer.with_context(|| format!("{method} {target} is not answered"))? {
            // The server may have closed a connection that was idle.
            Err(_) if !fresh => tokio::time::timeout(PATIENCE, self.exchange(method, &request)).await?,
            answer => answer,
        }
        .with_context(|| format!("{method} {target}"))
    }

    fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut lines = vec![format!("{method} {target} HTTP/1.1")];
        let fields = headers.iter().filter(|(_, value)| !value.is_empty());
        lines.extend(fields.map(|(name, value)| format!("{name}: {value}")));
        if !headers.iter().any(|(name, _)| *name == "host") {
            lines.push(format!("host: {}", self.address));
        }
        if !body.is_empty() {
            lines.push(format!("content-length: {}", body.len()));
        }
        format!("{}\r\n\r\n{body}", lines.join("\r\n"))
    }

    async fn exchange(&mut self, method: &str, request: &str) -> Result<RawAnswer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(&self.address).await?),
        };
        stream.write_all(request.as_bytes()).await?;
        let answer = read(&mut stream, method).await?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

async fn read(stream: &mut BufReader<TcpStream>, method: &str) -> Result<RawAnswer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        ensure!(stream.read_line(&mut head).await? > 0, "the connection ended in the head: {head:?}");
    }
    let status: u16 = head.split(' ').nth(1).context("a status")?.parse()?;
    let mut answer = RawAnswer { status, head, body: Vec::new() };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return Ok(answer);
    }
    if let Some(length) = answer.header("content-length") {
        answer.body = vec![0; length.parse()?];
        stream.read_exact(&mut answer.body).await?;
    } else if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = chunks(stream).await?;
    } else {
        bail!("neither a length nor chunks: {}", answer.head);
    }
    Ok(answer)
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let length = usize::from_str_radix(line.trim(), 16)?;
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk).await?;
        body.extend(&chunk[..length]);
        if length == 0 {
            return Ok(body);
        }
    }
}
