//! What the program is built from.

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit; `unknown` in builds that are no release.
pub(crate) const COMMIT: &str = env!("CHANCERY_BUILT_FROM");
