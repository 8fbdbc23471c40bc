//! An operator who knows nothing but the name of his client pastes what `export-trust --for` prints. Every script here
//! is run exactly as it was printed, by `sh`, with the unmodified client.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use chancery_tests::{Chancery, IdToken, Instance, Outcome, Rekor, Server, peers, program};

const ALL: [Rekor; 3] = [Rekor::V1, Rekor::V2, Rekor::Both];
const WITH_V1: [Rekor; 2] = [Rekor::V1, Rekor::Both];

/// An instance with these logs, and another one whose entries are sealed: with each the scripts work.
async fn instances(dialects: &[Rekor]) -> Result<Vec<Instance>> {
    let mut instances = Vec::new();
    for dialect in dialects {
        instances.push(Instance::start_with(*dialect).await?);
    }
    let last = dialects.last().copied().unwrap_or_default();
    instances.push(Instance::start_as(last, &["--entries", "token"]).await?);
    Ok(instances)
}

/// What was exported for a client, and a machine with that client alone.
struct Pasted {
    script: PathBuf,
    home: PathBuf,
    programs: PathBuf,
    folder: PathBuf,
}

impl Pasted {
    /// `programs` are the client's: the name that the script calls, and the name among the peers.
    fn new(instance: &Instance, client: &str, programs: &[(&str, &str)]) -> Result<Self> {
        Self::with(instance, client, programs, &[])
    }

    /// The same with more arguments of `export-trust`.
    fn with(instance: &Instance, client: &str, programs: &[(&str, &str)], more: &[&str]) -> Result<Self> {
        let (home, folder) = (instance.home(client)?, instance.scratch().join(format!("trust of {client}")));
        let output = folder.display().to_string();
        let mut export = Server::command(&["export-trust", "--for", client, "--output", &output])?;
        export.args(more);
        let text = program::run(export.arg(instance.server.folder()))?.success()?.stdout;
        let script = instance.file(&format!("{client}.sh"), text)?;
        let path = home.join("programs");
        std::fs::create_dir_all(&path)?;
        for (name, peer) in programs {
            if !path.join(name).exists() {
                symlink(peers::program(peer)?, path.join(name))?;
            }
        }
        Ok(Self { script, home, programs: path, folder })
    }

    /// Runs the script with `arguments` and these variables.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Outcome> {
        let mut command = self.command("sh");
        command.arg(&self.script).args(arguments).envs(variables.iter().copied());
        program::run(&mut command)
    }

    /// Any program on that machine.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        program::isolate(&mut command, &self.home);
        let system = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{system}", self.programs.display())).current_dir(&self.home);
        command
    }

    /// Signs and verifies `file` in one go, then what must not verify.
    fn sign_and_verify(&self, token: &IdToken, file: &Path, bundle: &str) -> Result<()> {
        let (file, identity) = (file.display().to_string(), token.identity());
        let policy = [("FILE", file.as_str()), ("IDENTITY", &identity), ("ISSUER", token.issuer())];
        self.run(&[], &[&policy[..], &[("TOKEN", token.as_str())]].concat())?.success()?;
        ensure!(Path::new(&format!("{file}{bundle}")).exists(), "there is no {file}{bundle}");
        // The issuer is known without being told.
        self.run(&["verify"], &policy[..2])?.success()?;
        let other = format!("{identity}-dev");
        self.run(&["verify"], &[("FILE", &file), ("IDENTITY", &other)])?.failure(&[])?;
        Ok(())
    }

    /// Another artifact does not verify with the bundle of `file`.
    fn refuses_another_artifact(&self, token: &IdToken, file: &Path, bundle: &str) -> Result<()> {
        std::fs::write(file, "not what was signed")?;
        let (file, identity) = (file.display().to_string(), token.identity());
        ensure!(Path::new(&format!("{file}{bundle}")).exists(), "there is no bundle");
        self.run(&["verify"], &[("FILE", &file), ("IDENTITY", &identity)])?.failure(&[])?;
        Ok(())
    }
}

async fn sign_and_verify(
    client: &str,
    programs: &[(&str, &str)],
    bundle: &str,
    dialects: &[Rekor],
) -> Result<()> {
    for instance in instances(dialects).await? {
        let token = instance.issuer.token().await?;
        let pasted = Pasted::new(&instance, client, programs)?;
        let file = instance.file("artifact", "an artifact")?;
        pasted.sign_and_verify(&token, &file, bundle)?;
        pasted.refuses_another_artifact(&token, &file, bundle)?;
        // The folder may move to another machine.
        let moved = instance.scratch().join("moved");
        std::fs::rename(&pasted.folder, &moved)?;
        std::fs::write(&file, "an artifact")?;
        let variables = [
            ("TRUST", moved.display().to_string()),
            ("FILE", file.display().to_string()),
            ("IDENTITY", token.identity()),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        pasted.run(&["verify"], &variables)?.success()?;
    }
    Ok(())
}

#[tokio::test]
async fn cosign2() -> Result<()> {
    sign_and_verify("cosign2", &[("cosign", "cosign2")], ".cosign.bundle", &WITH_V1).await
}

#[tokio::test]
async fn cosign3() -> Result<()> {
    sign_and_verify("cosign3", &[("cosign", "cosign3")], ".sigstore.json", &ALL).await
}

#[tokio::test]
async fn sigstore_python() -> Result<()> {
    sign_and_verify("sigstore-python", &[("sigstore", "sigstore-python")], ".sigstore.json", &ALL).await
}

#[tokio::test]
async fn sigstore_go() -> Result<()> {
    let programs = ["sigstore-go-signing", "sigstore-go-verification"].map(|name| (name, name));
    sign_and_verify("sigstore-go", &programs, ".sigstore.json", &ALL).await
}

#[tokio::test]
async fn sigstore_js() -> Result<()> {
    for instance in instances(&WITH_V1).await? {
        let token = instance.issuer.token().await?;
        let pasted = Pasted::new(&instance, "sigstore-js", &[("sigstore", "sigstore-js")])?;
        let file = instance.file("statement.json", statement())?;
        pasted.sign_and_verify(&token, &file, ".sigstore.json")?;
    }
    Ok(())
}

fn statement() -> String {
    serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "artifact", "digest": { "sha256": "0".repeat(64) } }],
        "predicateType": "https://example.com/tested",
        "predicate": {},
    })
    .to_string()
}

#[tokio::test]
async fn gitsign() -> Result<()> {
    for instance in instances(&WITH_V1).await? {
        let pasted = Pasted::new(&instance, "gitsign", &[("gitsign", "gitsign")])?;
        commit_and_verify(&instance, &pasted).await?;
    }
    Ok(())
}

/// Sets a repository up with the script, commits and verifies.
async fn commit_and_verify(instance: &Instance, pasted: &Pasted) -> Result<()> {
    let token = instance.issuer.token().await?;
    let git = |arguments: &[&str]| {
        let mut git = pasted.command("git");
        git.args(arguments).env("SIGSTORE_ID_TOKEN", token.as_str());
        program::run(&mut git)?.success()
    };
    git(&["init", "--quiet", "."])?;
    git(&["config", "user.email", "octocat@example.com"])?;
    git(&["config", "user.name", "Octocat"])?;
    pasted.run(&[], &[])?.success()?;
    git(&["commit", "--quiet", "--allow-empty", "--message", "signed"])?;
    let identity = token.identity();
    pasted.run(&["verify"], &[("IDENTITY", &identity)])?.success()?;
    let other = format!("{identity}-dev");
    pasted.run(&["verify"], &[("IDENTITY", &other)])?.failure(&[])?;
    git(&["-c", "commit.gpgsign=false", "commit", "--quiet", "--allow-empty", "--message", "unsigned"])?;
    pasted.run(&["verify"], &[("IDENTITY", &identity)])?.failure(&[])?;
    pasted.run(&["verify"], &[("IDENTITY", &identity), ("COMMIT", "HEAD~1")])?.success()?;
    Ok(())
}

/// Replaces the CA's chain, the Rekor v1 log and the issuance log, tells TUF clients, and starts again.
async fn replace_all(instance: &mut Instance) -> Result<()> {
    instance.server.stop().await?;
    for arguments in [
        &["replace-chain", "ca"][..],
        &["add-log", "rekor-v1", "--replaces", "rekor-v1"],
        &["add-log", "ct", "--replaces", "ct", "--name", "ct-2"],
    ] {
        let mut change = Server::command(&arguments[..1])?;
        program::run(change.arg(instance.server.folder()).args(&arguments[1..]))?.success()?;
    }
    instance.server.sign_tuf()?;
    instance.server.start().await
}

/// Clients that take one key of a kind from a file verify what was signed before all keys were replaced, and after.
#[tokio::test]
async fn recipes_after_a_rotation_verify_old_and_new() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::V1).await?;
    let token = instance.issuer.token().await?;
    let identity = token.identity();
    let cosign2 = |instance: &Instance| Pasted::new(instance, "cosign2", &[("cosign", "cosign2")]);
    let gitsign = |instance: &Instance| {
        Pasted::new(instance, "gitsign", &[("gitsign", "gitsign"), ("cosign", "cosign2")])
    };
    let (old, new) = (instance.file("old", "an artifact")?, instance.file("new", "another artifact")?);
    cosign2(&instance)?.sign_and_verify(&token, &old, ".cosign.bundle")?;
    let commit = |pasted: &Pasted, message: &str| {
        let mut git = pasted.command("git");
        git.args([
            "-c",
            "user.email=o@example.com",
            "-c",
            "user.name=O",
            "commit",
            "--quiet",
            "--allow-empty",
        ]);
        program::run(git.args(["--message", message]).env("SIGSTORE_ID_TOKEN", token.as_str()))?.success()
    };
    let pasted = gitsign(&instance)?;
    program::run(pasted.command("git").args(["init", "--quiet", "."]))?.success()?;
    pasted.run(&[], &[])?.success()?;
    commit(&pasted, "old")?;
    pasted.run(&["verify"], &[("IDENTITY", &identity)])?.success()?;

    replace_all(&mut instance).await?;
    // On the same machines, at the same places.
    let pasted = cosign2(&instance)?;
    pasted.run(&["verify"], &[("FILE", &old.display().to_string()), ("IDENTITY", &identity)])?.success()?;
    pasted.sign_and_verify(&token, &new, ".cosign.bundle")?;
    pasted.refuses_another_artifact(&token, &new, ".cosign.bundle")?;

    let pasted = gitsign(&instance)?;
    pasted.run(&[], &[])?.success()?;
    commit(&pasted, "new")?;
    for commit in ["HEAD", "HEAD~1"] {
        pasted.run(&["verify"], &[("IDENTITY", &identity), ("COMMIT", commit)])?.success()?;
    }
    let other = format!("{identity}-dev");
    pasted.run(&["verify"], &[("IDENTITY", &other)])?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn who_needs_v1_is_told_so() -> Result<()> {
    let instance = Instance::start_with(Rekor::V2).await?;
    for client in ["cosign2", "sigstore-js", "gitsign", "policy-controller", "kyverno"] {
        let mut export = Server::command(&["export-trust", "--for", client])?;
        program::run(export.arg(instance.server.folder()).current_dir(instance.scratch()))?.failure(&[
            client,
            "Rekor v1",
            "init --rekor both",
        ])?;
        let folder = instance.scratch().join(format!("trust-{client}"));
        ensure!(!folder.exists(), "{} was made for nothing", folder.display());
    }
    Ok(())
}

#[tokio::test]
async fn resources_for_kubernetes_go_to_standard_output_alone() -> Result<()> {
    let instance = Instance::start_with(Rekor::Both).await?;
    for (client, kinds) in [
        ("policy-controller", ["kind: TrustRoot", "kind: ClusterImagePolicy"]),
        ("kyverno", ["kind: ImageValidatingPolicy", "kind: ClusterPolicy"]),
    ] {
        let mut export = Server::command(&["export-trust", "--for", client])?;
        let outcome =
            program::run(export.arg(instance.server.folder()).current_dir(instance.scratch()))?.success()?;
        ensure!(kinds.iter().all(|kind| outcome.stdout.contains(kind)), "{}", outcome.stdout);
        ensure!(!instance.scratch().join(format!("trust-{client}")).exists(), "a folder without files");
    }
    Ok(())
}

/// What the authority of a company is to each client: unknown without a word of it, and trusted with the recipe.
#[tokio::test]
async fn recipes_make_every_client_trust_an_authority_of_ones_own() -> Result<()> {
    let (instance, authority) = Instance::start_with_tls().await?;
    let token = instance.issuer.token().await?;
    let authority = authority.display().to_string();
    let go = ["sigstore-go-signing", "sigstore-go-verification"].map(|name| (name, name));
    for (client, programs, bundle) in [
        ("cosign2", &[("cosign", "cosign2")][..], ".cosign.bundle"),
        ("cosign3", &[("cosign", "cosign3")], ".sigstore.json"),
        ("sigstore-go", &go, ".sigstore.json"),
        ("sigstore-python", &[("sigstore", "sigstore-python")], ".sigstore.json"),
        ("sigstore-js", &[("sigstore", "sigstore-js")], ".sigstore.json"),
    ] {
        let file = instance.file(client, statement())?;
        let without = Pasted::new(&instance, client, programs)?;
        let variables = [
            ("FILE", file.display().to_string()),
            ("TOKEN", token.as_str().to_owned()),
            ("IDENTITY", token.identity()),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        without.run(&["sign"], &variables)?.failure(&["certificate"])?;
        let pasted = Pasted::with(&instance, client, programs, &["--tls-ca", &authority])?;
        pasted.sign_and_verify(&token, &file, bundle)?;
    }
    let pasted = Pasted::with(&instance, "gitsign", &[("gitsign", "gitsign")], &["--tls-ca", &authority])?;
    commit_and_verify(&instance, &pasted).await?;
    // A root at the end of the chain is taken from there.
    let chain = instance.server.folder().join("tls.crt");
    let whole = std::fs::read_to_string(&chain)? + &std::fs::read_to_string(&authority)?;
    std::fs::write(&chain, whole)?;
    let pasted = Pasted::new(&instance, "cosign3", &[("cosign", "cosign3")])?;
    pasted.sign_and_verify(&token, &instance.file("again", "an artifact")?, ".sigstore.json")?;
    let key = instance.server.folder().join("tls.key").display().to_string();
    let mut export = Server::command(&["export-trust", "--for", "cosign3", "--tls-ca", &key])?;
    let refused = program::run(export.arg(instance.server.folder()).current_dir(instance.scratch()))?;
    refused.failure(&["--tls-ca", "tls.key"])?;
    Ok(())
}

#[tokio::test]
async fn chancery_says_what_to_do_about_an_authority_that_it_does_not_know() -> Result<()> {
    let (instance, authority) = Instance::start_with_tls().await?;
    let chancery = Chancery::new(&instance, "chancery")?;
    let authority = authority.display().to_string();
    let known = [("SSL_CERT_FILE", authority.as_str())];
    let add = ["trust", "add", instance.server.url()];
    chancery.run(&add)?.refused(2, &["UnknownIssuer", "hint:", "SSL_CERT_FILE"])?;
    let other = [("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")];
    if Path::new(other[0].1).exists() {
        chancery.run_with(&other, &add)?.refused(2, &["is not in `/etc/ssl/certs", "SSL_CERT_DIR"])?;
    }
    chancery.run_with(&known, &add)?.success()?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let sign = ["sign", &file, "--identity-token", token.as_str()];
    chancery.run(&sign)?.refused(2, &["UnknownIssuer", "hint:", "SSL_CERT_FILE"])?;
    chancery.run_with(&known, &sign)?.success()?;
    Ok(())
}
