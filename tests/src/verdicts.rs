//! What four clients say of one bundle, after changes of the instance's keys and certificates.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use chancery_tlog::clock::{Clock as _, SystemClock};

use crate::{Chancery, Cosign, IdToken, Identity, Instance, Policy, SigstoreGo, SigstorePython, program};

/// A file and the bundle over it.
pub struct Signed {
    /// The file.
    pub file: PathBuf,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Whose it is.
    pub token: IdToken,
}

/// Signs a new file called `name` with cosign 3, by the trust files as they are now.
pub async fn sign(instance: &Instance, name: &str) -> Result<Signed> {
    let (cosign, token) = (Cosign::v3(instance)?, instance.issuer.token().await?);
    let file = instance.file(name, format!("a rocket called {name}"))?;
    let bundle = instance.scratch().join(format!("{name}.json"));
    let arguments = ["--bundle", &bundle.display().to_string(), &file.display().to_string()];
    cosign.sign("sign-blob", &token, &arguments)?.success()?;
    Ok(Signed { file, bundle, token })
}

/// Each client's verdict on a bundle, by the trust files as they are now.
pub fn verdicts(
    instance: &Instance,
    signed: &Signed,
    time: Time,
) -> Result<[(&'static str, program::Outcome); 4]> {
    let Signed { file, bundle, token } = signed;
    let signer = Identity::of(token);
    let (name, bundle_name) = (file.display().to_string(), bundle.display().to_string());
    let flags: &[&str] = if time == Time::Log { &[] } else { &["--use-signed-timestamps"] };
    let arguments = [flags, &["--bundle", &bundle_name, &name]].concat();
    // A home that has pinned nothing yet.
    let chancery = Chancery::new(instance, &format!("chancery-{}", SystemClock.now().millis()))?;
    chancery.run(&["trust", "add", instance.server.url()])?.success()?;
    let own = ["verify", "--bundle", &bundle_name, &name].map(str::to_owned);
    let own = [&own[..], &Policy::of(token)].concat();
    Ok([
        ("cosign 3", Cosign::v3(instance)?.verify("verify-blob", token, &arguments)?),
        ("sigstore-go", SigstoreGo::new(instance)?.verify(&signer, bundle, file)?),
        ("sigstore-python", SigstorePython::new(instance)?.verify(&signer, bundle, file)?),
        ("chancery", chancery.run(&own)?),
    ])
}

/// Who says when a bundle was signed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Rekor v1.
    Log,
    /// The timestamp authority.
    Authority,
}

/// Demands that every client verifies it.
pub fn all_verify(instance: &Instance, signed: &Signed, time: Time) -> Result<()> {
    for (client, outcome) in verdicts(instance, signed, time)? {
        outcome.success().with_context(|| format!("{client}, {}", signed.bundle.display()))?;
    }
    Ok(())
}
