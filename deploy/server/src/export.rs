//! `chancery-server export-trust`: the public files of an instance, for clients that do not fetch them, and what makes
//! each client use them.

mod recipe;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_tlog::clock::SystemClock;
use chancery_tlog::files;

use self::recipe::{Recipe, recipe};
use crate::config::Config;
use crate::output;
use crate::roles::Instance;
use crate::trust::{CLIENT_TRUST_CONFIG, Document};

pub(crate) use self::recipe::Client;

/// Writes all files into `output`, or the one that holds everything to standard output.
pub(crate) fn export(dir: &Path, output: Option<&Path>, untrusted: Option<&str>) -> anyhow::Result<()> {
    let instance = Instance::load(Config::load(dir)?, Arc::new(SystemClock))?;
    refuse_to_lose(&instance, untrusted)?;
    let documents = instance.documents()?;
    let Some(output) = output else {
        let all = documents.iter().find(|document| document.name == CLIENT_TRUST_CONFIG);
        return output::print_json(all.map(|document| document.text.as_str()).unwrap_or_default());
    };
    for path in write_all(output, &documents.iter().collect::<Vec<_>>())? {
        output::print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// Writes the files that `client` reads into `output`, and its recipe to standard output. Talk goes to standard error.
pub(crate) fn export_for(
    dir: &Path,
    client: Client,
    output: Option<&Path>,
    untrusted: Option<&str>,
) -> anyhow::Result<()> {
    let instance = Instance::load(Config::load(dir)?, Arc::new(SystemClock))?;
    refuse_to_lose(&instance, untrusted)?;
    let documents = instance.documents()?;
    let output = output.map_or_else(|| PathBuf::from(format!("trust-{}", client.name())), Path::to_owned);
    // Scripts are run elsewhere than here, perhaps.
    let folder = std::path::absolute(&output).with_context(|| format!("--output {}", output.display()))?;
    let folder = folder.to_str().with_context(|| format!("--output {}: must be UTF-8", output.display()))?;
    let Recipe { text, files } = recipe(client, &instance.identity()?, &documents, folder)?;
    if !files.is_empty() {
        for path in write_all(&output, &files)? {
            output::say(&format!("wrote {}\n", path.display()));
        }
    }
    output::print(&text)
}

/// What clients were told to trust is taken back with a reason, not by a table that is missing.
fn refuse_to_lose(instance: &Instance, untrusted: Option<&str>) -> anyhow::Result<()> {
    let lost = instance.lost()?;
    match untrusted {
        _ if lost.is_empty() => Ok(()),
        Some(why) => {
            output::say(&format!("trusted no more, because {why}: {}\n", lost.join(", ")));
            Ok(())
        }
        None => bail!(
            "{} would be trusted no more, and all that it vouched for with it: put its table back into chancery.toml, or \
             say why with --untrusted",
            lost.join(", ")
        ),
    }
}

fn write_all(folder: &Path, documents: &[&Document]) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |document: &Document| {
        let path = folder.join(&*document.name);
        // Public files, the same at every export: replacing them loses nothing.
        files::write(&path, document.text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    };
    documents.iter().map(|document| write(document)).collect()
}
