//! What an instance publishes about itself, and what it must not lose or bring back.
//!
//! Invariant: everything that is published goes through [`Instance::identity`], from which nothing that is withdrawn gets
//! into a file.

use std::path::Path;

use anyhow::{Context as _, bail};
use chancery_tlog::certificate::Certificate;
use chancery_tlog::clock::Timestamp;
use chancery_tlog::trust::TrustedRoot;

use super::{CaRole, Instance, Speaks};
use crate::trust::{self, ChainIdentity, Document, Identity, Keys, Stated};
use crate::tuf::TufRole;

impl Instance {
    /// All files that the instance publishes about itself, with the root of its TUF repository.
    pub(crate) fn documents(&self) -> anyhow::Result<Vec<Document>> {
        let mut documents = trust::documents(&self.identity()?);
        documents.extend(self.tuf.as_ref().map(TufRole::root_document).transpose()?);
        Ok(documents)
    }

    /// What the instance publishes about itself: everything that is trusted.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity<'_>> {
        let identity = Identity { withdrawn: self.withdrawn()?, ..self.members(true)? };
        Ok(identity.without_withdrawn())
    }

    /// Keys of what the instance published once, and by the operator's will trusts no more.
    fn withdrawn(&self) -> anyhow::Result<Keys> {
        Ok(Keys::of(&trust::trusted_root(&self.members(false)?)))
    }

    /// What the instance is itself, without what others were.
    fn own(&self) -> anyhow::Result<TrustedRoot> {
        Ok(trust::trusted_root(&Identity { imported: Vec::new(), ..self.members(true)? }))
    }

    /// Trust that clients were told of, by TUF or by the files in `trust/`, and that nobody has stated to be less now.
    pub(crate) fn lost(&self) -> anyhow::Result<Vec<String>> {
        let now = trust::trusted_root(&self.identity()?);
        let stated = |moved| {
            anyhow::Ok(Stated { withdrawn: self.withdrawn()?, ended: Keys::ended(&self.own()?), moved })
        };
        let path = self.config.dir.join("trust/trusted_root.json");
        let (told, written) = match &self.tuf {
            // `check-config` names a copy that is damaged.
            Some(tuf) => (tuf.trusted_root()?, handed_out(&path).ok().flatten()),
            None => (None, handed_out(&path)?),
        };
        // A command that moves an end writes it there too, so an end that is other there was moved by hand.
        let told = told.map(|told| anyhow::Ok(trust::lost(&told, &now, &stated(true)?))).transpose()?;
        let written =
            written.map(|root| anyhow::Ok(trust::lost(&root, &now, &stated(false)?))).transpose()?;
        let mut lost = told.unwrap_or_default();
        for one in written.unwrap_or_default() {
            if !lost.contains(&one) {
                lost.push(one);
            }
        }
        Ok(lost)
    }

    /// Refuses trust files that verifiers could not read, or that name what is withdrawn: before they are written.
    pub(crate) fn check_published(&self) -> anyhow::Result<()> {
        let root = trust::trusted_root(&self.identity()?);
        TrustedRoot::parse(root.to_json().as_bytes()).context("the new trusted root")?;
        match self.withdrawn()?.named_in(&root).as_slice() {
            [] => Ok(()),
            named => bail!("{} would be published in spite of being withdrawn", named.join(", ")),
        }
    }

    /// Refuses a configuration that withdraws what it has in service: the trust files would not name what signs, and a
    /// list that is empty then demands nothing of signatures.
    pub(super) fn check_withdrawn(&self) -> anyhow::Result<()> {
        let own = trust::in_service(self.own()?);
        let contradicted = self.withdrawn()?.named_in(&own);
        let Some(member) = contradicted.first() else {
            return self.check_left(&trust::trusted_root(&self.members(true)?));
        };
        let import = self.imported.iter().filter(|imported| !imported.is_trusted);
        let import = import.map(|imported| (&imported.name, Keys::of(&imported.root)));
        let by = import.filter(|(_, keys)| !keys.named_in(&own).is_empty()).map(|(name, _)| name);
        let by = by.map(|name| format!("`[[imported]]` \"{name}\"")).next();
        bail!(
            "{member} is in service, and its key is withdrawn by {}: put another log or chain into service first, with \
             `add-log --replaces` or `replace-chain`, or take `withdrawn` away there",
            by.as_deref().unwrap_or("a table of the past")
        )
    }

    /// The same for what has ended here: with the last log of a kind goes the demand for one.
    fn check_left(&self, all: &TrustedRoot) -> anyhow::Result<()> {
        let left = trust::trusted_root(&self.identity()?);
        let kinds =
            [("issuance log", &all.ctlogs, &left.ctlogs), ("attestation log", &all.tlogs, &left.tlogs)];
        let emptied = kinds.iter().find(|(_, all, left)| !all.is_empty() && left.is_empty());
        match emptied {
            Some((kind, ..)) if !left.certificate_authorities.is_empty() => bail!(
                "no {kind} would be trusted, and verifiers demand no entry of a trusted root that lists none: add a log \
                 first, or take `withdrawn` away"
            ),
            _ => Ok(()),
        }
    }

    /// What is trusted, or else what no more is.
    fn members(&self, trusted: bool) -> anyhow::Result<Identity<'_>> {
        let url = &self.config.url;
        let mut identity = Identity {
            url,
            ca: self.ca.as_ref().filter(|_| trusted).map(|ca| in_service(&ca.chain, ca.since)),
            other_ca: self.ca.iter().flat_map(|ca| ca.others.identities(trusted)).collect(),
            issuers: self.ca.as_ref().map(CaRole::issuer_urls).unwrap_or_default(),
            logins: self.ca.as_ref().map(CaRole::logins).unwrap_or_default(),
            ct: None,
            rekor_v1: None,
            rekor_v2: None,
            past_ct: Vec::new(),
            past_rekor: Vec::new(),
            timestamp: self
                .timestamp
                .as_ref()
                .filter(|_| trusted)
                .map(|role| in_service(&role.chain, role.config.since)),
            other_timestamp: self.timestamp.iter().flat_map(|role| role.others.identities(trusted)).collect(),
            imported: self
                .imported
                .iter()
                .filter(|imported| imported.is_trusted == trusted)
                .map(|imported| &imported.root)
                .collect(),
            merged: if trusted { &self.merged } else { &[] },
            withdrawn: Keys::default(),
        };
        for log in self.logs.iter().filter(|log| log.config.is_trusted() == trusted) {
            let known = log.identity(url)?;
            match (&log.speaks, log.config.is_active()) {
                (Speaks::Ct { .. }, true) => identity.ct = Some(known),
                (Speaks::RekorV1 { .. }, true) => identity.rekor_v1 = Some(known),
                (Speaks::RekorV2, true) => identity.rekor_v2 = Some(known),
                (Speaks::Ct { .. }, false) => identity.past_ct.push(known),
                (Speaks::RekorV1 { .. } | Speaks::RekorV2, false) => identity.past_rekor.push(known),
            }
        }
        if let Some(ca) = &self.ca {
            identity.past_ct.extend(ca.remote_logs.past(trusted));
            if let Some(remote) = ca.remote_logs.in_service().filter(|_| trusted) {
                // A log of this process that other CAs write to goes on to be trusted.
                identity.past_ct.extend(identity.ct.replace(remote));
            }
        }
        Ok(identity)
    }
}

/// The trusted root that lies in `trust/`, if one does.
fn handed_out(path: &Path) -> anyhow::Result<Option<TrustedRoot>> {
    match std::fs::read(path) {
        Ok(json) => Ok(Some(TrustedRoot::parse(&json).with_context(|| path.display().to_string())?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn in_service(chain: &[Certificate], since: Timestamp) -> ChainIdentity<'_> {
    ChainIdentity { chain, since, until: None, past: None }
}
