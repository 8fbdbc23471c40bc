//! Verification, with the real programs: trust that has ended, issuers that vouch for others' repositories,
//! documents in other spellings or with members that occur twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{Chancery, Instance, Policy, Rekor, Server, program};
use chancery_tlog::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

/// A bundle by `chancery`, and those that verify it.
struct Signed {
    instance: Instance,
    policy: [String; 4],
    file: String,
    bundle: String,
}

impl Signed {
    async fn by(verb: &str, rekor: Rekor) -> Result<Self> {
        let instance = Instance::start_with(rekor).await?;
        // So that a time can be named between the start of trust and this signature.
        let late = start(&instance.server)?.plus(Duration::from_secs(2));
        while SystemClock.now() < late {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let chancery = Chancery::trusting(&instance)?;
        let policy = Policy::of(&instance.issuer.token().await?);
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        chancery.run_in_job(&instance, &[verb, &file])?.success()?;
        let bundle = format!("{file}.sigstore.json");
        Ok(Self { instance, policy, file, bundle })
    }

    /// The verdict of a verifier that pins the instance now.
    fn verify(&self, expected: &[&str]) -> Result<program::Outcome> {
        let home = format!("verifier-{}", SystemClock.now().millis());
        let chancery = Chancery::new(&self.instance, &home)?;
        chancery.run(&["trust", "add", self.instance.server.url()])?.success()?;
        chancery.run(&[&["verify", "--bundle", &self.bundle], expected, &[&self.file]].concat())
    }

    fn verify_signer(&self) -> Result<program::Outcome> {
        self.verify(&self.policy.each_ref().map(String::as_str))
    }

    /// Ends a log and starts the server again.
    async fn end(&mut self, log: &str, arguments: &[&str]) -> Result<()> {
        self.instance.server.stop().await?;
        let mut command = Server::command(&["end-log"])?;
        program::run(command.arg(self.instance.server.folder()).arg(log).args(arguments))?.success()?;
        self.instance.server.sign_tuf()?;
        self.instance.server.start().await
    }
}

/// The start of trust in the only attestation log.
fn start(server: &Server) -> Result<Timestamp> {
    let root: Value = serde_json::from_slice(&std::fs::read(server.trust("trusted_root.json"))?)?;
    let start = root.pointer("/tlogs/0/publicKey/validFor/start").and_then(Value::as_str);
    Timestamp::parse_rfc3339(start.context("a start")?).context("a time")
}

#[tokio::test]
async fn what_an_ended_log_signed_later_is_refused_in_every_dialect() -> Result<()> {
    for (rekor, log) in [(Rekor::V2, "rekor-v2"), (Rekor::V1, "rekor-v1")] {
        let mut signed = Signed::by("attest", rekor).await?;
        signed.verify_signer()?.success()?;
        // A planned end, after everything that it signed.
        signed.end(log, &[]).await?;
        signed.verify_signer()?.success().with_context(|| format!("{log} that ended later"))?;
        // The key was stolen before.
        let before = start(&signed.instance.server)?.plus(Duration::from_secs(1)).to_rfc3339();
        signed.end(log, &["--until", &before]).await?;
        signed.verify_signer()?.refused(1, &["does not trust"]).with_context(|| log.to_owned())?;
    }
    Ok(())
}

/// The instance's issuer is not GitHub's, whatever addresses it puts into its tokens.
#[tokio::test]
async fn a_source_or_builder_alone_demands_the_issuer_that_owns_its_host() -> Result<()> {
    let signed = Signed::by("attest", Rekor::V2).await?;
    let [_, identity, flag, issuer] = signed.policy.each_ref().map(String::as_str);
    for expected in [["--source-uri", "https://github.com/acme/rocket"], ["--builder-id", identity]] {
        let verdict = signed.verify(&expected)?;
        verdict.refused(1, &["vouches for", "https://token.actions.githubusercontent.com"])?;
        signed.verify(&[&expected[..], &[flag, issuer]].concat())?.success()?;
    }
    let elsewhere = ["--source-uri", "https://bitbucket.org/acme/rocket"];
    signed.verify(&elsewhere)?.refused(2, &["bitbucket.org", "--certificate-oidc-issuer"])?;
    Ok(())
}

#[tokio::test]
async fn bundles_are_read_in_every_spelling_and_never_with_two_of_a_member() -> Result<()> {
    let signed = Signed::by("sign", Rekor::V2).await?;
    let original = std::fs::read_to_string(&signed.bundle)?;
    let respelled = respelled("", serde_json::from_str(&original)?).to_string();
    ensure!(respelled.contains("\"log_index\":") && respelled.contains("\"algorithm\":1"), "{respelled}");
    std::fs::write(&signed.bundle, &respelled)?;
    signed.verify_signer()?.success()?;
    for name in ["media_type", "mediaType", "messageSignature", "verification_material"] {
        let twice = respelled.replacen('{', &format!("{{\"{name}\":null,"), 1);
        std::fs::write(&signed.bundle, twice)?;
        signed.verify_signer()?.refused(1, &["duplicate field"]).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// A message of a bundle with the names of the `.proto` files, numbers, and the other alphabet of base64
/// without padding.
fn respelled(field: &str, value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (snake_case(&name), respelled(&name, value))).collect()
        }
        Value::Array(items) => items.into_iter().map(|item| respelled(field, item)).collect(),
        Value::String(text) => match field {
            "mediaType" | "kind" | "version" | "envelope" | "hint" => text.into(),
            "algorithm" => 1.into(),
            "logIndex" | "treeSize" => format!("{text}00e-2").into(),
            _ => text.trim_end_matches('=').replace('+', "-").replace('/', "_").into(),
        },
        other => other,
    }
}

fn snake_case(name: &str) -> String {
    let letter = |c: char| [c.is_ascii_uppercase().then_some('_'), Some(c.to_ascii_lowercase())];
    name.chars().flat_map(letter).flatten().collect()
}
