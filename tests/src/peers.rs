//! Where `tests/peers` installed the clients of others. A missing one fails the test: nothing is skipped.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

/// The folder that `tests/peers` fills.
pub fn folder() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("chancery").join("peers"))
}

/// An installed program by its name in `bin`: `cosign2`, `cosign3`, `rekor-cli`, `sigstore-go-signing`,
/// `sigstore-go-verification`, `sigstore-python`, `sigstore-js`, `gitsign`, `witness`, `crane`, `docker-registry`,
/// `prometheus`, `promtool`, `nginx`, `haproxy`, and the `node` that the npm packages run on.
pub fn program(name: &str) -> Result<PathBuf> {
    let program = folder()?.join("bin").join(name);
    ensure!(program.exists(), "{name} is not installed: run tests/peers");
    Ok(program)
}

/// The library that changes the time for whoever loads it first.
pub fn libfaketime() -> Result<PathBuf> {
    let library = folder()?.join("bin").join("libfaketime.so");
    ensure!(library.exists(), "libfaketime is not installed: run tests/peers");
    Ok(library)
}

/// The folder with the npm packages of the OpenID provider.
pub fn oidc_provider() -> Result<PathBuf> {
    packages("oidc-provider")
}

/// The folder with the npm packages of sigstore-js.
pub fn sigstore_js() -> Result<PathBuf> {
    packages("sigstore-js")
}

/// The interpreter whose packages are sigstore-python and rfc3161-client.
pub fn python() -> Result<PathBuf> {
    Ok(packages("sigstore-python")?.join("venv").join("bin").join("python3"))
}

fn packages(name: &str) -> Result<PathBuf> {
    let folder = folder()?.join(name);
    ensure!(folder.join("installed").exists(), "{name} is not installed: run tests/peers");
    Ok(folder)
}
