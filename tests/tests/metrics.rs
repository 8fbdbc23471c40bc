//! What a running server tells Prometheus, held against the page that documents it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::watched::{Exposition, Watched};

/// A row of deploy/docs/metrics.md.
#[derive(Debug, PartialEq, Eq)]
struct Documented {
    kind: String,
    labels: BTreeSet<String>,
}

fn page() -> Result<BTreeMap<String, Documented>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docs/metrics.md");
    let mut rows = BTreeMap::new();
    for line in std::fs::read_to_string(file)?.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" |").map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { anyhow::bail!("four cells: {line}") };
        ensure!(!meaning.is_empty(), "no words for {name}");
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        let row = Documented { kind: kind.to_owned(), labels };
        ensure!(rows.insert(name.trim_matches('`').to_owned(), row).is_none(), "{name} stands twice");
    }
    Ok(rows)
}

fn exposed(exposition: &Exposition) -> BTreeMap<String, Documented> {
    let row = |family: &chancery_tests::watched::Family| Documented {
        kind: family.kind.clone(),
        labels: family.labels.clone(),
    };
    exposition.families.iter().map(|(name, family)| (name.clone(), row(family))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_lists_what_a_server_exposes_and_nothing_else() -> Result<()> {
    let watched = Watched::start().await?;
    watched.work().await?;
    let scraped = watched.scrape().await?;
    let (page, exposed) = (page()?, exposed(&scraped));
    for (name, documented) in &page {
        let found = exposed.get(name).with_context(|| format!("{name} is documented and not exposed"))?;
        ensure!(found == documented, "{name}: documented as {documented:?}, exposed as {found:?}");
    }
    for (name, family) in &scraped.families {
        ensure!(page.contains_key(name), "{name} is exposed and not documented");
        ensure!(!family.help.is_empty(), "{name} has no help text");
        ensure!(
            name.ends_with("_total") == (family.kind == "counter") || name.starts_with("fulcio_"),
            "{name}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_work_is_counted_and_nobody_is_named() -> Result<()> {
    let mut watched = Watched::start().await?;
    let before = watched.scrape().await?;
    for (series, labels) in [
        ("chancery_log_refusals_total", "reason=\"full\""),
        ("chancery_log_commits_total", "outcome=\"unknown\""),
        ("chancery_ca_refusals_total", "reason=\"issuance_log\""),
        ("chancery_rate_limited_total", "limit=\"writes_per_identity\""),
        ("chancery_admission_refusals_total", "reason=\"key\""),
    ] {
        ensure!(
            before
                .text
                .lines()
                .any(|line| line.starts_with(series) && line.contains(labels) && line.ends_with(" 0")),
            "{series} {labels} must exist before the first event:\n{}",
            before.text
        );
    }
    watched.work().await?;
    let after = watched.scrape().await?;
    let v1 = "/rekor-v1\"";
    for (series, labels, expected) in [
        ("chancery_ca_requests_total", &["issuer=\"ci-provider\"", "outcome=\"issued\""][..], 1.0),
        ("chancery_ca_requests_total", &["issuer=\"unknown\"", "outcome=\"refused\""], 1.0),
        ("chancery_ca_policy_decisions_total", &["rule=\"jobs\"", "outcome=\"permitted\""], 1.0),
        ("chancery_ca_policy_decisions_total", &["outcome=\"refused\""], 0.0),
        ("chancery_ca_issuance_seconds_count", &[], 1.0),
        ("chancery_log_entries_total", &[v1], 1.0),
        ("chancery_log_duplicates_total", &[v1], 1.0),
        ("chancery_log_commits_total", &[v1, "outcome=\"committed\""], 1.0),
        ("chancery_log_batch_entries_count", &[v1], 1.0),
        ("chancery_log_batch_entries_sum", &[v1], 1.0),
        ("chancery_log_sync_seconds_count", &[v1], 1.0),
        ("chancery_log_size", &[v1], 2.0),
        ("chancery_log_open", &[], 3.0),
        ("chancery_log_queue_entries", &[], 0.0),
        ("chancery_timestamp_requests_total", &["outcome=\"granted\""], 1.0),
        ("chancery_timestamp_requests_total", &["outcome=\"refused\""], 1.0),
        ("chancery_access_refusals_total", &["reason=\"missing\""], 1.0),
        ("chancery_previous_run", &["ended=\"none\""], 1.0),
    ] {
        let found = after.sum(series, labels)
            - if series.contains("_total") { before.sum(series, labels) } else { 0.0 };
        ensure!(
            (found - expected).abs() < 1e-9,
            "{series} {labels:?} is {found}, not {expected}:\n{}",
            after.text
        );
    }
    for stage in ["find", "integrate", "check", "sign", "commit"] {
        let stage = format!("stage=\"{stage}\"");
        ensure!(after.sum("chancery_log_stage_seconds_count", &[v1, &stage]) > 0.0, "no {stage}");
    }
    for used_for in ["ca", "timestamp", "checkpoints", "answers", "tuf"] {
        let used_for = format!("use=\"{used_for}\"");
        ensure!(after.sum("chancery_signer_seconds_count", &[&used_for]) > 0.0, "no {used_for}");
    }
    let sync = after.sum("chancery_log_sync_seconds_sum", &[v1]);
    let commit = after.sum("chancery_log_stage_seconds_sum", &[v1, "stage=\"commit\""]);
    ensure!(0.0 < sync && sync < commit, "the sync ({sync} s) is a part of the commit ({commit} s)");
    for gauge in
        ["chancery_log_store_bytes", "chancery_log_disk_free_bytes", "process_open_fds", "process_threads"]
    {
        ensure!(after.sum(gauge, &[]) > 0.0, "{gauge}");
    }
    let token = watched.instance.issuer.token().await?;
    for claim in ["sub", "repository", "repository_owner", "workflow", "job_workflow_ref", "sha", "ref"] {
        let value = token.claim(claim);
        ensure!(value.len() < 4 || !after.text.contains(value), "`{value}` ({claim}) is in the metrics");
    }

    // How a run ended is what the next one shows.
    watched.instance.server.kill()?;
    watched.instance.server.start().await?;
    ensure!(watched.scrape().await?.sum("chancery_previous_run", &["ended=\"killed\""]) > 0.0, "killed");
    watched.instance.server.stop().await?;
    watched.instance.server.start().await?;
    ensure!(watched.scrape().await?.sum("chancery_previous_run", &["ended=\"stopped\""]) > 0.0, "stopped");
    Ok(())
}
