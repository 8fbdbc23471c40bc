//! The provider templates that come with Chancery: `samples/fulcio.yaml`, compiled in.
//!
//! They are used where a configuration names a provider that it does not define, and for Fulcio's older issuer
//! types, which are fixed mappings of the same claims. One file serves as sample, documentation and source, so that
//! what is shown is what runs.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::Provider;

/// The sample configuration: the five CI systems' public issuers and their metadata.
pub const SAMPLE: &str = include_str!("../../samples/fulcio.yaml");

static PROVIDERS: LazyLock<BTreeMap<String, Arc<Provider>>> = LazyLock::new(|| {
    crate::config::read_provider_file(SAMPLE).expect("the shipped sample is parsed by this crate's tests")
});

/// The shipped provider of this name.
pub fn provider(name: &str) -> Option<Arc<Provider>> {
    PROVIDERS.get(name).cloned()
}

/// The mapping of one of Fulcio's issuer types from before `ci-provider`. They are the shipped templates cut down to
/// the extensions that those types set.
pub fn legacy(type_name: &str) -> Option<Arc<Provider>> {
    let kept = match type_name {
        "github-workflow" => 2..=22,
        "gitlab-pipeline" => 9..=22,
        "codefresh-workflow" => 9..=21,
        // Only issuer and subject: an empty range.
        #[expect(clippy::reversed_empty_ranges, reason = "keeps no extension")]
        "buildkite-job" => 1..=0,
        _ => return None,
    };
    let mut provider = (*provider(type_name)?).clone();
    provider.extensions.retain(|(number, _)| kept.contains(number));
    provider.legacy = super::legacy::of(type_name);
    Some(Arc::new(provider))
}
