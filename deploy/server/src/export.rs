//! `chancery-server export-trust`: the public files of an instance, for clients that do not fetch them.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use chancery_tlog::clock::SystemClock;

use crate::config::Config;
use crate::roles::Instance;
use crate::trust::CLIENT_TRUST_CONFIG;

/// Writes all files into `output`, or the one that holds everything to standard output.
pub(crate) fn export(dir: &Path, output: Option<&Path>) -> anyhow::Result<()> {
    let instance = Instance::load(Config::load(dir)?, Arc::new(SystemClock))?;
    let documents = instance.documents()?;
    let Some(output) = output else {
        let all = documents.iter().find(|document| document.name == CLIENT_TRUST_CONFIG);
        std::io::stdout().write_all(all.map(|document| document.text.as_bytes()).unwrap_or_default())?;
        return Ok(());
    };
    std::fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    for document in &documents {
        let path = output.join(document.name);
        // Public files, the same at every export: replacing them loses nothing.
        std::fs::write(&path, &document.text).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(std::io::stdout(), "{}", path.display())?;
    }
    Ok(())
}
