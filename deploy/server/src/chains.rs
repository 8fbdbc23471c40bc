//! `replace-chain` and `sign-csr`: the next certificates of the CA and the timestamp authority.
//!
//! A chain that was ever handed out stays in the trust files, with an end: what it vouched for verifies as before. Its
//! successor has a key of its own. As with logs, only an instance that nobody serves or changes is changed, nothing is
//! overwritten but `chancery.toml` and the copies in `trust/`, and `chancery.toml` comes after everything that it names.

mod make;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::{Clock, SystemClock, Timestamp};
use chancery_tlog::files;
use clap::{Args, ValueEnum};

use self::make::Successor;
use crate::config::{CaConfig, Config, NextChain, PastChain};
use crate::init::{ROOT_KEY, TSA_ROOT_KEY, write};
use crate::logs::edit::Edited;
use crate::logs::{Standing, Time, following_second};
use crate::output;
use crate::roles::{Instance, OtherChains, hosts, refuse_key_in_service};

pub(crate) use self::make::{SignCsrArguments, sign_csr};

/// Whether a file in `keys/` is the key of a root: of the first one (`ca-root.key`, `tuf-root.key`), or of one that
/// `--new-root` made (`ca-root-2.key`). No server needs it.
pub(crate) fn is_root_key(name: &str) -> bool {
    let stem = name.strip_suffix(".key");
    let root = stem.and_then(|stem| stem.split_once("-root")).map(|(_, number)| number);
    root.is_some_and(|number| number.is_empty() || number.starts_with('-'))
}

/// Folder of chains that took the place of others, and of those.
const CHAINS: &str = "chains";

/// Which chain, and how it is replaced.
#[derive(Args, Debug)]
pub(crate) struct ReplaceChainArguments {
    /// Folder of the instance; its server must not run, but for --csr
    dir: PathBuf,
    /// Whose chain
    #[arg(value_enum)]
    role: Role,
    /// Key of the root, which signs the new certificate [default: keys/ca-root.key or keys/tsa-root.key in DIR]
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    /// Make a new root too, which clients have to learn of
    #[arg(long, conflicts_with = "root_key")]
    new_root: bool,
    /// Publish the new chain and go on with the old one: the next `replace-chain` puts it into service
    #[arg(long)]
    prepare: bool,
    /// Make the new key and write a request for its certificate, for a root whose key is elsewhere; changes nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root_key", "new_root", "prepare", "until", "untrusted"])]
    csr: Option<PathBuf>,
    /// PEM chain that was made for that request: the new certificate first, the root last. Its key must not be that of a
    /// chain before
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root_key", "new_root", "csr"])]
    chain: Option<PathBuf>,
    /// End of trust in the old chain, as in 2026-11-21T22:00:00Z [default, and the latest: when its last signatures can be
    /// from]
    #[arg(long, value_name = "TIME", conflicts_with = "prepare")]
    until: Option<Time>,
    /// Trust nothing any more that the old chain ever vouched for, for this reason
    #[arg(long, value_name = "WHY", conflicts_with_all = ["prepare", "until"])]
    untrusted: Option<String>,
}

/// Roles with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The certificate authority.
    Ca,
    /// The timestamp authority.
    Tsa,
}

impl Role {
    /// Its table in `chancery.toml`.
    fn table(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Tsa => "timestamp",
        }
    }

    /// What its files are called.
    fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Tsa => "tsa",
        }
    }

    fn root_key(self) -> &'static str {
        match self {
            Self::Ca => ROOT_KEY,
            Self::Tsa => TSA_ROOT_KEY,
        }
    }

    /// Until when the old chain's signatures can be from, if it signed a moment ago: a certificate is used for as long as
    /// it lives.
    fn end(self, now: Timestamp) -> Timestamp {
        following_second(match self {
            Self::Ca => now.plus(chancery_ca::profile::LIFETIME),
            Self::Tsa => now,
        })
    }
}

/// The chain of a role as it is configured.
struct Served<'c> {
    chain: &'c Path,
    since: Timestamp,
    next: Option<&'c NextChain>,
    past: &'c [PastChain],
}

fn served(config: &Config, role: Role) -> anyhow::Result<Served<'_>> {
    let found = match role {
        Role::Ca => config.ca.as_ref().map(|ca| Served {
            chain: &ca.chain,
            since: ca.since,
            next: ca.next.as_ref(),
            past: &ca.past,
        }),
        Role::Tsa => config.timestamp.as_ref().map(|tsa| Served {
            chain: &tsa.chain,
            since: tsa.since,
            next: tsa.next.as_ref(),
            past: &tsa.past,
        }),
    };
    found.with_context(|| format!("there is no `[{}]` in chancery.toml", role.table()))
}

/// Replaces a chain, or prepares that.
pub(crate) fn replace(arguments: &ReplaceChainArguments) -> anyhow::Result<()> {
    let (dir, role) = (&arguments.dir, arguments.role);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    if let Some(request) = &arguments.csr {
        return make::request(dir, role, request);
    }
    let standing = Standing::open(dir, &clock)?;
    let old = served(&standing.config, role)?;
    let makes = arguments.new_root || arguments.root_key.is_some() || arguments.chain.is_some();
    let replaced = read_chain(old.chain)?;
    let new = match old.next {
        Some(_) if makes || arguments.prepare => bail!(
            "a chain is prepared already: put it into service with `replace-chain` and no other option, or remove \
             `[{}.next]` from chancery.toml if no client was told of it",
            role.table()
        ),
        Some(next) => Successor::prepared(dir, next, &clock)?,
        None => make::successor(arguments, &standing.config, &replaced, &clock)?,
    };
    refuse_key_in_service(new.chain(), &replaced)?;
    others(&standing.instance, role).map_or(Ok(()), |others| others.refuse_used_key(new.chain()))?;
    let new_root = new.chain().last().filter(|root| replaced.last() != Some(*root));
    let mut edited = Edited::parse(&standing.text)?;
    let mut said = Vec::new();
    if arguments.prepare {
        edited.prepare_chain(role.table(), &new.chain_file, &new.key_file, new.since)?;
        said.push(format!("prepared {}: published, and not yet in service", new.describe()));
    } else {
        let past = end(dir, role, &old, arguments, &*clock)?;
        edited.end_chain(role.table(), &past, &relative(dir, &past.chain)?)?;
        let log = standing.config.ca.as_ref().and_then(CaConfig::issuance_log_since);
        if let Some(since) = log.filter(|_| role == Role::Ca) {
            edited.date_issuance_log(since)?;
        }
        edited.serve_chain(role.table(), &new.chain_file, &new.key_file, new.since)?;
        said.push(format!("{} is in service", new.describe()));
        said.push(match &past.withdrawn {
            None => {
                format!("the chain before, `{}`, is trusted until {}", past.name, past.until.to_rfc3339())
            }
            Some(_) => format!("the chain before, `{}`, is trusted no more", past.name),
        });
    }
    let text = edited.text();
    Config::with_text(dir, &text)?;
    new.write(dir, &standing.config.protection)?;
    let instance = Instance::load(Config::with_text(dir, &text)?, clock)?;
    standing.commit(&text, &instance)?;
    said.push(consequences(role, new_root));
    output::say(&format!("{}\n", said.join("\n")));
    next_steps(dir, arguments.untrusted.as_deref());
    Ok(())
}

/// The chains of a role that are not in service.
fn others(instance: &Instance, role: Role) -> Option<&OtherChains> {
    match role {
        Role::Ca => instance.ca.as_ref().map(|ca| &ca.others),
        Role::Tsa => instance.timestamp.as_ref().map(|timestamp| &timestamp.others),
    }
}

/// The chain that goes, with its certificates in a file of its own.
fn end(
    dir: &Path,
    role: Role,
    old: &Served<'_>,
    arguments: &ReplaceChainArguments,
    clock: &dyn Clock,
) -> anyhow::Result<PastChain> {
    let number = old.past.len() + 1;
    let taken = |name: &str| old.past.iter().any(|past| past.name == name);
    let name = (number..usize::MAX)
        .map(|number| number.to_string())
        .find(|name| !taken(name))
        .context("a free name")?;
    let until = end_of_trust(arguments.until, role.end(clock.now()))?;
    if until < old.since {
        bail!("--until {}: the chain is trusted since {}", until.to_rfc3339(), old.since.to_rfc3339());
    }
    let kept = dir.join(CHAINS);
    let chain = if old.chain.starts_with(&kept) {
        old.chain.to_owned()
    } else {
        let path = kept.join(format!("{}-{name}.pem", role.name()));
        let pem: String = read_chain(old.chain)?.iter().map(Certificate::to_pem).collect();
        write_new(&path, &pem)?;
        path
    };
    Ok(PastChain { name, chain, since: old.since, until, withdrawn: arguments.untrusted.clone() })
}

/// The end that was asked for, or else the latest. An honest signature cannot be from after that, and a stolen key would
/// go on being trusted.
fn end_of_trust(asked: Option<Time>, latest: Timestamp) -> anyhow::Result<Timestamp> {
    match asked {
        Some(Time(until)) if until > latest => bail!(
            "--until {}: the latest is {}, after which no honest signature can be of what ends now: give an earlier time, \
             or leave --until out",
            until.to_rfc3339(),
            latest.to_rfc3339()
        ),
        asked => Ok(asked.map_or(latest, |Time(until)| until)),
    }
}

/// Writes a file that an interrupted attempt may have left as it is.
fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if std::fs::read_to_string(path).ok().as_deref() == Some(text) {
        return Ok(());
    }
    write(path, text)
}

fn read_chain(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Certificate::chain_from_pem(&pem).with_context(|| path.display().to_string())
}

/// As `chancery.toml` names it.
fn relative(dir: &Path, path: &Path) -> anyhow::Result<String> {
    let named = path.strip_prefix(dir).unwrap_or(path);
    Ok(named.to_str().with_context(|| format!("{}: must be UTF-8", path.display()))?.to_owned())
}

fn consequences(role: Role, new_root: Option<&Certificate>) -> String {
    let root = new_root.map_or("", |_| "and its root ");
    let another = new_root.map(|root| {
        format!(
            "\n  the root is another one than before, {}: those who were given the root alone have to be given this one",
            root.subject()
        )
    });
    let what = match role {
        Role::Ca => "certificates",
        Role::Tsa => "timestamps",
    };
    format!(
        "\nwhat changes for clients:\n  \
         chancery, cosign 3, sigstore-go, sigstore-python, sigstore-js with TUF: nothing, once `tuf sign` is done and \
         they have asked for changes\n  \
         files that were handed out (trusted_root.json, PEM files): hand out those of trust/ again, or {what} of the new \
         chain {root}are refused\n  \
         policy-controller, Kyverno, cosign 2, gitsign: apply `export-trust --for CLIENT` again: it names the \
         old chains too, so what was signed before is still accepted{}",
        another.unwrap_or_default()
    )
}

fn next_steps(dir: &Path, untrusted: Option<&str>) {
    let dir = dir.display();
    let untrusted = untrusted.map(|why| format!(" --untrusted {why:?}")).unwrap_or_default();
    output::say(&format!(
        "\nnext:\n  \
         chancery-server check-config {dir}\n  \
         chancery-server tuf sign {dir}{untrusted}: with the offline key, so that TUF clients learn of it\n  \
         start the server\n"
    ));
}

/// The trusted root of an instance before this one.
#[derive(Args, Debug)]
pub(crate) struct ImportTrustArguments {
    /// Folder of the instance; its server must not run
    dir: PathBuf,
    /// Its trusted root: `trusted_root.json`, a client trust configuration, or the target of its TUF repository
    file: PathBuf,
    /// Name for it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// End of trust for what has none, as in 2026-11-21T22:00:00Z, at the latest the life of a certificate (ten minutes) from
    /// now [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
}

/// Adds the trusted root of another instance as something that has ended.
pub(crate) fn import(arguments: &ImportTrustArguments) -> anyhow::Result<()> {
    let (dir, name) = (&arguments.dir, &arguments.name);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let standing = Standing::open(dir, &clock)?;
    if standing.config.imported.iter().any(|imported| imported.name == *name) {
        bail!("--name {name}: there is an import of that name");
    }
    let now = clock.now();
    let latest = Role::Ca.end(now);
    let until = match arguments.until {
        None => following_second(now),
        asked => end_of_trust(asked, latest)?,
    };
    let (root, members) = make::ended(&arguments.file, until)?;
    let file = format!("{CHAINS}/imported.{name}.json");
    let mut edited = Edited::parse(&standing.text)?;
    edited.import(name, &file)?;
    let text = edited.text();
    Config::with_text(dir, &text)?;
    write_new(&dir.join(&file), &root.to_json())?;
    let instance = Instance::load(Config::with_text(dir, &text)?, clock)?;
    standing.commit(&text, &instance)?;
    output::say(&format!(
        "imported {members} of `{name}`, trusted until {} at the latest\n",
        until.to_rfc3339()
    ));
    next_steps(dir, None);
    Ok(())
}

/// The trust files of another host.
#[derive(Args, Debug)]
pub(crate) struct MergeTrustArguments {
    /// Folder of the instance; its server must not run
    dir: PathBuf,
    /// Trust files of the other host: a file `client_trust_config.json`, or the folder that holds it
    file: PathBuf,
    /// Name for the other host; the files that were merged under it before are replaced
    #[arg(long, value_name = "NAME")]
    name: String,
}

/// Publishes what another host publishes, together with what is there.
pub(crate) fn merge(arguments: &MergeTrustArguments) -> anyhow::Result<()> {
    let (dir, name) = (&arguments.dir, &arguments.name);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let standing = Standing::open(dir, &clock)?;
    let merged = hosts::read(&arguments.file, name)?;
    let numbered = (2_u32..).map(|number| format!("{CHAINS}/merged.{name}.{number}.json"));
    let mut files = std::iter::once(format!("{CHAINS}/merged.{name}.json")).chain(numbered);
    let file = files.find(|file| !dir.join(file).exists()).context("a free name")?;
    let mut edited = Edited::parse(&standing.text)?;
    edited.merge(name, &file)?;
    let text = edited.text();
    Config::with_text(dir, &text)?;
    write_new(&dir.join(&file), &merged.config.to_json())?;
    let checked = merged_instance(dir, &text, clock);
    let instance = match checked {
        Ok(instance) => instance,
        Err(error) => {
            let _ = std::fs::remove_file(dir.join(&file));
            return Err(error);
        }
    };
    standing.commit(&text, &instance)?;
    let old = standing.config.merged.iter().find(|merged| merged.name == *name);
    if let Some(old) = old.map(|old| &old.client_trust_config).filter(|old| old.starts_with(dir)) {
        let _ = std::fs::remove_file(old);
    }
    output::say(&format!("`{name}` and this instance are published as one\n"));
    next_steps(dir, None);
    Ok(())
}

/// The instance with this configuration, if it trusts everything that clients were told to trust.
fn merged_instance(dir: &Path, text: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Instance> {
    let instance = Instance::load(Config::with_text(dir, text)?, clock)?;
    let lost = instance.lost()?;
    if !lost.is_empty() {
        bail!(
            "{}: export the trust files of that host anew, or, if that is meant, replace the file in \
             `[[merged]]` by hand and say why with `export-trust --untrusted`",
            lost.join(", ")
        );
    }
    Ok(instance)
}

/// The largest file that a signing request or a chain may be, in bytes.
const MAX_FILE: u64 = 1 << 20;

fn read_small(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_FILE {
        bail!("{} has {size} bytes, more than a chain or a request has", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn replace_file(path: &Path, text: &str) -> anyhow::Result<()> {
    files::write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
