//! All clients of one instance behind two verbs: sign, verify.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tests::{
    Chancery, Cosign, Gitsign, IdToken, Identity, Instance, Outcome, PROVENANCE, Policy, Rekor, RekorCli,
    SigstoreGo, SigstoreJs, SigstorePython, Witness,
};
use chancery_tlog::merkle::{Hash, leaf_hash};
use serde_json::{Value, json};

use crate::table::{Kind, Signer, Verifier};

/// What a signer made.
pub(crate) enum Evidence {
    /// A Sigstore bundle.
    Bundle(PathBuf),
    /// A DSSE envelope with a certificate in its signature.
    Envelope(PathBuf),
    /// A commit, and where the log has its entry.
    Commit { id: String, index: u64 },
}

/// The clients, what they sign, and who they are.
pub(crate) struct Clients {
    cosign25: Cosign,
    cosign31: Cosign,
    go: SigstoreGo,
    python: SigstorePython,
    js: SigstoreJs,
    chancery: Chancery,
    rekor_cli: RekorCli,
    gitsign: Gitsign,
    witness: Witness,
    artifact: PathBuf,
    other: PathBuf,
    statement: PathBuf,
    predicate: PathBuf,
    identity: Identity,
    // Last: the servers go when nobody uses them.
    instance: Instance,
}

impl Clients {
    /// An instance, and every client pointed at it.
    pub(crate) async fn start(rekor: Rekor) -> Result<Self> {
        let instance = Instance::start_with(rekor).await?;
        let token = instance.issuer.token().await?;
        let artifact = "an artifact";
        Ok(Self {
            cosign25: Cosign::v2(&instance)?,
            cosign31: Cosign::v3(&instance)?,
            go: SigstoreGo::new(&instance)?,
            python: SigstorePython::new(&instance)?,
            js: SigstoreJs::new(&instance)?,
            chancery: Chancery::trusting(&instance)?,
            rekor_cli: RekorCli::new(&instance)?,
            gitsign: Gitsign::new(&instance)?,
            witness: Witness::new(&instance)?,
            artifact: instance.file("artifact", artifact)?,
            other: instance.file("other", "another artifact")?,
            statement: instance.file("statement.json", statement(artifact).to_string())?,
            predicate: instance.file("predicate.json", provenance().to_string())?,
            identity: Identity::of(&token),
            instance,
        })
    }

    /// Has a client sign, with a fresh token.
    pub(crate) async fn sign(&self, signer: Signer, kind: Kind) -> Result<Evidence> {
        let token = self.instance.issuer.token().await?;
        let file = self.instance.scratch().join(format!("{signer:?}-{kind:?}.json"));
        match signer {
            Signer::Gitsign => {
                let (id, index) = self.gitsign.commit(&token, "a commit")?;
                Ok(Evidence::Commit { id, index })
            }
            Signer::Witness => {
                self.witness.attest(&token, &self.artifact, &file)?.success()?;
                Ok(Evidence::Envelope(file))
            }
            _ => {
                self.sign_bundle(signer, kind, &token, &file)?.success()?;
                ensure!(file.exists(), "{signer} says that it signed, and wrote nothing");
                Ok(Evidence::Bundle(file))
            }
        }
    }

    fn sign_bundle(&self, signer: Signer, kind: Kind, token: &IdToken, bundle: &Path) -> Result<Outcome> {
        let (artifact, statement) = (&self.artifact, &self.statement);
        match (signer, kind) {
            (Signer::Cosign25, _) => {
                self.cosign(&self.cosign25, &["--new-bundle-format"], kind, token, bundle)
            }
            (Signer::Cosign31, _) => self.cosign(&self.cosign31, &[], kind, token, bundle),
            (Signer::SigstoreGo, Kind::Blob) => self.go.sign(token, artifact, bundle),
            (Signer::SigstoreGo, _) => self.go.attest(token, statement, bundle),
            (Signer::SigstorePython, Kind::Blob) => self.python.sign(token, artifact, bundle),
            (Signer::SigstorePython, _) => self.python.attest(token, &self.predicate, artifact, bundle),
            (Signer::SigstoreSign, Kind::Blob) => self.js.sign(token, artifact, bundle),
            (Signer::SigstoreSign, _) => self.js.attest(token, statement, bundle),
            (Signer::SigstoreCli, _) => self.js.attest_by_url(token, statement, bundle),
            (Signer::Chancery, _) => {
                let verb = if kind == Kind::Blob { "sign" } else { "attest" };
                let arguments = [verb, text(artifact)?, "--bundle", text(bundle)?];
                self.chancery.run_in_job(&self.instance, &arguments)
            }
            (Signer::Gitsign | Signer::Witness, _) => bail!("{signer} makes no bundles"),
        }
    }

    fn cosign(
        &self,
        cosign: &Cosign,
        flags: &[&str],
        kind: Kind,
        token: &IdToken,
        bundle: &Path,
    ) -> Result<Outcome> {
        let predicate = ["--type", PROVENANCE, "--predicate", text(&self.predicate)?];
        let (verb, more) =
            if kind == Kind::Blob { ("sign-blob", &[][..]) } else { ("attest-blob", &predicate[..]) };
        let rest = ["--bundle", text(bundle)?, text(&self.artifact)?];
        cosign.sign(verb, token, &[flags, more, &rest].concat())
    }

    /// Has a client verify the evidence for what was signed.
    pub(crate) fn verify(&self, verifier: Verifier, kind: Kind, evidence: &Evidence) -> Result<Outcome> {
        match (verifier, evidence) {
            (Verifier::RekorCli, _) => self.in_log(&Entry::of(evidence)?),
            (Verifier::Gitsign, Evidence::Commit { id, .. }) => self.gitsign.verify(&self.identity, id),
            (Verifier::SigstoreCli, Evidence::Bundle(bundle)) => {
                let blob = (kind == Kind::Blob).then_some(&*self.artifact);
                self.js.verify_by_tuf(&self.identity, bundle, blob)
            }
            _ => self.verify_artifact(verifier, kind, evidence, &self.artifact),
        }
    }

    /// Has a client verify the evidence for something else.
    pub(crate) fn verify_another(
        &self,
        verifier: Verifier,
        kind: Kind,
        evidence: &Evidence,
    ) -> Result<Outcome> {
        match (verifier, evidence) {
            (Verifier::RekorCli, _) => self.in_log(&Entry { index: 1, leaf: Some(Hash::digest(b"another")) }),
            (Verifier::Gitsign, Evidence::Commit { id, .. }) => {
                self.gitsign.verify(&self.identity, &self.gitsign.forge(id)?)
            }
            (Verifier::SigstoreCli, Evidence::Bundle(bundle)) if kind == Kind::Blob => {
                self.js.verify_by_tuf(&self.identity, bundle, Some(&self.other))
            }
            (Verifier::SigstoreCli, Evidence::Bundle(bundle)) => {
                // It does not look at the subjects of a statement; at the signer it does.
                let subject = self.identity.subject.replace("/release.yml", "/other.yml");
                self.js.verify_by_tuf(&Identity { subject, ..self.identity.clone() }, bundle, None)
            }
            _ => self.verify_artifact(verifier, kind, evidence, &self.other),
        }
    }

    fn verify_artifact(
        &self,
        verifier: Verifier,
        kind: Kind,
        evidence: &Evidence,
        artifact: &Path,
    ) -> Result<Outcome> {
        let signer = &self.identity;
        match (verifier, evidence) {
            (Verifier::Witness, Evidence::Envelope(envelope)) => {
                self.witness.verify(signer, envelope, artifact)
            }
            (Verifier::Cosign25, Evidence::Bundle(bundle)) => {
                let root = self.instance.server.trust("trusted_root.json");
                let flags = ["--new-bundle-format", "--trusted-root", text(&root)?];
                self.cosign_verify(&self.cosign25, &flags, kind, bundle, artifact)
            }
            (Verifier::Cosign31, Evidence::Bundle(bundle)) => {
                self.cosign_verify(&self.cosign31, &[], kind, bundle, artifact)
            }
            (Verifier::SigstoreGo, Evidence::Bundle(bundle)) => self.go.verify(signer, bundle, artifact),
            (Verifier::SigstorePython, Evidence::Bundle(bundle)) => {
                self.python.verify(signer, bundle, artifact)
            }
            (Verifier::SigstoreVerify, Evidence::Bundle(bundle)) => self.js.verify(signer, bundle, artifact),
            (Verifier::Chancery, Evidence::Bundle(bundle)) => {
                let policy = Policy::identity(&signer.subject, &signer.issuer);
                let policy = policy.each_ref().map(String::as_str);
                let rest = ["--bundle", text(bundle)?, text(artifact)?];
                self.chancery.run(&[&["verify"], &policy[..], &rest].concat())
            }
            _ => bail!("{verifier} has nothing to verify here: the table should say so"),
        }
    }

    fn cosign_verify(
        &self,
        cosign: &Cosign,
        flags: &[&str],
        kind: Kind,
        bundle: &Path,
        artifact: &Path,
    ) -> Result<Outcome> {
        let (verb, more) = match kind {
            Kind::Blob => ("verify-blob", &[][..]),
            _ => ("verify-blob-attestation", &["--type", PROVENANCE][..]),
        };
        let rest = ["--bundle", text(bundle)?, text(artifact)?];
        let (subject, issuer) = (&self.identity.subject, &self.identity.issuer);
        cosign.verify_identity(verb, subject, issuer, &[flags, more, &rest].concat())
    }

    /// Has rekor-cli fetch an entry and verify its inclusion. Whether it is the right entry is told by its id.
    fn in_log(&self, entry: &Entry) -> Result<Outcome> {
        let mut outcome = self.rekor_cli.run("verify", &["--log-index", &entry.index.to_string()])?;
        if entry.leaf.as_ref().is_some_and(|leaf| !outcome.stdout.contains(&leaf.to_hex())) {
            outcome.stderr.push_str("another entry has this index");
            outcome.code = Some(1);
        }
        Ok(outcome)
    }
}

/// An entry of the log.
struct Entry {
    index: u64,
    /// Its hash, if the evidence holds the entry.
    leaf: Option<Hash>,
}

impl Entry {
    fn of(evidence: &Evidence) -> Result<Self> {
        let bundle = match evidence {
            Evidence::Commit { index, .. } => return Ok(Self { index: *index, leaf: None }),
            Evidence::Bundle(bundle) => bundle,
            Evidence::Envelope(_) => bail!("an envelope has no log entry"),
        };
        let bundle: Value = serde_json::from_slice(&std::fs::read(bundle)?)?;
        let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
        let member = |name: &str| entry[name].as_str().with_context(|| format!("no {name} in {bundle}"));
        let leaf = leaf_hash(&STANDARD.decode(member("canonicalizedBody")?)?);
        Ok(Self { index: member("logIndex")?.parse()?, leaf: Some(leaf) })
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("scratch folders have plain names")
}

fn statement(artifact: &str) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "artifact", "digest": { "sha256": Hash::digest(artifact.as_bytes()).to_hex() } }],
        "predicateType": PROVENANCE,
        "predicate": provenance(),
    })
}

fn provenance() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://example.com/build",
            "externalParameters": {},
            "internalParameters": {},
            "resolvedDependencies": [],
        },
        "runDetails": { "builder": { "id": "https://example.com/builder" }, "metadata": { "invocationId": "1" } },
    })
}
