//! The ceremony with the offline key: the first root and targets, and every later one.
//!
//! It needs the folders `tuf/` and `trust/` and the offline key, nothing else: no configuration, no other key, no
//! network. So it can be done on another machine, with copies of the two folders. Invariant: only what changed or has
//! lived for half of its time is signed again, because clients follow no more than a few hundred roots.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chancery_tlog::clock::{Clock, SystemClock, Timestamp};
use chancery_tlog::files;
use chancery_tlog::key::{PublicKey, Signer};
use chancery_tlog::serve::key_file::{self, Passphrase};
use chancery_tlog::trust::TrustedRoot;
use clap::Args;

use super::folder::{self, Folder};
use super::targets::{self, TRUSTED_ROOT, TargetFile};
use super::trusted::{Trusted, following};
use super::{OFFLINE_KEY, OFFLINE_LIFE, ROOT_DOCUMENT, TufError, ed25519, metadata, serve};
use crate::output;
use crate::trust::{self, Document, Keys, Stated};

/// The ceremony's arguments.
#[derive(Args, Debug)]
pub(crate) struct SignArguments {
    /// Folder of the instance, or a folder with copies of its tuf/ and trust/
    dir: PathBuf,
    /// The offline key [default: DIR/keys/tuf-root.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The offline key from now on: an Ed25519 key, such as of `openssl genpkey -algorithm ed25519`
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    /// Public key of the online key from now on, such as of `openssl pkey -in keys/tuf.key -pubout`
    #[arg(long, value_name = "FILE")]
    online_key: Option<PathBuf>,
    /// Sign anew although nothing has changed: after `restore`, as often as was signed since that backup was made, because
    /// clients refuse versions below those that they have seen
    #[arg(long)]
    renew: bool,
    /// Sign trust files that name less than clients were told to trust, for this reason
    #[arg(long, value_name = "WHY")]
    untrusted: Option<String>,
    /// File of mode 0600 with the passphrase of the offline keys
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// `chancery-server tuf sign`.
pub(crate) fn sign(arguments: &SignArguments) -> anyhow::Result<()> {
    let dir = &arguments.dir;
    let protection = arguments.passphrase_file.clone().map(Passphrase::File).into();
    let load = |path: &Path| key_file::load(path, &protection);
    let default = dir.join(OFFLINE_KEY);
    let key = load(arguments.key.as_ref().unwrap_or(&default)).context("the offline key")?;
    let new_key = arguments.new_key.as_deref().map(load).transpose().context("--new-key")?;
    let online = arguments.online_key.as_deref().map(read_public).transpose().context("--online-key")?;
    let folder = Folder::of(dir);
    let ceremony = Ceremony {
        key: &key,
        new_key: new_key.as_ref().map(|key| key as &dyn Signer),
        online,
        files: targets::from_folder(&dir.join("trust"))?,
        ended: targets::ended(&dir.join("trust"))?,
        renew: arguments.renew,
        untrusted: arguments.untrusted.clone(),
        now: SystemClock.now(),
    };
    let done = ceremony.perform(&folder)?;
    let root = super::root_document(&Trusted::load(&folder)?)?;
    let copy = dir.join("trust").join(ROOT_DOCUMENT);
    files::replace(&copy, files::PUBLIC, root.text.as_bytes())
        .with_context(|| format!("cannot write {}", copy.display()))?;
    if done.is_empty() {
        return output::print(&format!("nothing to sign: {}\n", Trusted::load(&folder)?.summary()));
    }
    output::print(&format!("{}\n", done.join("\n")))
}

fn read_public(path: &Path) -> anyhow::Result<PublicKey> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    PublicKey::from_pem(&pem).with_context(|| path.display().to_string())
}

/// Makes the repository of a new instance in `dir`, which publishes `documents`: root 1 and targets 1.
pub(crate) fn create(
    dir: &Path,
    offline: &dyn Signer,
    online: &dyn Signer,
    documents: &[Document],
    clock: &dyn Clock,
) -> Result<(), TufError> {
    let folder = Folder::of(dir);
    folder.create()?;
    let expires = clock.now().plus(OFFLINE_LIFE);
    ed25519(offline.public_key(), || OFFLINE_KEY.to_owned())?;
    ed25519(online.public_key(), || super::ONLINE_KEY.to_owned())?;
    let root = metadata::root(NonZeroU64::MIN, expires, offline.public_key(), online.public_key())?;
    let root = metadata::sign(root, &[offline])?;
    let files = targets::from_documents(documents)?;
    write_targets(&folder, NonZeroU64::MIN, expires, &files, &[offline])?;
    folder.write(&root.name, &root.bytes)
}

/// One use of the offline key.
pub(super) struct Ceremony<'c> {
    /// The key that the newest root names.
    pub(super) key: &'c dyn Signer,
    /// Its successor.
    pub(super) new_key: Option<&'c dyn Signer>,
    /// The online key from now on.
    pub(super) online: Option<PublicKey>,
    /// The targets from now on.
    pub(super) files: Vec<TargetFile>,
    /// Keys of what has ended, by a command: it has files of its own, so its end is no accident.
    pub(super) ended: Keys,
    /// Whether to sign what has not changed, too.
    pub(super) renew: bool,
    /// Why less is to be trusted than before, if it is.
    pub(super) untrusted: Option<String>,
    /// When it takes place.
    pub(super) now: Timestamp,
}

impl Ceremony<'_> {
    /// Signs what has to be signed and says what that was.
    pub(super) fn perform(&self, folder: &Folder) -> Result<Vec<String>, TufError> {
        let trusted = Trusted::load(folder)?;
        if !trusted.is_offline_key(self.key.public_key()) {
            return Err(TufError::OfflineKey { root: trusted.root_file() });
        }
        self.new_key.map_or(Ok(()), |key| ed25519(key.public_key(), || "--new-key".to_owned()))?;
        let lost = self.lost(&trusted)?;
        if self.untrusted.is_none() && !lost.is_empty() {
            return Err(TufError::Lost(lost));
        }
        let mut done = Vec::new();
        // Targets first, and signed by both keys: they are valid under the old root as under the new one, so the folder is
        // whole if this ends in between.
        let why = self.untrusted.as_deref().unwrap_or_default();
        done.extend(lost.iter().map(|lost| format!("less is trusted, because {why}: {lost}")));
        done.extend(self.sign_targets(&trusted, folder)?);
        done.extend(self.sign_root(&trusted, folder)?);
        Ok(done)
    }

    /// Trust that clients have and will not have after this.
    fn lost(&self, trusted: &Trusted) -> Result<Vec<String>, TufError> {
        let Some(before) = trusted.trusted_root()? else { return Ok(Vec::new()) };
        let Some(file) = self.files.iter().find(|file| file.name == TRUSTED_ROOT) else {
            return Ok(Vec::new());
        };
        let now = TrustedRoot::parse(&file.bytes).map_err(|error| TufError::Refused {
            file: format!("trust/{TRUSTED_ROOT}"),
            problem: error.to_string(),
        })?;
        let stated = Stated { ended: self.ended.clone(), moved: true, ..Stated::default() };
        Ok(trust::lost(&before, &now, &stated))
    }

    fn sign_targets(&self, trusted: &Trusted, folder: &Folder) -> Result<Option<String>, TufError> {
        let (version, end) = trusted.targets();
        let changed = trusted.differences(&self.files);
        let reason = match (changed.as_slice(), self.new_key) {
            ([], None) if !self.is_due(end) => return Ok(None),
            ([], None) => "renewed".to_owned(),
            ([], Some(_)) => "signed with the new key".to_owned(),
            (changed, _) => format!("{} changed", changed.join(", ")),
        };
        let (version, expires) = (following(version), self.now.plus(OFFLINE_LIFE));
        let name = write_targets(folder, version, expires, &self.files, &self.signers())?;
        Ok(Some(format!("{name}: {reason}, until {expires}")))
    }

    fn sign_root(&self, trusted: &Trusted, folder: &Folder) -> Result<Option<String>, TufError> {
        let (version, end) = trusted.root();
        let new_online = self.online.as_ref().filter(|key| !trusted.is_online_key(key));
        let reason = match (self.new_key, new_online) {
            (None, None) if !self.is_due(end) => return Ok(None),
            (None, None) => "renewed",
            (Some(_), None) => "new offline key",
            (None, Some(_)) => "new online key",
            (Some(_), Some(_)) => "new offline and online key",
        };
        if let Some(online) = new_online {
            ed25519(online, || "--online-key".to_owned())?;
        }
        let online = new_online.map_or_else(|| trusted.online_key(), |key| Ok(key.clone()))?;
        let (version, expires) = (following(version), self.now.plus(OFFLINE_LIFE));
        let offline = self.new_key.unwrap_or(self.key).public_key();
        let root = metadata::root(version, expires, offline, &online)?;
        let root = metadata::sign(root, &self.signers())?;
        folder.write(&root.name, &root.bytes)?;
        Ok(Some(format!("{}: {reason}, until {expires}", folder::shown(&root.name))))
    }

    /// The old key, so that clients follow, and the new one, so that it is known to be in hand (§5.3.4).
    fn signers(&self) -> Vec<&dyn Signer> {
        [self.key].into_iter().chain(self.new_key).collect()
    }

    fn is_due(&self, end: Timestamp) -> bool {
        self.renew || self.now.plus(OFFLINE_LIFE / 2) >= end
    }
}

/// Writes the files and then the metadata that names them.
fn write_targets(
    folder: &Folder,
    version: NonZeroU64,
    expires: Timestamp,
    files: &[TargetFile],
    signers: &[&dyn Signer],
) -> Result<String, TufError> {
    let targets = metadata::targets(version, expires, files)?;
    for file in files {
        let sha256 = chancery_tlog::merkle::Hash::digest(&file.bytes).to_string();
        folder.write(&serve::target_path(&sha256, &file.name), &file.bytes)?;
    }
    let targets = metadata::sign(targets, signers)?;
    folder.write(&targets.name, &targets.bytes)?;
    Ok(folder::shown(&targets.name))
}
