//! The two zones of a real server: who reads what in each mode, and that signing and verifying never need the sealed one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::rekor::RekorLog;
use chancery_tests::{Cosign, Instance, Program, RekorCli, Server, program};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

/// Requests for names. Every log has an entry when they are sent.
const SEALED: [(&str, &str, &str); 12] = [
    ("GET", "/tile/entries/000.p/1", ""),
    ("GET", "/api/v2/tile/entries/000.p/1", ""),
    ("GET", "/rekor-v1/tile/entries/000.p/1", ""),
    ("GET", "/ct/tile/entries/000.p/1", ""),
    ("GET", "/api/v1/log/entries?logIndex=0", ""),
    ("GET", "/api/v1/log/entries/?logIndex=0", ""),
    ("POST", "/api/v1/log/entries/retrieve", r#"{"logIndexes":[0]}"#),
    ("POST", "/api/v1/log/entries/retrieve/", r#"{"logIndexes":[0]}"#),
    ("POST", "/api/v1/index/retrieve", r#"{"email":"somebody@example.com"}"#),
    ("GET", "/ct/ct/v1/get-entries?start=0&end=0", ""),
    ("GET", "/ct/ct/v1/get-entry-and-proof?leaf_index=0&tree_size=1", ""),
    ("HEAD", "/tile/entries/000.p/1", ""),
];

/// What is for anyone.
const OPEN: [&str; 20] = [
    "/checkpoint",
    "/tile/0/000.p/1",
    "/api/v2/checkpoint",
    "/api/v2/tile/0/000.p/1",
    "/rekor-v1/checkpoint",
    "/rekor-v1/tile/0/000.p/1",
    "/ct/checkpoint",
    "/ct/tile/0/000.p/1",
    "/ct/ct/v1/get-sth",
    "/ct/ct/v1/get-roots",
    "/api/v1/log",
    "/api/v1/log/proof?lastSize=1",
    "/api/v1/log/publicKey",
    "/api/v1/rootCert",
    "/api/v2/trustBundle",
    "/api/v1/timestamp/certchain",
    "/.well-known/chancery/trusted_root.json",
    "/.well-known/chancery/client_trust_config.json",
    "/tuf/timestamp.json",
    "/healthz",
];

/// An instance whose `chancery.toml` has been edited before its start.
async fn edited(edit: impl FnOnce(&Instance, String) -> String) -> Result<Instance> {
    let mut instance = Instance::stopped().await?;
    let file = instance.server.folder().join("chancery.toml");
    let text = edit(&instance, std::fs::read_to_string(&file)?);
    std::fs::write(&file, text)?;
    instance.server.start().await?;
    Ok(instance)
}

/// cosign 3.1 signs, which takes the CA, both logs and the timestamp authority, and verifies offline.
async fn sign_and_verify(instance: &Instance) -> Result<()> {
    let (cosign, token) = (Cosign::v3(instance)?, instance.issuer.token().await?);
    let file = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    cosign.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    cosign.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
    Ok(())
}

/// Sends every sealed request as `with` makes it, and demands this status of all.
async fn sealed(
    server: &Server,
    expected: StatusCode,
    with: impl Fn(RequestBuilder) -> RequestBuilder,
) -> Result<()> {
    let http = chancery_tests::http()?;
    for (method, path, body) in SEALED {
        let method = Method::from_bytes(method.as_bytes())?;
        let request = http.request(method.clone(), format!("{}{path}", server.url()));
        let request = request.header("content-type", "application/json").body(body);
        let answer = with(request).send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap_or_default();
        ensure!(status == expected, "{method} {path} is {status}, not {expected}: {text}");
        let caching = headers.get("cache-control").and_then(|value| value.to_str().ok()).unwrap_or_default();
        ensure!(caching.contains("private"), "{method} {path} may be cached: {caching}");
        if status == StatusCode::UNAUTHORIZED {
            ensure!(headers.contains_key("www-authenticate"), "{method} {path} does not say what it wants");
        }
    }
    Ok(())
}

async fn open(server: &Server) -> Result<()> {
    let http = chancery_tests::http()?;
    for path in OPEN {
        let answer = http.get(format!("{}{path}", server.url())).send().await?;
        ensure!(answer.status().is_success(), "{path} is {}", answer.status());
    }
    Ok(())
}

#[tokio::test]
async fn tokens_open_entries_and_nothing_else_needs_one() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let file = instance.server.folder().join("chancery.toml");
    let text = std::fs::read_to_string(&file)?.replace("entries = \"open\"", "entries = \"token\"");
    std::fs::write(&file, text)?;
    instance.server.run("run")?.failure(&["chancery-server reader-token"])?;
    let mut make = Server::command(&["reader-token"])?;
    let token = program::run(make.arg(instance.server.folder()).arg("audit"))?.success()?.stdout;
    instance.server.start().await?;
    let token = token.trim();

    sign_and_verify(&instance).await?;
    open(&instance.server).await?;
    sealed(&instance.server, StatusCode::UNAUTHORIZED, |request| request).await?;
    sealed(&instance.server, StatusCode::UNAUTHORIZED, |request| request.bearer_auth("guess")).await?;
    sealed(&instance.server, StatusCode::OK, |request| request.bearer_auth(token)).await?;
    sealed(&instance.server, StatusCode::OK, |request| request.basic_auth("anyone", Some(token))).await?;
    let said = instance.server.output().await?;
    ensure!(said.contains("reader=\"audit\""), "the access log does not name the reader:\n{said}");
    ensure!(!said.contains(token), "the token is in the log");

    // A reader whose line is gone is out, without a restart.
    std::fs::write(instance.server.folder().join("readers"), "# nobody\n")?;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    sealed(&instance.server, StatusCode::UNAUTHORIZED, |request| request.bearer_auth(token)).await
}

#[tokio::test]
async fn id_tokens_for_the_instance_open_entries_and_those_for_signing_do_not() -> Result<()> {
    let instance = edited(|instance, text| {
        let rule = format!(
            "entries = \"oidc\"\n[[access.oidc.readers]]\nissuer = \"{}\"\nclaims = {{ repository_owner = \"auditors\" }}\n",
            instance.issuer.url()
        );
        text.replace("entries = \"open\"", &rule)
    })
    .await?;
    sign_and_verify(&instance).await?;
    open(&instance.server).await?;
    sealed(&instance.server, StatusCode::UNAUTHORIZED, |request| request).await?;
    let url = instance.server.url();
    let reading = instance.issuer.token_with(json!({ "aud": url, "repository_owner": "auditors" })).await?;
    sealed(&instance.server, StatusCode::OK, |request| request.bearer_auth(reading.as_str())).await?;
    let stranger = instance.issuer.token_with(json!({ "aud": url, "repository_owner": "others" })).await?;
    sealed(&instance.server, StatusCode::FORBIDDEN, |request| request.bearer_auth(stranger.as_str())).await?;
    let signing = instance.issuer.token_with(json!({ "repository_owner": "auditors" })).await?;
    sealed(&instance.server, StatusCode::UNAUTHORIZED, |request| request.bearer_auth(signing.as_str()))
        .await?;
    let cosign = Cosign::v3(&instance)?;
    let file = instance.file("other", "another artifact")?.display().to_string();
    let bundle = instance.scratch().join("other.json").display().to_string();
    cosign.sign("sign-blob", &reading, &["--bundle", &bundle, &file])?.failure(&["identity token"])?;
    Ok(())
}

#[tokio::test]
async fn open_entries_are_for_whoever_reaches_the_listener() -> Result<()> {
    let instance = Instance::start().await?;
    sign_and_verify(&instance).await?;
    open(&instance.server).await?;
    let http = chancery_tests::http()?;
    for (method, path, body) in SEALED {
        let request =
            http.request(Method::from_bytes(method.as_bytes())?, format!("{}{path}", instance.server.url()));
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        ensure!(answer.status() == StatusCode::OK, "{method} {path} is {}", answer.status());
    }
    Ok(())
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(arguments.split(' '));
    program::run(&mut command)?.success()?;
    Ok(())
}

/// The status that curl gets for a path.
fn curl(folder: &Path, url: &str, more: &[&str]) -> Result<String> {
    let mut command = Command::new("curl");
    command.current_dir(folder).args(["-s", "--cacert", "tls.crt", "-o", "/dev/null", "-w", "%{http_code}"]);
    Ok(program::run(command.args(more).arg(url))?.success()?.stdout)
}

#[tokio::test]
async fn client_certificates_open_entries_over_tls() -> Result<()> {
    let scratch = tempfile::TempDir::new()?;
    let folder = scratch.path().join("instance");
    let url = format!("https://127.0.0.1:{}", program::free_port()?);
    let listen = url.trim_start_matches("https://").to_owned();
    let mut init = Server::command(&["init"])?;
    init.arg(&folder).args(["--url", &url, "--listen", &listen, "--entries", "mtls", "--any-tenant"]);
    program::run(&mut init)?.success()?;

    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(
        &folder,
        &format!(
            "{new} -keyout tls.key -out tls.crt -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
        ),
    )?;
    // openssl's own configuration makes what `-x509` signs a CA, if nothing else is said.
    for (name, key) in [("readers-ca", "readers-ca.key"), ("strangers-ca", "strangers-ca.key")] {
        openssl(&folder, &format!("{new} -keyout {key} -out {name}.pem -subj /CN={name}"))?;
        let leaf = "-addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=clientAuth";
        openssl(
            &folder,
            &format!(
                "{new} -CA {name}.pem -CAkey {key} -keyout {name}.leaf.key -out {name}.leaf.crt -subj /CN=alice {leaf}"
            ),
        )?;
    }
    let file = folder.join("chancery.toml");
    let text = std::fs::read_to_string(&file)?.replace("# [listen.tls]", "[listen.tls]");
    let text = text
        .replace("# certificate = ", "certificate = ")
        .replace("# key = \"tls.key\"", "key = \"tls.key\"");
    std::fs::write(&file, text)?;
    program::run(Server::command(&["check-config"])?.arg(&folder))?.success()?;
    let log = scratch.path().join("server.log");
    let mut server = Program::start("chancery-server", Server::command(&["run"])?.arg(&folder), &log)?;
    server.wait_for(|said| said.contains("listening on")).await?;

    let sealed = format!("{url}/tile/entries/000.p/1");
    let alice = ["--cert", "readers-ca.leaf.crt", "--key", "readers-ca.leaf.key"];
    ensure!(curl(&folder, &sealed, &[])? == "401", "no certificate was needed");
    ensure!(curl(&folder, &sealed, &alice)? == "200", "the reader's certificate was not enough");
    ensure!(curl(&folder, &format!("{url}/checkpoint"), &[])? == "200", "an open path wants a certificate");
    let mut mallory = Command::new("curl");
    mallory.current_dir(&folder).args(["-s", "--cacert", "tls.crt", "--cert", "strangers-ca.leaf.crt"]);
    mallory.args(["--key", "strangers-ca.leaf.key", &sealed]);
    program::run(&mut mallory)?.failure(&[])?;
    server
        .wait_for(|said| said.contains("reader=\"CN=alice\""))
        .await
        .context("the access log names the reader")?;
    Ok(())
}

#[tokio::test]
async fn a_log_for_the_own_ca_takes_keyless_signatures_only() -> Result<()> {
    let instance = edited(|_, text| text.replace("signers = \"any\"", "signers = \"own-ca\"")).await?;
    sign_and_verify(&instance).await?;
    let key = chancery_tests::rekor::Submitter::new()?;
    let entry = key.hashedrekord(b"signed with a key")?;
    let url = format!("{}/api/v1/log/entries", instance.server.url());
    let answer = chancery_tests::http()?.post(url).json(&entry).send().await?;
    ensure!(answer.status() == StatusCode::FORBIDDEN, "{}", answer.status());
    let text = answer.text().await?;
    ensure!(text.contains("\"code\":403") && text.contains("sign keyless"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_address_that_writes_too_often_is_told_when_to_come_again() -> Result<()> {
    let limit = "[limits.rates]\nwrites_per_address = { per_minute = 2, burst = 2 }";
    let instance = edited(|_, text| text.replace("# [limits.rates]", limit)).await?;
    let log = RekorLog::new(instance.server.url(), &instance.server.trust("rekor.pub"))?;
    let submitter = chancery_tests::rekor::Submitter::new()?;
    for n in 0..2 {
        ensure!(
            log.add(&submitter.hashedrekord(format!("artifact {n}").as_bytes())?).await?.is_some(),
            "refused"
        );
    }
    let url = format!("{}/api/v1/log/entries", instance.server.url());
    let entry = submitter.hashedrekord(b"one too many")?;
    let answer = chancery_tests::http()?.post(url).json(&entry).send().await?;
    ensure!(answer.status() == StatusCode::TOO_MANY_REQUESTS, "{}", answer.status());
    let after: u64 = answer.headers().get("retry-after").context("no Retry-After")?.to_str()?.parse()?;
    ensure!((1..=30).contains(&after), "Retry-After: {after}");
    ensure!(answer.text().await?.contains("\"code\":429"), "not in Rekor's words");
    log.head().await?;
    let reading = RekorCli::new(&instance)?.run("loginfo", &["--format", "json"])?;
    reading.success()?;
    Ok(())
}
