//! Unmodified witness (in-toto), which asks the CA for its certificate over gRPC and the timestamp authority for the
//! time, and knows no log.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::key::{KeyKind, Signer as _, SoftwareSigner};
use serde_json::{Value, json};

use crate::dev_issuer::IdToken;
use crate::program::{self, Outcome};
use crate::{Identity, Instance, peers};

const STEP: &str = "build";

/// witness with a home of its own, in which it runs its step.
pub struct Witness {
    program: PathBuf,
    home: PathBuf,
    url: String,
    ca: PathBuf,
    tsa: PathBuf,
    authority: Option<PathBuf>,
}

impl Witness {
    /// Pointed at the instance's CA and timestamp authority.
    pub fn new(instance: &Instance) -> Result<Self> {
        Ok(Self {
            program: peers::program("witness")?,
            home: instance.home("witness")?,
            url: instance.server.url().to_owned(),
            ca: instance.server.trust("ca-chain.pem"),
            tsa: instance.server.trust("tsa-chain.pem"),
            authority: None,
        })
    }

    /// The same, where the authority in this file issued the TLS certificate of the instance.
    #[must_use]
    pub fn trusting(mut self, authority: &Path) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    /// Attests a step that copies `artifact` into the working directory.
    pub fn attest(&self, token: &IdToken, artifact: &Path, envelope: &Path) -> Result<Outcome> {
        let workspace = self.home.join("workspace");
        std::fs::create_dir_all(&workspace)?;
        let mut command = self.command("run");
        command.current_dir(&workspace).args(["--step", STEP, "--attestations", "environment"]);
        command.args(["--signer-fulcio-url", &self.url, "--signer-fulcio-token", token.as_str()]);
        command.arg("--timestamp-servers").arg(format!("{}/api/v1/timestamp", self.url));
        command.arg("--outfile").arg(envelope).arg("--").arg("cp").arg(artifact).arg("product");
        program::run(&mut command)
    }

    /// Verifies an envelope against a policy that lets `signer` alone run the step, at the time that the instance's
    /// timestamp authority tells.
    pub fn verify(&self, signer: &Identity, envelope: &Path, artifact: &Path) -> Result<Outcome> {
        let (policy, key) = self.policy(signer)?;
        let mut command = self.command("verify");
        command.arg("--policy").arg(policy).arg("--publickey").arg(key);
        command.arg("--attestations").arg(envelope).arg("--artifactfile").arg(artifact);
        program::run(&mut command)
    }

    /// A policy signed with a fresh key: its file and the key's.
    fn policy(&self, signer: &Identity) -> Result<(PathBuf, PathBuf)> {
        let file = |name: &str| self.home.join(name);
        let key = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
        std::fs::write(file("policy.key"), key.to_pkcs8_pem(None)?.as_bytes())?;
        std::fs::write(file("policy.pub"), key.public_key().to_pem())?;
        std::fs::write(file("policy.json"), self.rules(signer)?.to_string())?;
        let mut sign = self.command("sign");
        sign.arg("--signer-file-key-path").arg(file("policy.key")).arg("--infile").arg(file("policy.json"));
        program::run(sign.arg("--outfile").arg(file("policy.signed")))?.success()?;
        Ok((file("policy.signed"), file("policy.pub")))
    }

    fn rules(&self, signer: &Identity) -> Result<Value> {
        let functionary = json!({
            "type": "root",
            "certConstraint": {
                "commonname": "*", "dnsnames": ["*"], "emails": ["*"], "organizations": ["*"],
                "uris": [signer.subject], "extensions": { "issuer": signer.issuer }, "roots": ["ca"],
            },
        });
        let attestation = |name: &str| json!({ "type": format!("https://witness.dev/attestations/{name}/v0.1"), "regopolicies": [] });
        Ok(json!({
            "expires": "2099-01-01T00:00:00Z",
            "roots": { "ca": authority(&self.ca)? },
            "timestampauthorities": { "tsa": authority(&self.tsa)? },
            "steps": { STEP: {
                "name": STEP,
                "functionaries": [functionary],
                "attestations": [attestation("environment"), attestation("command-run")],
            }},
        }))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        program::isolate(&mut command, &self.home);
        command.current_dir(&self.home).arg(verb);
        command.envs(self.authority.iter().map(|file| ("SSL_CERT_FILE", file)));
        command
    }
}

/// A chain file as witness wants it: the root, and what stands between.
fn authority(chain: &Path) -> Result<Value> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let pem = std::fs::read_to_string(chain)?;
    let mut certificates: Vec<String> = pem.split_inclusive(END).map(|pem| STANDARD.encode(pem)).collect();
    let root = certificates.pop();
    Ok(json!({ "certificate": root, "intermediates": certificates }))
}
