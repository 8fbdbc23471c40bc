//! Private keys in files: PKCS#8 PEM, either encrypted or readable by their owner alone.
//!
//! Invariant: an unencrypted key that others on the machine could have read is never used, and a key is never
//! written over another.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files;
use crate::key::{KeyError, SoftwareSigner};

/// Largest key or passphrase file that is read. RSA-8192 in PKCS#8 PEM is 6.5 KiB.
const MAX_FILE: u64 = 64 * 1024;

/// Permissions of anyone but the owner.
const BEYOND_OWNER: u32 = 0o077;
/// The same without the group's to read.
const BEYOND_GROUP_READ: u32 = 0o037;

/// Where a passphrase is: `{ file = "…" }` or `{ env = "NAME" }`. Never the passphrase itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Passphrase {
    /// A file of mode 0600 or less; one final newline does not belong to the passphrase.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// What guards key files: a passphrase, and permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// What unlocks the encrypted ones.
    pub passphrase: Option<Passphrase>,
    /// Whether root's group may read the others too, mode 0440 or 0640: so are the files of a Kubernetes Secret in a pod
    /// with an `fsGroup`, whatever `defaultMode` says.
    pub group_may_read: bool,
}

impl Protection {
    fn read_passphrase(&self) -> Result<Option<Zeroizing<String>>, KeyFileError> {
        self.passphrase.as_ref().map(|from| read_passphrase(from, self)).transpose()
    }
}

impl From<Option<Passphrase>> for Protection {
    fn from(passphrase: Option<Passphrase>) -> Self {
        Self { passphrase, group_may_read: false }
    }
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It would replace another key.
    #[error("{0} exists already and a key is never overwritten: move it away first")]
    Exists(PathBuf),
    /// Group or others can read a secret.
    #[error(
        "{path} has mode {mode:04o}, so others can read it: run `chmod 600 {path}`{}",
        if *by_group { "; if it is a Secret of Kubernetes in a pod with fsGroup, write `group_readable_keys = true`" } else { "" }
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether it would do if its group were let in.
        by_group: bool,
    },
    /// It is not text, or too large.
    #[error("{path} is no PEM private key: {problem}")]
    NoKey {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The key in it.
    #[error("{path}: {source}")]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// The passphrase's environment variable is not there.
    #[error("the environment variable `{0}` with the passphrase is not set")]
    NoPassphrase(String),
}

/// Reads a private key. The passphrase is used if the key is encrypted.
pub fn load(path: &Path, protection: &Protection) -> Result<SoftwareSigner, KeyFileError> {
    let (file, pem) = read(path)?;
    let encrypted = SoftwareSigner::is_encrypted_pem(&pem);
    if !encrypted {
        refuse_exposed(path, &file, protection)?;
    }
    let passphrase = if encrypted { protection.read_passphrase()? } else { None };
    let secret = passphrase.as_ref().map(|text| text.as_bytes());
    SoftwareSigner::from_pkcs8_pem(&pem, secret)
        .map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

/// Writes a private key to a new file of mode 0600 and makes it durable, encrypted if a passphrase is given.
pub fn store(path: &Path, signer: &SoftwareSigner, protection: &Protection) -> Result<(), KeyFileError> {
    let passphrase = protection.read_passphrase()?;
    let secret = passphrase.as_ref().map(|text| text.as_bytes());
    let pem =
        signer.to_pkcs8_pem(secret).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })?;
    files::create(path, files::PRIVATE, pem.as_bytes()).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Io { action: "write", path: path.to_owned(), source },
    })
}

fn read(path: &Path) -> Result<(File, Zeroizing<String>), KeyFileError> {
    let failed = |source| KeyFileError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Room for everything at once: a growing buffer would leave copies of the key behind.
    let length = file.metadata().map_err(failed)?.len();
    let problem = |problem| KeyFileError::NoKey { path: path.to_owned(), problem };
    if length > MAX_FILE {
        return Err(problem("it is too large"));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    (&file).take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| problem("it is not text"))?;
    Ok((file, Zeroizing::new(text.to_owned())))
}

/// Looks at the open file, not at the path, which could be another file by now.
fn refuse_exposed(path: &Path, file: &File, protection: &Protection) -> Result<(), KeyFileError> {
    let data = file.metadata().map_err(|source| KeyFileError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let mode = data.permissions().mode() & 0o7777;
    // Root's files only: a group's member who owns a file could give it any mode, and any content.
    let by_group = mode & BEYOND_GROUP_READ == 0 && data.uid() == 0;
    if mode & BEYOND_OWNER == 0 || (protection.group_may_read && by_group) {
        return Ok(());
    }
    Err(KeyFileError::Exposed { path: path.to_owned(), mode, by_group })
}

fn read_passphrase(from: &Passphrase, protection: &Protection) -> Result<Zeroizing<String>, KeyFileError> {
    match from {
        Passphrase::Env(name) => {
            std::env::var(name).map(Zeroizing::new).map_err(|_| KeyFileError::NoPassphrase(name.clone()))
        }
        Passphrase::File(path) => {
            let (file, mut text) = read(path)?;
            refuse_exposed(path, &file, protection)?;
            if text.ends_with('\n') {
                text.pop();
            }
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, Signer as _};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn open() -> Protection {
        Protection::default()
    }

    fn allow(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_stored_key_is_read_back_and_is_private() {
        let folder = folder();
        let path = folder.path().join("a.key");
        let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
        store(&path, &signer, &open()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&path, &open()).unwrap().public_key(), signer.public_key());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = folder();
        let path = folder.path().join("a.key");
        let signer = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
        store(&path, &signer, &open()).unwrap();
        let other = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
        assert!(matches!(store(&path, &other, &open()), Err(KeyFileError::Exists(_))));
        assert_eq!(load(&path, &open()).unwrap().public_key(), signer.public_key());
    }

    #[test]
    fn an_open_key_that_others_can_read_is_refused_with_the_remedy() {
        let folder = folder();
        let path = folder.path().join("a.key");
        store(&path, &SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap(), &open()).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            allow(&path, mode);
            let error = load(&path, &open()).unwrap_err().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        allow(&path, 0o400);
        load(&path, &open()).unwrap();
    }

    /// Every mode against both rules, with the file's owner as it is: root's group may read, if the operator says so.
    #[test]
    fn the_group_may_read_root_s_key_only_if_allowed_and_nothing_more() {
        let folder = folder();
        let path = folder.path().join("a.key");
        store(&path, &SoftwareSigner::generate(KeyKind::Ed25519).unwrap(), &open()).unwrap();
        let is_root = std::fs::metadata(&path).unwrap().uid() == 0;
        let shared = Protection { group_may_read: true, ..open() };
        for mode in (0..=0o777).map(|mode| mode | 0o400) {
            allow(&path, mode);
            assert_eq!(load(&path, &open()).is_ok(), mode & BEYOND_OWNER == 0, "{mode:o}");
            let expected =
                [0, 0o040].iter().take(1 + usize::from(is_root)).any(|bits| mode & BEYOND_OWNER == *bits);
            assert_eq!(load(&path, &shared).is_ok(), expected, "{mode:o}");
        }
        allow(&path, 0o440);
        let advice = load(&path, &open()).unwrap_err().to_string();
        assert_eq!(advice.contains("group_readable_keys"), is_root, "{advice}");
        if is_root {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            load(&path, &shared).unwrap_err();
        }
    }

    #[test]
    fn an_encrypted_key_may_be_seen_and_needs_its_passphrase() {
        let folder = folder();
        let (path, secret) = (folder.path().join("a.key"), folder.path().join("passphrase"));
        std::fs::write(&secret, "correct horse\n").unwrap();
        allow(&secret, 0o600);
        let locked = Protection::from(Some(Passphrase::File(secret.clone())));
        let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
        store(&path, &signer, &locked).unwrap();
        allow(&path, 0o644);
        assert_eq!(load(&path, &locked).unwrap().public_key(), signer.public_key());
        assert!(matches!(load(&path, &open()), Err(KeyFileError::Key { source: KeyError::Locked(_), .. })));
        allow(&secret, 0o644);
        assert!(matches!(load(&path, &locked), Err(KeyFileError::Exposed { .. })));
    }

    #[test]
    fn a_passphrase_that_is_not_in_the_environment_is_named() {
        let error =
            read_passphrase(&Passphrase::Env("CHANCERY_NO_SUCH_VARIABLE".to_owned()), &open()).unwrap_err();
        assert!(error.to_string().contains("CHANCERY_NO_SUCH_VARIABLE"));
    }

    #[test]
    fn a_passphrase_source_is_written_as_a_table() {
        let source: Passphrase = serde_json::from_str(r#"{"file":"/run/secrets/ca"}"#).unwrap();
        assert_eq!(source, Passphrase::File("/run/secrets/ca".into()));
        serde_json::from_str::<Passphrase>(r#""hunter2""#).unwrap_err();
    }

    #[test]
    fn a_large_file_is_no_key() {
        let folder = folder();
        let path = folder.path().join("a.key");
        std::fs::write(&path, vec![b'x'; 65 * 1024]).unwrap();
        assert!(matches!(load(&path, &open()), Err(KeyFileError::NoKey { .. })));
    }
}
