//! `add-log` and `end-log`: another log in an instance that exists, and the end of one. Key replacement is both.
//!
//! A log never gets another key: it ends, and its successor begins under a name and keys of its own. Invariants: only
//! an instance that nobody serves or changes is changed, which its [`Lock`] proves; nothing is overwritten but
//! `chancery.toml` and the copies in `trust/`; and `chancery.toml` comes after everything that it names, in one step, so
//! an interrupted command leaves the instance as it was, with files beside it that nobody reads.

pub(crate) mod edit;
mod section;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chancery_tlog::clock::{Clock, SystemClock, Timestamp};
use chancery_tlog::files;
use chancery_tlog::key::SoftwareSigner;
use chancery_tlog::serve::key_file;
use chancery_tlog::server::store::{Rocks, Store, StoreError};
use clap::{Args, ValueEnum};

use self::edit::Edited;
use self::section::Section;
use crate::config::{self, BaseUrl, Config, EndedConfig, LogConfig};
use crate::init::write;
use crate::lock::Lock;
use crate::roles::{CHECKPOINTS, Instance, LogKey, LogRole, Speaks};
use crate::trust::{self, Document};

/// What a new log is made from.
#[derive(Args, Debug)]
pub(crate) struct AddLogArguments {
    /// Folder of the instance; its server must not run
    dir: PathBuf,
    /// What clients of the log speak
    #[arg(value_enum)]
    dialect: NewDialect,
    /// Name of the log and its folder [default: the dialect's, with a number if there is one of it already]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where its paths begin; not for rekor-v2, whose paths are fixed [default: / and the name]
    #[arg(long, value_name = "PREFIX", conflicts_with = "url")]
    prefix: Option<String>,
    /// Address of a rekor-v2 log; beside another one its host must be another too [default: the instance's]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The log of the same dialect that takes entries now, and ends: the new one takes its place
    #[arg(long, value_name = "NAME")]
    replaces: Option<String>,
    /// End of trust in the replaced log, as in 2026-11-21T22:00:00Z; it takes no entries from now on in any case
    /// [default: now]
    #[arg(long, value_name = "TIME", requires = "replaces")]
    until: Option<Time>,
    /// Serve the replaced log no more, not even for reading: only its public keys stay, in the trust files
    #[arg(long, requires = "replaces")]
    unserved: bool,
    /// How many entries the replaced log had, where its store is lost or is an old copy
    #[arg(long, value_name = "N", requires = "unserved")]
    size: Option<u64>,
}

/// Which log ends, and how.
#[derive(Args, Debug)]
pub(crate) struct EndLogArguments {
    /// Folder of the instance; its server must not run
    dir: PathBuf,
    /// Name of the log
    name: String,
    /// End of trust, as in 2026-11-21T22:00:00Z: what the log signed later is not believed [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// Serve it no more, not even for reading: only its public keys stay, in the trust files
    #[arg(long)]
    unserved: bool,
    /// Name it no more in the trust files: nothing that it ever signed is believed
    #[arg(long)]
    untrusted: bool,
    /// How many entries it had, where its store is lost or is an old copy
    #[arg(long, value_name = "N", requires = "unserved")]
    size: Option<u64>,
}

/// Dialects of a new log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NewDialect {
    /// RFC 6962, for the certificates of the CA.
    Ct,
    /// Rekor v1.
    RekorV1,
    /// Rekor v2.
    RekorV2,
}

impl NewDialect {
    fn name(self) -> &'static str {
        match self {
            Self::Ct => "ct",
            Self::RekorV1 => "rekor-v1",
            Self::RekorV2 => "rekor-v2",
        }
    }
}

/// A time on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Timestamp);

impl std::str::FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Timestamp::parse_rfc3339(text).map(Self).ok_or("a time is written as in 2026-11-21T22:00:00Z")
    }
}

/// Makes a log, and ends the one that it replaces.
pub(crate) async fn add(arguments: AddLogArguments) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let dir = &arguments.dir;
    let standing = Standing::open(dir, &clock)?;
    let new = standing.plan(&arguments, &*clock)?;
    let mut edited = Edited::parse(&standing.text)?;
    let mut said = vec![format!("added log `{}` of dialect {}", new.name, arguments.dialect.name())];
    if let Some(old) = &arguments.replaces {
        let until = arguments.until.map(|Time(until)| until);
        let wish = End { until, served: !arguments.unserved, trusted: true, size: arguments.size };
        let ended = standing.end(old, &wish, &clock).await?;
        standing.write_public_keys(old, &mut edited, &ended)?;
        edited.end(old, &ended)?;
        said.extend(standing.report(old, &ended)?);
    }
    edited.add(&new.toml(), arguments.replaces.as_deref())?;
    let text = edited.text();
    Config::with_text(dir, &text)?;
    for (path, kind) in new.keys() {
        let key = SoftwareSigner::generate(kind)?;
        key_file::store(&dir.join(&path), &key, &standing.config.protection)?;
    }
    let instance = Instance::load(Config::with_text(dir, &text)?, clock.clone())?;
    let role = instance.logs.iter().find(|log| log.config.name == new.name).context("the new log is gone")?;
    role.create(clock).await.with_context(|| {
        format!("log `{}`: remove logs/{0} and its files in keys/ before the next attempt", new.name)
    })?;
    standing.commit(&text, &instance)?;
    said.extend(new.advice());
    talk(dir, &said, false);
    Ok(())
}

/// Ends a log.
pub(crate) async fn end(arguments: EndLogArguments) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (dir, name) = (&arguments.dir, &arguments.name);
    let standing = Standing::open(dir, &clock)?;
    let mut edited = Edited::parse(&standing.text)?;
    let wish = End {
        until: arguments.until.map(|Time(until)| until),
        served: !arguments.unserved,
        trusted: !arguments.untrusted,
        size: arguments.size,
    };
    let ended = standing.end(name, &wish, &clock).await?;
    standing.write_public_keys(name, &mut edited, &ended)?;
    edited.end(name, &ended)?;
    let text = edited.text();
    let instance = Instance::load(Config::with_text(dir, &text)?, clock)?;
    standing.commit(&text, &instance)?;
    talk(dir, &standing.report(name, &ended)?, !ended.trusted);
    Ok(())
}

/// How a log is to end.
struct End {
    until: Option<Timestamp>,
    served: bool,
    trusted: bool,
    size: Option<u64>,
}

/// An instance that nobody serves, before it is changed.
pub(crate) struct Standing {
    /// `chancery.toml`.
    pub(crate) text: String,
    /// The same, parsed.
    pub(crate) config: Config,
    /// The same, loaded.
    pub(crate) instance: Instance,
    /// The stores of its logs. A server of an older version holds only their locks.
    stores: Vec<(String, Arc<dyn Store>)>,
    _lock: Lock,
}

impl Standing {
    /// Opens the instance in `dir`, which fails while a server or another command is at work there.
    pub(crate) fn open(dir: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let lock = Lock::take(dir)?;
        let config = Config::load(dir)?;
        let path = dir.join(config::FILE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let instance = Instance::load_to_change(Config::load(dir)?, clock.clone())?;
        let mut stores: Vec<(String, Arc<dyn Store>)> = Vec::new();
        for log in instance.logs.iter().filter(|log| config.store_of(&log.config).is_dir()) {
            let (name, path) = (&log.config.name, config.store_of(&log.config));
            let store = Rocks::open(path).map_err(|error| unopened(name, error))?;
            stores.push((name.clone(), Arc::new(store)));
        }
        Ok(Self { text, config, instance, stores, _lock: lock })
    }

    fn log(&self, name: &str) -> anyhow::Result<&LogConfig> {
        let log = self.config.logs.iter().find(|log| log.name == name);
        log.with_context(|| format!("there is no log `{name}` in {}", config::FILE))
    }

    /// The new log, with a name and an identity that nobody has.
    fn plan(&self, arguments: &AddLogArguments, clock: &dyn Clock) -> anyhow::Result<Section> {
        let dialect = arguments.dialect.name();
        let active = self.config.logs.iter().find(|log| log.is_active() && log.dialect.name() == dialect);
        match (&arguments.replaces, active) {
            (None, Some(active)) => bail!(
                "log `{}` of dialect {dialect} takes entries, and one at a time can: say `--replaces {0}` to end it",
                active.name
            ),
            (Some(old), _) if active.is_none_or(|active| active.name != *old) => {
                bail!("--replaces {old}: it is no log of dialect {dialect} that takes entries")
            }
            _ => {}
        }
        let name = arguments.name.clone().unwrap_or_else(|| self.free_name(dialect));
        let since = clock.now();
        let url = &self.config.url;
        Ok(match arguments.dialect {
            NewDialect::RekorV2 => {
                if arguments.prefix.is_some() {
                    bail!("--prefix: the paths of Rekor v2 are fixed, its logs differ by host: use --url");
                }
                let own =
                    arguments.url.as_deref().map(BaseUrl::parse).transpose().map_err(anyhow::Error::msg)?;
                let host = own.as_ref().unwrap_or(url).hostname().to_owned();
                if self.config.logs.iter().any(|log| log.origin.as_str() == host.as_str()) {
                    bail!(
                        "a log of dialect rekor-v2 is called `{host}` already, and its name is for ever: give the new \
                         one another host with --url, such as https://log2.{host}"
                    );
                }
                Section::rekor_v2(name, since, own.filter(|own| own.as_str() != url.as_str()), &host)
            }
            NewDialect::Ct | NewDialect::RekorV1 => {
                if arguments.url.is_some() {
                    bail!("--url: a log of dialect {dialect} is under the instance's address: use --prefix");
                }
                let prefix = arguments.prefix.clone().unwrap_or_else(|| format!("/{name}"));
                Section::under_prefix(dialect, name, since, url, prefix)
            }
        })
    }

    /// `ct`, or `ct-2` and so on where it is taken.
    fn free_name(&self, dialect: &str) -> String {
        let taken = |name: &str| {
            self.config.logs.iter().any(|log| log.name == name)
                || self.config.dir.join("logs").join(name).exists()
        };
        let numbered = (2_u32..).map(|number| format!("{dialect}-{number}"));
        let mut names = std::iter::once(dialect.to_owned()).chain(numbered);
        names.find(|name| !taken(name)).unwrap_or_else(|| dialect.to_owned())
    }

    /// What is left of the log `name` when it ends.
    async fn end(&self, name: &str, wish: &End, clock: &Arc<dyn Clock>) -> anyhow::Result<EndedConfig> {
        match &self.log(name)?.ended {
            Some(before) => end_again(name, before, wish),
            None => self.end_now(name, wish, clock).await,
        }
    }

    async fn end_now(&self, name: &str, wish: &End, clock: &Arc<dyn Clock>) -> anyhow::Result<EndedConfig> {
        let store = self.stores.iter().find(|(of, _)| of == name).map(|(_, store)| store);
        let (stored, newest) = match (store, wish.size) {
            (Some(store), _) => {
                let opened = self.role(name)?.open_to_read(store.clone(), &**clock).await;
                let head = opened.with_context(|| format!("log `{name}`"))?.head();
                (head.size, head.time)
            }
            (None, Some(size)) => (size, Timestamp::default()),
            (None, None) => {
                bail!("log `{name}` has no store: say with --unserved --size how many entries it had")
            }
        };
        let size = wish.size.unwrap_or(stored);
        if size < stored {
            bail!("--size {size}: the store of log `{name}` has {stored} entries");
        }
        let until = wish.until.unwrap_or_else(|| following_second(newest.max(clock.now())));
        if until < newest {
            warn(&format!(
                "the newest entry of log `{name}` is of {newest}: what was logged after {until} will verify no more"
            ));
        }
        Ok(EndedConfig { until, size, served: wish.served, trusted: wish.trusted })
    }

    fn role(&self, name: &str) -> anyhow::Result<&LogRole> {
        let role = self.instance.logs.iter().find(|role| role.config.name == name);
        role.with_context(|| format!("there is no log `{name}` in {}", config::FILE))
    }

    /// Puts public keys where a log that has ended needs no more than those.
    fn write_public_keys(&self, name: &str, edited: &mut Edited, ended: &EndedConfig) -> anyhow::Result<()> {
        let log = self.log(name)?;
        self.write_public_key(name, "checkpoint_key", &log.checkpoint_key, edited)?;
        match &self.role(name)?.speaks {
            Speaks::Ct { .. } | Speaks::RekorV1 { .. } if !ended.served => {
                let face = log.dialect.face().context("a dialect with a key")?;
                self.write_public_key(name, "key", &face.key, edited)
            }
            _ => Ok(()),
        }
    }

    fn write_public_key(
        &self,
        log: &str,
        entry: &str,
        path: &Path,
        edited: &mut Edited,
    ) -> anyhow::Result<()> {
        let key = LogKey::load(path, &self.config.protection, CHECKPOINTS)?;
        if key.signer().is_none() {
            return Ok(());
        }
        let (public, pem) = (path.with_extension("pub"), key.public().to_pem());
        // One of an attempt that was interrupted is as good.
        if std::fs::read_to_string(&public).ok().as_ref() != Some(&pem) {
            write(&public, &pem)?;
        }
        let named = public.strip_prefix(&self.config.dir).unwrap_or(&public);
        edited.set(
            log,
            entry,
            named.to_str().with_context(|| format!("{}: must be UTF-8", public.display()))?,
        )
    }

    /// What happened to a log that ended, and what follows.
    fn report(&self, name: &str, ended: &EndedConfig) -> anyhow::Result<Vec<String>> {
        let log = self.log(name)?;
        let trust = match (ended.trusted, ended.until.to_rfc3339()) {
            (true, until) => format!("trusted until {until}"),
            (false, _) => "trusted no more".to_owned(),
        };
        let reads = if ended.served { "served for reading" } else { "served no more" };
        let mut said = vec![format!("ended log `{name}` with {} entries, {trust}, {reads}", ended.size)];
        let face = log.dialect.face().filter(|_| !ended.served).map(|face| &face.key);
        let unused = std::iter::once(&log.checkpoint_key)
            .chain(face)
            .filter(|path| path.extension() != Some("pub".as_ref()));
        let unused: Vec<_> = unused.map(|path| self.shown(path)).collect();
        if !unused.is_empty() {
            said.push(format!("no server needs {} any more: destroy what was stolen", unused.join(" and ")));
        }
        Ok(said)
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.config.dir).unwrap_or(path).display().to_string()
    }

    /// Takes away the copies of keys and chains that are trusted no more, or `tuf sign` would go on naming them.
    fn remove_past_keys(&self, documents: &[Document]) -> anyhow::Result<()> {
        let trust = self.config.dir.join("trust");
        let unreadable = || format!("cannot read {}", trust.display());
        for entry in std::fs::read_dir(&trust).with_context(unreadable)? {
            let (path, name) =
                entry.map(|entry| (entry.path(), entry.file_name())).with_context(unreadable)?;
            let name = name.to_string_lossy();
            if name.starts_with(trust::PAST) && documents.iter().all(|document| document.name != name) {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The one step that changes the instance, and the copies that follow from it.
    pub(crate) fn commit(&self, text: &str, instance: &Instance) -> anyhow::Result<()> {
        let dir = &self.config.dir;
        instance.check_published()?;
        replace(&dir.join(config::FILE), text)?;
        let documents = instance.documents()?;
        self.remove_past_keys(&documents)?;
        let config = &instance.config;
        let ca = config.ca.as_ref().map(|ca| &ca.chain);
        let read = [ca, config.timestamp.as_ref().map(|timestamp| &timestamp.chain)];
        for document in documents {
            let path = dir.join("trust").join(&*document.name);
            // A chain that the configuration reads is there already, as its operator wrote it.
            if !read.contains(&Some(&path)) {
                replace(&path, &document.text)?;
            }
        }
        Ok(())
    }
}

/// Why a store cannot be opened, and what to do.
fn unopened(log: &str, error: StoreError) -> anyhow::Error {
    let hint = match error {
        StoreError::InUse(_) => "stop the server first",
        _ => {
            "if it cannot be restored, move its folder out of logs/ and end it with --unserved --size (runbooks.md, \
              \"Key replacement: a log that is over\")"
        }
    };
    anyhow::Error::new(error).context(format!("log `{log}`: {hint}"))
}

/// The end of a log that has ended can be moved; what was given up does not come back.
fn end_again(name: &str, before: &EndedConfig, wish: &End) -> anyhow::Result<EndedConfig> {
    if wish.until.is_none() && wish.served && wish.trusted {
        bail!("log `{name}` has ended already, trusted until {}", before.until.to_rfc3339());
    }
    Ok(EndedConfig {
        until: wish.until.unwrap_or(before.until),
        size: wish.size.unwrap_or(before.size).max(before.size),
        served: wish.served && before.served,
        trusted: wish.trusted && before.trusted,
    })
}

fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    files::write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Trust files have whole seconds, and an end must not lie before what happened in its second.
pub(crate) fn following_second(time: Timestamp) -> Timestamp {
    let whole = Timestamp::from_seconds(time.seconds());
    if whole == time { time } else { whole.plus(Duration::from_secs(1)) }
}

fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Talk goes to standard error; standard output is for data.
fn talk(dir: &Path, said: &[String], untrusted: bool) {
    let dir = dir.display();
    let untrusted = if untrusted { " --untrusted WHY" } else { "" };
    let text = format!(
        "{}\n\nnext:\n  \
         chancery-server check-config {dir}\n  \
         chancery-server tuf sign {dir}{untrusted}: with the offline key, so that TUF clients learn of it\n  \
         start the server, and hand the new {dir}/trust to clients that do not follow TUF\n",
        said.join("\n")
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
