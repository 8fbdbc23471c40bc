//! Where the next chain of a role comes from: a root whose key is at hand, a new root, a root elsewhere that signs a
//! request, or an earlier call that prepared it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_ca::Authority;
use chancery_ca::ceremony::{self, make_intermediate, make_root_and_intermediate};
use chancery_ca::timestamp::{
    TimestampAuthority, TimestampSettings, make_timestamp_authority, make_timestamp_certificate,
};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, SystemClock, Timestamp};
use chancery_tlog::key::{PublicKey, Signer, SoftwareSigner};
use chancery_tlog::serve::key_file::{self, Passphrase, Protection};
use chancery_tlog::trust::{ClientTrustConfig, TimeRange, TrustedRoot};
use clap::Args;

use super::{
    CHAINS, ReplaceChainArguments, Role, is_root_key, read_chain, read_small, relative, replace_file,
    write_new,
};
use crate::config::{Config, NextChain};
use crate::{output, trust};

/// The chain that takes the place of another.
pub(super) struct Successor {
    /// Its certificates.
    chain: Vec<Certificate>,
    /// The file of those, as `chancery.toml` names it.
    pub(super) chain_file: String,
    /// The file of its key.
    pub(super) key_file: String,
    /// Start of trust.
    pub(super) since: Timestamp,
    /// Keys to be written, with their files.
    keys: Vec<(PathBuf, Arc<SoftwareSigner>)>,
}

impl Successor {
    /// The one that was prepared.
    pub(super) fn prepared(dir: &Path, next: &NextChain, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let chain = read_chain(&next.chain)?;
        if chain.iter().any(|certificate| !certificate.is_valid_at(clock.now())) {
            bail!("{} is not valid now", next.chain.display());
        }
        Ok(Self {
            chain,
            chain_file: relative(dir, &next.chain)?,
            key_file: relative(dir, &next.key)?,
            since: next.since,
            keys: Vec::new(),
        })
    }

    /// Its certificates.
    pub(super) fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Its first certificate, in words.
    pub(super) fn describe(&self) -> String {
        let first = self.chain.first();
        first.map(|first| format!("{}, until {},", first.subject(), first.not_after())).unwrap_or_default()
    }

    /// Writes keys and certificates. What an interrupted attempt left behind has other keys, and other names.
    pub(super) fn write(&self, dir: &Path, protection: &Protection) -> anyhow::Result<()> {
        for (path, key) in &self.keys {
            key_file::store(path, key, protection)?;
        }
        let pem: String = self.chain.iter().map(Certificate::to_pem).collect();
        write_new(&dir.join(&self.chain_file), &pem)
    }
}

/// Makes the next chain, or takes the one that was made for our request.
pub(super) fn successor(
    arguments: &ReplaceChainArguments,
    config: &Config,
    old: &[Certificate],
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Successor> {
    let (dir, role) = (&arguments.dir, arguments.role);
    let root = old.last().context("a chain of at least one certificate")?;
    let first = old.first().context("a chain of at least one certificate")?;
    let since = clock.now();
    if let Some(file) = &arguments.chain {
        return brought(dir, role, file, config, clock);
    }
    let kind = first.public_key().kind();
    let free = Free::find(dir, role);
    let mut keys = Vec::new();
    let chain = if arguments.new_root {
        let organization = root.subject_o_cn().0.unwrap_or_else(|| config.url.host().to_owned());
        let (chain, root_key, key) = match role {
            Role::Ca => {
                let made = make_root_and_intermediate(&organization, kind, &**clock)?;
                (vec![made.issuing, made.root], made.root_key, made.issuing_key)
            }
            Role::Tsa => {
                let made = make_timestamp_authority(&organization, kind, &**clock)?;
                (vec![made.leaf, made.root], made.root_key, made.key)
            }
        };
        keys.push((dir.join(&free.root_key), root_key));
        keys.push((dir.join(&free.key), key));
        chain
    } else {
        let root_key = root_key(arguments, config)?;
        let key = Arc::new(SoftwareSigner::generate(kind)?);
        let first = certificate(role, root, root_key, key.public_key(), &**clock)?;
        keys.push((dir.join(&free.key), key));
        vec![first, root.clone()]
    };
    Ok(Successor { chain, chain_file: free.chain, key_file: free.key, since, keys })
}

fn certificate(
    role: Role,
    root: &Certificate,
    root_key: Arc<dyn Signer>,
    key: &PublicKey,
    clock: &dyn Clock,
) -> anyhow::Result<Certificate> {
    Ok(match role {
        Role::Ca => make_intermediate(root, root_key, key, clock)?,
        Role::Tsa => make_timestamp_certificate(root, root_key, key, clock)?,
    })
}

fn root_key(arguments: &ReplaceChainArguments, config: &Config) -> anyhow::Result<Arc<dyn Signer>> {
    let default = arguments.dir.join(arguments.role.root_key());
    let path = arguments.root_key.as_ref().unwrap_or(&default);
    if arguments.root_key.is_none() && !path.exists() {
        bail!(
            "{} is not there: name the root's key with --root-key, or write a request with --csr for the machine that has \
             it, or make a new root with --new-root",
            path.display()
        );
    }
    Ok(Arc::new(key_file::load(path, &config.protection).context("the root's key")?))
}

/// Names that no file has.
struct Free {
    key: String,
    root_key: String,
    chain: String,
}

impl Free {
    fn find(dir: &Path, role: Role) -> Self {
        let role = role.name();
        let names = |number: u32| Self {
            key: format!("keys/{role}-{number}.key"),
            root_key: format!("keys/{role}-root-{number}.key"),
            chain: format!("{CHAINS}/{role}-{number}.pem"),
        };
        let free = |names: &Self| {
            [&names.key, &names.root_key, &names.chain].iter().all(|name| !dir.join(name).exists())
        };
        (2..u32::MAX).map(names).find(free).unwrap_or_else(|| names(u32::MAX))
    }
}

/// `--csr`: the next key, and a request for its certificate.
pub(super) fn request(dir: &Path, role: Role, file: &Path) -> anyhow::Result<()> {
    let config = Config::load(dir)?;
    let old = read_chain(super::served(&config, role)?.chain)?;
    let kind = old.first().context("a chain of at least one certificate")?.public_key().kind();
    let free = Free::find(dir, role);
    let key = Arc::new(SoftwareSigner::generate(kind)?);
    let pem = ceremony::signing_request(key.clone())?;
    key_file::store(&dir.join(&free.key), &key, &config.protection)?;
    replace_file(file, &pem)?;
    let (file, dir, role) = (file.display(), dir.display(), role.name());
    output::say(&format!(
        "made {dir}/{} and wrote a request for its certificate to {file}\n\nnext:\n  \
         where the root's key is: chancery-server sign-csr {role} {file} --root-key KEY --chain trust/{role}-chain.pem \
         --output CHAIN\n  \
         here, with the server stopped: chancery-server replace-chain {dir} {role} --chain CHAIN\n",
        free.key
    ));
    Ok(())
}

/// The chain that was made elsewhere, with the key here that it is for.
fn brought(
    dir: &Path,
    role: Role,
    file: &Path,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Successor> {
    let pem = read_small(file)?;
    let chain = Certificate::chain_from_pem(&pem).with_context(|| file.display().to_string())?;
    let first = chain.first().context("a chain of at least one certificate")?;
    let prefix = format!("{}-", role.name());
    let keys = dir.join("keys");
    let unreadable = || format!("cannot read {}", keys.display());
    let mut found = None;
    for entry in std::fs::read_dir(&keys).with_context(unreadable)? {
        let name = entry.with_context(unreadable)?.file_name().to_string_lossy().into_owned();
        // A root's key may have a passphrase of its own.
        if name.strip_suffix(".key").is_none_or(|stem| !stem.starts_with(&prefix)) || is_root_key(&name) {
            continue;
        }
        let key = key_file::load(&keys.join(&name), &config.protection)?;
        if key.public_key() == first.public_key() {
            found = Some((name, key));
        }
    }
    let Some((name, key)) = found else {
        bail!(
            "{}: no keys/{prefix}N.key is the key of its first certificate: sign the request that --csr wrote",
            file.display()
        );
    };
    check(role, &pem, Arc::new(key), clock).with_context(|| file.display().to_string())?;
    let chain_file = format!("{CHAINS}/{}.pem", name.trim_end_matches(".key"));
    Ok(Successor {
        chain,
        chain_file,
        key_file: format!("keys/{name}"),
        since: clock.now(),
        keys: Vec::new(),
    })
}

/// Demands what the role will, and that the chain is valid now.
fn check(role: Role, pem: &str, signer: Arc<dyn Signer>, clock: &Arc<dyn Clock>) -> anyhow::Result<()> {
    match role {
        Role::Ca => {
            let authority = Authority::load(pem, signer, &**clock)?;
            let now = clock.now();
            if !authority.outlives(now, now.plus(chancery_ca::profile::LIFETIME)) {
                bail!("it is not valid now");
            }
        }
        Role::Tsa => {
            TimestampAuthority::load(pem, signer, &TimestampSettings::default(), clock.clone())?.check()?;
        }
    }
    Ok(())
}

/// What a root signs.
#[derive(Args, Debug)]
pub(crate) struct SignCsrArguments {
    /// Whose certificate it is to be
    #[arg(value_enum)]
    role: Role,
    /// The request that `replace-chain --csr` wrote
    request: PathBuf,
    /// Key of the root
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
    /// PEM file whose last certificate is the root, such as the chain in service
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// File for the new chain [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// File of mode 0600 with the passphrase of the root's key
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Signs a request with the root's key. Needs no instance.
pub(crate) fn sign_csr(arguments: &SignCsrArguments) -> anyhow::Result<()> {
    let protection = arguments.passphrase_file.clone().map(Passphrase::File).into();
    let root_key = Arc::new(key_file::load(&arguments.root_key, &protection).context("--root-key")?);
    let chain = read_chain(&arguments.chain).context("--chain")?;
    let root = chain.last().context("--chain: there is no certificate in it")?;
    let key = ceremony::requested_key(&read_small(&arguments.request)?)
        .with_context(|| arguments.request.display().to_string())?;
    let first = certificate(arguments.role, root, root_key, &key, &SystemClock)?;
    let pem = first.to_pem() + &root.to_pem();
    output::say(&format!("signed {}, until {}\n", first.subject(), first.not_after()));
    match &arguments.output {
        Some(file) => replace_file(file, &pem),
        None => output::print(&pem),
    }
}

/// Puts the end at `until`, if it is not earlier already.
fn end_by(range: &mut TimeRange, until: Timestamp) {
    let end = range.end.as_deref().and_then(Timestamp::parse_rfc3339);
    range.end = Some(end.map_or(until, |end| end.min(until)).to_rfc3339());
}

/// The trusted root in `file`, in the spelling of ours, with an end for everything that has none, and how many members it
/// has.
pub(super) fn ended(file: &Path, until: Timestamp) -> anyhow::Result<(TrustedRoot, String)> {
    let json = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = || file.display().to_string();
    let root = match ClientTrustConfig::parse(&json) {
        Ok(config) => config.trusted_root,
        Err(_) => TrustedRoot::parse(&json).with_context(name)?,
    };
    let mut root = trust::canonical(root).with_context(name)?;
    let authorities = root.certificate_authorities.iter_mut().chain(&mut root.timestamp_authorities);
    authorities.for_each(|authority| end_by(&mut authority.valid_for, until));
    let logs = root.tlogs.iter_mut().chain(&mut root.ctlogs);
    logs.for_each(|log| end_by(&mut log.public_key.valid_for, until));
    let authorities = root.certificate_authorities.len() + root.timestamp_authorities.len();
    let logs = root.tlogs.len() + root.ctlogs.len();
    Ok((root, format!("{authorities} authorities and {logs} logs")))
}
