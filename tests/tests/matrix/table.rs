//! What is expected of every signer and verifier, and how it is shown.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use anyhow::{Result, ensure};

/// The dialect of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V1,
    V2,
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob,
    Attestation,
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    Cosign25,
    Cosign31,
    SigstoreGo,
    SigstorePython,
    SigstoreSign,
    SigstoreCli,
    Chancery,
    Gitsign,
    Witness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verifier {
    Cosign25,
    Cosign31,
    SigstoreGo,
    SigstorePython,
    SigstoreVerify,
    SigstoreCli,
    Chancery,
    RekorCli,
    Gitsign,
    Witness,
}

/// What is expected of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works.
    Works,
    /// It is run and has to fail, for this reason.
    Fails(&'static str),
    /// There is nothing to run, for this reason.
    Apart(&'static str),
}

use Verdict::{Apart, Fails, Works};

/// Whether a signer can sign such a thing against an instance with this log alone.
pub(crate) fn signing(dialect: Dialect, kind: Kind, signer: Signer) -> Verdict {
    match (kind, signer, dialect) {
        (Kind::Commit, Signer::Gitsign, Dialect::V1) => Works,
        (Kind::Commit, Signer::Gitsign, Dialect::V2) => {
            Fails("gitsign 0.16 logs to Rekor v1 only, whatever `rekorVersion` says")
        }
        (Kind::Commit, ..) => Apart("signs no commits"),
        (_, Signer::Gitsign, _) => Apart("gitsign signs commits and tags only"),
        (Kind::Blob, Signer::SigstoreCli, _) => Apart("@sigstore/cli signs statements only"),
        (Kind::Blob, Signer::Witness, _) => Apart("witness signs its own attestations only"),
        (_, Signer::SigstoreCli, Dialect::V2) => Fails("@sigstore/cli takes URLs and logs to Rekor v1 only"),
        (_, Signer::Cosign25, Dialect::V2) => Fails("cosign 2.5 logs to Rekor v1 only"),
        _ => Works,
    }
}

/// Whether a verifier accepts what a signer made.
pub(crate) fn verifying(dialect: Dialect, kind: Kind, signer: Signer, verifier: Verifier) -> Verdict {
    match (signer, verifier) {
        (Signer::Gitsign, Verifier::Gitsign | Verifier::RekorCli) | (Signer::Witness, Verifier::Witness) => {
            return Works;
        }
        (Signer::Witness, _) => {
            return Apart(
                "witness writes an envelope with certificate and timestamp in it: no bundle, no log entry",
            );
        }
        (_, Verifier::Witness) => return Apart("witness verifies its own envelopes against a policy"),
        (_, Verifier::Gitsign) => return Apart("gitsign verifies commits and tags only"),
        (Signer::Gitsign, _) => return Apart("a commit holds a CMS signature, not a bundle"),
        _ => {}
    }
    match (dialect, kind, signer, verifier) {
        (Dialect::V2, _, _, Verifier::RekorCli) => Fails("rekor-cli speaks to Rekor v1 only"),
        (Dialect::V2, _, _, Verifier::Cosign25) => Fails("cosign 2.5 verifies entries of Rekor v1 only"),
        (_, Kind::Attestation, Signer::Cosign25 | Signer::Cosign31, Verifier::SigstorePython) => {
            Fails("cosign attests in-toto Statement v0.1; sigstore-python takes v1 only")
        }
        (_, _, Signer::SigstoreCli, Verifier::SigstorePython) => {
            Fails("@sigstore/cli logs intoto 0.0.2; sigstore-python takes dsse and hashedrekord only")
        }
        (
            Dialect::V2,
            Kind::Attestation,
            Signer::SigstoreSign,
            Verifier::Cosign31 | Verifier::SigstoreGo | Verifier::SigstorePython,
        ) => Fails("@sigstore/sign logs dsse 0.0.2, which only sigstore-js and chancery know"),
        _ => Works,
    }
}

/// The tables of a dialect, one for every kind, with the reasons below.
pub(crate) fn render(dialect: Dialect) -> String {
    let mut reasons = Vec::new();
    let tables = Kind::ALL.map(|kind| {
        let rows = Signer::ALL.iter().filter_map(|signer| row(dialect, kind, *signer, &mut reasons));
        let rows: Vec<_> = std::iter::once(header()).chain(rows).collect();
        format!("{dialect}, {kind}:\n\n{}\n", aligned(&rows))
    });
    let reasons = reasons.iter().enumerate();
    let notes: Vec<_> = reasons.map(|(index, reason)| format!("- {}: {reason}\n", letter(index))).collect();
    tables.concat() + &notes.concat()
}

fn header() -> Vec<String> {
    let names = Verifier::ALL.map(|verifier| verifier.to_string());
    ["signs ↓  verifies →".to_owned(), "signs".to_owned()].into_iter().chain(names).collect()
}

/// A signer's row; none for one that has nothing to do with the kind.
fn row(dialect: Dialect, kind: Kind, signer: Signer, reasons: &mut Vec<&'static str>) -> Option<Vec<String>> {
    let signs = signing(dialect, kind, signer);
    if kind == Kind::Commit && matches!(signs, Apart(_)) {
        return None;
    }
    let mut cells = vec![signer.to_string(), mark(signs, reasons)];
    for verifier in Verifier::ALL {
        let verdict = verifying(dialect, kind, signer, verifier);
        cells.push(if signs == Works { mark(verdict, reasons) } else { String::new() });
    }
    Some(cells)
}

fn mark(verdict: Verdict, reasons: &mut Vec<&'static str>) -> String {
    let (Fails(reason) | Apart(reason)) = verdict else { return "✓".to_owned() };
    let known = reasons.iter().position(|known| *known == reason);
    let index = known.unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    });
    format!("– {}", letter(index))
}

fn letter(index: usize) -> char {
    ('a'..='z').nth(index).expect("fewer reasons than letters")
}

/// A Markdown table that reads well as plain text too.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let pad = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
    let mut lines: Vec<String> =
        rows.iter().map(|row| line(row.iter().zip(&widths).map(pad).collect())).collect();
    lines.insert(1, line(widths.iter().map(|width| "-".repeat(*width)).collect()));
    lines.concat()
}

const INTRODUCTION: &str = "\
# Which client signs and verifies what

Every cell is run by `tests/run` with the unmodified client, keyless, against an instance that has the one log alone;
`tests/tests/matrix.rs` makes this file (`INSTA_UPDATE=always`) and compares it. ✓ works, and the same verifier refuses
another artifact. – does not, for the reason below the tables; where there is something to run the tests demand that it
fails, so a client that learns it changes this page. rekor-cli verifies that the entry is in the log.

An instance with both logs, as `init` makes it, is run too: cosign 2.5, @sigstore/cli and gitsign, which are told URLs,
use its v1 log as in the first part, all others its v2 log as in the second, and one trusted root serves all.

";

/// Demands that the documentation holds these tables; writes them if it is asked to as insta is.
pub(crate) fn check_documentation() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs/client-matrix.md");
    let sections = [Dialect::V1, Dialect::V2].map(|dialect| format!("## {dialect}\n\n{}", render(dialect)));
    let text = format!("{INTRODUCTION}{}", sections.join("\n"));
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, &text)?;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(written == text, "{} is out of date: run with INSTA_UPDATE=always", path.display());
    Ok(())
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Blob, Self::Attestation, Self::Commit];
}

impl Signer {
    pub(crate) const ALL: [Self; 9] = [
        Self::Cosign25,
        Self::Cosign31,
        Self::SigstoreGo,
        Self::SigstorePython,
        Self::SigstoreSign,
        Self::SigstoreCli,
        Self::Chancery,
        Self::Gitsign,
        Self::Witness,
    ];

    /// The log that it uses if an instance has both: what it is told by URL is Rekor v1.
    pub(crate) fn preferred(self) -> Dialect {
        match self {
            Self::Cosign25 | Self::SigstoreCli | Self::Gitsign => Dialect::V1,
            _ => Dialect::V2,
        }
    }
}

impl Verifier {
    pub(crate) const ALL: [Self; 10] = [
        Self::Cosign25,
        Self::Cosign31,
        Self::SigstoreGo,
        Self::SigstorePython,
        Self::SigstoreVerify,
        Self::SigstoreCli,
        Self::Chancery,
        Self::RekorCli,
        Self::Gitsign,
        Self::Witness,
    ];
}

impl Display for Dialect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V1 => "Rekor v1",
            Self::V2 => "Rekor v2",
        })
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Blob => "blobs",
            Self::Attestation => "attestations",
            Self::Commit => "commits",
        })
    }
}

impl Display for Signer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cosign25 => "cosign 2.5",
            Self::Cosign31 => "cosign 3.1",
            Self::SigstoreGo => "sigstore-go 1.3",
            Self::SigstorePython => "sigstore-python 4.5",
            Self::SigstoreSign => "@sigstore/sign 5.1",
            Self::SigstoreCli => "@sigstore/cli 0.10",
            Self::Chancery => "chancery",
            Self::Gitsign => "gitsign 0.16",
            Self::Witness => "witness 0.11",
        })
    }
}

impl Display for Verifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cosign25 => "cosign 2.5",
            Self::Cosign31 => "cosign 3.1",
            Self::SigstoreGo => "go",
            Self::SigstorePython => "python",
            Self::SigstoreVerify => "js",
            Self::SigstoreCli => "js cli",
            Self::Chancery => "chancery",
            Self::RekorCli => "rekor-cli",
            Self::Gitsign => "gitsign",
            Self::Witness => "witness",
        })
    }
}
