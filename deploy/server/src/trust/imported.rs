//! The trusted root of another instance, in the one spelling that every client reads.

use anyhow::{Context as _, bail};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::protojson::Base64;
use chancery_tlog::trust::{Keyring, LogInstance, TRUSTED_ROOT_TYPE, TimeRange, TrustedLog, TrustedRoot};

use crate::logs::following_second;

/// `root` in canonical base64, with whole seconds, a name for every kind of key, and without `operator`: cosign 2.5
/// refuses a whole file for one.
///
/// Members that nobody here can read are refused: they would be published to clients that stop at them.
pub(crate) fn canonical(mut root: TrustedRoot) -> anyhow::Result<TrustedRoot> {
    let keyring = root.keyring()?;
    if let Some(skipped) = keyring.skipped().next() {
        bail!("{skipped}: remove it from a copy of the file, and import that");
    }
    let Keyring { logs, ct_logs, .. } = &keyring;
    TRUSTED_ROOT_TYPE.clone_into(&mut root.media_type);
    for (list, read) in [(&mut root.tlogs, logs), (&mut root.ctlogs, ct_logs)] {
        for (log, read) in list.iter_mut().zip(read) {
            respell(log, read).with_context(|| log.base_url.clone())?;
        }
    }
    for authority in root.certificate_authorities.iter_mut().chain(&mut root.timestamp_authorities) {
        authority.operator = None;
        authority.cert_chain.certificates.iter_mut().for_each(|one| encode(&mut one.raw_bytes));
        whole_seconds(&mut authority.valid_for);
    }
    Ok(root)
}

fn respell(log: &mut LogInstance, read: &TrustedLog) -> anyhow::Result<()> {
    log.operator = None;
    encode(&mut log.public_key.raw_bytes);
    encode(&mut log.log_id.key_id);
    log.checkpoint_key_id.iter_mut().for_each(|id| encode(&mut id.key_id));
    whole_seconds(&mut log.public_key.valid_for);
    if log.public_key.key_details.is_empty() {
        let kind = read.key.kind();
        let details =
            kind.key_details().with_context(|| format!("clients have no name for keys of kind {kind}"))?;
        details.clone_into(&mut log.public_key.key_details);
    }
    Ok(())
}

fn encode(text: &mut String) {
    if let Some(bytes) = Base64::decode(text) {
        *text = Base64::encode(&bytes);
    }
}

/// An empty start is the epoch, and clients of protobuf read no empty time.
fn whole_seconds(range: &mut TimeRange) {
    range.start = Timestamp::parse_rfc3339(&range.start).unwrap_or_default().to_rfc3339();
    let end = range.end.as_deref().and_then(Timestamp::parse_rfc3339);
    range.end = end.map(|end| following_second(end).to_rfc3339());
}
