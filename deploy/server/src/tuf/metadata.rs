//! What stands in each role's file, and how it is signed (TUF §4).
//!
//! Invariant: what is signed is the OLPC canonical form of what is written, and what is written is the same for the
//! same values. Keys are Ed25519, the one kind whose form no two TUF libraries disagree on.

use std::collections::HashMap;
use std::num::NonZeroU64;

use chancery_tlog::clock::Timestamp;
use chancery_tlog::key::{PublicKey, Signer};
use chancery_tlog::merkle::Hash;
use serde_json::json;
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{
    self, Hashes, Metafile, Role, RoleKeys, RoleType, Root, Signature, Signed, Snapshot, Target, Targets,
};

use super::TufError;
use super::targets::TargetFile;

/// Clients compare the first number only.
const SPECIFICATION: &str = "1.0.31";
/// One key a role: more would need more than one person with an offline key.
const THRESHOLD: NonZeroU64 = NonZeroU64::MIN;

/// The roles of both keys.
const OFFLINE: [RoleType; 2] = [RoleType::Root, RoleType::Targets];
const ONLINE: [RoleType; 2] = [RoleType::Snapshot, RoleType::Timestamp];

/// Signed metadata as it is stored and served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its name under the repository's address.
    pub(super) name: String,
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
}

/// Root: which key speaks for which role (§4.3).
pub(super) fn root(
    version: NonZeroU64,
    expires: Timestamp,
    offline: &PublicKey,
    online: &PublicKey,
) -> Result<Root, TufError> {
    let mut root = Root {
        spec_version: SPECIFICATION.to_owned(),
        consistent_snapshot: true,
        version,
        expires: time(expires)?,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for (public, roles) in [(offline, OFFLINE), (online, ONLINE)] {
        let id = key_id(public)?;
        root.keys.insert(id.clone(), key(public));
        for role in roles {
            let keys = RoleKeys { keyids: vec![id.clone()], threshold: THRESHOLD, _extra: HashMap::new() };
            root.roles.insert(role, keys);
        }
    }
    Ok(root)
}

/// Whether `root` names `public` for `role`.
pub(super) fn names(root: &Root, role: RoleType, public: &PublicKey) -> bool {
    let key = key(public);
    root.keys(role).any(|named| *named == key)
}

/// Targets: the trust files (§4.5).
pub(super) fn targets(
    version: NonZeroU64,
    expires: Timestamp,
    files: &[TargetFile],
) -> Result<Targets, TufError> {
    let mut targets = Targets::new(SPECIFICATION.to_owned(), version, time(expires)?);
    targets.delegations = None;
    for file in files {
        let name = TargetName::new(&*file.name).map_err(|error| TufError::Encode(error.to_string()))?;
        targets.add_target(name, target(file));
    }
    Ok(targets)
}

fn target(file: &TargetFile) -> Target {
    let status = if file.expired { "Expired" } else { "Active" };
    let sigstore = |usage| json!({ "usage": usage, "status": status });
    Target {
        length: length(&file.bytes),
        hashes: hashes(&file.bytes),
        custom: file.usage.map(|usage| ("sigstore".to_owned(), sigstore(usage))).into_iter().collect(),
        _extra: HashMap::new(),
    }
}

/// Snapshot: which targets belong together (§4.4).
pub(super) fn snapshot(
    version: NonZeroU64,
    expires: Timestamp,
    targets: (NonZeroU64, &[u8]),
) -> Result<Snapshot, TufError> {
    let mut snapshot = Snapshot::new(SPECIFICATION.to_owned(), version, time(expires)?);
    snapshot.meta.insert("targets.json".to_owned(), metafile(targets));
    Ok(snapshot)
}

/// Timestamp: which snapshot is the newest (§4.6).
pub(super) fn timestamp(
    version: NonZeroU64,
    expires: Timestamp,
    snapshot: (NonZeroU64, &[u8]),
) -> Result<schema::Timestamp, TufError> {
    let mut timestamp = schema::Timestamp::new(SPECIFICATION.to_owned(), version, time(expires)?);
    timestamp.meta.insert("snapshot.json".to_owned(), metafile(snapshot));
    Ok(timestamp)
}

/// `role` signed by all of `signers`, under the name that it has in a repository with consistent snapshots.
pub(super) fn sign<T: Role>(role: T, signers: &[&dyn Signer]) -> Result<File, TufError> {
    let encode = |error: &dyn std::fmt::Display| TufError::Encode(error.to_string());
    let name = role.filename(true);
    let message = role.canonical_form().map_err(|error| encode(&error))?;
    let mut signatures = Vec::new();
    for signer in signers {
        let keyid = key_id(signer.public_key())?;
        signatures.push(Signature { keyid, sig: signer.sign(&message)?.into() });
    }
    // By way of a value, whose members have an order.
    let value = serde_json::to_value(Signed { signed: role, signatures }).map_err(|error| encode(&error))?;
    let mut bytes = serde_json::to_vec_pretty(&value).map_err(|error| encode(&error))?;
    bytes.push(b'\n');
    Ok(File { name, bytes })
}

/// When metadata ends.
pub(super) fn expires(role: &impl Role) -> Timestamp {
    Timestamp::from_seconds(u64::try_from(role.expires().as_second()).unwrap_or_default())
}

/// Whether `bytes` are what `target` describes.
pub(super) fn describes(target: &Target, bytes: &[u8]) -> bool {
    target.length == length(bytes) && target.hashes.sha256 == hashes(bytes).sha256
}

fn metafile((version, bytes): (NonZeroU64, &[u8])) -> Metafile {
    Metafile { length: Some(length(bytes)), hashes: Some(hashes(bytes)), version, _extra: HashMap::new() }
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

fn hashes(bytes: &[u8]) -> Hashes {
    Hashes { sha256: Hash::digest(bytes).as_bytes().to_vec().into(), _extra: HashMap::new() }
}

fn key(public: &PublicKey) -> Key {
    Key::Ed25519 {
        keyval: Ed25519Key { public: public.key_bits().to_vec().into(), _extra: HashMap::new() },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// SHA-256 of the key's canonical form: go-tuf and tough accept no other id.
fn key_id(public: &PublicKey) -> Result<Decoded<Hex>, TufError> {
    key(public).key_id().map_err(|error| TufError::Encode(error.to_string()))
}

fn time(at: Timestamp) -> Result<jiff::Timestamp, TufError> {
    i64::try_from(at.seconds())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .ok_or_else(|| TufError::Encode(format!("{at} is no time that can be written down")))
}
