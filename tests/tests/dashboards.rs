//! The Grafana dashboard and the alert rules, held against a real server that a real Prometheus scrapes: every query is
//! evaluated and every metric in them exists, so neither can drift from the server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::program::{self, PATIENCE};
use chancery_tests::watched::{Exposition, Watched};
use chancery_tests::{Program, peers};
use serde_json::Value;

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dashboards")
}

fn rules() -> Result<String> {
    Ok(std::fs::read_to_string(dashboards().join("alerts.yml"))?)
}

/// Every query of the dashboard, with Grafana's variables as Grafana would fill them in.
fn queries() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_slice(&std::fs::read(dashboards().join("chancery.json"))?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut queries = Vec::new();
    for target in targets {
        ensure!(target["datasource"]["uid"] == "${datasource}", "the data source is a variable: {target}");
        let expression = target["expr"].as_str().context("an expression")?;
        queries.push(expression.replace("$instance", ".*").replace("$__rate_interval", "1m"));
    }
    ensure!(queries.len() > 40, "{} queries", queries.len());
    Ok(queries)
}

/// Names in `text` that look like metrics of ours.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("chancery_") || word.starts_with("process_")).collect()
}

fn exists(exposition: &Exposition, name: &str) -> bool {
    let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
    let known = |name: &str| exposition.families.contains_key(name);
    known(name) || base.is_some_and(known)
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_alert_names_a_runbook_that_is_there() -> Result<()> {
    let page = std::fs::read_to_string(dashboards().join("../docs/runbooks.md"))?;
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    let anchors: BTreeSet<String> = headings.map(anchor).collect();
    let rules = rules()?;
    let named = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: runbooks.md#"));
    let (mut count, alerts) = (0, rules.matches("- alert: ").count());
    for runbook in named {
        ensure!(anchors.contains(runbook), "no runbook `{runbook}` among {anchors:?}");
        count += 1;
    }
    ensure!(count == alerts && alerts > 10, "{alerts} alerts, {count} runbooks");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        ensure!(page.contains(alert), "the runbooks do not mention {alert}");
    }
    Ok(())
}

#[test]
fn the_alerts_that_wake_somebody_fire_when_they_should() -> Result<()> {
    let promtool = |arguments: &[&str]| {
        program::run(Command::new(peers::program("promtool")?).current_dir(dashboards()).args(arguments))?
            .success()
    };
    promtool(&["check", "rules", "alerts.yml"])?;
    promtool(&["test", "rules", "alerts.test.yml"])?;
    let tests = std::fs::read_to_string(dashboards().join("alerts.test.yml"))?;
    let rules = rules()?;
    for alert in rules.split("- alert: ").skip(1).filter(|alert| alert.contains("severity: page")) {
        let name = alert.lines().next().unwrap_or_default();
        ensure!(tests.contains(name), "{name} wakes somebody and has no test");
    }
    Ok(())
}

/// A Prometheus that scrapes one server and loads the rules.
struct Prometheus {
    url: String,
    http: reqwest::Client,
    _program: Program,
}

impl Prometheus {
    fn start(watched: &Watched) -> Result<Self> {
        let instance = &watched.instance;
        let configuration = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\nscrape_configs:\n\
             - {{ job_name: chancery, static_configs: [{{ targets: ['{}'] }}] }}\n",
            dashboards().canonicalize()?.join("alerts.yml").display(),
            watched.metrics(),
        );
        let file = instance.file("prometheus.yml", configuration)?;
        let address = format!("127.0.0.1:{}", program::free_port()?);
        let mut command = Command::new(peers::program("prometheus")?);
        program::isolate(&mut command, &instance.home("prometheus")?);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", instance.home("prometheus")?.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let program = Program::start("prometheus", &mut command, &instance.scratch().join("prometheus.log"))?;
        Ok(Self { url: format!("http://{address}/api/v1"), http: chancery_tests::http()?, _program: program })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}/{path}", self.url), query)?;
        let answer = self.http.get(url).send().await?;
        Ok(serde_json::from_str(&answer.text().await?)?)
    }

    /// How many series a query gives.
    async fn series(&self, query: &str) -> Result<usize> {
        let answer = self.get("query", &[("query", query)]).await?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].as_array().map_or(0, Vec::len))
    }

    /// Waits until the counters that work has moved have rates.
    async fn has_seen(&self, watched: &Watched) -> Result<()> {
        let started = Instant::now();
        loop {
            let enough = self.series("count_over_time(up{job=\"chancery\"}[1m]) >= 3").await;
            if matches!(enough, Ok(1)) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "Prometheus does not see {}: {enough:?}",
                watched.metrics()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_dashboard_and_alerts_finds_what_it_asks_for() -> Result<()> {
    let watched = Watched::start().await?;
    watched.work().await?;
    let prometheus = Prometheus::start(&watched)?;
    let exposition = watched.scrape().await?;
    let (queries, rules) = (queries()?, rules()?);
    for text in queries.iter().chain([&rules]) {
        for name in metrics(text) {
            ensure!(exists(&exposition, name), "no metric `{name}`, which stands in: {text}");
        }
    }
    prometheus.has_seen(&watched).await?;
    for query in &queries {
        ensure!(prometheus.series(query).await? > 0, "the dashboard shows nothing for: {query}");
    }

    let groups = prometheus.get("rules", &[]).await?;
    let loaded = groups["data"]["groups"][0]["rules"].as_array().context("rules")?;
    ensure!(loaded.len() == rules.matches("- alert: ").count(), "{groups}");
    for rule in loaded {
        ensure!(rule["health"] == "ok", "a rule that cannot be evaluated: {rule}");
        ensure!(rule["state"] != "firing", "an alert about a healthy server: {rule}");
    }
    Ok(())
}
