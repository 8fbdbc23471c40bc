//! `verify`.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chancery::artifact::Artifact;
use chancery::bundle::{Bundle, BundleError, MAX_BUNDLE};
use chancery::verify::{self, IssuerRule, NameRule, Outcome, Policy, PolicyError, Report, SourceUri};
use chancery_tlog::clock::Clock;
use chancery_tlog::key::PublicKey;
use chancery_tlog::trust::{Keyring, MAX_TRUST_FILE, TrustError};

use super::Failure;
use super::arguments::Verify;
use super::console::{Console, Tone};
use super::signing::beside;
use super::trust::pinned;

/// Longest key file that is read.
const MAX_KEY_FILE: usize = 64 * 1024;
/// The time of signing if nobody trusted says it.
pub(crate) const UNKNOWN: &str = "unknown";

pub(crate) fn run(
    command: &Verify,
    folder: impl Fn() -> Result<PathBuf, Failure>,
    console: &Console,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let policy = policy(command)?;
    let trust = trust(command, folder)?;
    let json = read_bounded(&bundle_path(command)?, MAX_BUNDLE)?;
    // From here on the input is what is judged: a bundle that is none is not verified.
    let bundle = Bundle::parse(&json.ok_or_else(|| Failure::not_verified(BundleError::TooLarge))?)
        .map_err(Failure::not_verified)?;
    let artifact = artifact(command, &bundle, console)?;
    let report = verify::verify(&bundle, &artifact, trust.as_ref(), &policy, clock);
    if console.is_json() {
        console.json(&report)?;
    } else {
        print(&report, &command.artifact, console)?;
    }
    match report.refusals().next() {
        None => Ok(()),
        Some((claim, why)) => Err(Failure::not_verified(format!("not verified: {}: {why}", claim.title()))),
    }
}

fn policy(command: &Verify) -> Result<Policy, Failure> {
    let name = match (&command.certificate_identity, &command.certificate_identity_regexp) {
        (Some(exact), _) => Some(NameRule::Exact(exact.clone())),
        (None, Some(expression)) => Some(NameRule::matching(expression).map_err(refuse)?),
        (None, None) => None,
    };
    let source = command.source_uri.as_deref().map(SourceUri::parse).transpose().map_err(refuse)?;
    let named_issuer = command.certificate_oidc_issuer.as_deref();
    let issuer = || issuer(named_issuer, source.as_ref(), command.builder_id.as_deref()).map_err(refuse);
    let mut policy = match (&command.key, name, &source, &command.builder_id) {
        (Some(path), ..) => Policy::key(read_key(path)?),
        (None, Some(name), ..) => {
            Policy::identity(name, named_issuer.ok_or_else(|| refuse(PolicyError::NoIssuer))?)
        }
        (None, None, Some(source), _) => Policy::source(source.clone(), issuer()?),
        (None, None, None, Some(builder)) => Policy::builder(builder, issuer()?),
        (None, None, None, None) => return Err(refuse(PolicyError::Anyone)),
    };
    if let Some(source) = source {
        policy = policy.with_source(source);
    }
    if let Some(source_ref) = &command.source_ref {
        policy = policy.with_source_ref(source_ref);
    }
    if let Some(builder) = &command.builder_id {
        policy = policy.with_builder(builder);
    }
    if let Some(predicate_type) = &command.predicate_type {
        policy = policy.with_predicate_type(predicate_type);
    }
    Ok(policy)
}

/// The provider that vouches for the builds of a source and a builder: as given, or the owner of the place of
/// both.
fn issuer(
    given: Option<&str>,
    source: Option<&SourceUri>,
    builder: Option<&str>,
) -> Result<IssuerRule, PolicyError> {
    if let Some(given) = given {
        return Ok(IssuerRule::Exact(given.to_owned()));
    }
    let places = source.map(SourceUri::as_str).into_iter().chain(builder);
    let mut owners = places.map(IssuerRule::owner_of);
    let owner = owners.next().unwrap_or(Err(PolicyError::Anyone))?;
    for other in owners {
        if other? != owner {
            return Err(PolicyError::TwoIssuers);
        }
    }
    Ok(owner)
}

fn refuse(error: PolicyError) -> Failure {
    let hint = match error {
        PolicyError::NoIssuer | PolicyError::NoIssuerOf(_) | PolicyError::TwoIssuers => {
            "add `--certificate-oidc-issuer`"
        }
        PolicyError::Anyone => {
            "give `--certificate-identity` with `--certificate-oidc-issuer`, `--source-uri`, `--builder-id` or `--key`"
        }
        _ => return Failure::could_not_run(error),
    };
    Failure::could_not_run(error).hint(hint)
}

/// The trusted root: the given file, else the pinned instance's. A key can be trusted on its own.
fn trust(
    command: &Verify,
    folder: impl Fn() -> Result<PathBuf, Failure>,
) -> Result<Option<Keyring>, Failure> {
    if let Some(path) = &command.trusted_root {
        let json = read_bounded(path, MAX_TRUST_FILE)?;
        let keyring = json.ok_or(TrustError::TooLarge).and_then(|json| Keyring::parse(&json));
        return keyring.map(Some).map_err(|error| {
            Failure::could_not_run(format!("`{}` is no usable trusted root: {error}", path.display()))
        });
    }
    if command.key.is_some() {
        let instance = chancery::instance::Instance::load(&folder()?).map_err(super::trust::explain)?;
        return Ok(instance.map(|instance| instance.trust));
    }
    let failure =
        |failure: Failure| failure.hint("pin one with `chancery trust add`, or give `--trusted-root`");
    pinned(&folder()?).map(|instance| Some(instance.trust)).map_err(failure)
}

fn bundle_path(command: &Verify) -> Result<PathBuf, Failure> {
    match &command.bundle {
        Some(path) => Ok(path.clone()),
        None if Artifact::looks_like_digest(&command.artifact) => {
            Err(Failure::could_not_run("a digest has no file beside which its bundle could stand")
                .hint("give the bundle with `--bundle`"))
        }
        None => Ok(beside(Path::new(&command.artifact))),
    }
}

fn artifact(command: &Verify, bundle: &Bundle, console: &Console) -> Result<Artifact, Failure> {
    if Artifact::looks_like_digest(&command.artifact) {
        return Artifact::parse_digest(&command.artifact).map_err(Failure::could_not_run);
    }
    console.hash(Path::new(&command.artifact), &verify::algorithms(bundle))
}

fn read_key(path: &Path) -> Result<PublicKey, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::could_not_run(format!("cannot read the key `{}`: {error}", path.display()))
    };
    let pem = read_bounded(path, MAX_KEY_FILE)?.ok_or_else(|| failed(&"it is too large"))?;
    let pem = String::from_utf8(pem).map_err(|_| failed(&"it is not PEM"))?;
    PublicKey::from_pem(&pem).map_err(|error| failed(&error))
}

/// Reads a file; `None` if it is larger than `limit`.
fn read_bounded(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
    let failed =
        |error: std::io::Error| Failure::could_not_run(format!("cannot read `{}`: {error}", path.display()));
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return Err(Failure::could_not_run(format!("`{}` is a folder", path.display())));
    }
    file.take(limit as u64 + 1).read_to_end(&mut content).map_err(failed)?;
    Ok((content.len() <= limit).then_some(content))
}

fn print(report: &Report, artifact: &str, console: &Console) -> Result<(), Failure> {
    if report.verified {
        console.toned(Tone::Good, "verified", &format!(" {artifact}"))?;
    } else {
        console.toned(Tone::Bad, "not verified", &format!(" {artifact}"))?;
    }
    if report.verified {
        summary(report, console)?;
    }
    for finding in &report.claims {
        let (tone, word, detail) = match &finding.outcome {
            Outcome::Proven(detail) => (Tone::Good, "proven      ", detail),
            Outcome::NotRequired(detail) => (Tone::Faint, "not required", detail),
            Outcome::Refused(detail) => (Tone::Bad, "refused     ", detail),
            Outcome::NotJudged(detail) => (Tone::Faint, "not judged  ", detail),
        };
        console.toned(tone, &format!("  {word}"), &format!("  {:<18} {detail}", finding.claim.title()))?;
    }
    Ok(())
}

/// The few facts that people come for; printed only once they are proven.
fn summary(report: &Report, console: &Console) -> Result<(), Failure> {
    let identity = report.identity.as_ref();
    let facts = [
        ("digest", Some(report.artifact.clone())),
        ("signer", identity.map(|identity| identity.names.join(", "))),
        ("provider", identity.and_then(|identity| identity.issuer.clone())),
        ("source", identity.and_then(|identity| identity.source_repository.clone())),
        ("ref", identity.and_then(|identity| identity.source_ref.clone())),
        ("commit", identity.and_then(|identity| identity.source_digest.clone())),
        ("run", identity.and_then(|identity| identity.run_invocation.clone())),
        ("signed at", Some(report.signed_at.clone().unwrap_or_else(|| UNKNOWN.to_owned()))),
        ("statement", report.statement.as_ref().map(|statement| statement.predicate_type.clone())),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            console.line(&format!("  {name:<9}  {value}"))?;
        }
    }
    console.line("")
}
