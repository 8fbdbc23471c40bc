//! What must not verify and who must not get a certificate: each refused, with a reason that names the culprit.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::ca::CaClient;
use chancery_tests::{Chancery, Cosign, IdToken, Instance, Outcome, Policy};
use serde_json::{Value, json};

/// An instance, and one provenance bundle that verifies.
struct Signed {
    instance: Instance,
    chancery: Chancery,
    token: IdToken,
    file: String,
    bundle: String,
}

impl Signed {
    async fn by(verb: &str) -> Result<Self> {
        let instance = Instance::start().await?;
        let chancery = Chancery::trusting(&instance)?;
        let token = instance.issuer.token().await?;
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        chancery.run_in_job(&instance, &[verb, &file])?.success()?;
        let bundle = format!("{file}.sigstore.json");
        let signed = Self { instance, chancery, token, file, bundle };
        signed.verify(&signed.file, &signed.bundle, &[])?.success().context("the untouched bundle")?;
        Ok(signed)
    }

    /// `chancery verify` for the true signer.
    fn verify(&self, file: &str, bundle: &str, more: &[&str]) -> Result<Outcome> {
        self.verify_as(&Policy::of(&self.token), file, bundle, more)
    }

    fn verify_as(&self, policy: &[String; 4], file: &str, bundle: &str, more: &[&str]) -> Result<Outcome> {
        let policy = policy.each_ref().map(String::as_str);
        self.chancery.run(&[&["verify", "--bundle", bundle], &policy[..], more, &[file]].concat())
    }
}

#[tokio::test]
async fn another_identity_or_issuer_is_refused() -> Result<()> {
    let signed = Signed::by("attest").await?;
    let (identity, issuer) = (signed.token.identity(), signed.token.issuer().to_owned());
    let fork = identity.replace("acme/rocket", "mallory/rocket");
    let refused = |policy| signed.verify_as(&policy, &signed.file, &signed.bundle, &[]);
    refused(Policy::identity(&fork, &issuer))?.refused(1, &["identity", "mallory/rocket", "acme/rocket"])?;
    refused(Policy::identity(&identity[..identity.len() - 1], &issuer))?.refused(1, &["identity"])?;
    refused(Policy::identity(&identity, "https://token.example.com"))?
        .refused(1, &["vouches for", "token.example.com"])?;
    Ok(())
}

#[tokio::test]
async fn another_source_or_builder_or_predicate_type_is_refused() -> Result<()> {
    let signed = Signed::by("attest").await?;
    let source = "https://github.com/acme/rocket";
    let expected = ["--source-uri", source, "--source-ref", "refs/heads/main"];
    signed.verify(&signed.file, &signed.bundle, &expected)?.success()?;
    for (flag, value) in [
        ("--source-uri", "https://github.com/mallory/rocket"),
        ("--source-ref", "refs/heads/evil"),
        ("--builder-id", "https://example.com/builder"),
        ("--predicate-type", "https://example.com/other"),
    ] {
        signed.verify(&signed.file, &signed.bundle, &[flag, value])?.refused(1, &[value])?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tampered_artifact_is_refused() -> Result<()> {
    for verb in ["attest", "sign"] {
        let signed = Signed::by(verb).await?;
        let other = signed.instance.file("other.tar", "another rocket")?.display().to_string();
        signed.verify(&other, &signed.bundle, &[])?.refused(1, &["artifact"])?;
        let digest = chancery_tlog::merkle::Hash::digest(b"a rocket");
        signed.verify(&format!("sha256:{digest}"), &signed.bundle, &[])?.success()?;
        signed
            .verify(&format!("sha256:{}", "0".repeat(64)), &signed.bundle, &[])?
            .refused(1, &["artifact"])?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bundle_with_any_field_changed_is_refused() -> Result<()> {
    for verb in ["attest", "sign"] {
        let signed = Signed::by(verb).await?;
        let bundle: Value = serde_json::from_slice(&std::fs::read(&signed.bundle)?)?;
        let mut fields = Vec::new();
        leaves(&bundle, String::new(), &mut fields);
        ensure!(fields.len() >= 12, "a bundle has more fields than {fields:?}");
        for field in fields.iter().filter(|field| !field.ends_with("/keyid")) {
            let mut changed = bundle.clone();
            let value = changed.pointer_mut(field).context("a field that was just found")?;
            *value = altered(value);
            let file = signed.instance.file("changed.json", changed.to_string())?.display().to_string();
            let outcome = signed.verify(&signed.file, &file, &[])?;
            ensure!(!outcome.said().contains("panicked"), "{field}: {}", outcome.said());
            ensure!(outcome.said().len() > 10, "{field}: refused without a word");
            outcome.refused(1, &[]).with_context(|| format!("{verb}: {field} was changed"))?;
        }
    }
    Ok(())
}

const DER_SEQUENCE: u8 = 0x30;

/// JSON pointers of everything in `value` that is no object and no list.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), member)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
        _ => return found.push(at),
    };
    for (name, member) in members {
        leaves(member, format!("{at}/{name}"), found);
    }
}

/// The smallest change that keeps the form of a value: another number, another byte in the middle, another word.
fn altered(value: &Value) -> Value {
    let Value::String(text) = value else { return json!(value.as_i64().unwrap_or_default() + 1) };
    if let Ok(number) = text.parse::<i64>() {
        return json!((number + 1).to_string());
    }
    if text.contains('\n') {
        // A checkpoint: another root in its third line.
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        lines[2] = STANDARD.encode([7; 32]);
        return json!(lines.join("\n"));
    }
    match STANDARD.decode(text) {
        Ok(mut bytes) if bytes.len() >= 16 => {
            // Signed DER ends in its signature. In the middle of a timestamp is a certificate that verifiers do not
            // read: they have it from the trusted root.
            let at = if bytes[0] == DER_SEQUENCE { bytes.len() - 1 } else { bytes.len() / 2 };
            bytes[at] ^= 1;
            json!(STANDARD.encode(bytes))
        }
        _ => json!(format!("{text}x")),
    }
}

#[tokio::test]
async fn a_foreign_ca_and_a_foreign_log_are_refused() -> Result<()> {
    let signed = Signed::by("attest").await?;
    let stranger = signed.instance.stranger().await?;
    let read = |server: &chancery_tests::Server| -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(server.trust("trusted_root.json"))?)?)
    };
    let (ours, theirs) = (read(&signed.instance.server)?, read(&stranger)?);
    for (member, reason) in [
        ("certificateAuthorities", "certificate chain"),
        ("tlogs", "signing time"),
        ("ctlogs", "certificate log"),
    ] {
        let mut mixed = ours.clone();
        mixed[member] = theirs[member].clone();
        let root = signed.instance.file("mixed.json", mixed.to_string())?.display().to_string();
        let outcome = signed.verify(&signed.file, &signed.bundle, &["--trusted-root", &root])?;
        outcome.refused(1, &[reason]).with_context(|| format!("{member} of a stranger"))?;
        // cosign must agree, or our bundle proves less than we say.
        let cosign = Cosign::v3(&signed.instance)?;
        // The last of two equal flags counts.
        let flags = ["--trusted-root", &root, "--type", "https://slsa.dev/provenance/v1", "--bundle"];
        let arguments = [&flags[..], &[&signed.bundle, &signed.file]].concat();
        cosign.verify("verify-blob-attestation", &signed.token, &arguments)?.failure(&[])?;
    }
    let root = stranger.trust("trusted_root.json").display().to_string();
    signed.verify(&signed.file, &signed.bundle, &["--trusted-root", &root])?.refused(1, &[])?;
    Ok(())
}

#[tokio::test]
async fn the_ca_refuses_bad_tokens_and_tells_its_operator_why() -> Result<()> {
    let instance = Instance::start().await?;
    let ca = CaClient::new(instance.server.url(), &instance.server.trust("ct.pub"))?;
    let token = instance.issuer.token().await?;
    ensure!(ca.issue(&token).await?.is_some(), "the good token must get a certificate");
    let now = i64::try_from(token.number("iat"))?;
    for (claims, reason) in [
        (json!({"exp": now - 600, "iat": now - 1200, "nbf": now - 1200}), "expired"),
        (json!({"aud": "somebody-else"}), "not for the audience `sigstore`"),
        (json!({"aud": ["somebody", "else"]}), "not for the audience `sigstore`"),
        (json!({"nbf": now + 3600}), "not valid yet"),
        (json!({"exp": null}), "exp"),
        (json!({"iss": "https://issuer.example.com"}), "`https://issuer.example.com` is not configured"),
        (json!({"job_workflow_ref": null}), "job_workflow_ref"),
    ] {
        let bad = instance.issuer.token_with(claims.clone()).await?;
        let said = instance.server.output().await?.len();
        let (status, body) = ca.request(&bad).await?;
        ensure!(status == 400, "{claims} is answered {status}: {body}");
        let log = instance.server.output().await?.split_off(said);
        ensure!(log.contains(reason), "{claims} is refused without `{reason}` in the log: {log}");
    }
    let mut forged = token.as_str().to_owned();
    forged.truncate(forged.len() - 8);
    forged.push_str("AAAAAAAA");
    let (status, body) = ca.request(&IdToken::new(&forged)?).await?;
    ensure!(status == 400, "a forged signature is answered {status}: {body}");
    ensure!(
        instance.server.output().await?.contains("the token's signature does not verify"),
        "no reason in the log"
    );
    Ok(())
}

#[tokio::test]
async fn an_expired_token_and_a_wrong_audience_are_refused_to_cosign_and_to_us() -> Result<()> {
    let instance = Instance::start().await?;
    let now = i64::try_from(instance.issuer.token().await?.number("iat"))?;
    let expired =
        instance.issuer.token_with(json!({"exp": now - 600, "iat": now - 1200, "nbf": now - 1200})).await?;
    let foreign = instance.issuer.token_with(json!({"aud": "somebody-else"})).await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let chancery = Chancery::trusting(&instance)?;
    for (token, reason) in [(&expired, "expired"), (&foreign, "audience")] {
        chancery.run(&["sign", "--identity-token", token.as_str(), &file])?.failure(&[reason])?;
        Cosign::v3(&instance)?.sign("sign-blob", token, &["--bundle", "/dev/null", &file])?.failure(&[])?;
    }
    ensure!(
        !std::path::Path::new(&format!("{file}.sigstore.json")).exists(),
        "a refused job leaves no bundle"
    );
    Ok(())
}
