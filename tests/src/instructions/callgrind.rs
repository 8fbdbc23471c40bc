//! Running a program under callgrind, and reading its dumps.
//!
//! The program calls one marked function for each path; callgrind begins anew when it is entered and writes a dump when
//! it returns. What other threads do meanwhile is counted with it: a sequencer's work belongs to the add that waits for
//! it, wherever it runs. Format: <https://valgrind.org/docs/manual/cl-format.html>.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::Count;

/// Functions of Rust crates that are primitives. All of `aws-lc` is C and assembler, see [`is_primitive`].
const PRIMITIVES: [&str; 3] = ["sha2::", "curve25519_dalek::", "ed25519_dalek::"];

/// Runs `command` under callgrind and gives what it printed, line by line, and as many counts: each line is a path
/// whose work was one call of the function called `marked`, done as often as the line says after a tab.
pub fn count(
    program: &Path,
    arguments: &[&str],
    marked: &str,
    scratch: &Path,
) -> Result<Vec<(String, Count)>> {
    let dumps = scratch.join("dump");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no", "--compress-pos=no"])
        .arg(format!("--callgrind-out-file={}", dumps.display()))
        .args([
            // Not `--toggle-collect`: that counts on the thread of the marked function alone.
            &format!("--zero-before={marked}"),
            &format!("--dump-after={marked}"),
        ])
        .arg(program)
        .args(arguments)
        // What a variable says moves the stack, and with it a few instructions of alignment.
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run valgrind: `.ci/benches` installs it")?;
    ensure!(output.status.success(), "{} failed under valgrind: {}", program.display(), output.status);
    let lines = String::from_utf8(output.stdout).context("the program prints something that is not text")?;
    let mut counts = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let (name, rounds) = line.split_once('\t').context("a line without a number of rounds")?;
        let rounds: u64 = rounds.parse().context("a number of rounds that is none")?;
        let dump = dump(&dumps, number);
        let text = std::fs::read_to_string(&dump)
            .with_context(|| format!("no dump for `{name}`: the program has no symbols, or no `{marked}`"))?;
        let Count { total, own } = parse(&text).with_context(|| format!("the dump of `{name}`"))?;
        ensure!(rounds > 0, "`{name}` did nothing");
        counts.push((name.to_owned(), Count { total: total / rounds, own: own / rounds }));
    }
    ensure!(!dump(&dumps, counts.len() + 1).exists(), "`{marked}` was called for a path without a name");
    Ok(counts)
}

fn dump(dumps: &Path, number: usize) -> PathBuf {
    let mut name = dumps.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The counts of a dump without compressed names and positions: what each function cost by itself, added up.
fn parse(dump: &str) -> Result<Count> {
    let (mut object, mut function) = ("", "");
    let (mut total, mut primitive, mut stated) = (0, 0, None);
    let mut lines = dump.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("ob=") {
            object = name;
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if line.starts_with("calls=") {
            // The line behind it is what the call cost; the callee has its own.
            lines.next();
        } else if let Some(sum) = line.strip_prefix("totals: ") {
            stated = Some(number(sum)?);
        } else if line.starts_with(|c: char| c.is_ascii_digit()) {
            let cost = number(line.split_ascii_whitespace().nth(1).unwrap_or("0"))?;
            total += cost;
            primitive += if is_primitive(object, function) { cost } else { 0 };
        }
    }
    match stated {
        Some(stated) if stated == total && total > 0 => Ok(Count { total, own: total - primitive }),
        Some(stated) => bail!("its functions add up to {total}, its total is {stated}"),
        None => bail!("it is cut off"),
    }
}

fn number(text: &str) -> Result<u64> {
    text.trim().parse().map_err(|_| anyhow!("`{text}` is no count"))
}

/// Whether a function belongs to a cryptographic primitive. C and assembler in our program are aws-lc (nothing else of
/// C is on these paths), and its names have no path, while every Rust name has one; what `libc` does is in an object of
/// its own, and ours.
fn is_primitive(object: &str, function: &str) -> bool {
    let of_libc = object.contains(".so");
    let of_rust = function.contains("::");
    if of_rust { PRIMITIVES.iter().any(|name| function.contains(name)) } else { !of_libc }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "\
# callgrind format
version: 1
events: Ir

ob=/target/profiling/instructions
fl=???
fn=instructions::under_measurement
0 10
cfn=chancery_tlog::key::PublicKey::verify
calls=2 0
0 800

fn=chancery_tlog::key::PublicKey::verify
0 30
cfn=aws_lc_0_30_0_ECDSA_verify
calls=2 0
0 700

fn=aws_lc_0_30_0_ECDSA_verify
0 300
fn=ecp_nistz256_mul_montx
0 400
fn=sha2::sha256::compress256
0 40
ob=/usr/lib/x86_64-linux-gnu/libc.so.6
fn=malloc
0 5

totals: 785
";

    #[test]
    fn what_is_inside_of_primitives_is_not_ours() {
        assert_eq!(parse(DUMP).unwrap(), Count { total: 785, own: 45 });
    }

    #[test]
    fn a_dump_that_does_not_add_up_is_refused() {
        for (from, to) in [("totals: 785\n", ""), ("totals: 785", "totals: 784"), ("0 400", "0 x")] {
            assert!(parse(&DUMP.replace(from, to)).is_err(), "{to}");
        }
        assert!(parse("totals: 0\n").is_err(), "nothing was counted");
    }
}
