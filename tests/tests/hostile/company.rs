//! Certificates of others beside a signer's of the own CA: a log for the own CA takes none, wherever they stand.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::{Chancery, Instance, Rekor};
use chancery_tlog::certificate::Certificate;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_others_are_not_logged_in_the_company_of_an_own_one() -> Result<()> {
    let mut instance = Instance::stopped_with(Rekor::V1).await?;
    instance.server.configure(&[("signers = \"any\"", "signers = \"own-ca\"")])?;
    instance.server.start().await?;
    let chancery = Chancery::trusting(&instance)?;
    let token = instance.issuer.token().await?;
    let token = instance.file("token", token.as_str())?.display().to_string();
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    chancery.run(&["sign", &file, "--identity-token-file", &token])?.success()?;

    let bundle: Value = serde_json::from_slice(&std::fs::read(format!("{file}.sigstore.json"))?)?;
    let leaf = bundle["verificationMaterial"]["certificate"]["rawBytes"].as_str().context("a certificate")?;
    let leaf = Certificate::from_der(&STANDARD.decode(leaf)?)?.to_pem();
    let chain =
        Certificate::chain_from_pem(&std::fs::read_to_string(instance.server.trust("ca-chain.pem"))?)?;
    let own: Vec<String> = chain.iter().map(Certificate::to_pem).collect();
    let foreign = rcgen::generate_simple_self_signed(["acme.internal".to_owned()])?.cert.pem();
    let foreign = Certificate::from_pem(&foreign)?.to_pem();
    let digest = STANDARD
        .decode(bundle["messageSignature"]["messageDigest"]["digest"].as_str().unwrap_or_default())?;
    let entry = |pem: String| {
        json!({
            "kind": "hashedrekord",
            "apiVersion": "0.0.1",
            "spec": {
                "data": { "hash": { "algorithm": "sha256", "value": hex::encode(&digest) } },
                "signature": {
                    "content": bundle["messageSignature"]["signature"],
                    "publicKey": { "content": STANDARD.encode(pem) },
                },
            },
        })
    };
    let url = format!("{}/api/v1/log/entries", instance.server.url());
    for (pem, status) in [
        // The last certificate of a chain is its anchor, so these chains verify.
        ([&leaf, &foreign, &own[0]].map(String::as_str).concat(), 403),
        ([&leaf, &own[0], &foreign, &own[1]].map(String::as_str).concat(), 403),
        ([&leaf, &foreign].map(String::as_str).concat(), 400),
        ([&leaf, &own[0], &own[1]].map(String::as_str).concat(), 201),
        // Already there: the client sends the signer's certificate alone.
        (leaf.clone(), 409),
        (format!("text before\n{leaf}"), 409),
    ] {
        let answer = chancery_tests::http()?.post(&url).json(&entry(pem.clone())).send().await?;
        let (found, text) = (answer.status().as_u16(), answer.text().await?);
        ensure!(found == status, "{status} was expected, not {found}: {text}\n{pem}");
        ensure!(status != 201 || !text.contains(&STANDARD.encode(&foreign)), "{text}");
    }
    Ok(())
}
