//! OCI registries: distribution, which lacks the referrers API, so that clients fall back to tags; and crane's, which
//! has it. Both paths exist in the field.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::peers;
use crate::program::{self, PATIENCE, Program};

/// A running registry, empty at first.
pub struct Registry {
    _program: Program,
    host: String,
}

impl Registry {
    /// Debian's docker-registry.
    pub async fn distribution(scratch: &Path) -> Result<Self> {
        let host = format!("127.0.0.1:{}", program::free_port()?);
        let storage = scratch.join("registry");
        let config = scratch.join("registry.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: \
                 {host}\n",
                storage.display()
            ),
        )?;
        let mut command = Command::new(peers::program("docker-registry")?);
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        Self::start("docker-registry", &mut command, scratch, host).await
    }

    /// crane's registry, in memory, with the referrers API.
    pub async fn with_referrers(scratch: &Path) -> Result<Self> {
        let host = format!("127.0.0.1:{}", program::free_port()?);
        let mut command = Command::new(peers::program("crane")?);
        command.args(["registry", "serve", "--address", &host]);
        Self::start("crane-registry", &mut command, scratch, host).await
    }

    /// `127.0.0.1:PORT`, the start of image references.
    pub fn host(&self) -> &str {
        &self.host
    }

    async fn start(name: &str, command: &mut Command, scratch: &Path, host: String) -> Result<Self> {
        let mut program = Program::start(name, command, &scratch.join(format!("{name}.log")))?;
        let http = crate::http()?;
        let started = std::time::Instant::now();
        while http.get(format!("http://{host}/v2/")).send().await.is_err() {
            program.wait_for(|_| true).await?;
            ensure!(started.elapsed() < PATIENCE, "{name} is not ready:\n{}", program.output()?);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(Self { _program: program, host })
    }
}
