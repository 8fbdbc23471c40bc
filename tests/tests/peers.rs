//! What `tests/peers` installs: locked completely, and independent of what the machine has.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{peers, program};
use serde_json::{Map, Value};
use tempfile::TempDir;

const NPM: [&str; 3] = ["node", "oidc-provider", "sigstore-js"];

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn json(path: &Path) -> Result<Value> {
    serde_json::from_slice(&std::fs::read(path)?).with_context(|| path.display().to_string())
}

/// The members of an object that may be absent.
fn members<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value[name].as_object().into_iter().flat_map(Map::iter)
}

/// Whether a package in the folder `at` of a lock finds `name`: in its own `node_modules` or in one further up.
fn finds(packages: &Map<String, Value>, at: &str, name: &str) -> bool {
    let mut folder = Some(at);
    while let Some(at) = folder {
        let prefix = if at.is_empty() { String::new() } else { format!("{at}/") };
        if packages.contains_key(&format!("{prefix}node_modules/{name}")) {
            return true;
        }
        folder = at.rfind("node_modules/").map(|end| at[..end].trim_end_matches('/'));
    }
    false
}

#[test]
fn npm_locks_are_complete_and_hashed() -> Result<()> {
    for folder in NPM {
        let lock = json(&beside(folder).join("package-lock.json"))?;
        let packages = lock["packages"].as_object().context("packages")?;
        for (at, package) in packages {
            ensure!(at.is_empty() || package["integrity"].is_string(), "{folder}: {at} has no hash");
            for kind in ["dependencies", "optionalDependencies"] {
                for (name, _) in members(package, kind) {
                    ensure!(finds(packages, at, name), "{folder}: {at} requires {name}, which is not locked");
                }
            }
            for (name, _) in members(package, "peerDependencies") {
                let optional = package["peerDependenciesMeta"][name]["optional"] == true;
                ensure!(optional || finds(packages, at, name), "{folder}: {at} wants {name}");
            }
        }
        let manifest = json(&beside(folder).join("package.json"))?;
        for kind in ["dependencies", "optionalDependencies"] {
            for (name, version) in members(&manifest, kind) {
                let locked = &packages[&format!("node_modules/{name}")]["version"];
                ensure!(version == locked, "{folder}: {name} is {version}, {locked} is locked");
            }
        }
    }
    Ok(())
}

#[test]
fn what_the_npm_test_demands_is_what_npm_does() -> Result<()> {
    let lock: Map<String, Value> = serde_json::from_str(
        r#"{"": {}, "node_modules/a": {}, "node_modules/a/node_modules/b": {}, "node_modules/@s/c": {}}"#,
    )?;
    ensure!(finds(&lock, "", "a") && finds(&lock, "node_modules/a", "b"));
    ensure!(finds(&lock, "node_modules/a/node_modules/b", "@s/c") && finds(&lock, "node_modules/@s/c", "a"));
    ensure!(!finds(&lock, "node_modules/@s/c", "b") && !finds(&lock, "", "b"));
    Ok(())
}

#[test]
fn the_pypi_lock_is_pinned_hashed_and_complete() -> Result<()> {
    let folder = beside("sigstore-python");
    let lock = std::fs::read_to_string(folder.join("requirements.txt"))?;
    let mut lines = lock.lines().filter(|line| !line.trim_start().starts_with('#')).peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        if !line.starts_with(' ') {
            ensure!(line.contains("==") && line.ends_with('\\'), "not pinned: {line}");
            ensure!(lines.peek().is_some_and(|next| next.contains("--hash=sha256:")), "no hash: {line}");
            count += 1;
        }
    }
    ensure!(count > 10, "{count} packages");
    complete(&folder)?.success()?;

    // Without what an extra brings, which pip's own check does not miss.
    let scratch = TempDir::new()?;
    std::fs::copy(folder.join("requirements.in"), scratch.path().join("requirements.in"))?;
    std::fs::write(scratch.path().join("requirements.txt"), lock.replace("email-validator==", "# "))?;
    complete(scratch.path())?.refused(1, &["email-validator", "not locked"])?;
    Ok(())
}

fn complete(folder: &Path) -> Result<program::Outcome> {
    program::run(
        Command::new(peers::python()?).arg(beside("sigstore-python").join("complete.py")).arg(folder),
    )
}

#[test]
fn every_debian_program_has_a_version_that_the_tests_passed_with() -> Result<()> {
    let script = std::fs::read_to_string(beside("peers"))?;
    let table = script.split("debian_programs='").nth(1).and_then(|rest| rest.split('\'').next());
    let names = |text: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    let table = names(table.context("a table of Debian's programs")?);
    let recorded = std::fs::read_to_string(beside("debian-versions"))?;
    ensure!(names(&recorded) == table && table.len() > 5, "{recorded}");
    for line in recorded.lines() {
        ensure!(
            line.split(' ').nth(1).is_some_and(|version| version.starts_with(char::is_numeric)),
            "{line}"
        );
    }
    Ok(())
}

/// On Debian 12's Node 18 neither of them starts.
#[test]
fn the_npm_packages_do_not_run_on_the_machines_node() -> Result<()> {
    let scratch = TempDir::new()?;
    let old = scratch.path().join("node");
    std::fs::write(&old, "#!/bin/sh\necho 'too old' >&2\nexit 1\n")?;
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", scratch.path().display(), std::env::var("PATH").unwrap_or_default());
    for (name, arguments) in [("sigstore-js", ["--version"]), ("node", ["--version"])] {
        let mut command = Command::new(peers::program(name)?);
        program::run(command.args(arguments).env("PATH", &path))?.success()?;
    }
    for client in ["sigstore_js.rs", "oidc_provider.rs"] {
        let source = std::fs::read_to_string(beside("src").join(client))?;
        ensure!(source.contains("peers::program(\"node\")") && !source.contains("Command::new(\"node\")"));
    }
    Ok(())
}
