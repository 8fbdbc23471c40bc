//! What the offline key signed, read from disk and verified as a client would (TUF §5.3, §5.6).
//!
//! Invariant: nothing in a [`Trusted`] is there that the newest root does not vouch for. The server publishes from
//! this type only, so a damaged or half-copied folder is noticed here and never by a client.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::{PublicKey, Signer};
use chancery_tlog::trust::TrustedRoot;
use serde::de::DeserializeOwned;
use tough::schema::{Role, RoleType, Root, Signed, Targets};

use super::folder::{Folder, shown};
use super::metadata::{self, File};
use super::targets::{TRUSTED_ROOT, TargetFile};
use super::{TufError, WARNING, serve};

/// Root and targets of the repository, with the files that they vouch for.
pub(super) struct Trusted {
    roots: Vec<File>,
    root: Root,
    targets_file: File,
    targets: Targets,
    files: BTreeMap<String, Vec<u8>>,
}

impl Trusted {
    /// Reads and verifies everything.
    pub(super) fn load(folder: &Folder) -> Result<Self, TufError> {
        let (roots, root) = load_roots(folder)?;
        let (targets_file, signed) = newest::<Targets>(folder, "targets")?;
        root.verify_role(&signed).map_err(|error| refused(&targets_file.name, &error))?;
        let targets = signed.signed;
        let mut files = BTreeMap::new();
        for (name, target) in targets.targets_iter() {
            let served = serve::target_path(&hex::encode(&target.hashes.sha256), name.resolved());
            let bytes = folder.read(&served)?.ok_or_else(|| refused(&served, &"it is missing"))?;
            if !metadata::describes(target, &bytes) {
                return Err(refused(&served, &format!("it is not what {} names", targets_file.name)));
            }
            files.insert(served, bytes);
        }
        Ok(Self { roots, root, targets_file, targets, files })
    }

    /// The newest root's file.
    pub(super) fn root_file(&self) -> String {
        shown(&self.root.filename(true))
    }

    /// The newest root, byte for byte.
    pub(super) fn root_bytes(&self) -> &[u8] {
        self.roots.last().map(|file| file.bytes.as_slice()).unwrap_or_default()
    }

    /// The newest root's version and end.
    pub(super) fn root(&self) -> (NonZeroU64, Timestamp) {
        (self.root.version, metadata::expires(&self.root))
    }

    /// The targets' version and end.
    pub(super) fn targets(&self) -> (NonZeroU64, Timestamp) {
        (self.targets.version, metadata::expires(&self.targets))
    }

    /// The targets' file.
    pub(super) fn targets_file(&self) -> &File {
        &self.targets_file
    }

    /// Everything here, by the path that it is served under.
    pub(super) fn served(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let metadata = self.roots.iter().chain([&self.targets_file]);
        let metadata = metadata.map(|file| (file.name.clone(), file.bytes.clone()));
        metadata.chain(self.files.iter().map(|(name, bytes)| (name.clone(), bytes.clone())))
    }

    /// Whether the root names `public` for its own and the targets' role.
    pub(super) fn is_offline_key(&self, public: &PublicKey) -> bool {
        [RoleType::Root, RoleType::Targets].iter().all(|role| metadata::names(&self.root, *role, public))
    }

    /// Demands that the root names `signer` for snapshot and timestamp.
    pub(super) fn check_online_key(&self, signer: &dyn Signer) -> Result<(), TufError> {
        if self.is_online_key(signer.public_key()) {
            Ok(())
        } else {
            Err(TufError::OnlineKey { root: self.root_file() })
        }
    }

    /// Whether the root names `public` for snapshot and timestamp.
    pub(super) fn is_online_key(&self, public: &PublicKey) -> bool {
        [RoleType::Snapshot, RoleType::Timestamp]
            .iter()
            .all(|role| metadata::names(&self.root, *role, public))
    }

    /// The one key that the root names for snapshot and timestamp.
    pub(super) fn online_key(&self) -> Result<PublicKey, TufError> {
        use tough::schema::key::Key;
        let key = self.root.keys(RoleType::Timestamp).find_map(|key| match key {
            Key::Ed25519 { keyval, .. } => <&[u8; 32]>::try_from(&keyval.public[..]).ok(),
            _ => None,
        });
        key.and_then(|bytes| PublicKey::from_ed25519(bytes).ok())
            .ok_or_else(|| refused(&self.root.filename(true), &"it names no Ed25519 key for timestamp"))
    }

    /// The trusted root among the targets.
    pub(super) fn trusted_root(&self) -> Result<Option<TrustedRoot>, TufError> {
        let found = self.targets.targets_iter().find(|(name, _)| name.resolved() == TRUSTED_ROOT);
        let Some((name, target)) = found else { return Ok(None) };
        let served = serve::target_path(&hex::encode(&target.hashes.sha256), name.resolved());
        let bytes = self.files.get(&served).ok_or_else(|| refused(&served, &"it is missing"))?;
        TrustedRoot::parse(bytes).map(Some).map_err(|error| refused(&served, &error))
    }

    /// Names of targets that differ between here and `files`, in either direction.
    pub(super) fn differences(&self, files: &[TargetFile]) -> Vec<String> {
        let mut left: BTreeMap<&str, _> =
            self.targets.targets_iter().map(|(name, target)| (name.resolved(), target)).collect();
        let mut names = Vec::new();
        for file in files {
            if !left.remove(&*file.name).is_some_and(|target| metadata::describes(target, &file.bytes)) {
                names.push(file.name.clone().into_owned());
            }
        }
        names.extend(left.into_keys().map(str::to_owned));
        names
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let ((root, root_end), (targets, targets_end)) = (self.root(), self.targets());
        format!("TUF: root {root} until {root_end}, targets {targets} until {targets_end}")
    }

    /// What ends soon, with the remedy.
    pub(super) fn warnings(&self, now: Timestamp) -> Vec<String> {
        let roles = [("root", self.root().1), ("targets", self.targets().1)];
        let soon = roles.into_iter().filter(|(_, end)| now.plus(WARNING) >= *end);
        soon.map(|(role, end)| {
            let verb = if now >= end { "ended" } else { "ends" };
            format!("the TUF {role} {verb} on {end}, and TUF clients with it: renew it with `chancery-server tuf sign`")
        })
        .collect()
    }
}

/// The chain of roots from the first, each signed by its predecessor's keys and by its own.
fn load_roots(folder: &Folder) -> Result<(Vec<File>, Root), TufError> {
    let (first, mut root) = read::<Root>(folder, "root", NonZeroU64::MIN)?
        .ok_or_else(|| TufError::Missing(folder.path().join("1.root.json")))?;
    root.signed.verify_role(&root).map_err(|error| refused(&first.name, &error))?;
    let mut roots = vec![first];
    while let Some((file, next)) = read::<Root>(folder, "root", following(root.signed.version))? {
        for voucher in [&root.signed, &next.signed] {
            voucher.verify_role(&next).map_err(|error| refused(&file.name, &error))?;
        }
        roots.push(file);
        root = next;
    }
    Ok((roots, root.signed))
}

/// The newest metadata of a role whose versions all stay.
fn newest<T: Role + DeserializeOwned>(folder: &Folder, role: &str) -> Result<(File, Signed<T>), TufError> {
    let mut newest = read::<T>(folder, role, NonZeroU64::MIN)?
        .ok_or_else(|| TufError::Missing(folder.path().join(format!("1.{role}.json"))))?;
    while let Some(next) = read(folder, role, following(newest.1.signed.version()))? {
        newest = next;
    }
    Ok(newest)
}

fn read<T: Role + DeserializeOwned>(
    folder: &Folder,
    role: &str,
    version: NonZeroU64,
) -> Result<Option<(File, Signed<T>)>, TufError> {
    let name = format!("{version}.{role}.json");
    let Some(bytes) = folder.read(&name)? else { return Ok(None) };
    let signed: Signed<T> = serde_json::from_slice(&bytes).map_err(|error| refused(&name, &error))?;
    if signed.signed.version() != version {
        return Err(refused(&name, &format!("it says that it is version {}", signed.signed.version())));
    }
    Ok(Some((File { name, bytes }, signed)))
}

/// The next version.
pub(super) fn following(version: NonZeroU64) -> NonZeroU64 {
    version.saturating_add(1)
}

fn refused(name: &str, problem: &dyn std::fmt::Display) -> TufError {
    TufError::Refused { file: shown(name), problem: problem.to_string() }
}
