//! `tests/runner` without cargo-nextest: on a workspace of a few tests, run by the real cargo.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{Outcome, program};
use tempfile::TempDir;

const MANIFEST: &str = "[workspace]\nmembers = [\"tests\", \"other\"]\nresolver = \"2\"\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"chancery-tests\"\nversion = \"0.0.0\"\n\n[[package]]\nname = \
                    \"other\"\nversion = \"0.0.0\"\n";
const PASSES: &str = "#[test]\nfn alpha() {}\n#[test]\nfn beta() {}\n#[test]\n#[ignore]\nfn later() {}\n";
const FAILS: &str = "#[test]\nfn gamma() {}\n#[test]\nfn delta() {\n    assert_eq!(1, 2);\n}\n";
const ABORTS: &str = "#[test]\nfn epsilon() {\n    std::process::abort();\n}\n";
const HANGS: &str = "#[test]\nfn zeta() {\n    std::thread::sleep(std::time::Duration::from_secs(600));\n}\n";

/// A workspace with `tests/runner`, a package `chancery-tests` of these test programs, and a library with `alphabet`.
struct Workspace(TempDir);

impl Workspace {
    fn of(programs: &[(&str, &str)]) -> Result<Self> {
        let workspace = Self(TempDir::new()?);
        workspace.write("Cargo.toml", MANIFEST)?;
        workspace.write("Cargo.lock", LOCK)?;
        for name in ["tests", "other"] {
            let package = if name == "tests" { "chancery-tests" } else { name };
            let manifest =
                format!("[package]\nname = \"{package}\"\nversion = \"0.0.0\"\nedition = \"2021\"\n");
            workspace.write(&format!("{name}/Cargo.toml"), &manifest)?;
        }
        workspace.write("tests/src/lib.rs", "")?;
        workspace.write("other/src/lib.rs", "#[test]\nfn alphabet() {}\n")?;
        for (name, source) in programs {
            workspace.write(&format!("tests/tests/{name}.rs"), source)?;
        }
        for name in ["runner", "bounded"] {
            let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            std::fs::copy(ours, workspace.path(&format!("tests/{name}")))?;
        }
        Ok(workspace)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        Ok(std::fs::write(path, content)?)
    }

    fn runner(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("tests/runner"));
        command.args(words).env("CHANCERY_NEXTEST", "no").env("CHANCERY_TEST_LIMIT", "10");
        command.env("CARGO_TARGET_DIR", self.path("target")).env("CARGO_NET_OFFLINE", "true");
        // cargo waits for whoever has locked its home.
        command.env("CARGO_HOME", self.path("cargo-home"));
        command
    }

    fn run(&self, words: &[&str]) -> Result<Outcome> {
        program::run_within(Duration::from_mins(5), &mut self.runner(words))
    }
}

/// The last lines, of which the last is the sum.
fn last_lines(outcome: &Outcome, count: usize) -> Vec<&str> {
    let mut lines: Vec<&str> = outcome.stdout.lines().rev().take(count).collect();
    lines.reverse();
    lines
}

#[test]
fn what_failed_and_how_many_stands_at_the_end() -> Result<()> {
    // The program that fails comes before one that passes, whose own summary says that all is well.
    let workspace =
        Workspace::of(&[("a_aborts", ABORTS), ("b_fails", FAILS), ("c_hangs", HANGS), ("d_passes", PASSES)])?;
    let outcome = workspace.run(&[])?.failure(&["c_hangs", "did not end in 10 seconds"])?;
    let [aborted, failed, hung, sum] = last_lines(&outcome, 4)[..] else { anyhow::bail!(outcome.said()) };
    ensure!(sum == "4 passed, 3 failed, 1 skipped", "{sum}");
    for (line, what, program) in [
        (aborted, "the whole program", "tests/a_aborts.rs"),
        (failed, "delta ", "tests/b_fails.rs"),
        (hung, "the whole program", "tests/c_hangs.rs"),
    ] {
        ensure!(line.starts_with(&format!("FAILED: {what}")) && line.contains(program), "{line}");
    }
    Ok(())
}

#[test]
fn words_choose_files_and_tests() -> Result<()> {
    let workspace = Workspace::of(&[("b_fails", FAILS), ("d_passes", PASSES)])?;
    for (words, sum) in [
        // A file, and no test of another package.
        (&["d_passes"][..], "2 passed, 0 failed, 1 skipped"),
        // Names, or parts of them, wherever they are.
        (&["alpha"], "2 passed, 0 failed, 0 skipped"),
        (&["beta", "gamma"], "2 passed, 0 failed, 0 skipped"),
        // A file or a name.
        (&["d_passes", "gamma"], "3 passed, 0 failed, 1 skipped"),
        (&["d_passes", "--include-ignored"], "3 passed, 0 failed, 0 skipped"),
    ] {
        let outcome = workspace.run(words)?.success()?;
        ensure!(last_lines(&outcome, 1) == [sum], "{words:?}: {}", outcome.said());
    }
    workspace.run(&["delta"])?.refused(1, &["0 passed, 1 failed, 0 skipped"])?;
    Ok(())
}

#[test]
fn no_test_is_a_failure_and_so_is_what_does_not_compile() -> Result<()> {
    let workspace = Workspace::of(&[("d_passes", PASSES)])?;
    workspace.run(&["no_such_test"])?.refused(1, &["no test has run"])?;
    workspace.write("tests/tests/d_passes.rs", "#[test]\nfn alpha( {}\n")?;
    workspace.run(&["d_passes"])?.refused(1, &["no test has run"])?;
    Ok(())
}

#[test]
fn nextest_gets_the_same_words_where_it_is_installed() -> Result<()> {
    let workspace = Workspace::of(&[("d_passes", PASSES)])?;
    for (name, script) in [("cargo", "#!/bin/sh\nprintf '<%s>' \"$@\"\n"), ("cargo-nextest", "#!/bin/sh\n")] {
        let path = workspace.path(&format!("bin/{name}"));
        workspace.write(&format!("bin/{name}"), script)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut runner = workspace.runner(&["d_passes", "gamma", "-j1"]);
    runner.env_remove("CHANCERY_NEXTEST").env("PATH", format!("{}:{path}", workspace.path("bin").display()));
    let outcome = program::run(&mut runner)?.success()?;
    let expected = "<nextest><run><--workspace><--locked><--no-fail-fast><-j1><-E><package(chancery-tests) and \
                    binary(=d_passes)><-E><test(~gamma)>";
    ensure!(outcome.stdout == expected, "{}", outcome.stdout);
    Ok(())
}
