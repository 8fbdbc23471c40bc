//! `chancery-dev-issuer`: an OIDC issuer for development that mints GitHub-Actions-shaped tokens for whoever asks.
//!
//! It vouches for nothing. So it binds loopback only, its key lives as long as the process, and it is a program of
//! its own: `chancery-server` has no switch that would make it believe such tokens by accident.

mod claims;
mod issuer;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chancery_tlog::clock::SystemClock;
use clap::Parser;
use tokio::net::TcpListener;

use crate::claims::Job;
use crate::issuer::Issuer;

/// A development OIDC issuer that mints CI-shaped tokens on loopback. Never for production
///
/// Serves /.well-known/openid-configuration, /jwks and /token, the last one as GitHub's
/// ACTIONS_ID_TOKEN_REQUEST_URL does. Query parameters of /token, or the members of a JSON object posted to it,
/// replace any claim; `null` removes one.
#[derive(Parser)]
#[command(name = "chancery-dev-issuer", version)]
struct Arguments {
    /// Loopback address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8888")]
    listen: SocketAddr,
    /// Repository that the pretended job belongs to
    #[arg(long, value_name = "OWNER/NAME", default_value = Job::REPOSITORY)]
    repository: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", chancery_tlog::causes::in_full(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let listener = bind(arguments.listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let issuer = Issuer::new(url, Job::of(&arguments.repository), Arc::new(SystemClock))?;
    let announcement = issuer.announcement();
    // One write: whoever waits for the first line finds the exports behind it.
    std::io::stdout().write_all(announcement.as_bytes())?;
    std::io::stdout().flush()?;
    axum::serve(listener, issuer::router(Arc::new(issuer))).with_graceful_shutdown(stop()).await?;
    Ok(())
}

/// Binds `address`, if nobody but this machine can reach it.
async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        bail!("{address} is not a loopback address: this issuer vouches for anyone, use 127.0.0.1 or [::1]");
    }
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: choose another --listen"))
}

/// Resolves on SIGINT or SIGTERM.
async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_bound() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:127.0.0.1]:0"] {
            let refused = bind(address.parse().unwrap()).await.unwrap_err().to_string();
            assert!(refused.contains("not a loopback address"), "{address}: {refused}");
        }
        assert!(bind("127.0.0.1:0".parse().unwrap()).await.is_ok());
    }
}
