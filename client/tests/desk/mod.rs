//! The program at work in a folder of its own.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test binary uses its own part"
)]

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use chancery::instance::Instance;

use crate::fixture::{ARTIFACT, BUILDER, PROVIDER, TestInstance};

/// A folder to work in, and the program bound to it.
pub struct Desk {
    pub folder: tempfile::TempDir,
}

/// What the program said and did.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(desk.path("app.txt"), ARTIFACT).unwrap();
        desk
    }

    /// With a bundle of provenance and the trusted root to verify it.
    pub fn with_bundle() -> Self {
        let (desk, instance) = (Self::new(), TestInstance::new());
        fs::write(desk.path("app.txt.sigstore.json"), instance.provenance().to_json()).unwrap();
        fs::write(desk.path("root.json"), instance.trusted_root().to_string()).unwrap();
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn pin(&self, config: String) {
        let instance = Instance::parse("https://chancery.example", config, "2026-01-01T00:00:00Z").unwrap();
        instance.pin(&self.path("config"), true).unwrap();
    }

    pub fn command(&self) -> Command {
        let mut command = Command::cargo_bin("chancery").unwrap();
        command.current_dir(self.folder.path()).env_clear().env("CHANCERY_CONFIG_DIR", self.path("config"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        said(self.command().args(arguments))
    }

    pub fn verify(&self, more: &[&str]) -> Said {
        self.run(&[&["verify", "app.txt", "--trusted-root", "root.json"], more].concat())
    }
}

pub fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[track_caller]
pub fn assert_said(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, code, "{}{}", said.stdout, said.stderr);
    for words in words {
        assert!(said.stderr.contains(words), "`{words}` is not in: {}", said.stderr);
    }
}

pub const SIGNER: [&str; 4] = ["--certificate-identity", BUILDER, "--certificate-oidc-issuer", PROVIDER];
