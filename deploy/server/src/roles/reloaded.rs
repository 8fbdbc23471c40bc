//! An instance after a reload, and what of its files a reload does not take over.

use std::path::PathBuf;

use chancery_tlog::certificate::Certificate;

use super::{Instance, chain, issuers};
use crate::config::Config;

impl Instance {
    /// The same instance with `config`, which differs from its own in what a reload takes over.
    pub(crate) fn reloaded(&self, config: Config) -> anyhow::Result<Self> {
        let mut instance = Self { config, ..self.clone() };
        if let (Some(role), Some(ca)) = (&mut instance.ca, &instance.config.ca) {
            role.issuers = issuers(&ca.issuers)?;
            role.settings.oidc.development = ca.development;
            role.settings.policies.clone_from(&ca.policy);
        }
        Ok(instance)
    }

    /// Files with chains that are others now than those in memory, which only a restart takes over.
    pub(crate) fn stale_chains(&self) -> Vec<String> {
        let ca = self.ca.iter().zip(&self.config.ca).map(|(role, ca)| (&role.chain, &ca.chain));
        let timestamp = self.timestamp.iter().map(|role| (&role.chain, &role.config.chain));
        let is_stale = |(loaded, file): &(&Vec<Certificate>, &PathBuf)| {
            chain(file)
                .is_ok_and(|found| found.iter().map(Certificate::der).ne(loaded.iter().map(Certificate::der)))
        };
        ca.chain(timestamp).filter(is_stale).map(|(_, file)| file.display().to_string()).collect()
    }
}
