//! The usual world of a test: an issuer of CI tokens and an instance that trusts it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::{DevIssuer, Rekor, Server, issuers_yaml, program};

/// A development issuer, a server, and the folder that both live in.
pub struct Instance {
    /// Mints tokens.
    pub issuer: DevIssuer,
    /// Trusts them.
    pub server: Server,
    // Last, so that the processes end before their files go.
    scratch: TempDir,
}

impl Instance {
    /// Starts both, the server with all logs.
    pub async fn start() -> Result<Self> {
        Self::start_with(Rekor::Both).await
    }

    /// Starts both, the server with these attestation logs.
    pub async fn start_with(rekor: Rekor) -> Result<Self> {
        let mut instance = Self::stopped_with(rekor).await?;
        instance.server.start().await?;
        Ok(instance)
    }

    /// Starts both, the server with these attestation logs and more arguments of `init`.
    pub async fn start_as(rekor: Rekor, more: &[&str]) -> Result<Self> {
        let mut instance = Self::stopped_as(rekor, more).await?;
        instance.server.start().await?;
        Ok(instance)
    }

    /// Starts both, the server with TLS by an authority that nobody knows; the authority's file.
    pub async fn start_with_tls() -> Result<(Self, PathBuf)> {
        let mut instance = Self::stopped_at_https("open").await?;
        let authority = instance.server.with_tls()?;
        instance.server.start().await?;
        Ok((instance, authority))
    }

    /// The server at an `https://` address, initialised but not running, with entries for these readers.
    pub async fn stopped_at_https(entries: &str) -> Result<Self> {
        let scratch = TempDir::new()?;
        let issuer = DevIssuer::start(scratch.path()).await?;
        let issuers = scratch.path().join("issuers.yaml");
        std::fs::write(&issuers, issuers_yaml(&[issuer.url()]))?;
        let issuers = issuers.display().to_string();
        let arguments = ["--issuers", &issuers, "--entries", entries];
        let server = Server::made_by_init(scratch.path(), "server", "https", &arguments)?;
        Ok(Self { issuer, server, scratch })
    }

    /// The server initialised but not running.
    pub async fn stopped() -> Result<Self> {
        Self::stopped_with(Rekor::Both).await
    }

    /// The same with these attestation logs.
    pub async fn stopped_with(rekor: Rekor) -> Result<Self> {
        Self::stopped_as(rekor, &[]).await
    }

    /// The server initialised with these attestation logs and more arguments of `init`, but not running.
    pub async fn stopped_as(rekor: Rekor, more: &[&str]) -> Result<Self> {
        let scratch = TempDir::new()?;
        let issuer = DevIssuer::start(scratch.path()).await?;
        let issuers = issuers_yaml(&[issuer.url()]);
        let server = Server::init_with(scratch.path(), "server", &issuers, rekor, more)?;
        Ok(Self { issuer, server, scratch })
    }

    /// A second server, running, that trusts the same issuer and is otherwise a stranger.
    pub async fn stranger(&self) -> Result<Server> {
        let issuers = issuers_yaml(&[self.issuer.url()]);
        let mut server = Server::init(self.scratch(), "stranger", &issuers, Rekor::Both)?;
        server.start().await?;
        Ok(server)
    }

    /// The folder that goes away with the test.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a file into the scratch folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.scratch().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// A fresh folder to be the home of a client.
    pub fn home(&self, name: &str) -> Result<PathBuf> {
        let home = self.scratch().join("homes").join(name);
        std::fs::create_dir_all(&home)?;
        Ok(home)
    }

    /// Puts an image of one small layer into a registry without a container daemon; its reference by digest.
    pub fn push_image(&self, registry: &str, name: &str) -> Result<String> {
        let content = self.file(&format!("{name}.txt"), format!("content of {name}\n"))?;
        let layer = self.scratch().join(format!("{name}.tar"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(self.scratch()).arg("-cf").arg(&layer).arg(content.file_name().unwrap_or_default());
        program::run(&mut tar)?.success()?;
        let mut crane = Command::new(crate::peers::program("crane")?);
        program::isolate(&mut crane, &self.home("crane")?);
        crane.args(["append", "--insecure", "--oci-empty-base", "-f"]).arg(&layer);
        crane.args(["-t", &format!("{registry}/{name}:1")]);
        Ok(program::run(&mut crane)?.success()?.stdout.trim().to_owned())
    }
}
