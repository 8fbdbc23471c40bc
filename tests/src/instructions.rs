//! Instruction counts of hot paths, and what they are held to.
//!
//! A count under callgrind does not depend on what else the machine does, so a change beyond the tolerance is one of
//! the code. Two figures for each path: all instructions, and those of them that are ours, that is without what runs
//! inside of cryptographic primitives. A primitive's cost is the library's business and most of a path's total: beside
//! an ECDSA verification a JSON parser could grow by half unseen.
//!
//! Why not gungraun (formerly iai-callgrind): it takes a runner of the same version from the registry, to be built
//! before the first count, and does not tell a primitive's instructions from ours. What is needed of it is two flags of
//! callgrind and a page of text to add up.
//!
//! Counts compare where compiler, valgrind, C library and kind of processor are the same; the machine itself does not
//! matter, because valgrind shows every program one and the same processor (3.19: a Haswell, wherever the real one has
//! AVX2).
//!
//! Map: [`callgrind`] runs a program under the tool and reads what it counted, [`baseline`] is the recorded file and
//! the comparison. The paths themselves are in `benches/instructions`.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

pub mod baseline;
pub mod callgrind;

/// Instructions of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub total: u64,
    /// Those outside of cryptographic primitives.
    pub own: u64,
}

/// What a count depends on besides the code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// `rustc --version`.
    pub compiler: String,
    /// `valgrind --version`.
    pub valgrind: String,
    /// `getconf GNU_LIBC_VERSION`.
    pub libc: String,
    /// What valgrind shows programs.
    pub processor: String,
}

impl Environment {
    /// That of this machine.
    pub fn here() -> Result<Self> {
        Ok(Self {
            compiler: said("rustc", "--version")?,
            valgrind: said("valgrind", "--version")?,
            libc: said("getconf", "GNU_LIBC_VERSION")?,
            processor: processor(),
        })
    }

    /// For people.
    pub fn describe(&self) -> String {
        let Self { compiler, valgrind, libc, processor } = self;
        format!("{compiler}, {valgrind}, {libc}, {processor}")
    }
}

fn said(program: &str, argument: &str) -> Result<String> {
    let output =
        Command::new(program).arg(argument).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "`{program} {argument}` failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn processor() -> String {
    let avx2 = std::arch::is_x86_feature_detected!("avx2");
    format!("x86_64 {} AVX2", if avx2 { "with" } else { "without" })
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> String {
    std::env::consts::ARCH.to_owned()
}
