//! A running server that is told things by signals, and tells its supervisor and its operator others: reloads, TLS files,
//! the log's form and its first line.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::program::{self, PATIENCE};
use chancery_tests::watched::Exposition;
use chancery_tests::{DevIssuer, IdToken, Instance, Program, Server, issuers_yaml};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Where claim policies stand: before this passage of `chancery.toml`.
const ISSUANCE_LOG: &str = "# The issuance log: every";

/// A running instance with a metrics listener, and its address.
async fn watched() -> Result<(Instance, String)> {
    let mut instance = Instance::stopped().await?;
    let metrics = format!("127.0.0.1:{}", program::free_port()?);
    instance.server.configure(&[("# metrics = \"127.0.0.1:9464\"", &format!("metrics = \"{metrics}\""))])?;
    instance.server.start().await?;
    Ok((instance, metrics))
}

async fn scrape(metrics: &str) -> Result<Exposition> {
    let answer = chancery_tests::http()?.get(format!("http://{metrics}/metrics")).send().await?;
    Exposition::parse(answer.error_for_status()?.text().await?)
}

/// The status with which the CA answers a request with this token.
async fn status(server: &Server, token: &IdToken) -> Result<u16> {
    Ok(CaClient::new(server.url(), &server.trust("ct.pub"))?.request(token).await?.0)
}

#[tokio::test]
async fn an_issuer_comes_and_goes_by_hangups_and_a_broken_file_changes_nothing() -> Result<()> {
    let (instance, metrics) = watched().await?;
    let (server, file) = (&instance.server, instance.server.folder().join("fulcio.yaml"));
    let folder = instance.scratch().join("second");
    std::fs::create_dir(&folder)?;
    let second = DevIssuer::start(&folder).await?;
    ensure!(status(server, &second.token().await?).await? == 400, "an issuer that is not configured");

    std::fs::write(&file, issuers_yaml(&[instance.issuer.url(), second.url()]))?;
    let line = server.reload().await?;
    ensure!(line.contains(&format!("issuer added {}", second.url())), "{line}");
    ensure!(!line.contains("next_start"), "{line}");
    let ca = CaClient::new(server.url(), &server.trust("ct.pub"))?;
    for issuer in [&instance.issuer, &second] {
        ca.issue(&issuer.token().await?).await?.context("an idle CA issues")?;
    }
    let shown = chancery_tests::http()?.get(format!("{}/api/v2/configuration", server.url())).send().await?;
    ensure!(shown.text().await?.contains(second.url()), "clients are told");

    std::fs::write(&file, "oidc-issuers: [")?;
    let line = server.reload().await?;
    ensure!(line.contains("ERROR") && line.contains("configuration not reloaded"), "{line}");
    ensure!(line.contains("fulcio.yaml"), "{line}");
    let scraped = scrape(&metrics).await?;
    for (series, labels, value) in [
        ("chancery_reloads_total", "result=\"ok\"", 1.0),
        ("chancery_reloads_total", "result=\"failed\"", 1.0),
        ("chancery_reload_successful", "", 0.0),
    ] {
        let found = scraped.sum(series, &[labels]);
        ensure!((found - value).abs() < 1e-9, "{series} {labels} is {found}:\n{}", scraped.text);
    }
    for issuer in [&instance.issuer, &second] {
        ca.issue(&issuer.token().await?).await?.context("the old state stays")?;
    }

    std::fs::write(&file, issuers_yaml(&[second.url()]))?;
    let line = server.reload().await?;
    ensure!(line.contains(&format!("issuer removed {}", instance.issuer.url())), "{line}");
    ensure!(status(server, &instance.issuer.token().await?).await? == 400, "its issuer is gone");
    ca.issue(&second.token().await?).await?.context("an idle CA issues")?;
    ensure!(
        (scrape(&metrics).await?.sum("chancery_reload_successful", &[]) - 1.0).abs() < 1e-9,
        "good again"
    );
    Ok(())
}

#[tokio::test]
async fn all_or_nothing_and_what_needs_a_restart_is_named() -> Result<()> {
    let mut instance = Instance::start().await?;
    let server = &mut instance.server;
    let issuer = instance.issuer.url();
    let policy = format!(
        "[[ca.policy]]\nissuer = \"{issuer}\"\n[[ca.policy.rule]]\nname = \"nobody\"\nclaims = {{ sub = \"nobody\" }}\n\n"
    );
    // The policy is fine, and the same file names a filter that is none.
    server.configure(&[
        (ISSUANCE_LOG, &format!("{policy}{ISSUANCE_LOG}")),
        ("[logging]\n", "[logging]\nfilter = \"info,=,\"\n"),
    ])?;
    let line = server.reload().await?;
    ensure!(line.contains("not reloaded") && line.contains("logging.filter"), "{line}");
    ensure!(status(server, &instance.issuer.token().await?).await? == 200, "nothing was taken over");

    server.configure(&[
        ("filter = \"info,=,\"", "filter = \"info,chancery::access=off\""),
        ("[limits]\n", "[limits]\nmax_body = 5000000\n"),
    ])?;
    let line = server.reload().await?;
    for words in ["claim policies", "log filter", "takes_effect_at_the_next_start=\"limits.max_body\""] {
        ensure!(line.contains(words), "no `{words}`: {line}");
    }
    ensure!(status(server, &instance.issuer.token().await?).await? == 400, "the policy holds");
    // Lines have one order, so the next one about a reload comes after any about this request.
    chancery_tests::http()?.get(format!("{}/not-logged", server.url())).send().await?;
    let line = server.reload().await?;
    ensure!(line.contains("changed=\"nothing\"") && line.contains("limits.max_body"), "{line}");
    ensure!(!server.written()?.contains("/not-logged"), "the filter holds");
    server.stop().await?;
    server.start().await?;
    Ok(())
}

#[tokio::test]
async fn readers_are_as_the_file_says_after_a_hangup() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[("entries = \"open\"", "entries = \"token\"")])?;
    let token =
        program::run(Server::command(&["reader-token"])?.arg(instance.server.folder()).arg("auditor"))?;
    let token = token.success()?.stdout.trim().to_owned();
    instance.server.start().await?;
    let server = &instance.server;
    let http = chancery_tests::http()?;
    let read = async |token: &str| -> Result<u16> {
        let entries = format!("{}/tile/entries/000.p/1", server.url());
        Ok(http.get(entries).bearer_auth(token).send().await?.status().as_u16())
    };
    ensure!(read(&token).await? == 200, "a reader");
    std::fs::write(server.folder().join("readers"), "half a line\n")?;
    let line = server.reload().await?;
    ensure!(line.contains("not reloaded") && line.contains("readers line 1"), "{line}");
    ensure!(read(&token).await? == 200, "the old list stays");
    std::fs::write(server.folder().join("readers"), "# nobody\n")?;
    server.reload().await?;
    ensure!(read(&token).await? == 401, "a reader who was removed");
    server.configure(&[("entries = \"token\"", "entries = \"open\"")])?;
    let line = server.reload().await?;
    ensure!(line.contains("[access]"), "{line}");
    ensure!(read("").await? == 200, "entries are open");
    Ok(())
}

#[tokio::test]
async fn other_signals_do_nothing() -> Result<()> {
    let mut instance = Instance::start().await?;
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        instance.server.signal(signal)?;
    }
    instance.server.reload().await?;
    instance.server.stop().await
}

/// The next message on a socket of systemd's, as its assignments.
fn message(socket: &UnixDatagram) -> Result<Vec<String>> {
    let mut text = vec![0; 4096];
    let length = socket.recv(&mut text).context("no message")?;
    Ok(String::from_utf8(text[..length].to_vec())?.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn systemd_is_told_of_start_reload_and_stop() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let path = instance.scratch().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut command = Server::command(&["run"])?;
    command.env("NOTIFY_SOCKET", &path);
    instance.server.start_by(command).await?;
    let ready = message(&socket)?;
    ensure!(ready.contains(&"READY=1".to_owned()), "{ready:?}");
    ensure!(ready.iter().any(|line| line.starts_with("STATUS=serving http://")), "{ready:?}");
    for (text, status) in [
        (issuers_yaml(&[instance.issuer.url()]), "STATUS=serving; the configuration was reloaded"),
        ("not issuers".to_owned(), "STATUS=serving; a reload was refused: "),
    ] {
        std::fs::write(instance.server.folder().join("fulcio.yaml"), text)?;
        instance.server.reload().await?;
        let reloading = message(&socket)?;
        ensure!(reloading.contains(&"RELOADING=1".to_owned()), "{reloading:?}");
        let since = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        ensure!(since.context("when?")?.parse::<u64>()? > 0, "{reloading:?}");
        let ready = message(&socket)?;
        ensure!(ready.contains(&"READY=1".to_owned()), "{ready:?}");
        ensure!(ready.iter().any(|line| line.starts_with(status)), "{status}: {ready:?}");
    }
    instance.server.stop().await?;
    ensure!(message(&socket)? == ["STOPPING=1"], "the stop");
    Ok(())
}

#[tokio::test]
async fn json_logs_are_json_alone_and_on_one_stream() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[("# json = false", "json = true")])?;
    instance.server.start().await?;
    instance.server.says("listening on http://").await?;
    let text = instance.server.output().await?;
    let events =
        text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>().context(text.clone())?;
    let first = events.first().context("a line")?;
    ensure!(first["message"] == "chancery-server starts", "{first}");
    instance.server.stop().await?;

    // A start that fails says so in the same form, once, and nowhere else.
    instance.server.configure(&[("url = \"http", "url = \"ftp")])?;
    let refused = instance.server.run("run")?.failure(&["ftp://"])?;
    ensure!(refused.stdout.is_empty(), "{}", refused.stdout);
    let lines: Vec<Value> = refused.stderr.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.len() == 1 && lines[0]["level"] == "ERROR", "{}", refused.stderr);
    Ok(())
}

#[tokio::test]
async fn the_first_line_says_what_is_served_and_scrapes_are_not_logged() -> Result<()> {
    let (instance, metrics) = watched().await?;
    scrape(&metrics).await?;
    let text = instance.server.output().await?;
    let first = text.lines().find(|line| !line.contains(" on http")).context("a line")?;
    for words in [
        "chancery-server starts",
        &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")),
        "commit=",
        &format!("url={}", instance.server.url()),
        "roles=\"ca ct rekor-v1 rekor-v2 timestamp tuf\"",
        "log_sizes=\"ct 0, rekor-v1 1, rekor-v2 1\"",
        "issuers=1",
        "next_end=\"20",
        "authority)\"",
    ] {
        ensure!(first.contains(words), "no `{words}`: {first}");
    }
    ensure!(!text.contains("path=/metrics"), "{text}");
    Ok(())
}

#[tokio::test]
async fn misspelled_variables_are_reported_with_what_was_meant() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let meant =
        "CHANCERY_LISTEN_ADDRESS is read by no program of Chancery: is CHANCERY_LISTEN__ADDRESS meant?";
    let misspelled = ("CHANCERY_LISTEN_ADDRESS", "127.0.0.1:1");
    let mut check = Server::command(&["check-config"])?;
    let checked =
        program::run(check.env(misspelled.0, misspelled.1).arg(instance.server.folder()))?.success()?;
    ensure!(checked.stdout.contains(meant), "{}", checked.stdout);
    let mut command = Server::command(&["run"])?;
    command.env(misspelled.0, misspelled.1);
    instance.server.start_by(command).await?;
    ensure!(instance.server.output().await?.contains(meant), "the server's log");
    let mut show = Command::new(program::own("chancery")?);
    program::isolate(&mut show, &instance.home("misspelling")?);
    let shown = program::run(show.args(["trust", "show"]).env("CHANCERY_CONFIGDIR", "/nowhere"))?;
    ensure!(shown.stderr.contains("is CHANCERY_CONFIG_DIR meant?"), "{}", shown.stderr);
    Ok(())
}

/// An instance that serves TLS itself, with a certificate for its name.
struct Secure {
    scratch: tempfile::TempDir,
    url: String,
    metrics: String,
}

impl Secure {
    fn init(entries: &str) -> Result<Self> {
        let scratch = tempfile::TempDir::new()?;
        let listen = format!("127.0.0.1:{}", program::free_port()?);
        let metrics = format!("127.0.0.1:{}", program::free_port()?);
        let secure = Self { scratch, url: format!("https://{listen}"), metrics };
        let mut init = Server::command(&["init"])?;
        init.arg(secure.folder()).args(["--url", &secure.url, "--listen", &listen, "--entries", entries]);
        program::run(init.arg("--any-tenant"))?.success()?;
        secure.make("tls", 90, "IP:127.0.0.1")?;
        secure.configure(&[
            ("# [listen.tls]\n# certificate = ", "[listen.tls]\ncertificate = "),
            ("# key = \"tls.key\"", "key = \"tls.key\""),
            ("# metrics = \"127.0.0.1:9464\"", &format!("metrics = \"{}\"", secure.metrics)),
        ])?;
        Ok(secure)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.scratch.path().join("instance")
    }

    fn configure(&self, edits: &[(&str, &str)]) -> Result<()> {
        let file = self.folder().join("chancery.toml");
        let mut text = std::fs::read_to_string(&file)?;
        for (old, new) in edits {
            ensure!(text.contains(old), "chancery.toml has no `{old}`");
            text = text.replace(old, new);
        }
        Ok(std::fs::write(&file, text)?)
    }

    /// Makes `NAME.crt` and `NAME.key`.
    fn make(&self, name: &str, days: u32, alternative: &str) -> Result<()> {
        openssl(
            &self.folder(),
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days {days} -subj /CN={name} \
                 -addext subjectAltName={alternative} -keyout {name}.key -out {name}.crt"
            ),
        )
    }

    async fn start(&self) -> Result<Program> {
        let log = self.scratch.path().join("server.log");
        let mut server =
            Program::start("chancery-server", Server::command(&["run"])?.arg(self.folder()), &log)?;
        server.wait_for(|said| said.contains("listening on")).await?;
        Ok(server)
    }

    fn check(&self) -> Result<program::Outcome> {
        program::run(Server::command(&["check-config"])?.arg(self.folder()))
    }

    /// What curl gets that trusts this certificate alone.
    fn curl(&self, certificate: &str, path: &str, more: &[&str]) -> Result<program::Outcome> {
        let mut command = Command::new("curl");
        command.current_dir(self.folder()).args(["-s", "--cacert", certificate, "-o", "/dev/null"]);
        command.args(["-w", "%{http_code}"]).args(more).arg(format!("{}{path}", self.url));
        program::run(&mut command)
    }

    /// Days that are left of the certificate that is loaded, as monitoring sees it; and whether the files are in use.
    async fn shown(&self) -> Result<(f64, bool)> {
        let scraped = scrape(&self.metrics).await?;
        let end = scraped.sum("chancery_certificate_expires_timestamp_seconds", &["certificate=\"tls\""]);
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs_f64();
        Ok(((end - now) / 86_400.0, scraped.sum("chancery_file_current", &["file=\"tls\""]) > 0.5))
    }
}

fn openssl(folder: &Path, arguments: &str) -> Result<()> {
    program::run(Command::new("openssl").current_dir(folder).args(arguments.split(' ')))?.success()?;
    Ok(())
}

fn hang_up(server: &Program) -> Result<()> {
    Ok(nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(server.id())?), Signal::SIGHUP)?)
}

#[tokio::test]
async fn a_certificate_is_replaced_and_a_broken_one_is_counted_and_tried_again() -> Result<()> {
    let secure = Secure::init("open")?;
    let mut server = secure.start().await?;
    secure.curl("tls.crt", "/checkpoint", &[])?.success()?;

    // Half of a renewal: the key of another certificate.
    secure.make("new", 30, "IP:127.0.0.1")?;
    let folder = secure.folder();
    std::fs::copy(folder.join("tls.key"), folder.join("old.key"))?;
    std::fs::copy(folder.join("new.key"), folder.join("tls.key"))?;
    server.wait_for(|said| said.contains("does not belong to the certificate")).await?;
    let (days, current) = secure.shown().await?;
    ensure!(days > 80.0 && !current, "{days} days of the loaded certificate, {current}");
    secure.curl("tls.crt", "/checkpoint", &[])?.success()?;
    secure.check()?.failure(&["does not belong to the certificate", "1 problem"])?;
    // The configuration cannot be reloaded as long as this file is broken.
    hang_up(&server)?;
    server.wait_for(|said| said.contains("configuration not reloaded")).await?;

    // The other half.
    std::fs::copy(folder.join("tls.crt"), folder.join("old.crt"))?;
    std::fs::copy(folder.join("new.crt"), folder.join("tls.crt"))?;
    server.wait_for(|said| said.contains("TLS certificate reloaded")).await?;
    let (days, current) = secure.shown().await?;
    ensure!(days < 31.0 && current, "{days} days of the loaded certificate, {current}");
    secure.curl("new.crt", "/checkpoint", &[])?.success()?;

    // Other files, by a reload.
    secure.configure(&[("\"tls.crt\"", "\"old.crt\""), ("key = \"tls.key\"", "key = \"old.key\"")])?;
    hang_up(&server)?;
    server.wait_for(|said| said.contains("changed=\"TLS certificate, until")).await?;
    secure.curl("old.crt", "/checkpoint", &[])?.success()?;
    ensure!(secure.shown().await?.0 > 80.0, "the metric is that of the loaded certificate");
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_another_name_is_an_error_of_the_check_and_a_loud_warning() -> Result<()> {
    let secure = Secure::init("open")?;
    secure.check()?.success()?;
    secure.make("tls", 90, "DNS:other.example")?;
    let wrong = "valid for other.example and not for 127.0.0.1";
    secure.check()?.failure(&["problem", wrong])?;
    let mut server = secure.start().await?;
    let said = server.wait_for(|said| said.contains(wrong)).await?;
    ensure!(said.lines().any(|line| line.contains("ERROR") && line.contains(wrong)), "{said}");
    // Also in the place of a good one.
    secure.make("tls", 90, "IP:127.0.0.1")?;
    server.wait_for(|said| said.contains("TLS certificate reloaded")).await?;
    secure.make("wrong", 90, "DNS:third.example")?;
    secure.configure(&[("\"tls.crt\"", "\"wrong.crt\""), ("key = \"tls.key\"", "key = \"wrong.key\"")])?;
    hang_up(&server)?;
    server.wait_for(|said| said.contains("valid for third.example and not for 127.0.0.1")).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_printed_once() -> Result<()> {
    let secure = Secure::init("open")?;
    std::fs::remove_file(secure.folder().join("tls.crt"))?;
    let refused = program::run(Server::command(&["run"])?.arg(secure.folder()))?.failure(&["tls.crt"])?;
    ensure!(refused.said().matches("No such file").count() == 1, "{}", refused.said());
    Ok(())
}

#[tokio::test]
async fn readers_of_a_client_ca_that_was_replaced_are_out() -> Result<()> {
    let secure = Secure::init("mtls")?;
    let folder = secure.folder();
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let leaf = "-addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=clientAuth";
    for ca in ["readers-ca", "other-ca"] {
        openssl(&folder, &format!("{new} -keyout {ca}.key -out {ca}.pem -subj /CN={ca}"))?;
        openssl(
            &folder,
            &format!(
                "{new} -CA {ca}.pem -CAkey {ca}.key -keyout {ca}.leaf.key -out {ca}.leaf.crt -subj /CN={ca}-reader {leaf}"
            ),
        )?;
    }
    let mut server = secure.start().await?;
    let sealed = "/tile/entries/000.p/1";
    let old = ["--cert", "readers-ca.leaf.crt", "--key", "readers-ca.leaf.key"];
    let other = ["--cert", "other-ca.leaf.crt", "--key", "other-ca.leaf.key"];
    ensure!(secure.curl("tls.crt", sealed, &old)?.success()?.stdout == "200", "a reader");
    secure.curl("tls.crt", sealed, &other)?.failure(&[])?;
    // A file in the place of the other one is noticed without a signal, a reload does not wait for that.
    std::fs::copy(folder.join("other-ca.pem"), folder.join("readers-ca.pem"))?;
    hang_up(&server)?;
    server.wait_for(|said| said.contains("configuration reloaded")).await?;
    ensure!(secure.curl("tls.crt", sealed, &other)?.success()?.stdout == "200", "a reader of the new CA");
    secure.curl("tls.crt", sealed, &old)?.failure(&[])?;
    ensure!(secure.curl("tls.crt", sealed, &[])?.success()?.stdout == "401", "nobody");
    Ok(())
}
