//! `chancery-server export-trust`: the public files of an instance, for clients that do not fetch them, and what makes
//! each client use them.

mod recipe;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use chancery_tlog::clock::SystemClock;

use self::recipe::{Recipe, recipe};
use crate::config::Config;
use crate::roles::Instance;
use crate::trust::{CLIENT_TRUST_CONFIG, Document};

pub(crate) use self::recipe::Client;

/// Writes all files into `output`, or the one that holds everything to standard output.
pub(crate) fn export(dir: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    let instance = Instance::load(Config::load(dir)?, Arc::new(SystemClock))?;
    let documents = instance.documents()?;
    let Some(output) = output else {
        let all = documents.iter().find(|document| document.name == CLIENT_TRUST_CONFIG);
        std::io::stdout().write_all(all.map(|document| document.text.as_bytes()).unwrap_or_default())?;
        return Ok(());
    };
    for path in write_all(output, &documents.iter().collect::<Vec<_>>())? {
        writeln!(std::io::stdout(), "{}", path.display())?;
    }
    Ok(())
}

/// Writes the files that `client` reads into `output`, and its recipe to standard output. Talk goes to standard error.
pub(crate) fn export_for(dir: &Path, client: Client, output: Option<&Path>) -> anyhow::Result<()> {
    let instance = Instance::load(Config::load(dir)?, Arc::new(SystemClock))?;
    let documents = instance.documents()?;
    let output = output.map_or_else(|| PathBuf::from(format!("trust-{}", client.name())), Path::to_owned);
    // Scripts are run elsewhere than here, perhaps.
    let folder = std::path::absolute(&output).with_context(|| format!("--output {}", output.display()))?;
    let folder = folder.to_str().with_context(|| format!("--output {}: must be UTF-8", output.display()))?;
    let Recipe { text, files } = recipe(client, &instance.identity()?, &documents, folder)?;
    if !files.is_empty() {
        for path in write_all(&output, &files)? {
            writeln!(std::io::stderr(), "wrote {}", path.display())?;
        }
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn write_all(folder: &Path, documents: &[&Document]) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |document: &Document| {
        let path = folder.join(&*document.name);
        // Public files, the same at every export: replacing them loses nothing.
        std::fs::write(&path, &document.text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    documents.iter().map(|document| write(document)).collect()
}
