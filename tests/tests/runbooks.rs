//! deploy/docs/runbooks.md, followed word by word: each section's commands against a real server in the situation that
//! the section is for.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::rekor::{Acknowledged, RekorLog, Submitter};
use chancery_tests::runbooks::{Operator, Page};
use chancery_tests::{DevIssuer, Program, Rekor, Server, issuers_yaml, program};
use tempfile::TempDir;

/// Sections that nobody follows here, and why.
const NOT_RUN: [(&str, &str); 8] = [
    ("Key replacement", "not from the page yet; shard.rs tests the subcommands"),
    ("Keep checkpoints elsewhere", "not from the page yet; backup.rs tests the subcommands"),
    ("Backup", "not from the page yet; backup.rs tests the subcommands"),
    ("Restore", "not from the page yet; backup.rs tests the subcommands"),
    ("fsck found damage", "not from the page yet; faults.rs finds damage with fsck"),
    ("Two writers", "not from the page yet"),
    ("Moving to a new host", "not from the page yet"),
    ("The server does not start", "not from the page yet; backup.rs refuses old copies"),
];

#[test]
fn every_section_is_followed_by_a_test() -> Result<()> {
    let here = include_str!("runbooks.rs");
    for heading in Page::load()?.headings() {
        let run = here.contains(&format!("section(\"{heading}\")"));
        let excused = NOT_RUN.iter().any(|(name, _)| heading.starts_with(name));
        ensure!(run != excused, "`{heading}`: a section has either a test or an excuse");
    }
    Ok(())
}

/// An instance, who operates it, and who uses it.
struct World {
    // First, so that the server ends before its files go.
    operator: Operator,
    issuer: DevIssuer,
    server: Server,
    log: RekorLog,
    submitter: Submitter,
    page: Page,
    scratch: TempDir,
}

impl World {
    /// A running instance with its folder under `home`, or in a scratch folder.
    async fn begin(home: Option<&Path>, edits: &[(&str, &str)]) -> Result<Self> {
        let scratch = TempDir::new()?;
        let issuer = DevIssuer::start(scratch.path()).await?;
        let issuers = issuers_yaml(&[issuer.url()]);
        let server = Server::init(home.unwrap_or(scratch.path()), "server", &issuers, Rekor::Both)?;
        let metrics = format!("127.0.0.1:{}", program::free_port()?);
        server.configure(&[("# metrics = \"127.0.0.1:9464\"", &format!("metrics = \"{metrics}\""))])?;
        server.configure(edits)?;
        let operator = Operator::new(&server, &format!("http://{metrics}"), scratch.path())?;
        let log = RekorLog::new(server.url(), &server.trust("rekor.pub"))?;
        Ok(Self { operator, issuer, server, log, submitter: Submitter::new()?, page: Page::load()?, scratch })
    }

    async fn add(&self, artifact: &str) -> Result<Acknowledged> {
        let entry = self.submitter.hashedrekord(artifact.as_bytes())?;
        self.log.add(&entry).await?.context("an idle log takes entries")
    }

    /// The acknowledged entry is there, and the log takes more.
    async fn is_well(&self, acknowledged: &Acknowledged) -> Result<()> {
        ensure!(self.log.get(&acknowledged.id).await?.body == acknowledged.body, "an entry was lost");
        self.add(&format!("after {}", self.log.head().await?.size)).await?;
        Ok(())
    }
}

/// What an operator does on a server that runs, or that was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_work() -> Result<()> {
    let mut world = World::begin(None, &[("entries = \"open\"", "entries = \"token\"")]).await?;
    world.operator.set("READER", "auditor");
    let mut leaves = world.page.section("A reader has to go")?;
    let (revoke, renew) = (leaves.block()?, leaves.block()?);
    leaves.done()?;
    let lost = world.operator.follows(&renew)?.stdout.trim().to_owned();
    world.operator.starts().await?;
    world.add("before").await?;
    server_is_down(&world).await?;
    slow_commits(&world)?;
    writes_are_refused(&world).await?;
    clock_is_behind(&world)?;
    reader_has_to_go(&world, &lost, &revoke, &renew).await?;
    tuf_metadata_ends(&mut world)?;
    upgrade(&mut world)?;
    passphrase(&world).await
}

async fn server_is_down(world: &World) -> Result<()> {
    let mut section = world.page.section("The server is down")?;
    world.operator.pulls_the_plug()?;
    world.operator.until("the server is gone", async || Ok(!world.operator.is_running())).await?;
    let why = world.operator.follows(&section.block()?)?;
    ensure!(why.stdout.contains("listening on"), "the journal: {}", why.stdout);
    world.operator.follows(&section.block()?)?;
    let well = world.operator.follows(&section.block()?)?.stdout;
    ensure!(well.matches("chancery_log_open").count() == 3 && !well.contains("} 0"), "{well}");
    section.done()
}

fn slow_commits(world: &World) -> Result<()> {
    let mut section = world.page.section("No new head, or slow commits")?;
    let figures = world.operator.follows(&section.block()?)?.stdout;
    for figure in ["sync_seconds_sum", "stage=\"commit\"", "queue_oldest_seconds"] {
        ensure!(figures.contains(figure), "no {figure}:\n{figures}");
    }
    world.operator.follows(&section.block()?)?;
    section.done()
}

async fn writes_are_refused(world: &World) -> Result<()> {
    let request = chancery_tests::http()?.post(format!("{}/api/v2/signingCert", world.server.url()));
    ensure!(request.bearer_auth("not.a.token").body("{}").send().await?.status() == 400, "refused");
    let mut section = world.page.section("Writes are refused")?;
    let reasons = world.operator.follows(&section.block()?)?.stdout;
    ensure!(reasons.contains("chancery_ca_refusals_total{reason=\"token_malformed\"} 1"), "{reasons}");
    section.done()
}

/// The clock of a test cannot be set: the commands are run while it is right.
fn clock_is_behind(world: &World) -> Result<()> {
    let mut section = world.page.section("The clock is behind")?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.matches("chancery_log_clock_behind_seconds").count() == 3, "{shown}");
    section.done()
}

async fn reader_has_to_go(world: &World, lost: &str, revoke: &str, renew: &str) -> Result<()> {
    let http = chancery_tests::http()?;
    let url = format!("{}/api/v1/log/entries?logIndex=0", world.server.url());
    let status = async |token: &str| -> Result<u16> {
        Ok(http.get(&url).bearer_auth(token).send().await?.status().as_u16())
    };
    ensure!(status(lost).await? == 200, "the token reads");
    world.operator.follows(revoke)?;
    world.operator.until("the lost token is refused", async || Ok(status(lost).await? == 401)).await?;
    let token = world.operator.follows(renew)?.stdout.trim().to_owned();
    world.operator.until("the new token reads", async || Ok(status(&token).await? == 200)).await?;
    ensure!(status(lost).await? == 401, "the lost token is good again");
    Ok(())
}

/// The key has been moved offline; the trust files have changed since.
fn tuf_metadata_ends(world: &mut World) -> Result<()> {
    let key = world.scratch.path().join("tuf-root.key");
    let folder = world.server.folder().to_owned();
    std::fs::rename(folder.join("keys/tuf-root.key"), &key)?;
    world.operator.set("TUF_ROOT_KEY", key.display().to_string());
    world.server.configure(&[("[ca]\n", "[ca]\n# a comment that changes nothing\n")])?;
    let mut section = world.page.section("TUF metadata ends")?;
    world.operator.follows(&section.block()?)?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.contains("ok") && !shown.contains("warning") && !shown.contains("problem"), "{shown}");
    section.done()
}

/// The new program is a wrapper of the one that there is, and says that it was here.
fn upgrade(world: &mut World) -> Result<()> {
    let real = program::own("chancery-server")?;
    let script = format!("#!/bin/sh\necho 'the new program' >&2\nexec {} \"$@\"\n", real.display());
    let new = world.operator.program("chancery-server.new", &script)?;
    world.operator.set("NEW", new.display().to_string());
    let mut section = world.page.section("Upgrade")?;
    world.operator.follows(&section.block()?)?;
    ensure!(world.operator.journal().contains("the new program"), "{}", world.operator.journal());
    section.done()
}

async fn passphrase(world: &World) -> Result<()> {
    world.server.configure(&[(
        "# passphrase = { file = \"passphrase\" }",
        "passphrase = { file = \"passphrase\" }",
    )])?;
    // Once for keys in clear, once for a passphrase that is replaced.
    for _ in 0..2 {
        let mut section = world.page.section("The passphrase of the keys")?;
        world.operator.follows(&section.block()?)?;
        world.operator.follows(&section.block()?)?;
        section.done()?;
    }
    let ca = CaClient::new(world.server.url(), &world.server.trust("ct.pub"))?;
    ca.issue(&world.issuer.token().await?).await?.context("an idle CA issues")?;
    world.add("with encrypted keys").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_unknown_outcome() -> Result<()> {
    let world = World::begin(None, &[]).await?;
    world.operator.starts().await?;
    let acknowledged = world.add("before").await?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-p", &world.operator.server()?.to_string(), "-e", "trace=fdatasync"]);
    strace.args(["-e", "inject=fdatasync:error=EIO:when=1+", "-o"]).arg(world.scratch.path().join("trace"));
    let mut strace = Program::start("strace", &mut strace, &world.scratch.path().join("strace.log"))?;
    strace.wait_for(|said| said.contains("attached")).await?;
    let entry = world.submitter.hashedrekord(b"in doubt")?;
    let answered = world.log.add(&entry).await;
    ensure!(!matches!(answered, Ok(Some(_))), "acknowledged without a sync");
    world.operator.until("the server ends", async || Ok(!world.operator.is_running())).await?;
    drop(strace);
    ensure!(world.operator.journal().contains("a commit may or may not be durable"), "it says why it ends");

    let mut section = world.page.section("A commit of unknown outcome")?;
    for _ in 0..2 {
        world.operator.follows(&section.block()?)?;
    }
    let checkpoint = world.operator.follows(&section.block()?)?.stdout;
    ensure!(checkpoint.contains("/rekor-v1\n"), "a checkpoint: {checkpoint}");
    section.done()?;
    let shown =
        world.operator.follows("curl -fsS \"$METRICS/metrics\" | grep '^chancery_previous_run'")?.stdout;
    ensure!(shown.contains("ended=\"unknown\"} 1"), "the alert's metric: {shown}");
    // What was in doubt is submitted again: it is there, or it is taken now.
    if let Err(error) = world.log.add(&entry).await {
        ensure!(error.to_string().contains("an equivalent entry already exists"), "{error:#}");
    }
    world.is_well(&acknowledged).await
}

/// A file system of its own, in memory. Needs root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Result<Self> {
        std::fs::create_dir(&at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at);
        program::run(&mut mount)?.success().context("mounting a small disk takes root")?;
        Ok(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = program::run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk() -> Result<()> {
    let home = TempDir::new()?;
    let disk = SmallDisk::mount(home.path().join("disk"), "704m")?;
    let mut world = World::begin(Some(&disk.0), &[]).await?;
    world.operator.starts().await?;
    let acknowledged = world.add("before").await?;
    world.operator.set("BALLAST", "96M");
    let mut prepare = world.page.section("Keep room on the disk")?;
    world.operator.follows(&prepare.block()?)?;
    prepare.done()?;
    world.add("with ballast").await?;

    world.operator.follows(&format!("fallocate -l 100M {}/someone-elses", disk.0.display()))?;
    let mut serial = 0;
    let mut is_taken = async || {
        serial += 1;
        let entry = world.submitter.hashedrekord(format!("while full {serial}").as_bytes())?;
        Ok(world.log.add(&entry).await?.is_some())
    };
    world.operator.until("adds are refused", async || Ok(!is_taken().await?)).await?;
    ensure!(world.log.get(&acknowledged.id).await?.index == acknowledged.index, "reads go on");

    let mut section = world.page.section("Full disk")?;
    world.operator.follows(&section.block()?)?;
    world.operator.until("adds are taken", &mut is_taken).await?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.matches("chancery_log_disk_free_bytes").count() == 3, "{shown}");
    section.done()?;
    ensure!(world.operator.is_running(), "nothing ended");
    world.is_well(&acknowledged).await?;
    world.operator.follows("systemctl stop chancery-server").map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_ends() -> Result<()> {
    let tls = "# [listen.tls]\n# certificate = \"tls.crt\"\n# key = \"tls.key\"";
    let set = "[listen.tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"";
    let mut world = World::begin(None, &[(tls, set)]).await?;
    let make = |days: u32, key: &str, certificate: &str| {
        let command = format!(
            "umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} \
             -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout \"{key}\" -out \"{certificate}\""
        );
        world.operator.follows(&command).map(drop)
    };
    make(3, "$DIR/tls.key", "$DIR/tls.crt")?;
    make(90, "new.key", "new.crt")?;
    world.operator.set("NEW_KEY", "new.key");
    world.operator.set("NEW_CERTIFICATE", "new.crt");
    world.operator.follows("systemctl start chancery-server")?;
    let left = "curl -fsS --retry 60 --retry-all-errors --retry-delay 1 \"$METRICS/metrics\" | \
                awk '/certificate=\"tls\"/ { print int(($2 - '$(date +%s)') / 86400) }'";
    let days = world.operator.follows(left)?.stdout;
    ensure!(matches!(days.trim(), "2" | "3"), "{days} days are left, of 3");
    let mut section = world.page.section("A certificate ends")?;
    for _ in 0..3 {
        world.operator.follows(&section.block()?)?;
    }
    section.done()?;
    let days = world.operator.follows(left)?.stdout;
    ensure!(matches!(days.trim(), "89" | "90"), "{days} days are left, of 90");
    // The listener looks every few seconds.
    let served = "curl -fsS --cacert new.crt \"https://${URL#http://}/healthz\"";
    world
        .operator
        .until("the new certificate is served", async || Ok(world.operator.tries(served)?.code == Some(0)))
        .await
}
