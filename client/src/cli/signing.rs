//! `attest` and `sign`. The order is the privacy promise: instance, endpoints, guard, and only then a token.

mod finish;

use std::fs;
use std::path::{Path, PathBuf};

use chancery::artifact::Artifact;
use chancery::guard::{Contact, Guard, GuardError, Purpose};
use chancery::identity_token::{GitHubActions, IdentityToken, TokenError};
use chancery::instance::{Instance, Services};
use chancery::sign::{Session, SigningError};
use chancery::slsa;
use chancery::statement::{MAX_SUBJECTS, Statement, Subject};
use chancery::timestamp::TimestampingError;
use chancery::verify::Claim;
use chancery_tlog::clock::Clock;

use super::arguments::{Attest, Sign, Signer};
use super::console::Console;
use super::output::{Held, Intent, Outputs};
use super::{Failure, block_on, network, trust};

/// Longest identity token file that is read.
const MAX_TOKEN_FILE: u64 = 64 * 1024;
/// What a bundle's name adds to its file's.
pub(crate) const SUFFIX: &str = ".sigstore.json";

/// Where the token comes from; decided before anything is contacted.
enum Token {
    Given(IdentityToken),
    GitHub(GitHubActions),
}

pub(crate) fn attest(
    command: &Attest,
    folder: &Path,
    console: &Console,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    if command.files.len() > MAX_SUBJECTS {
        return Err(Failure::could_not_run(format!("more than {MAX_SUBJECTS} files"))
            .hint("a statement cannot have more subjects; attest a file that lists their digests"));
    }
    let run = Run::prepare(&command.signer, folder, console, clock)?;
    let artifacts = hash_all(&command.files, console)?;
    let intent =
        Intent { holds: Held::Statement(slsa::PROVENANCE_V1.to_owned()), force: command.signer.force };
    let targets = targets(&command.signer, &command.files);
    let outputs = Outputs::prepare(&targets, &command.files, &intent, console)?;
    block_on(async {
        let token = run.token().await?;
        let predicate = slsa::workflow_provenance(token.claims(), &command.server_url).map_err(|error| {
            Failure::could_not_run(error).hint("outside of CI, sign the file itself with `chancery sign`")
        })?;
        let subjects = command.files.iter().zip(&artifacts);
        let subjects: Vec<Subject> =
            subjects.map(|(file, artifact)| Subject::new(&file_name(file), artifact)).collect();
        let statement = Statement::new(subjects, slsa::PROVENANCE_V1, predicate);
        let session = run.open(&token).await?;
        let signed = session.attest(&statement, &artifacts).await.map_err(explain)?;
        run.finish(&session, &signed, outputs)
    })?
}

pub(crate) fn sign(
    command: &Sign,
    folder: &Path,
    console: &Console,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let run = Run::prepare(&command.signer, folder, console, clock)?;
    let artifact = console.hash(&command.file, &[])?;
    let files = std::slice::from_ref(&command.file);
    let intent = Intent { holds: Held::Signature, force: command.signer.force };
    let outputs = Outputs::prepare(&targets(&command.signer, files), files, &intent, console)?;
    block_on(async {
        let token = run.token().await?;
        let session = run.open(&token).await?;
        let signed = session.sign(&artifact).await.map_err(explain)?;
        run.finish(&session, &signed, outputs)
    })?
}

/// One signing run: whom it may talk to is settled.
struct Run<'c> {
    instance: Instance,
    /// Who was asked what the instance trusts now.
    asked: Vec<Contact>,
    services: Services,
    guard: Guard,
    token: Token,
    console: &'c Console,
    clock: &'c dyn Clock,
}

impl<'c> Run<'c> {
    /// Resolves every endpoint and asks the guard. Contacts nobody but the pinned instance, for changes of what it
    /// trusts.
    fn prepare(
        signer: &Signer,
        folder: &Path,
        console: &'c Console,
        clock: &'c dyn Clock,
    ) -> Result<Self, Failure> {
        let (instance, asked) = trust::current(folder, signer.allow_public_instance, console, clock)?;
        let services =
            instance.services_for_signing(clock.now(), signer.without()).map_err(trust::explain)?;
        let token = find_token(signer)?;
        let mut endpoints = services.endpoints();
        if let Token::GitHub(actions) = &token {
            endpoints.insert(0, (Purpose::IdentityToken, actions.url()));
        }
        let guard = Guard::new(&endpoints, signer.allow_public_instance).map_err(|error| {
            let hint = guard_hint(&error);
            let failure = Failure::could_not_run(error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        console.say(&format!("instance {} (sha256:{})", instance.url(), instance.id()));
        for contact in guard.contacts() {
            let purposes: Vec<String> = contact.purposes.iter().map(Purpose::to_string).collect();
            console.say(&format!("contacts {} ({})", contact.host, purposes.join(", ")));
        }
        Ok(Self { instance, asked, services, guard, token, console, clock })
    }

    /// Everybody who was contacted, one entry a host.
    fn contacts(&self) -> Vec<Contact> {
        let mut contacts = self.asked.clone();
        for later in self.guard.contacts() {
            match contacts.iter_mut().find(|contact| contact.host == later.host) {
                Some(contact) => {
                    contact.purposes.extend(later.purposes);
                    contact.requests += later.requests;
                }
                None => contacts.push(later),
            }
        }
        contacts
    }

    async fn token(&self) -> Result<IdentityToken, Failure> {
        match &self.token {
            Token::Given(token) => Ok(token.clone()),
            Token::GitHub(actions) => actions.request(&self.guard).await.map_err(network::failure),
        }
    }

    async fn open(&self, token: &IdentityToken) -> Result<Session<'_>, Failure> {
        let session = Session::open(&self.instance, &self.services, &self.guard, self.clock, token).await;
        let session = session.map_err(explain)?;
        self.console.say(&format!("signing as {}", session.identity().names.join(", ")));
        Ok(session)
    }
}

fn find_token(signer: &Signer) -> Result<Token, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let text = match (&signer.identity_token, &signer.identity_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => Some(read_token(path)?),
        (None, None) => variable("SIGSTORE_ID_TOKEN").filter(|token| !token.trim().is_empty()),
    };
    if let Some(text) = text {
        return IdentityToken::parse(&text).map(Token::Given).map_err(Failure::could_not_run);
    }
    match GitHubActions::detect(variable) {
        Ok(Some(actions)) => Ok(Token::GitHub(actions)),
        Ok(None) => Err(Failure::could_not_run("there is no identity token")
            .hint("run in a CI job, or give one with `--identity-token-file` or SIGSTORE_ID_TOKEN")),
        Err(error @ TokenError::NotPermitted) => {
            Err(Failure::could_not_run(error).hint("give the job `permissions: id-token: write`"))
        }
        Err(error) => Err(Failure::could_not_run(error)),
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::could_not_run(format!("cannot read the identity token from `{}`: {error}", path.display()))
    };
    let length = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if length > MAX_TOKEN_FILE {
        return Err(failed(&"it is too large"));
    }
    fs::read_to_string(path).map_err(|error| failed(&error))
}

fn hash_all(files: &[PathBuf], console: &Console) -> Result<Vec<Artifact>, Failure> {
    files.iter().map(|file| console.hash(file, &[])).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Beside every file, so that each can travel with its proof; or the one place that was asked for.
fn targets(signer: &Signer, files: &[PathBuf]) -> Vec<PathBuf> {
    match &signer.bundle {
        Some(bundle) => vec![bundle.clone()],
        None => files.iter().map(|file| beside(file)).collect(),
    }
}

/// `FILE.sigstore.json`.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

/// What to do about a refused endpoint.
pub(crate) fn guard_hint(error: &GuardError) -> Option<&'static str> {
    match error {
        GuardError::PublicInstance(_) => {
            Some("if that is what you want, repeat with `--allow-public-instance`")
        }
        GuardError::Insecure(_) => Some("use https"),
        _ => None,
    }
}

/// A failure before any log had the signature.
fn explain(error: SigningError) -> Failure {
    let hint = match &error {
        SigningError::Unverifiable(refusals) if refusals.has(Claim::Provenance) => Some(
            "provenance is written as GitHub's build type defines it, so the certificate must say the same: ask the \
             instance's operators to give this provider GitHub's templates, or sign the file with `chancery sign`",
        ),
        SigningError::Timestamp(TimestampingError::Clock { .. }) => {
            Some("nothing was logged; ask the instance's operators to set both clocks, and try again")
        }
        _ => None,
    };
    match hint {
        Some(hint) => Failure::could_not_run(error).hint(hint),
        None => network::failure(error),
    }
}
