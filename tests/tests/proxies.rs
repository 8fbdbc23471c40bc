//! The proxy samples of `deploy/proxy`, as they are but for addresses and paths, with the real nginx and HAProxy: clients sign
//! through them, sealed entries stay sealed, and the server sees whose requests they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::spellings::{is_slashes_alone, spellings};
use chancery_tests::{
    Chancery, Cosign, Identity, Instance, Policy, Program, Server, Witness, peers, program,
};

/// Where the bundle of the first entries is, which everyone who knows the API knows.
const ENTRIES: &str = "/tile/entries/000.p/1";

/// An instance with sealed entries behind a proxy that ends its TLS.
struct Proxied {
    instance: Instance,
    /// Issued the proxy's certificate.
    authority: PathBuf,
    /// Reads entries.
    token: String,
    _proxy: Program,
}

impl Proxied {
    /// Starts the proxy that `configure` makes of the server's folder, the proxy's address and the server's.
    async fn start(name: &str, configure: impl Fn(&Path, &str, &str) -> Result<Vec<String>>) -> Result<Self> {
        let mut instance = Instance::stopped_at_https("token").await?;
        let (listener, authority) = instance.server.behind_proxy()?;
        let token =
            program::run(Server::command(&["reader-token"])?.arg(instance.server.folder()).arg("auditor"))?;
        let token = token.success()?.stdout.trim().to_owned();
        let address = instance.server.url().trim_start_matches("https://").to_owned();
        let mut command = Command::new(peers::program(name)?);
        command.args(configure(instance.server.folder(), &address, &listener)?);
        let proxy = Program::start(name, &mut command, &instance.scratch().join(format!("{name}.log")))?;
        // Ready is asked through the proxy.
        instance.server.start().await?;
        Ok(Self { instance, authority, token, _proxy: proxy })
    }

    async fn nginx() -> Result<Self> {
        Self::start("nginx", |folder, address, listener| {
            let sample = sample(
                "nginx.conf",
                &[
                    ("127.0.0.1:8080", listener),
                    ("listen 443", &format!("listen {address}")),
                    ("/etc/chancery/", &format!("{}/", folder.display())),
                    ("server_name sigstore.example.com", "server_name _"),
                ],
            )?;
            let home = folder.join("nginx");
            std::fs::create_dir(&home)?;
            let mut main = format!(
                "daemon off; pid {0}/pid; error_log stderr info; events {{}} http {{ ",
                home.display()
            );
            main.push_str("access_log off; ");
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                write!(main, "{kind}_temp_path {}/{kind}; ", home.display())?;
            }
            // Where the test runs as root, the workers keep its rights: its folders are for it alone.
            let user = if nix::unistd::geteuid().is_root() { "user root; " } else { "" };
            let file = home.join("main.conf");
            std::fs::write(&file, format!("{user}{main}\n{sample}\n}}\n"))?;
            let words = [Path::new("-p"), &home, Path::new("-c"), &file];
            Ok(words.map(|word| word.display().to_string()).to_vec())
        })
        .await
    }

    async fn haproxy() -> Result<Self> {
        Self::start("haproxy", |folder, address, listener| {
            let both = [std::fs::read(folder.join("tls.crt"))?, std::fs::read(folder.join("tls.key"))?];
            std::fs::write(folder.join("tls.pem"), both.concat())?;
            let sample = sample(
                "haproxy.cfg",
                &[
                    ("127.0.0.1:8080", listener),
                    ("bind :443", &format!("bind {address}")),
                    ("/etc/chancery/", &format!("{}/", folder.display())),
                ],
            )?;
            let file = folder.join("haproxy.cfg");
            std::fs::write(&file, sample)?;
            Ok(vec!["-db".to_owned(), "-f".to_owned(), file.display().to_string()])
        })
        .await
    }

    /// Status and body that curl gets for a path, sent as it is written.
    fn curl(&self, path: &str, more: &[&str]) -> Result<(u16, String)> {
        let mut command = Command::new("curl");
        program::isolate(&mut command, &self.instance.home("curl")?);
        command.args(["-s", "--path-as-is", "-w", "\n%{http_code}", "--cacert"]).arg(&self.authority);
        command.args(more).arg(format!("{}{path}", self.instance.server.url()));
        let said = program::run(&mut command)?.success()?.stdout;
        let (body, status) = said.rsplit_once('\n').context("curl prints the status")?;
        Ok((status.parse()?, body.to_owned()))
    }

    /// Everything that the samples promise.
    async fn keeps_its_promises(&self) -> Result<()> {
        self.is_for_chancery().await?;
        self.is_for_cosign().await?;
        self.is_for_grpc().await?;
        self.keeps_entries_sealed()?;
        self.lets_the_largest_body_through()?;
        self.shows_the_client().await
    }

    async fn is_for_chancery(&self) -> Result<()> {
        let chancery = Chancery::new(&self.instance, "chancery")?;
        let authority = self.authority.display().to_string();
        let mut variables = vec![("SSL_CERT_FILE", authority.as_str())];
        variables.extend(
            self.instance
                .issuer
                .job_environment()
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let file = self.instance.file("attested", "an artifact")?.display().to_string();
        let bundle = format!("{file}.sigstore.json");
        chancery.run_with(&variables, &["trust", "add", self.instance.server.url()])?.success()?;
        chancery.run_with(&variables, &["attest", &file])?.success()?;
        let policy = Policy::of(&self.instance.issuer.token().await?);
        let verify = ["verify", &file, "--bundle", &bundle].map(str::to_owned);
        chancery.run(&[&verify[..], &policy].concat())?.success()?;
        Ok(())
    }

    async fn is_for_cosign(&self) -> Result<()> {
        let token = self.instance.issuer.token().await?;
        for (name, cosign) in
            [("cosign2", Cosign::v2(&self.instance)?), ("cosign3", Cosign::v3(&self.instance)?)]
        {
            let cosign = cosign.trusting(&self.authority);
            let file = self.instance.file(name, format!("signed by {name}"))?.display().to_string();
            let bundle = format!("{file}.json");
            cosign.sign("sign-blob", &token, &["--bundle", &bundle, &file])?.success()?;
            cosign.verify("verify-blob", &token, &["--bundle", &bundle, &file])?.success()?;
        }
        Ok(())
    }

    /// Both protocols take turns, so that a connection that was kept for one is at hand for the other.
    async fn is_for_grpc(&self) -> Result<()> {
        let health = self.instance.file("health-check", [0; 5])?;
        for _ in 0..3 {
            let (status, body) = self.curl("/healthz", &[])?;
            ensure!(status == 200 && body == "ok\n", "{status} {body}");
            let headers = ["--http2", "-H", "content-type: application/grpc", "-H", "te: trailers"];
            let body = ["--data-binary", &format!("@{}", health.display())];
            let (status, body) =
                self.curl("/grpc.health.v1.Health/Check", &[&headers[..], &body].concat())?;
            ensure!(status == 200 && body.ends_with("\u{8}\u{1}"), "{status} {body:?}");
        }
        let witness = Witness::new(&self.instance)?.trusting(&self.authority);
        let token = self.instance.issuer.token().await?;
        let artifact = self.instance.file("product", "made by a step")?;
        let envelope = self.instance.scratch().join("envelope.json");
        witness.attest(&token, &artifact, &envelope)?.success()?;
        witness.verify(&Identity::of(&token), &envelope, &artifact)?.success()?;
        Ok(())
    }

    fn keeps_entries_sealed(&self) -> Result<()> {
        let bearer = format!("Authorization: Bearer {}", self.token);
        ensure!(self.curl(ENTRIES, &["-H", &bearer, "-o", "/dev/null"])?.0 == 200, "a reader is refused");
        ensure!(
            self.curl("/api/v1/log/entries?logIndex=0", &["-H", &bearer])?.0 == 200,
            "a reader is refused"
        );
        for path in ["/api/v1/log/entries?logIndex=0", "/rekor-v1/tile/entries/000.p/1", ENTRIES] {
            let (status, body) = self.curl(path, &[])?;
            ensure!(status == 401, "{path} is {status}: {body}");
        }
        let known = ["/x/../tile/entries/000.p/1", "/tile/%65ntries/000.p/1", "/tile//entries/000.p/1"];
        // What does not begin with a slash is not a path to send.
        let many = spellings(ENTRIES).into_iter().filter(|spelling| spelling.starts_with('/')).step_by(5);
        for spelling in many.chain(known.map(str::to_owned)) {
            let (status, body) = self.curl(ENTRIES, &["--request-target", &spelling])?;
            let expected: &[u16] = if is_slashes_alone(&spelling, ENTRIES) { &[401] } else { &[400, 404] };
            ensure!(expected.contains(&status), "{spelling} is {status}: {body}");
        }
        Ok(())
    }

    /// The largest body that the server takes reaches it, over either protocol.
    fn lets_the_largest_body_through(&self) -> Result<()> {
        self.answers_a_body(max_body()?, 400)
    }

    /// A body that is far larger is answered, though neither side waits for its end.
    fn answers_far_larger_bodies(&self) -> Result<()> {
        self.answers_a_body(5 * max_body()?, 413)
    }

    fn answers_a_body(&self, bytes: usize, expected: u16) -> Result<()> {
        let body = format!("@{}", self.instance.file("body", vec![b'a'; bytes])?.display());
        for version in ["--http1.1", "--http2"] {
            let json =
                [version, "-H", "content-type: application/json", "-H", "expect:", "--data-binary", &body];
            let (status, said) = self.curl("/api/v1/log/entries", &json)?;
            ensure!(status == expected, "{version}: {bytes} bytes are answered {status}: {said}");
        }
        Ok(())
    }

    /// The client's address is the one that the proxy saw, whatever the client says.
    async fn shows_the_client(&self) -> Result<()> {
        let forged = ["-H", "X-Forwarded-For: 192.0.2.1", "-H", "Forwarded: for=192.0.2.2"];
        let (status, _) = self.curl("/seen", &[&["--interface", "127.0.0.7"][..], &forged].concat())?;
        ensure!(status == 404, "{status}");
        let log = self.instance.server.output().await?;
        let line =
            log.lines().find(|line| line.contains("path=/seen ")).context("a line of the access log")?;
        ensure!(line.contains("client=127.0.0.7 "), "another client: {line}");
        ensure!(!log.contains("192.0.2."), "a forged address is in the log:\n{log}");
        Ok(())
    }
}

/// The default of `max_body`, as the sample configuration shows it.
fn max_body() -> Result<usize> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples/chancery.toml");
    let text = std::fs::read_to_string(file)?;
    let default = text.lines().find_map(|line| line.strip_prefix("# max_body = "));
    Ok(default.context("the sample shows `max_body`")?.parse()?)
}

/// A sample with these passages replaced, each of which must be there.
fn sample(name: &str, edits: &[(&str, &str)]) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/proxy").join(name);
    let mut text = std::fs::read_to_string(&file)?;
    for (old, new) in edits {
        ensure!(text.contains(old), "{name} has no `{old}`");
        text = text.replace(old, new);
    }
    Ok(text)
}

#[tokio::test]
async fn nginx_in_front() -> Result<()> {
    let proxied = Proxied::nginx().await?;
    proxied.keeps_its_promises().await?;
    // HAProxy closes the connection instead, as its page says.
    proxied.answers_far_larger_bodies()
}

#[tokio::test]
async fn haproxy_in_front() -> Result<()> {
    Proxied::haproxy().await?.keeps_its_promises().await
}
