//! deploy/docs/runbooks.md, followed word by word: each section's commands against a real server in the situation that
//! the section is for.

mod copies;
mod daily;
mod disk;
mod hosts;
mod keys;
mod old_copy;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::promises::{Logs, Promises};
use chancery_tests::rekor::{Acknowledged, RekorLog, Submitter};
use chancery_tests::runbooks::{Operator, Page, Section};
use chancery_tests::{IdToken, Instance, Rekor, Server, program};

#[test]
fn every_section_is_followed_by_a_test() -> Result<()> {
    let tests = [
        include_str!("copies.rs"),
        include_str!("daily.rs"),
        include_str!("disk.rs"),
        include_str!("hosts.rs"),
        include_str!("keys.rs"),
        include_str!("old_copy.rs"),
    ];
    for heading in Page::load()?.headings() {
        let section = format!("section(\"{heading}\")");
        ensure!(tests.iter().any(|tests| tests.contains(&section)), "nobody follows `{heading}`");
    }
    Ok(())
}

/// An instance, who operates it, and who uses it.
struct World {
    // First, so that the server ends before its files go.
    operator: Operator,
    instance: Instance,
    log: RekorLog,
    submitter: Submitter,
    page: Page,
}

impl World {
    /// An instance that does not run, with metrics and these changes of its configuration.
    async fn begin(edits: &[(&str, &str)]) -> Result<Self> {
        Self::begin_with(Rekor::Both, edits).await
    }

    /// The same with these attestation logs.
    async fn begin_with(rekor: Rekor, edits: &[(&str, &str)]) -> Result<Self> {
        let instance = Instance::stopped_with(rekor).await?;
        let server = &instance.server;
        let metrics = format!("127.0.0.1:{}", program::free_port()?);
        server.configure(&[("# metrics = \"127.0.0.1:9464\"", &format!("metrics = \"{metrics}\""))])?;
        server.configure(edits)?;
        let operator = Operator::new(server, &format!("http://{metrics}"), instance.scratch())?;
        let log = RekorLog::new(server.url(), &server.trust("rekor.pub"))?;
        Ok(Self { operator, instance, log, submitter: Submitter::new()?, page: Page::load()? })
    }

    /// The same, running and in use.
    async fn running(edits: &[(&str, &str)]) -> Result<(Self, Users)> {
        let world = Self::begin(edits).await?;
        let users = world.starts().await?;
        Ok((world, users))
    }

    /// Starts the server; every log takes in an entry.
    async fn starts(&self) -> Result<Users> {
        self.operator.starts().await?;
        let (logs, token) = (Logs::of(&self.instance)?, self.instance.issuer.token().await?);
        let mut users = Users { logs, token, promises: Promises::default() };
        users.add().await?;
        Ok(users)
    }

    fn section(&self, heading: &str) -> Result<Section> {
        self.page.section(heading)
    }

    fn server(&self) -> &Server {
        &self.instance.server
    }

    /// A path in the scratch folder, and what a variable of the page stands for.
    fn place(&mut self, variable: &str, name: &str) -> PathBuf {
        let path = self.instance.scratch().join(name);
        self.operator.set(variable, path.display().to_string());
        path
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

    /// Somebody elsewhere collects checkpoints, as the page says.
    fn keeps_checkpoints(&self) -> Result<()> {
        self.operator.follows(&self.page.section("Keep checkpoints elsewhere")?.block()?).map(drop)
    }

    /// What a log shows as its checkpoint.
    async fn checkpoint(&self, prefix: &str) -> Result<String> {
        let answer = chancery_tests::http()?.get(format!("{}{prefix}/checkpoint", self.server().url()));
        Ok(answer.send().await?.error_for_status()?.text().await?)
    }

    /// The key of the TUF repository has been moved offline.
    fn takes_tuf_key_away(&mut self) -> Result<()> {
        let key = self.place("TUF_ROOT_KEY", "tuf-root.key");
        Ok(std::fs::rename(self.server().folder().join("keys/tuf-root.key"), key)?)
    }

    /// A shell command of the test's own, which must succeed.
    fn sh(&self, command: &str) -> Result<String> {
        Ok(self.operator.follows(command)?.stdout)
    }

    /// Waits until the server, which somebody has started, is ready.
    async fn is_ready(&self) -> Result<()> {
        self.operator.starts().await
    }
}

/// Who uses all logs of an instance, and holds it to what it promises.
struct Users {
    logs: Logs,
    token: IdToken,
    promises: Promises,
}

impl Users {
    /// Every log takes in one entry.
    async fn add(&mut self) -> Result<()> {
        self.promises.add_to_each(&self.logs, &self.token).await
    }

    /// Everything that was ever acknowledged is found, all heads are consistent, and every log takes in one more.
    async fn find_everything(&mut self) -> Result<()> {
        self.promises.check_all(&self.logs).await?;
        self.add().await
    }
}
