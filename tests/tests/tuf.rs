//! Unmodified clients with one pinned TUF root: everything else about whom to trust comes from the instance's
//! repository. No command here names a key, a chain or a trusted root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::{IdToken, Instance, Outcome, Rekor, Server, peers, program};

/// A client with a home of its own, which begins to trust an instance by its TUF root.
struct Client {
    program: PathBuf,
    home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Client {
    fn new(instance: &Instance, program: &str) -> Result<Self> {
        Ok(Self { program: peers::program(program)?, home: instance.home(program)?, environment: Vec::new() })
    }

    fn run(&self, arguments: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(&self.program);
        self.prepare(&mut command);
        program::run(command.args(arguments))
    }

    fn prepare(&self, command: &mut Command) {
        program::isolate(command, &self.home);
        command.current_dir(&self.home);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// The newest of the client's own copies of a target.
    fn cached(&self, name: &str) -> Result<Vec<u8>> {
        let mut folders = vec![self.home.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|file| file == name) {
                    return Ok(std::fs::read(path)?);
                }
            }
        }
        anyhow::bail!("{} has no copy of {name}", self.program.display())
    }
}

fn mirror(server: &Server) -> String {
    format!("{}/tuf", server.url())
}

fn root(server: &Server) -> String {
    server.trust("tuf-root.json").display().to_string()
}

/// A cosign after `cosign initialize`.
fn cosign(instance: &Instance, version: &str) -> Result<Client> {
    let cosign = Client::new(instance, version)?;
    let (mirror, root) = (mirror(&instance.server), root(&instance.server));
    cosign.run(&["initialize", "--mirror", &mirror, "--root", &root])?.success()?;
    Ok(cosign)
}

/// A sigstore-python after `trust-instance`, and the arguments that choose the instance.
fn python(instance: &Instance) -> Result<(Client, String)> {
    let (client, mirror) = (Client::new(instance, "sigstore-python")?, mirror(&instance.server));
    client.run(&["--instance", &mirror, "trust-instance", &root(&instance.server)])?.success()?;
    Ok((client, mirror))
}

/// An artifact and its bundle, by cosign 3.1 with nothing but TUF.
struct Signed {
    artifact: String,
    bundle: String,
    token: IdToken,
}

async fn sign(instance: &Instance) -> Result<Signed> {
    let (cosign, token) = (cosign(instance, "cosign3")?, instance.issuer.token().await?);
    let artifact = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let arguments =
        ["sign-blob", "--yes", "--identity-token", token.as_str(), "--bundle", &bundle, &artifact];
    cosign.run(&arguments)?.success()?;
    Ok(Signed { artifact, bundle, token })
}

#[tokio::test]
async fn cosign_31_signs_and_verifies_from_tuf_alone() -> Result<()> {
    for rekor in [Rekor::V1, Rekor::Both] {
        let instance = Instance::start_with(rekor).await?;
        let Signed { artifact, bundle, token } = sign(&instance).await?;
        let (cosign, identity) = (Client::new(&instance, "cosign3")?, token.identity());
        let verify = ["verify-blob", "--bundle", &bundle, "--certificate-identity", &identity];
        let verify = [&verify[..], &["--certificate-oidc-issuer", token.issuer()]].concat();
        let timestamps: &[&str] = if rekor == Rekor::V1 { &[] } else { &["--use-signed-timestamps"] };
        cosign.run(&[&verify[..], timestamps, &[&artifact]].concat())?.success()?;
        let other = instance.file("other", "another artifact")?.display().to_string();
        cosign.run(&[&verify[..], timestamps, &[&other]].concat())?.failure(&[])?;
    }
    Ok(())
}

#[tokio::test]
async fn cosign_25_signs_and_verifies_from_tuf_alone() -> Result<()> {
    let instance = Instance::start().await?;
    let (cosign, token) = (cosign(&instance, "cosign2")?, instance.issuer.token().await?);
    let artifact = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let (url, identity) = (instance.server.url(), token.identity());
    let sign = ["sign-blob", "--yes", "--fulcio-url", url, "--rekor-url", url, "--bundle", &bundle];
    cosign.run(&[&sign[..], &["--identity-token", token.as_str(), &artifact]].concat())?.success()?;
    let verify =
        ["verify-blob", "--rekor-url", url, "--bundle", &bundle, "--certificate-identity", &identity];
    let verify = [&verify[..], &["--certificate-oidc-issuer", token.issuer()]].concat();
    cosign.run(&[&verify[..], &[&artifact]].concat())?.success()?;
    let other = instance.file("other", "another artifact")?.display().to_string();
    cosign.run(&[&verify[..], &[&other]].concat())?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn sigstore_python_signs_and_verifies_from_tuf_alone() -> Result<()> {
    let instance = Instance::start().await?;
    let (python, mirror) = python(&instance)?;
    let token = instance.issuer.token().await?;
    let artifact = instance.file("artifact", "an artifact")?.display().to_string();
    let bundle = instance.scratch().join("bundle.json").display().to_string();
    let sign = ["--instance", &mirror, "sign", "--identity-token", token.as_str(), "--bundle", &bundle];
    python.run(&[&sign[..], &[&artifact]].concat())?.success()?;
    let identity = token.identity();
    let verify =
        ["--instance", &mirror, "verify", "identity", "--bundle", &bundle, "--cert-identity", &identity];
    let verify = [&verify[..], &["--cert-oidc-issuer", token.issuer()]].concat();
    python.run(&[&verify[..], &[&artifact]].concat())?.success()?;
    let other = instance.file("other", "another artifact")?.display().to_string();
    python.run(&[&verify[..], &[&other]].concat())?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn sigstore_go_verifies_from_tuf_alone() -> Result<()> {
    let instance = Instance::start().await?;
    let Signed { artifact, bundle, token } = sign(&instance).await?;
    let go = Client::new(&instance, "sigstore-go-verification")?;
    let (mirror, root, identity) = (mirror(&instance.server), root(&instance.server), token.identity());
    let trust = ["-tufRootURL", &mirror, "-tufTrustedRoot", &root, "-expectedSAN", &identity];
    let verify = [&trust[..], &["-expectedIssuer", token.issuer()]].concat();
    go.run(&[&verify[..], &["-artifact", &artifact, &bundle]].concat())?.success()?;
    let other = instance.file("other", "another artifact")?.display().to_string();
    go.run(&[&verify[..], &["-artifact", &other, &bundle]].concat())?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn sigstore_js_verifies_from_tuf_alone() -> Result<()> {
    let instance = Instance::start().await?;
    let Signed { artifact, bundle, token } = sign(&instance).await?;
    let js = Client::new(&instance, "sigstore-js")?;
    let (mirror, root, identity) = (mirror(&instance.server), root(&instance.server), token.identity());
    let cache = instance.home("sigstore-js-cache")?.display().to_string();
    let trust = ["verify", "--tuf-mirror-url", &mirror, "--tuf-root-path", &root, "--tuf-cache-path", &cache];
    let verify =
        [&trust[..], &["--certificate-identity-uri", &identity, "--certificate-issuer", token.issuer()]]
            .concat();
    js.run(&[&verify[..], &["--blob-file", &artifact, &bundle]].concat())?.success()?;
    let other = instance.file("other", "another artifact")?.display().to_string();
    js.run(&[&verify[..], &["--blob-file", &other, &bundle]].concat())?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn gitsign_signs_and_verifies_a_commit_from_tuf_alone() -> Result<()> {
    let instance = Instance::start().await?;
    let mut gitsign = Client::new(&instance, "gitsign")?;
    let (mirror, root) = (mirror(&instance.server), root(&instance.server));
    // gitsign 0.16 has two TUF clients, and its `initialize` sets up the newer one alone: certificates and Rekor's key are
    // read by the older, which it shares with cosign 2.
    let cosign = Client { program: peers::program("cosign2")?, ..Client::new(&instance, "gitsign")? };
    for client in [&gitsign, &cosign] {
        client.run(&["initialize", "--mirror", &mirror, "--root", &root])?.success()?;
    }
    let (token, url) = (instance.issuer.token().await?, instance.server.url().to_owned());
    gitsign.environment = vec![
        ("GITSIGN_FULCIO_URL", url.clone()),
        ("GITSIGN_REKOR_URL", url),
        ("GITSIGN_OIDC_ISSUER", instance.issuer.url().to_owned()),
        ("SIGSTORE_ID_TOKEN", token.as_str().to_owned()),
    ];
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        gitsign.prepare(&mut command);
        program::run(command.args(arguments))?.success()
    };
    git(&["init", "--quiet"])?;
    let program = gitsign.program.display().to_string();
    for (key, value) in [
        ("user.name", "A Committer"),
        ("user.email", "committer@example.com"),
        ("gpg.format", "x509"),
        ("gpg.x509.program", program.as_str()),
    ] {
        git(&["config", key, value])?;
    }
    git(&["commit", "--quiet", "--allow-empty", "-S", "-m", "A signed commit"])?;
    gitsign.environment.retain(|(name, _)| *name != "SIGSTORE_ID_TOKEN");
    let identity = token.identity();
    let verify = ["verify", "--certificate-identity", &identity, "--certificate-oidc-issuer", token.issuer()];
    gitsign.run(&verify)?.success()?;
    let stranger =
        ["verify", "--certificate-identity", "stranger", "--certificate-oidc-issuer", token.issuer()];
    gitsign.run(&stranger)?.failure(&[])?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_pinned_another_instance_gets_nothing() -> Result<()> {
    let instance = Instance::start().await?;
    let stranger = instance.stranger().await?;
    let (mirror, root) = (mirror(&instance.server), root(&stranger));
    for version in ["cosign2", "cosign3"] {
        let cosign = Client::new(&instance, version)?;
        cosign.run(&["initialize", "--mirror", &mirror, "--root", &root])?.failure(&[])?;
    }
    let python = Client::new(&instance, "sigstore-python")?;
    python.run(&["--instance", &mirror, "trust-instance", &root])?.failure(&[])?;
    Ok(())
}

/// The life of a repository: trust changes, the offline key comes out, clients follow, and it goes away again.
#[tokio::test]
async fn clients_follow_new_trust_after_tuf_sign() -> Result<()> {
    let mut instance = Instance::start().await?;
    let (python, mirror) = python(&instance)?;
    let Signed { artifact, bundle, token } = sign(&instance).await?;
    let identity = token.identity();
    let verify =
        ["--instance", &mirror, "verify", "identity", "--bundle", &bundle, "--cert-identity", &identity];
    let verify = [&verify[..], &["--cert-oidc-issuer", token.issuer(), &artifact]].concat();
    python.run(&verify)?.success()?;
    let before = std::fs::read(instance.server.trust("trusted_root.json"))?;
    ensure!(python.cached("trusted_root.json")? == before, "the client has what was published");

    instance.server.stop().await?;
    let offline = instance.scratch().join("tuf-root.key");
    std::fs::rename(instance.server.folder().join("keys/tuf-root.key"), &offline)?;
    trust_since_yesteryear(instance.server.folder())?;
    let check = instance.server.run("check-config")?.success()?;
    ensure!(check.stdout.contains("TUF clients are not told"), "{}", check.stdout);
    let server = |arguments: &[&str]| program::run(&mut Server::command(arguments)?);
    let (folder, trust) = (instance.server.folder().display().to_string(), instance.server.trust(""));
    server(&["export-trust", &folder, "--output", &trust.display().to_string()])?.success()?;
    server(&["tuf", "sign", &folder])?.failure(&["tuf-root.key"])?;
    let sign = ["tuf", "sign", &folder, "--key", &offline.display().to_string()];
    let signed = server(&sign)?.success()?;
    ensure!(signed.stdout.contains("2.targets.json"), "{}", signed.stdout);
    ensure!(server(&sign)?.success()?.stdout.contains("nothing to sign"), "a second time");
    let check = instance.server.run("check-config")?.success()?;
    ensure!(!check.stdout.contains("TUF clients are not told"), "{}", check.stdout);

    instance.server.start().await?;
    python.run(&verify)?.success()?;
    let after = std::fs::read(instance.server.trust("trusted_root.json"))?;
    ensure!(after != before && python.cached("trusted_root.json")? == after, "the client has followed");
    Ok(())
}

/// A change of what is trusted that leaves everything working: the year in which trust begins.
fn trust_since_yesteryear(folder: &Path) -> Result<()> {
    let path = folder.join("chancery.toml");
    let text = std::fs::read_to_string(&path)?;
    let since =
        |line: &str| line.strip_prefix("since = \"").and_then(|rest| rest.get(4..)).map(str::to_owned);
    let line =
        |line: &str| since(line).map_or_else(|| line.to_owned(), |rest| format!("since = \"2020{rest}"));
    let changed = text.lines().map(line).collect::<Vec<_>>().join("\n");
    ensure!(changed.contains("since = \"2020"), "the configuration says since when it is trusted");
    std::fs::write(&path, changed).context("chancery.toml")
}
