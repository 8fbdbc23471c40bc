//! `chancery-server init`: makes an instance. The one place where keys, certificates and logs come into being.
//!
//! Invariant: nothing that exists is overwritten, and `chancery.toml` is written last, so a folder with one is a
//! complete instance. A log that a server could create by itself would fork after its disk was lost.

mod forge;
mod policies;
mod render;
mod roles;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::make_root_and_intermediate;
use chancery_ca::timestamp::make_timestamp_authority;
use chancery_tlog::clock::{Clock, SystemClock};
use chancery_tlog::files;
use chancery_tlog::key::{KeyKind, SoftwareSigner};
use chancery_tlog::merkle::Hash;
use chancery_tlog::serve::key_file::{self, Passphrase};
use clap::{Args, ValueEnum};

use crate::config::{self, BaseUrl, Config};
use crate::lock::Lock;
use crate::roles::Instance;
use crate::trust::CLIENT_TRUST_CONFIG;
use crate::{access, output, trust, tuf};

use self::policies::PolicyArguments;
#[cfg(test)]
pub(crate) use self::render::SAMPLE;
pub(crate) use self::render::{ROOT_KEY, TSA_ROOT_KEY};
use self::roles::{CA_ROOTS, Role};

/// Address of a listener if the URL names none on this machine.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// What an instance is made from.
#[derive(Args, Debug)]
pub(crate) struct InitArguments {
    /// Folder to make the instance in; it must not exist, or be empty but for a fresh volume's lost+found
    dir: PathBuf,
    /// Address that clients will use, without a path
    #[arg(long, value_name = "URL")]
    url: String,
    /// Roles of this host, where an instance is on several: `ca` with its issuance log, `log` for the attestation logs, `tsa`, and
    /// `tuf` where the trust files of all of them are published (see `merge-trust`)
    #[arg(long, value_name = "ROLE", value_enum, value_delimiter = ',', default_value = "ca,log,tsa,tuf")]
    roles: Vec<Role>,
    /// PEM chain of the CA on another host, its issuing certificate first: the logs take the signatures of its certificates
    #[arg(long, value_name = "FILE")]
    ca_chain: Option<PathBuf>,
    /// Address to listen on [default: that of --url if it is a loopback address, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address for Prometheus metrics [default: none]
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Organization in the certificates of the CA [default: the host of --url]
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    /// Kind of the CA's keys
    #[arg(long, value_name = "KIND", value_enum, default_value_t = CaKey::P256)]
    ca_key: CaKey,
    /// What the attestation log's clients speak; `both` makes two logs
    #[arg(long, value_name = "DIALECT", value_enum, default_value_t = Rekor::Both)]
    rekor: Rekor,
    /// Who may read entries, which hold names; must be given unless only this machine can come in [default there: open]
    #[arg(long, value_name = "WHO", value_enum)]
    entries: Option<Entries>,
    /// Whose signatures the attestation logs take
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Signers::OwnCa)]
    signers: Signers,
    /// Configuration file of Fulcio with the issuers whose tokens are honoured
    #[arg(long, value_name = "FILE", conflicts_with = "issuer")]
    issuers: Option<PathBuf>,
    /// The one issuer whose tokens are honoured, instead of --issuers
    #[arg(long, value_name = "URL", default_value = "https://token.actions.githubusercontent.com")]
    issuer: String,
    /// What kind of issuer --issuer is
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = IssuerType::Github)]
    issuer_type: IssuerType,
    /// Server whose names its tokens carry, if it is not to be told from --issuer: of a GitHub Enterprise Server, a GitLab
    /// or a Forgejo of your own
    #[arg(long, value_name = "URL", conflicts_with = "issuers")]
    issuer_server: Option<String>,
    #[command(flatten)]
    policies: PolicyArguments,
    /// File of mode 0600 with a passphrase that encrypts all keys and is read again at every start
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Kinds of CA keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CaKey {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
}

impl From<CaKey> for KeyKind {
    fn from(kind: CaKey) -> Self {
        match kind {
            CaKey::P256 => Self::EcdsaP256,
            CaKey::P384 => Self::EcdsaP384,
        }
    }
}

/// Dialects of the attestation logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rekor {
    /// Rekor v1: what every client speaks, and the only one of cosign 2, gitsign, policy-controller and Kyverno.
    V1,
    /// Rekor v2: what today's clients prefer; signed times come from the timestamp authority alone.
    V2,
    /// A log of each: clients take the newest that they know.
    Both,
}

impl Rekor {
    fn has_v1(self) -> bool {
        self != Self::V2
    }

    fn has_v2(self) -> bool {
        self != Self::V1
    }
}

/// Readers of the sealed zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Entries {
    /// Whoever reaches the listener.
    Open,
    /// Readers with a token that `reader-token` makes.
    Token,
    /// Readers with an ID token, by rules in the configuration.
    Oidc,
    /// Readers with a client certificate of a CA of yours.
    Mtls,
}

impl Entries {
    /// Its name in `chancery.toml`.
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::Oidc => "oidc",
            Self::Mtls => "mtls",
        }
    }

    /// What the operator has to do before anyone reads.
    fn next(self, dir: &Path) -> String {
        let dir = dir.display();
        match self {
            Self::Open => String::new(),
            Self::Token => {
                format!("chancery-server reader-token {dir} NAME: nobody reads entries without a token\n  ")
            }
            Self::Oidc => {
                format!("name the readers of entries under [access.oidc] in {dir}/chancery.toml\n  ")
            }
            Self::Mtls => format!("put the CA of the readers of entries into {dir}/readers-ca.pem\n  "),
        }
    }
}

/// Writers to the attestation logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Signers {
    /// Whoever has a certificate of this instance.
    OwnCa,
    /// Anyone, by keys and certificates of any CA.
    Any,
}

/// Issuers that need nothing but a URL.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum IssuerType {
    /// GitHub Actions, on github.com, ghe.com or an Enterprise Server.
    Github,
    /// GitLab CI, on gitlab.com or self-managed.
    Gitlab,
    /// Forgejo Actions, or Gitea Actions with --issuer-server.
    #[value(alias = "gitea")]
    Forgejo,
    /// Buildkite.
    Buildkite,
    /// CircleCI.
    Circleci,
    /// Codefresh.
    Codefresh,
    /// An OpenID provider of people with verified e-mail addresses.
    Email,
    /// Service accounts of a Kubernetes cluster.
    Kubernetes,
}

/// Makes the instance and says how to go on.
pub(crate) async fn init(arguments: InitArguments) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let url = BaseUrl::parse(&arguments.url).map_err(anyhow::Error::msg).context("--url")?;
    let entries = arguments.entries(&url)?;
    let issuers = if arguments.has(Role::Ca) { Some(arguments.issuers()?) } else { None };
    let foreign = arguments.foreign_chain()?;
    let passphrase = arguments.passphrase()?;
    let parsed = issuers.as_ref().map(|(_, parsed)| parsed);
    let text = arguments.config_text(&url, &*clock, passphrase.as_ref(), parsed)?;
    // The configuration is tried before anything is made: a mistake in it should leave nothing behind.
    let config = Config::parse(&arguments.dir, &text)?;
    if let Some(parsed) = parsed {
        policies::check(config.ca.as_ref().map_or(&[], |ca| &ca.policy), parsed)?;
    }

    let dir = &arguments.dir;
    let _lock = claim(dir)?;
    let issuers = issuers.as_ref().map(|(text, _)| text.as_str());
    let files = Files { issuers, foreign: foreign.as_deref(), config: &text };
    make(&arguments, &url, &files, passphrase.as_ref(), clock)
        .await
        .with_context(|| format!("{} is incomplete: remove it before the next attempt", dir.display()))?;
    talk(&arguments.said(&url, entries, identifier(dir)?));
    Ok(())
}

impl InitArguments {
    /// What was made, and how to go on.
    fn said(&self, url: &BaseUrl, entries: Entries, id: Hash) -> String {
        let dir = self.dir.display();
        let made = if self.roles.len() == Role::value_variants().len() {
            format!("clients pin it with: chancery trust add {url} --sha256 {id}")
        } else {
            format!(
                "it has a part of the roles: put its trust files together with those of the other hosts, on one of them, and let \
                 clients pin that\n  chancery-server merge-trust DIR {CLIENT_TRUST_CONFIG} --name NAME, with {dir}/trust/{CLIENT_TRUST_CONFIG}"
            )
        };
        let offline = [(Role::Ca, ROOT_KEY), (Role::Tsa, TSA_ROOT_KEY), (Role::Tuf, tuf::OFFLINE_KEY)];
        let offline: Vec<_> = offline
            .into_iter()
            .filter(|(role, _)| self.has(*role))
            .map(|(_, key)| format!("{dir}/{key}"))
            .collect();
        let offline = match offline.split_last() {
            None => String::new(),
            Some((last, others)) => {
                let keys = if others.is_empty() {
                    last.clone()
                } else {
                    format!("{} and {last}", others.join(", "))
                };
                format!(
                    "move {keys} offline, together with a copy of\n  \
                     {dir}/trust: they are needed only to replace the certificates of the CA and the timestamp authority and to\n  \
                     sign new trust for TUF clients, never by the server\n  "
                )
            }
        };
        let issuers = if self.has(Role::Ca) {
            format!(
                "read {dir}/{} and {dir}/fulcio.yaml: whose tokens get certificates is your decision\n  ",
                config::FILE
            )
        } else {
            String::new()
        };
        format!(
            "made an instance for {url} in {dir}\n{made}\n\nnext:\n  {offline}{reading}{issuers}\
             chancery-server check-config {dir}\n  chancery-server run {dir}\n",
            reading = entries.next(&self.dir),
        )
    }
}

/// Files of an instance that come before its logs.
struct Files<'f> {
    /// The issuers, if it has a CA.
    issuers: Option<&'f str>,
    /// The certificates of a CA on another host.
    foreign: Option<&'f str>,
    /// `chancery.toml`.
    config: &'f str,
}

async fn make(
    arguments: &InitArguments,
    url: &BaseUrl,
    files: &Files<'_>,
    passphrase: Option<&Passphrase>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let dir = &arguments.dir;
    for folder in ["keys", "trust", "logs"] {
        make_folder(&dir.join(folder))?;
    }
    let generate = |kind| SoftwareSigner::generate(kind).map(Arc::new);
    let (tuf_offline, tuf_online) = (generate(KeyKind::Ed25519)?, generate(KeyKind::Ed25519)?);
    let mut keys = make_authorities(arguments, url, &*clock)?;
    if arguments.has(Role::Tuf) {
        keys.extend([(tuf::OFFLINE_KEY, tuf_offline.clone()), (tuf::ONLINE_KEY, tuf_online.clone())]);
    }
    if arguments.has_v1() {
        keys.push(("keys/rekor-v1.key", generate(KeyKind::EcdsaP256)?));
        keys.push(("keys/rekor-v1.checkpoint.key", generate(KeyKind::Ed25519)?));
    }
    if arguments.has_v2() {
        keys.push(("keys/rekor-v2.checkpoint.key", generate(KeyKind::Ed25519)?));
    }
    let protection = passphrase.cloned().into();
    for (path, key) in &keys {
        key_file::store(&dir.join(path), key, &protection)?;
    }
    for (name, text) in [("fulcio.yaml", files.issuers), (CA_ROOTS, files.foreign)] {
        text.map_or(Ok(()), |text| write(&dir.join(name), text))?;
    }
    if arguments.entries == Some(Entries::Token) {
        write(&dir.join("readers"), access::TOKENS_HEAD)?;
    }

    let instance = Instance::load(Config::parse(dir, files.config)?, clock.clone())?;
    for log in &instance.logs {
        log.create(clock.clone()).await.with_context(|| format!("log `{}`", log.config.name))?;
    }
    let mut documents = trust::documents(&instance.identity()?);
    if let Some(role) = &instance.tuf {
        tuf::create(dir, &*tuf_offline, &*tuf_online, &documents, &*clock)?;
        role.publisher(clock)?;
        documents.push(role.root_document()?);
    }
    for document in documents {
        let path = dir.join("trust").join(&*document.name);
        // The chains are there already, and are what the configuration reads.
        if !document.name.ends_with("-chain.pem") {
            write(&path, &document.text)?;
        }
    }
    write(&dir.join(config::FILE), files.config)
}

/// Makes the certificates of the CA and the timestamp authority, as far as this host has them, and all keys that belong to
/// them.
fn make_authorities(
    arguments: &InitArguments,
    url: &BaseUrl,
    clock: &dyn Clock,
) -> anyhow::Result<Vec<(&'static str, Arc<SoftwareSigner>)>> {
    let dir = &arguments.dir;
    let organization = arguments.organization.as_deref().unwrap_or(url.host());
    let generate = |kind| SoftwareSigner::generate(kind).map(Arc::new);
    let mut keys = Vec::new();
    if arguments.has(Role::Ca) {
        let ca = make_root_and_intermediate(organization, arguments.ca_key.into(), clock)?;
        write(&dir.join("trust/ca-chain.pem"), &ca.chain_pem())?;
        keys.extend([(ROOT_KEY, ca.root_key), ("keys/ca.key", ca.issuing_key)]);
        keys.push(("keys/ct.key", generate(KeyKind::EcdsaP256)?));
        keys.push(("keys/ct.checkpoint.key", generate(KeyKind::Ed25519)?));
    }
    if arguments.has(Role::Tsa) {
        let tsa = make_timestamp_authority(organization, KeyKind::EcdsaP256, clock)?;
        write(&dir.join("trust/tsa-chain.pem"), &tsa.chain_pem())?;
        keys.extend([(TSA_ROOT_KEY, tsa.root_key), ("keys/tsa.key", tsa.key)]);
    }
    Ok(keys)
}

/// What clients pin: SHA-256 of the first TUF root, or without a repository that of the file that `chancery trust add` fetches.
fn identifier(dir: &Path) -> anyhow::Result<Hash> {
    if let Some(id) = tuf::identifier(dir)? {
        return Ok(id);
    }
    let path = dir.join("trust").join(CLIENT_TRUST_CONFIG);
    Ok(Hash::digest(&std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?))
}

/// Makes sure of an empty folder that only its owner can read: names of repositories will be in it. A fresh volume's
/// `lost+found` may be there. Looked at again under the lock: another `init` may have been faster.
fn claim(dir: &Path) -> anyhow::Result<Lock> {
    refuse_used(dir)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let lock = Lock::take(dir)?;
    refuse_used(dir)?;
    match restrict(dir) {
        // The root of a volume is another user's, with a group that may write. What holds names and keys in it is made
        // for this user alone.
        Err(error) if is_not_owner(&error) => {
            talk(&format!(
                "note: {}; the folders below it are private all the same\n",
                output::in_full(&error)
            ));
        }
        restricted => restricted?,
    }
    Ok(lock)
}

/// Demands that `dir` is not there, or is unused.
fn refuse_used(dir: &Path) -> anyhow::Result<()> {
    match files::is_unused(dir) {
        Ok(true) => Ok(()),
        Ok(false) => {
            bail!("{} is not empty and nothing is ever overwritten: choose another folder", dir.display())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", dir.display())),
    }
}

fn is_not_owner(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(path).with_context(|| format!("cannot make {}", path.display()))?;
    restrict(path)
}

fn restrict(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
        .with_context(|| format!("cannot set the mode of {}", dir.display()))
}

/// Writes a new file and makes it durable.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    files::create(path, files::PUBLIC, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Talk goes to standard error; standard output is for data.
fn talk(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
