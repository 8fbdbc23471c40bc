//! The files of an instance beside its logs: configuration, trust, TUF, keys.
//!
//! Everything in the folder is taken, also what no table of `chancery.toml` names: a file too many harms nobody, one
//! too few is missed when it is too late.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chancery_tlog::files::LOST_AND_FOUND;
use chancery_tlog::serve::key_file::Passphrase;

use super::Wanted;
use super::manifest::MANIFEST;
use crate::config::{Config, Dialect, NextChain};
use crate::control::RUN;
use crate::restore::RESTORED;
use crate::roles::PROVEN_ISSUERS;

/// What is at the top of the folder and no part of a backup, or copied by other means.
const LEFT_OUT: [&str; 6] = ["logs", RUN, MANIFEST, RESTORED, LOST_AND_FOUND, PROVEN_ISSUERS];
/// Folders in folders; what is deeper is a loop of links.
const MAX_DEPTH: usize = 16;
/// Largest file that is searched for a private key.
const MAX_KEY_FILE: u64 = 1 << 20;
/// What every private key in PEM ends its first line with.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// All files, those without secrets if the keys are to stay behind.
pub(super) fn list(config: &Config, without_keys: bool) -> anyhow::Result<Vec<Wanted>> {
    let mut files = Vec::new();
    walk(&config.dir, Path::new(""), 0, &mut files)?;
    if without_keys {
        let secrets: HashSet<_> =
            secrets(config).iter().filter_map(|path| path.canonicalize().ok()).collect();
        let mut open = Vec::new();
        for file in files {
            if !is_secret(&file, &secrets)? {
                open.push(file);
            }
        }
        files = open;
    }
    // TUF's timestamp names its snapshot: read first, it names one that is there.
    files.sort_by_key(|file| (!file.to.ends_with("tuf/timestamp.json"), file.to.clone()));
    Ok(files)
}

/// Files that the configuration names outside of the instance's folder.
pub(super) fn elsewhere(config: &Config) -> Vec<PathBuf> {
    let mut named = secrets(config);
    named.extend(config.ca.iter().flat_map(|ca| [ca.chain.clone(), ca.issuers.clone()]));
    named.extend(config.ca.iter().flat_map(|ca| &ca.issuance_log).map(|log| log.key.clone()));
    named.extend(config.ca.iter().flat_map(|ca| &ca.past_issuance_log).map(|log| log.key.clone()));
    named.extend(config.timestamp.iter().map(|timestamp| timestamp.chain.clone()));
    let past = config.ca.iter().flat_map(|ca| &ca.past);
    let past = past.chain(config.timestamp.iter().flat_map(|timestamp| &timestamp.past));
    named.extend(past.map(|past| past.chain.clone()));
    named.extend(nexts(config).map(|next| next.chain.clone()));
    named.extend(config.imported.iter().map(|imported| imported.trusted_root.clone()));
    named.extend(config.merged.iter().map(|merged| merged.client_trust_config.clone()));
    named.extend(config.listen.tls.iter().map(|tls| tls.certificate.clone()));
    named.retain(|path| !path.starts_with(&config.dir));
    named.sort();
    named.dedup();
    named
}

/// Chains to come.
fn nexts(config: &Config) -> impl Iterator<Item = &NextChain> {
    let ca = config.ca.iter().filter_map(|ca| ca.next.as_ref());
    ca.chain(config.timestamp.iter().filter_map(|timestamp| timestamp.next.as_ref()))
}

/// Every file that the configuration names and that must stay secret.
fn secrets(config: &Config) -> Vec<PathBuf> {
    let mut secrets: Vec<PathBuf> = Vec::new();
    if let Some(Passphrase::File(file)) = &config.protection.passphrase {
        secrets.push(file.clone());
    }
    secrets.extend(config.listen.tls.iter().map(|tls| tls.key.clone()));
    secrets.extend(config.ca.iter().map(|ca| ca.key.clone()));
    secrets.extend(config.timestamp.iter().map(|timestamp| timestamp.key.clone()));
    secrets.extend(nexts(config).map(|next| next.key.clone()));
    secrets.extend(config.tuf.iter().map(|tuf| tuf.key.clone()));
    for log in &config.logs {
        secrets.push(log.checkpoint_key.clone());
        if let Dialect::Ct { face, .. } | Dialect::RekorV1 { face, .. } = &log.dialect {
            secrets.push(face.key.clone());
        }
    }
    secrets
}

/// By its place, by the configuration, or by what is in it.
fn is_secret(file: &Wanted, secrets: &HashSet<PathBuf>) -> anyhow::Result<bool> {
    let name = || format!("cannot read {}", file.from.display());
    if file.to.starts_with("keys") || secrets.contains(&file.from.canonicalize().with_context(name)?) {
        return Ok(true);
    }
    if file.size > MAX_KEY_FILE {
        return Ok(false);
    }
    let bytes = std::fs::read(&file.from).with_context(name)?;
    Ok(bytes.windows(PRIVATE_KEY.len()).any(|window| window == PRIVATE_KEY))
}

fn walk(dir: &Path, below: &Path, depth: usize, files: &mut Vec<Wanted>) -> anyhow::Result<()> {
    let folder = dir.join(below);
    let name = || format!("cannot read {}", folder.display());
    if depth > MAX_DEPTH {
        bail!("{} is {MAX_DEPTH} folders deep: is it a loop of links?", folder.display());
    }
    for entry in std::fs::read_dir(&folder).with_context(name)? {
        let file_name = entry.with_context(name)?.file_name();
        let shown = file_name.to_string_lossy();
        // A file in the making (`.NAME.new`) has its name a moment later, or never.
        let left_out = LEFT_OUT.contains(&&*shown) && depth == 0;
        if left_out || (shown.starts_with('.') && shown.ends_with(".new")) {
            continue;
        }
        let (to, from) = (below.join(&file_name), folder.join(&file_name));
        // Links are followed: a secret of an orchestrator is one.
        let data = match std::fs::metadata(&from) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            data => data.with_context(|| format!("cannot read {}", from.display()))?,
        };
        if data.is_dir() {
            walk(dir, &to, depth + 1, files)?;
        } else if data.is_file() {
            files.push(Wanted { from, to, size: data.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::SAMPLE;

    fn instance() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["keys", "trust", "tuf", "logs/ct", "run", "secret"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (path, text) in [
            ("chancery.toml", SAMPLE),
            ("fulcio.yaml", "{}"),
            ("passphrase", "hunter2"),
            ("keys/ca.key", "-----BEGIN PRIVATE KEY-----"),
            ("keys/README", "which is which"),
            ("trust/ct.pub", "-----BEGIN PUBLIC KEY-----"),
            ("tuf/timestamp.json", "{}"),
            ("tuf/1.root.json", "{}"),
            ("tuf/.timestamp.json.new", "half"),
            ("secret/forgotten.pem", "x\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            ("logs/ct/000004.sst", "a table"),
            ("run/heads", "of this folder"),
        ] {
            std::fs::write(dir.path().join(path), text).unwrap();
        }
        let text = SAMPLE.replace("# passphrase = ", "passphrase = ");
        let config = Config::parse(dir.path(), &text).unwrap();
        (dir, config)
    }

    fn names(config: &Config, without_keys: bool) -> Vec<String> {
        list(config, without_keys).unwrap().iter().map(|file| file.to.display().to_string()).collect()
    }

    #[test]
    fn everything_beside_logs_and_what_the_server_runs_with_is_taken() {
        let (_dir, config) = instance();
        let all = [
            "tuf/timestamp.json",
            "chancery.toml",
            "fulcio.yaml",
            "keys/README",
            "keys/ca.key",
            "passphrase",
            "secret/forgotten.pem",
            "trust/ct.pub",
            "tuf/1.root.json",
        ];
        assert_eq!(names(&config, false), all);
    }

    #[test]
    fn without_keys_no_secret_is_taken_wherever_it_lies() {
        let (_dir, config) = instance();
        let open = ["tuf/timestamp.json", "chancery.toml", "fulcio.yaml", "trust/ct.pub", "tuf/1.root.json"];
        assert_eq!(names(&config, true), open);
    }

    #[test]
    fn files_outside_of_the_folder_are_named() {
        let (_dir, mut config) = instance();
        assert_eq!(elsewhere(&config), Vec::<PathBuf>::new());
        config.ca.as_mut().unwrap().key = "/run/secrets/ca.key".into();
        assert_eq!(elsewhere(&config), [PathBuf::from("/run/secrets/ca.key")]);
    }

    #[test]
    fn a_loop_of_links_ends() {
        let (dir, config) = instance();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("trust/loop")).unwrap();
        let refused = list(&config, false).unwrap_err().to_string();
        assert!(refused.contains("loop of links"), "{refused}");
    }
}
