//! `chancery-server export-trust`: the public files of an instance, for clients that do not fetch them, and what makes
//! each client use them.

mod recipe;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_tlog::clock::SystemClock;
use chancery_tlog::files;
use clap::Args;

use self::recipe::{Client, Recipe, recipe};
use crate::config::Config;
use crate::output;
use crate::roles::Instance;
use crate::trust::{CLIENT_TRUST_CONFIG, Document};

/// What is exported, and where to.
#[derive(Args, Debug)]
pub(crate) struct ExportArguments {
    /// Folder of the instance
    dir: PathBuf,
    /// The client
    #[arg(long = "for", value_name = "CLIENT", value_enum)]
    client: Option<Client>,
    /// Folder to write the files into; made if it is missing [default with --for: trust-CLIENT]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// PEM file with the authority of the TLS certificate, if clients do not know it: it is exported too, and --for says how
    /// its client reads it [default: the root at the end of the file that `[listen.tls]` names, if there is one]
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Trust files of another host with roles of this instance, such as its logs: a file `client_trust_config.json` or the folder
    /// that holds it; may be repeated. Everything is put together, and refused if two hosts have the same role. To publish it
    /// for good: `merge-trust`
    #[arg(long, value_name = "OTHER_TRUST", num_args = 1..)]
    merge: Vec<PathBuf>,
    /// Leave out what was published before and is in chancery.toml no more, for this reason
    #[arg(long, value_name = "WHY")]
    untrusted: Option<String>,
}

/// Writes all files into a folder, or the one that holds everything to standard output; or what one client reads.
pub(crate) fn run(arguments: &ExportArguments) -> anyhow::Result<()> {
    let mut instance = Instance::load(Config::load(&arguments.dir)?, Arc::new(SystemClock))?;
    instance.merge(&arguments.merge)?;
    refuse_to_lose(&instance, arguments.untrusted.as_deref())?;
    let tls = tls::authority(&instance.config, arguments.tls_ca.as_deref())?;
    let output = arguments.output.as_deref();
    match arguments.client {
        Some(client) => export_for(&instance, client, output, tls.as_ref()),
        None => export(&instance, output, tls),
    }
}

fn export(instance: &Instance, output: Option<&Path>, tls: Option<Document>) -> anyhow::Result<()> {
    let mut documents = instance.documents()?;
    documents.extend(tls);
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
fn export_for(
    instance: &Instance,
    client: Client,
    output: Option<&Path>,
    tls: Option<&Document>,
) -> anyhow::Result<()> {
    let documents = instance.documents()?;
    let output = output.map_or_else(|| PathBuf::from(format!("trust-{}", client.name())), Path::to_owned);
    // Scripts are run elsewhere than here, perhaps.
    let folder = std::path::absolute(&output).with_context(|| format!("--output {}", output.display()))?;
    let folder = folder.to_str().with_context(|| format!("--output {}: must be UTF-8", output.display()))?;
    let Recipe { text, mut files } = recipe(client, &instance.identity()?, &documents, folder)?;
    files.extend(tls);
    if tls.is_none() {
        tls::remind(&instance.config);
    }
    if !files.is_empty() {
        for path in write_all(&output, &files)? {
            output::say(&format!("wrote {}\n", path.display()));
        }
    }
    output::print(&tls::fill(&text, tls.is_some()))
}

/// What clients were told to trust is taken back with a reason, not by a table that is missing or a time that is other.
fn refuse_to_lose(instance: &Instance, untrusted: Option<&str>) -> anyhow::Result<()> {
    let lost = instance.lost()?;
    match untrusted {
        _ if lost.is_empty() => Ok(()),
        Some(why) => {
            output::say(&format!("less is trusted, because {why}: {}\n", lost.join("; ")));
            Ok(())
        }
        None => bail!(
            "clients would trust less than they were told to: {}. Put tables and times back into chancery.toml as they were, \
             or say why with --untrusted",
            lost.join("; ")
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
