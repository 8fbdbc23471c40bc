//! The harness of the cross-program tests: real binaries of ours, real clients of others, real HTTP in between.
//!
//! Map: [`program`] starts and watches processes and runs commands; [`peers`] finds the installed clients.
//! [`Instance`] is the usual starting point: a [`DevIssuer`] that mints CI-shaped tokens and a [`Server`] that trusts
//! it, both on ephemeral loopback ports and in a folder that goes away with them. [`Registry`] and [`OidcProvider`]
//! are the other servers; [`Cosign`], [`SigstoreGo`], [`SigstorePython`], [`SigstoreJs`], [`Gitsign`], [`Witness`],
//! [`RekorCli`] and [`Chancery`] are the clients. [`rekor`], [`rekor_v2`], [`ca`] and
//! [`tiles`] are clients that believe nothing: they verify every answer with the pure core. [`promises`] puts an
//! instance under load and holds it to every acknowledgement; [`strace`] makes its system calls fail,
//! [`small_disk`] its disk run full, [`h2c`] sends it what no client does. [`watched`] is an instance as
//! Prometheus sees it. [`genuine`] are the servers whose APIs ours speaks, for comparison.
//!
//! Apart from all that, [`instructions`] counts what the hot paths cost.
//!
//! Every client runs with a scratch home and without a way out: a request to any host but loopback fails, so a test
//! cannot pass by the grace of a public instance.

pub mod ca;
pub mod crawler;
pub mod genuine;
pub mod h2c;
pub mod instructions;
pub mod needles;
pub mod peers;
pub mod program;
pub mod promises;
pub mod raw;
pub mod rekor;
pub mod rekor_v2;
pub mod runbooks;
pub mod small_disk;
pub mod spellings;
pub mod strace;
pub mod tiles;
pub mod watched;

mod chancery;
mod cosign;
mod dev_issuer;
mod gitsign;
mod instance;
mod known_log;
mod oidc_provider;
mod registry;
mod rekor_cli;
mod server;
mod sigstore_go;
mod sigstore_js;
mod sigstore_python;
mod tls;
pub mod verdicts;
mod witness;

pub use chancery::{Chancery, Policy};
pub use cosign::Cosign;
pub use dev_issuer::{DevIssuer, IdToken, Identity};
pub use gitsign::Gitsign;
pub use instance::Instance;
pub use oidc_provider::OidcProvider;
pub use program::{Outcome, Program};
pub use registry::Registry;
pub use rekor_cli::RekorCli;
pub use server::{Rekor, Server, issuers_yaml};
pub use sigstore_go::SigstoreGo;
pub use sigstore_js::SigstoreJs;
pub use sigstore_python::SigstorePython;
pub use witness::Witness;

/// The predicate type of SLSA provenance.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// An HTTP client for loopback: no proxy, no redirects, no patience.
pub fn http() -> anyhow::Result<reqwest::Client> {
    http_trusting(None)
}

/// The same for a server whose TLS certificate this authority issued.
pub fn http_trusting(authority: Option<&std::path::Path>) -> anyhow::Result<reqwest::Client> {
    let builder = match authority {
        Some(file) => {
            let root = reqwest::Certificate::from_pem(&std::fs::read(file)?)?;
            reqwest::Client::builder().tls_certs_merge([root])
        }
        None => reqwest::Client::builder(),
    };
    Ok(builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(std::time::Duration::from_secs(30))
        .build()?)
}
