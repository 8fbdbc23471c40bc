//! The client's offline verification, from the bytes of bundle and trusted root to the report.

use anyhow::ensure;
use chancery::bundle::Bundle;
use chancery::verify::{NameRule, Policy, verify};
use chancery_tlog::clock::{FixedClock, Timestamp};
use chancery_tlog::trust::Keyring;

use crate::HotPath;
use crate::fixture::{BUILDER, NOW, PROVIDER, TestInstance, artifact};

pub(crate) fn paths() -> Vec<HotPath> {
    vec![
        verification("verify: provenance in Rekor v1", TestInstance::provenance),
        verification("verify: provenance in Rekor v2, with a timestamp", TestInstance::provenance_v2),
    ]
}

fn verification(name: &'static str, bundle: fn(&TestInstance) -> Bundle) -> HotPath {
    HotPath::new(name, move |_| {
        let instance = TestInstance::new();
        let (bundle, root) = (bundle(&instance).to_json(), instance.trusted_root_of_both().to_string());
        let (artifact, clock) = (artifact(), FixedClock::new(Timestamp::from_seconds(NOW)));
        Ok(move || {
            let (bundle, trust) = (Bundle::parse(bundle.as_bytes())?, Keyring::parse(root.as_bytes())?);
            let policy = Policy::identity(NameRule::Exact(BUILDER.to_owned()), PROVIDER);
            let report = verify(&bundle, &artifact, Some(&trust), &policy, &clock);
            ensure!(report.verified, "{:?}", report.refusals().next());
            Ok(())
        })
    })
}
