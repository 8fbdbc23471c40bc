//! An instance that is watched: entries sealed, metrics on, and what a scrape says of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::ca::CaClient;
use crate::rekor::{RekorLog, Submitter};
use crate::rekor_v2::RekorV2Log;
use crate::{Instance, Server, program};

/// An instance with a metrics listener.
pub struct Watched {
    /// The instance. Its entries are for readers with a token.
    pub instance: Instance,
    metrics: String,
    token: String,
}

/// Where policies stand: before this passage of `chancery.toml`.
const ISSUANCE_LOG: &str = "# The issuance log: every";

/// A rule that every token of a test keeps to.
fn policy(issuer: &str) -> String {
    format!(
        "[[ca.policy]]\nissuer = \"{issuer}\"\n[[ca.policy.rule]]\nname = \"jobs\"\n\
         claims = {{ sub = {{ glob = \"repo:**\" }} }}\n\n"
    )
}

impl Watched {
    /// Starts one with all logs.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts one with these changes of its configuration.
    pub async fn start_with(edits: &[(&str, &str)]) -> Result<Self> {
        let mut instance = Instance::stopped().await?;
        let address = format!("127.0.0.1:{}", program::free_port()?);
        instance.server.configure(&[
            ("entries = \"open\"", "entries = \"token\""),
            ("# metrics = \"127.0.0.1:9464\"", &format!("metrics = \"{address}\"")),
            (ISSUANCE_LOG, &format!("{}{ISSUANCE_LOG}", policy(instance.issuer.url()))),
        ])?;
        let mut token = Server::command(&["reader-token"])?;
        let token = program::run(token.arg(instance.server.folder()).arg("auditor"))?.success()?;
        instance.server.configure(edits)?;
        instance.server.start().await?;
        Ok(Self { instance, metrics: address, token: token.stdout.trim().to_owned() })
    }

    /// Host and port of the metrics listener.
    pub fn metrics(&self) -> &str {
        &self.metrics
    }

    /// The token of a reader, called `auditor`.
    pub fn reader_token(&self) -> &str {
        &self.token
    }

    /// What Prometheus would see now.
    pub async fn scrape(&self) -> Result<Exposition> {
        let url = format!("http://{}/metrics", self.metrics);
        Exposition::parse(crate::http()?.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// Some of every kind of work, done and refused: certificates, entries, duplicates, timestamps and reads.
    pub async fn work(&self) -> Result<()> {
        let (server, http, token) =
            (&self.instance.server, crate::http()?, self.instance.issuer.token().await?);
        let url = server.url();
        let ca = CaClient::new(url, &server.trust("ct.pub"))?;
        ca.issue(&token).await?.context("an idle CA issues")?;
        let bearer =
            http.post(format!("{url}/api/v2/signingCert")).bearer_auth("not.a.token").json(&json!({}));
        ensure!(bearer.send().await?.status() == 400, "a token that is none is refused");

        let (v1, v2) = (
            RekorLog::new(url, &server.trust("rekor.pub"))?,
            RekorV2Log::new(url, &server.trust("rekor-v2.pub"))?,
        );
        let submitter = Submitter::new()?;
        let entry = submitter.hashedrekord(b"artifact")?;
        v1.add(&entry).await?.context("an idle log takes entries")?;
        // Behind sealed entries a duplicate is answered as if it were new.
        http.post(format!("{url}/api/v1/log/entries")).json(&entry).send().await?.error_for_status()?;
        v2.add(&submitter.hashedrekord_v2(b"artifact")?).await?.context("an idle log takes entries")?;

        let stamp = async |digest: &[u8]| -> Result<u16> {
            let request = json!({ "artifactHash": STANDARD.encode(digest), "hashAlgorithm": "sha256" });
            let request = http.post(format!("{url}/api/v1/timestamp")).json(&request);
            Ok(request.send().await?.status().as_u16())
        };
        ensure!((200..300).contains(&stamp(&[7; 32]).await?), "an idle authority stamps");
        ensure!(stamp(&[7; 3]).await? == 400, "three bytes are no SHA-256");
        let sealed = format!("{url}/api/v1/log/entries?logIndex=0");
        ensure!(http.get(&sealed).send().await?.status() == 401, "entries are for readers");
        http.get(&sealed).bearer_auth(&self.token).send().await?.error_for_status()?;
        Ok(())
    }
}

/// A page in Prometheus' text format, taken apart.
pub struct Exposition {
    /// The text.
    pub text: String,
    /// By name.
    pub families: BTreeMap<String, Family>,
}

/// All series of one metric.
#[derive(Default)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its help text.
    pub help: String,
    /// Names of its labels, but for `le`.
    pub labels: BTreeSet<String>,
    /// Each series with its labels as they stand, and its value.
    pub series: Vec<(String, f64)>,
}

impl Exposition {
    /// Reads a page.
    pub fn parse(text: String) -> Result<Self> {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').with_context(|| line.to_owned())?;
                help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').with_context(|| line.to_owned())?;
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            } else {
                let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
                let name = series.split('{').next().unwrap_or(series);
                let of_histogram =
                    |suffix| name.strip_suffix(suffix).filter(|name| families.contains_key(*name));
                let name = ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .find_map(of_histogram)
                    .unwrap_or(name)
                    .to_owned();
                let family = families.get_mut(&name).with_context(|| format!("no # TYPE before: {line}"))?;
                family.labels.extend(label_names(series));
                family.series.push((series.to_owned(), value.parse()?));
            }
        }
        Ok(Self { text, families })
    }

    /// The sum of all series that begin with `series`, and contain each of `labels`.
    pub fn sum(&self, series: &str, labels: &[&str]) -> f64 {
        let all = self.families.values().flat_map(|family| &family.series);
        let named = all.filter(|(found, _)| found.split('{').next() == Some(series));
        named
            .filter(|(found, _)| labels.iter().all(|label| found.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }
}

/// Values here hold no quotes and no commas within quotes, which a test of the names would notice.
fn label_names(series: &str) -> Vec<String> {
    let Some((_, labels)) = series.trim_end_matches('}').split_once('{') else { return Vec::new() };
    let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
    names.filter(|name| name != "le").collect()
}
