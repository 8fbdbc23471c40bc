//! The TUF repository at `/tuf/`: how clients follow the trust files when they change, from one pinned root.
//!
//! - [`metadata`]: the four roles' files, made and signed;
//! - [`folder`]: their place on disk, `tuf/` in the instance's folder, written atomically;
//! - [`trusted`]: what the offline key signed, verified as a client does;
//! - [`publish`]: snapshot and timestamp, signed anew by the server before they end;
//! - [`serve`]: the HTTP face;
//! - [`sign`]: the ceremony with the offline key: `chancery-server tuf sign`.
//!
//! Two keys. The offline key signs root and targets, that is, everything that says whom to trust. The online key lies
//! beside the server and signs snapshot and timestamp: it keeps what the offline key signed fresh and can say nothing
//! new. Specification: <https://theupdateframework.github.io/specification/latest/>, section numbers below are its.

mod folder;
mod metadata;
mod publish;
mod serve;
mod sign;
mod targets;
mod trusted;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chancery_tlog::clock::{Clock, Timestamp};
use chancery_tlog::key::{KeyKind, PublicKey, SignError, Signer};
use chancery_tlog::merkle::Hash;
use chancery_tlog::serve::key_file::{self, KeyFileError, Protection};

pub(crate) use self::publish::Publisher;
pub(crate) use self::serve::router;
pub(crate) use self::sign::{SignArguments, create, sign};

use self::folder::Folder;
use self::trusted::Trusted;
use chancery_tlog::trust::TrustedRoot;

use crate::observe::measured;
use crate::trust::Document;

/// The key of root and targets, which no running server needs.
pub(crate) const OFFLINE_KEY: &str = "keys/tuf-root.key";
/// The key of snapshot and timestamp.
pub(crate) const ONLINE_KEY: &str = "keys/tuf.key";
/// The newest root under this name is what clients pin.
pub(crate) const ROOT_DOCUMENT: &str = "tuf-root.json";

/// The file that names the instance.
const FIRST_ROOT: &str = "1.root.json";
/// For how long the offline key's signatures hold. A client that is kept from newer metadata trusts what it has for
/// at most this long.
const OFFLINE_LIFE: Duration = Duration::from_hours(2 * 365 * 24);
/// For how long the online key's signatures hold: how long a client can be kept from news unnoticed, and how long
/// the server may stand still before clients notice.
const ONLINE_LIFE: Duration = Duration::from_hours(7 * 24);
/// How long before their end root and targets are complained about.
const WARNING: Duration = Duration::from_hours(90 * 24);

/// Why the repository cannot be read, signed or published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TufError {
    /// A file of the repository cannot be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no repository.
    #[error("{} is missing: restore the folder from a copy, or leave `[tuf]` out of chancery.toml", .0.display())]
    Missing(PathBuf),
    /// A file of the repository is not what the offline key signed.
    #[error(
        "{file}: {problem}: restore the folder from a copy, or sign it again with `chancery-server tuf sign`"
    )]
    Refused {
        /// Which.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A trust file that clients cannot do without is not there to be signed.
    #[error("{} is missing: write it with `chancery-server export-trust`", .0.display())]
    NoTrustFile(PathBuf),
    /// A key of another kind.
    #[error("{what} must be an Ed25519 key, this is {found}")]
    Kind {
        /// Which key.
        what: String,
        /// What it is.
        found: KeyKind,
    },
    /// The server's key is not the one that the root names.
    #[error(
        "the key at `[tuf]` is not the one that {root} names for snapshot and timestamp: restore it, or name it with \
         `chancery-server tuf sign --online-key`"
    )]
    OnlineKey {
        /// The root's file.
        root: String,
    },
    /// The key of the ceremony is not the one that the root names.
    #[error("this is not the key that {root} names for root and targets")]
    OfflineKey {
        /// The root's file.
        root: String,
    },
    /// Clients would trust less, and nobody said so.
    #[error(
        "clients would trust less than they were told to: {}. Write the trust files with the instance's `chancery-server \
         export-trust`, or say why with --untrusted",
        .0.join("; ")
    )]
    Lost(Vec<String>),
    /// Key files.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A signer failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Metadata of our own cannot be written down.
    #[error("cannot encode TUF metadata: {0}")]
    Encode(String),
}

/// The repository of an instance, ready to be published.
#[derive(Clone)]
pub(crate) struct TufRole {
    folder: Folder,
    signer: Arc<dyn Signer>,
}

impl TufRole {
    /// Loads the online key `key` of the instance in `dir`. The repository itself is not looked at.
    pub(crate) fn load(dir: &Path, key: &Path, protection: &Protection) -> Result<Self, TufError> {
        let signer = key_file::load(key, protection)?;
        ed25519(signer.public_key(), || key.display().to_string())?;
        Ok(Self { folder: Folder::of(dir), signer: measured(signer, "tuf") })
    }

    /// What clients pin: the newest root, byte for byte.
    pub(crate) fn root_document(&self) -> Result<Document, TufError> {
        root_document(&Trusted::load(&self.folder)?)
    }

    /// The trusted root that TUF clients are told of.
    pub(crate) fn trusted_root(&self) -> Result<Option<TrustedRoot>, TufError> {
        Trusted::load(&self.folder)?.trusted_root()
    }

    /// Signs snapshot and timestamp anew and stands ready to serve.
    pub(crate) fn publisher(&self, clock: Arc<dyn Clock>) -> Result<Publisher, TufError> {
        Publisher::start(self.folder.clone(), self.signer.clone(), clock)
    }

    /// A warning if the instance publishes other trust files now, `current`, than TUF clients are told of.
    pub(crate) fn untold(&self, current: &[Document]) -> Result<Option<String>, TufError> {
        let changed = Trusted::load(&self.folder)?.differences(&targets::from_documents(current)?);
        Ok((!changed.is_empty()).then(|| {
            format!(
                "TUF clients are not told of what is new in {}: write the trust files with `chancery-server \
                 export-trust`, then `chancery-server tuf sign`",
                changed.join(", ")
            )
        }))
    }

    /// What an operator should hear about the repository, given what the instance publishes now. `Err` is what would
    /// keep the server from starting.
    pub(crate) fn inspect(&self, current: &[Document], now: Timestamp) -> Result<Inspection, TufError> {
        let trusted = Trusted::load(&self.folder)?;
        trusted.check_online_key(&*self.signer)?;
        let mut warnings = trusted.warnings(now);
        warnings.extend(self.untold(current)?);
        Ok(Inspection { summary: trusted.summary(), warnings })
    }
}

/// What clients pin the instance in `dir` by: SHA-256 of its first root, which stays the same for good. `None` if it has no
/// repository.
pub(crate) fn identifier(dir: &Path) -> Result<Option<Hash>, TufError> {
    Ok(Folder::of(dir).read(FIRST_ROOT)?.map(|root| Hash::digest(&root)))
}

/// What [`TufRole::inspect`] found.
pub(crate) struct Inspection {
    /// One line about what is there.
    pub(crate) summary: String,
    /// What will be wrong one day, with the remedy.
    pub(crate) warnings: Vec<String>,
}

fn root_document(trusted: &Trusted) -> Result<Document, TufError> {
    let text = String::from_utf8(trusted.root_bytes().to_vec())
        .map_err(|_| TufError::Encode("the root is not text".to_owned()))?;
    Ok(Document { name: ROOT_DOCUMENT.into(), media_type: "application/json", text })
}

fn ed25519(key: &PublicKey, what: impl Fn() -> String) -> Result<(), TufError> {
    match key.kind() {
        KeyKind::Ed25519 => Ok(()),
        found => Err(TufError::Kind { what: what(), found }),
    }
}

#[cfg(test)]
mod tests;
