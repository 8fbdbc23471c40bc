//! Request targets: sealed paths stay sealed in every spelling, with every method and host, over HTTP/1.1 and
//! HTTP/2. Paths with doubled or trailing slashes work like the plain paths.

use anyhow::{Context as _, Result, ensure};
use chancery_tests::raw::{RawAnswer, RawClient};
use chancery_tests::rekor::Submitter;
use chancery_tests::spellings::{is_slashes_alone, spellings};
use chancery_tests::{Chancery, Instance, Server, program};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

const ZONES: &str = include_str!("../../../deploy/docs/zones.md");
/// Statuses of refusals.
const REFUSED: [u16; 7] = [400, 401, 404, 405, 415, 421, 501];

/// A row of the table in zones.md, as a request for an existing resource.
struct Row {
    method: &'static str,
    path: String,
    body: &'static str,
    sealed: bool,
}

fn rows(entry: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in ZONES.lines().filter(|line| line.starts_with("| `/")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let path = cells[1].trim_matches('`');
        let sealed = cells[3] == "**sealed**";
        let query = match path {
            "/api/v1/log/entries" if sealed => "?logIndex=0",
            "/api/v1/log/proof" => "?lastSize=1",
            "/ct/ct/v1/get-entries" => "?start=0&end=0",
            "/ct/ct/v1/get-entry-and-proof" => "?leaf_index=0&tree_size=1",
            _ => "",
        };
        let body = match path {
            "/api/v1/log/entries/retrieve" => r#"{"logIndexes":[0]}"#,
            "/api/v1/index/retrieve" => r#"{"email":"somebody@example.com"}"#,
            _ if cells[2] == "POST" => "{}",
            _ => "",
        };
        let tile = if path.contains("/entries/") { "000.p/1" } else { "0/000.p/1" };
        let filled = path.replace("{entry_uuid}", entry).replace("{method}", "Other");
        let filled = if path.starts_with("/api/v2/log/") {
            filled.replace("{*path}", "entries/0")
        } else {
            filled.replace("{*path}", tile).replace("{*file}", "timestamp.json")
        };
        rows.push(Row { method: cells[2], path: filled + query, body, sealed });
    }
    rows
}

const JSON: (&str, &str) = ("content-type", "application/json");

/// A sealed instance with an entry in each of its logs, and passages of those entries.
struct World {
    instance: Instance,
    raw: RawClient,
    rows: Vec<Row>,
    reader: String,
    needles: Vec<Vec<u8>>,
}

impl World {
    async fn with(edits: &[(&str, &str)]) -> Result<Self> {
        let mut instance = Instance::stopped().await?;
        instance.server.configure(&[("entries = \"open\"", "entries = \"token\"")])?;
        instance.server.configure(edits)?;
        let mut make = Server::command(&["reader-token"])?;
        let made = program::run(make.arg(instance.server.folder()).arg("audit"))?.success()?;
        instance.server.start().await?;
        let (submitter, http) = (Submitter::new()?, chancery_tests::http()?);
        let url = instance.server.url();
        let proposed = submitter.hashedrekord(b"an artifact")?;
        let added = http.post(format!("{url}/api/v1/log/entries")).json(&proposed).send().await?;
        let added: Value = added.error_for_status()?.json().await?;
        let entry = added.as_object().and_then(|map| map.keys().next().cloned()).context("an id")?;
        // Adds entries to the issuance log and the Rekor v2 log.
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        Chancery::trusting(&instance)?.run_in_job(&instance, &["sign", &file])?.success()?;
        let raw = RawClient::new(url)?;
        let reader = format!("Bearer {}", made.stdout.trim());
        let mut world = Self { raw, rows: rows(&entry), reader, needles: Vec::new(), instance };
        world.learn().await?;
        Ok(world)
    }

    /// Reads every sealed row with credentials. The longest words of the responses become needles.
    async fn learn(&mut self) -> Result<()> {
        let reader = self.reader.clone();
        for row in self.rows.iter().filter(|row| row.sealed) {
            let headers = [JSON, ("authorization", reader.as_str())];
            let answer = self.raw.ask(row.method, &row.path, &headers, row.body).await?;
            ensure!(answer.status == 200, "{} {}: {}", row.method, row.path, answer.head);
            let mut words: Vec<&[u8]> = answer.body.split(|byte| b"\"{}[]:, \n".contains(byte)).collect();
            words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
            let long = words.into_iter().take_while(|word| word.len() >= 32).take(4);
            self.needles.extend(long.map(<[u8]>::to_vec));
        }
        ensure!(self.needles.len() > 10, "only {} needles", self.needles.len());
        Ok(())
    }

    fn check(&self, shown: &str, answer: &RawAnswer) -> Result<()> {
        ensure!(REFUSED.contains(&answer.status), "{shown} is answered {}", answer.status);
        let bytes = answer.bytes();
        // An error names the path that was asked for, and a path may be an entry's identity.
        let asked = shown.as_bytes();
        let holds = |text: &[u8], needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
        let held = |needle: &Vec<u8>| holds(&bytes, needle) && !holds(asked, needle);
        ensure!(
            !self.needles.iter().any(held),
            "{shown} returns an entry: {}",
            String::from_utf8_lossy(&bytes)
        );
        Ok(())
    }

    async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Result<()> {
        let answer = self.raw.ask(method, target, headers, body).await?;
        self.check(&format!("{method} {target} {headers:?}"), &answer)
    }
}

/// An HTTP/2 connection that sends `:path` and `:authority` unchanged.
async fn http2(address: &str) -> Result<hyper::client::conn::http2::SendRequest<Full<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask_http2(
    sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    method: &str,
    uri: &str,
) -> Result<RawAnswer> {
    let request = http::Request::builder().method(method).uri(uri).body(Full::default())?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let (status, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
    Ok(RawAnswer { status, head, body: answer.into_body().collect().await?.to_bytes().to_vec() })
}

/// True if a server would have to decode or resolve the path.
fn is_indirect(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    path.contains(['%', ';', '\\']) || path.split('/').any(|segment| matches!(segment, "." | ".."))
}

#[tokio::test]
async fn no_spelling_of_a_sealed_path_returns_an_entry() -> Result<()> {
    let mut world = World::with(&[]).await?;
    let address = world.raw.address().to_owned();
    let mut sender = http2(&address).await?;
    let rows = std::mem::take(&mut world.rows);
    let mut tried = 0;
    for row in rows.iter().filter(|row| row.sealed) {
        for target in spellings(&row.path) {
            let shown = format!("{} {target}", row.method);
            let answer = world.raw.ask(row.method, &target, &[JSON], row.body).await?;
            world.check(&shown, &answer)?;
            let expected: &[u16] = if is_slashes_alone(&target, &row.path) {
                &[401]
            } else if is_indirect(&target) {
                &[400, 404]
            } else {
                // A letter in the other case: another path, or the same if it is in a hexadecimal id.
                &[401, 404, 405]
            };
            ensure!(expected.contains(&answer.status), "{shown} is answered {}", answer.status);
            world.ask("HEAD", &target, &[], "").await?;
            if let Ok(uri) = format!("http://{address}{target}").parse::<http::Uri>()
                && uri.path_and_query().is_some_and(|path| path.as_str() == target)
            {
                for method in [row.method, "HEAD"] {
                    let answer = ask_http2(&mut sender, method, &uri.to_string()).await?;
                    world.check(&format!("HTTP/2 {method} {target}"), &answer)?;
                }
            }
            tried += 1;
        }
    }
    ensure!(tried > 2000, "only {tried} spellings");
    Ok(())
}

#[tokio::test]
async fn no_method_host_or_header_returns_an_entry() -> Result<()> {
    let mut world = World::with(&[]).await?;
    let address = world.raw.address().to_owned();
    let rows = std::mem::take(&mut world.rows);
    for row in rows.iter().filter(|row| row.sealed) {
        for method in ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH", "DELETE", "BREW", "get", "GETS"] {
            world.ask(method, &row.path, &[JSON], row.body).await?;
        }
        for authority in [address.as_str(), "localhost", "elsewhere.example", "user@127.0.0.1", ""] {
            for scheme in ["http", "https"] {
                let target = format!("{scheme}://{authority}{}", row.path);
                if target.parse::<http::Uri>().is_ok() {
                    world.ask(row.method, &target, &[JSON], row.body).await?;
                }
            }
        }
        for target in ["*", "127.0.0.1:1", row.path.trim_start_matches('/')] {
            for method in ["GET", "OPTIONS", "CONNECT"] {
                if let Ok(answer) = world.raw.ask(method, target, &[], "").await {
                    world.check(&format!("{method} {target}"), &answer)?;
                }
            }
        }
        for host in ["localhost", "[::1]", "elsewhere.example", ""] {
            world.ask(row.method, &row.path, &[JSON, ("host", host)], row.body).await?;
        }
        for (name, value) in [
            ("range", "bytes=0-"),
            ("accept", "*/*"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip"),
            ("if-none-match", "*"),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("x-http-method-override", "GET"),
            ("x-original-url", row.path.as_str()),
            ("x-rewrite-url", row.path.as_str()),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-prefix", "/tile"),
            ("authorization", "Bearer"),
            ("authorization", "Basic Og=="),
        ] {
            world.ask(row.method, &row.path, &[JSON, (name, value)], row.body).await?;
            // Headers of rewriting proxies must not replace the target.
            let answer = world.raw.ask("GET", "/checkpoint", &[(name, value)], "").await?;
            let bytes = answer.bytes();
            let held = |needle: &Vec<u8>| bytes.windows(needle.len()).any(|window| window == needle);
            ensure!(!world.needles.iter().any(held), "{name}: {value} turns a checkpoint into an entry");
        }
    }
    Ok(())
}

#[tokio::test]
async fn doubled_and_trailing_slashes_work_like_the_plain_path() -> Result<()> {
    let mut world = World::with(&[]).await?;
    let rows = std::mem::take(&mut world.rows);
    for row in rows.iter().filter(|row| row.path != "/") {
        let plain = world.raw.ask(row.method, &row.path, &[JSON], row.body).await?;
        for target in spellings(&row.path).iter().filter(|target| is_slashes_alone(target, &row.path)) {
            let answer = world.raw.ask(row.method, target, &[JSON], row.body).await?;
            let shown = format!("{} {target}: {} {}", row.method, answer.status, plain.status);
            ensure!(answer.status == plain.status, "{shown}");
            let kind = |answer: &RawAnswer| answer.header("content-type").map(str::to_owned);
            ensure!(kind(&answer) == kind(&plain), "{shown}");
        }
    }
    // The paths of sigstore-js and sigstore-python for a base URL with a trailing slash.
    let submitter = Submitter::new()?;
    for (at, target) in
        ["//api/v1/log/entries", "/api/v1//log/entries", "/api/v1/log/entries/"].iter().enumerate()
    {
        let entry = submitter.hashedrekord(format!("artifact {at}").as_bytes())?.to_string();
        let answer = world.raw.ask("POST", target, &[JSON], &entry).await?;
        ensure!(answer.status == 201, "{target}: {}", answer.head);
        let location = answer.header("location").context("a location")?;
        ensure!(location.starts_with("/api/v1/log/entries/"), "{location}");
    }
    let stamp = json!({
        "artifactHash": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", "hashAlgorithm": "sha256",
    });
    for target in ["/api/v1/timestamp", "//api/v1/timestamp", "/api/v1/timestamp/", "/api//v1/timestamp"] {
        let answer = world.raw.ask("POST", target, &[JSON], &stamp.to_string()).await?;
        ensure!((200..300).contains(&answer.status), "{target}: {} {}", answer.head, answer.body.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_loopback_listener_accepts_its_own_hosts_only() -> Result<()> {
    let instance = Instance::start().await?;
    let mut raw = RawClient::new(instance.server.url())?;
    let port = raw.address().rsplit(':').next().context("a port")?.to_owned();
    for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]", "a.localhost", "127.0.0.2"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            let answer = raw.ask("GET", "/checkpoint", &[("host", &host)], "").await?;
            ensure!(answer.status == 200, "{host}: {}", answer.head);
        }
    }
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            for target in ["/checkpoint", "/tile/entries/000.p/1", "/healthz", "/nothing"] {
                let answer = raw.ask("GET", target, &[("host", &host)], "").await?;
                ensure!(answer.status == 421, "{host}{target}: {}", answer.head);
                let said = String::from_utf8(answer.body)?;
                ensure!(said.contains("behind_proxy = true") && !said.contains("evil"), "{said}");
            }
        }
    }
    let mut sender = http2(raw.address()).await?;
    for (authority, status) in [("127.0.0.1", 200), ("localhost", 200), ("[::1]", 200), ("evil.example", 421)]
    {
        let uri = format!("http://{authority}:{port}/checkpoint");
        let answer = ask_http2(&mut sender, "GET", &uri).await?;
        ensure!(answer.status == status, "HTTP/2 {authority}: {}", answer.status);
    }
    Ok(())
}

/// `Access-Control-Allow-Origin` of a request and of its preflight request.
async fn allowed(raw: &mut RawClient, row: &Row, reader: &str, origin: &str) -> Result<[Option<String>; 2]> {
    let headers = [JSON, ("origin", origin), ("authorization", reader)];
    let answer = raw.ask(row.method, &row.path, &headers, row.body).await?;
    let preflight = [("origin", origin), ("access-control-request-method", row.method)];
    let asked = raw.ask("OPTIONS", &row.path, &preflight, "").await?;
    let of = |answer: &RawAnswer| answer.header("access-control-allow-origin").map(str::to_owned);
    Ok([of(&answer), of(&asked)])
}

#[tokio::test]
async fn sealed_paths_allow_configured_origins_only() -> Result<()> {
    let page = "https://dashboard.example.com";
    let mut world = World::with(&[]).await?;
    for row in world.rows.iter().filter(|row| row.sealed) {
        let found = allowed(&mut world.raw, row, &world.reader, page).await?;
        ensure!(found == [None, None], "{} {}: {found:?}", row.method, row.path);
    }
    let open = world.rows.iter().find(|row| row.path == "/checkpoint").context("a row")?;
    let found = allowed(&mut world.raw, open, "", page).await?;
    ensure!(found == [Some("*".to_owned()), Some("*".to_owned())], "{found:?}");
    drop(world);

    let named = format!("origins = [\"{page}\"]");
    let mut world = World::with(&[("# origins = []", &named)]).await?;
    for row in world.rows.iter().filter(|row| row.sealed) {
        let found = allowed(&mut world.raw, row, &world.reader, page).await?;
        ensure!(
            found == [Some(page.to_owned()), Some(page.to_owned())],
            "{} {}: {found:?}",
            row.method,
            row.path
        );
        let found = allowed(&mut world.raw, row, &world.reader, "https://evil.example").await?;
        ensure!(found == [None, None], "{} {}: {found:?}", row.method, row.path);
    }
    let refused = world.instance.server.run("check-config")?;
    refused.success()?;
    Ok(())
}
