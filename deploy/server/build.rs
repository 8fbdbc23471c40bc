//! Names the commit that the program is built from.
//!
//! `CHANCERY_COMMIT` in the environment of the build says it for sources without a repository. Otherwise a release asks git.
//! Other builds are not worth compiling anew for each commit.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CHANCERY_COMMIT");
    let named = std::env::var("CHANCERY_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let commit = named.or_else(of_a_release).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=CHANCERY_BUILT_FROM={}", commit.trim());
}

fn of_a_release() -> Option<String> {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // Written at each commit, checkout and rebase.
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
