//! The documents, held to what they talk about: links lead somewhere, error texts stand in the sources, and the sample workflow
//! names what cannot be moved.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Shortest piece of an error text that identifies it.
const MIN_PIECE: usize = 9;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// The documents for operators and users.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = vec![checkout().join("README.md")];
    for entry in std::fs::read_dir(checkout().join("deploy/docs"))? {
        pages.push(entry?.path());
    }
    ensure!(pages.len() > 10, "{pages:?}");
    Ok(pages)
}

/// A page without the code in it: lines that are indented by four, and what stands between backticks.
fn prose(page: &str) -> String {
    let lines = page.lines().filter(|line| !line.starts_with("    ")).collect::<Vec<_>>().join("\n");
    lines.split('`').step_by(2).collect()
}

/// Targets of the links in a page.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// GitHub's anchors of the headings in a page.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_to_files_and_headings_that_are_there() -> Result<()> {
    let mut count = 0;
    for page in pages()? {
        let folder = page.parent().context("a page is in a folder")?;
        for link in links(&read(&page)?) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            ensure!(target.exists(), "{}: no file for {link}", page.display());
            ensure!(
                heading.is_empty() || anchors(&read(&target)?).contains(heading),
                "{}: no heading for {link}",
                page.display()
            );
            count += 1;
        }
    }
    ensure!(count > 100, "{count} links");
    Ok(())
}

#[test]
fn every_page_is_linked_from_the_readme() -> Result<()> {
    let readme: BTreeSet<String> = links(&read(&checkout().join("README.md"))?).into_iter().collect();
    for page in pages()?.iter().skip(1) {
        let name = page.file_name().context("a name")?.to_string_lossy();
        let link = format!("deploy/docs/{name}");
        ensure!(readme.iter().any(|linked| linked.split('#').next() == Some(&link)), "{name} is not linked");
    }
    Ok(())
}

/// Every source file of the programs, with the continuations of its strings joined and their quotes unescaped.
fn sources() -> Result<Vec<String>> {
    let mut folders =
        ["ca/src", "client/src", "deploy/server/src", "tlog/src"].map(|at| checkout().join(at)).to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(joined(&read(&path)?));
            }
        }
    }
    Ok(sources)
}

fn joined(source: &str) -> String {
    let mut pieces = source.split("\\\n");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.trim_start()).replace("\\\"", "\"")
}

#[test]
fn the_error_texts_that_are_explained_are_those_of_the_programs() -> Result<()> {
    let page = read(&checkout().join("deploy/docs/troubleshooting.md"))?;
    let sources = sources()?;
    let mut count = 0;
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let text = row.split("` |").next().context("a text in backticks")?;
        let pieces: Vec<&str> =
            text.split('…').map(str::trim).filter(|piece| piece.len() >= MIN_PIECE).collect();
        ensure!(!pieces.is_empty(), "`{text}` says too little");
        let has_all = |source: &String| pieces.iter().all(|piece| source.contains(piece));
        ensure!(sources.iter().any(has_all), "no program says `{text}`");
        count += 1;
    }
    ensure!(count > 40, "{count} texts");
    Ok(())
}

#[test]
fn what_the_test_of_error_texts_demands_is_in_a_text_of_several_lines() {
    assert_eq!(joined("\"one \\\n        \\\"two\\\" three\""), "\"one \"two\" three\"");
}

#[test]
fn the_sample_workflow_pins_actions_by_commit_and_trust_by_identifier() -> Result<()> {
    let workflow = read(&checkout().join("deploy/github/attest.yml"))?;
    let uses: Vec<&str> = workflow.lines().filter_map(|line| line.trim().strip_prefix("- uses: ")).collect();
    ensure!(!uses.is_empty() && uses.len() == workflow.matches("uses: ").count(), "{uses:?}");
    for action in uses {
        let (name, pinned) = action.split_once('@').context("an action has a version")?;
        let (commit, version) =
            pinned.split_once(" # v").with_context(|| format!("{name}: which version is it?"))?;
        let is_commit =
            commit.len() == 40 && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(is_commit, "{name}: `{commit}` is not a commit");
        ensure!(version.split('.').count() == 3, "{name}: `{version}` is not a whole version");
    }
    ensure!(workflow.contains("chancery trust add \"$INSTANCE\" --sha256"), "trust is not pinned");
    // Expressions are put into scripts as text: whoever sets a variable would write the script.
    let mut script = None;
    for line in workflow.lines() {
        let indent = line.len() - line.trim_start().len();
        if script.is_some_and(|start| indent <= start) {
            script = None;
        }
        if line.trim_start().starts_with("run: ") {
            script = Some(indent);
        }
        ensure!(script.is_none() || !line.contains("${{"), "an expression in a script: {line}");
    }
    Ok(())
}
