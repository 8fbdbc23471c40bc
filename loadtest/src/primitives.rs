//! What the operations that cannot be avoided cost on this machine, measured in the same run as the load.
//!
//! Processor time of one thread, the best of several rounds: other work on the machine makes rounds slower, never
//! quicker. fdatasync is the exception, since waiting is what it does: its median in wall time.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde::Serialize;

/// Size of a Rekor v2 entry with a GitHub workflow's certificate, in bytes.
pub(crate) const ENTRY: usize = 3200;
/// Rounds of each primitive.
const ROUNDS: usize = 7;
/// Processor time of one round.
const ROUND: Duration = Duration::from_millis(8);
/// Appends that are synced.
const SYNCS: usize = 100;

/// Microseconds on one core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Primitives {
    /// ECDSA P-256 signature.
    pub(crate) p256_sign: f64,
    /// ECDSA P-256 verification.
    pub(crate) p256_verify: f64,
    /// Ed25519 signature.
    pub(crate) ed25519_sign: f64,
    /// Ed25519 verification.
    pub(crate) ed25519_verify: f64,
    /// RSA-2048 verification, PKCS#1 v1.5.
    pub(crate) rsa2048_verify: f64,
    /// SHA-256 of an entry of [`ENTRY`] bytes.
    pub(crate) sha256_entry: f64,
    /// Sending 1 MiB over a connection of loopback, what the kernel does in the sender's name included.
    pub(crate) send_mib: f64,
    /// Median of an append of an entry with fdatasync in the server's folder, if that is on this machine.
    pub(crate) fdatasync_p50: Option<f64>,
}

impl Primitives {
    /// Measures them; takes a second. `folder` is one on the server's disk.
    pub(crate) fn measure(folder: Option<&Path>) -> Result<Self> {
        let failed = |_| anyhow!("the cryptographic library makes no keys");
        let random = SystemRandom::new();
        let message = [0x5A; 128];
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(failed)?;
        let ed25519 = Ed25519KeyPair::generate().map_err(failed)?;
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;

        let by_p256 = p256.sign(&random, &message).map_err(failed)?;
        let by_ed25519 = ed25519.sign(&message);
        let mut by_rsa = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, &message, &mut by_rsa).map_err(failed)?;

        let p256_key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, p256.public_key());
        let ed25519_key = UnparsedPublicKey::new(&ED25519, ed25519.public_key());
        let rsa_der = rsa.public_key().as_der().map_err(failed)?;
        let rsa_key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa_der.as_ref());
        let entry = vec![0x5A; ENTRY];
        Ok(Self {
            p256_sign: best(|| p256.sign(&random, &message).is_ok())?,
            p256_verify: best(|| p256_key.verify(&message, by_p256.as_ref()).is_ok())?,
            ed25519_sign: best(|| !ed25519.sign(&message).as_ref().is_empty())?,
            ed25519_verify: best(|| ed25519_key.verify(&message, by_ed25519.as_ref()).is_ok())?,
            rsa2048_verify: best(|| rsa_key.verify(&message, &by_rsa).is_ok())?,
            sha256_entry: best(|| !digest(&SHA256, black_box(&entry)).as_ref().is_empty())?,
            send_mib: send_mib()?,
            fdatasync_p50: folder.map(fdatasync).transpose()?,
        })
    }
}

/// Microseconds of processor time for one call, in the best round. A call that fails is no measurement.
fn best(mut call: impl FnMut() -> bool) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (begin, mut calls) = (cpu(), 0.0);
        while cpu().saturating_sub(begin) < ROUND {
            for _ in 0..8 {
                ensure!(black_box(call()), "a primitive fails, so it cannot be timed");
            }
            calls += 8.0;
        }
        best = f64::min(best, cpu().saturating_sub(begin).as_secs_f64() * 1e6 / calls);
    }
    Ok(best)
}

/// Microseconds for a MiB, to a reader that lets it go.
fn send_mib() -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let reader = thread::spawn(move || io::copy(&mut receiver, &mut io::sink()));
    let bytes = vec![0x5A; 1 << 20];
    let micros = best(|| sender.write_all(&bytes).is_ok());
    drop(sender);
    reader.join().map_err(|_| anyhow!("the reader on loopback failed"))??;
    micros
}

fn cpu() -> Duration {
    crate::cpu::of_this_thread()
}

/// Median of appending an entry and syncing it, in microseconds.
fn fdatasync(folder: &Path) -> Result<f64> {
    let path = folder.join(".chancery-loadtest-fdatasync");
    let tried = || -> io::Result<Vec<Duration>> {
        let mut file = File::create(&path)?;
        let entry = [0x5A; ENTRY];
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let started = Instant::now();
            file.write_all(&entry)?;
            file.sync_data()?;
            times.push(started.elapsed());
        }
        Ok(times)
    };
    let times = tried();
    // Best effort: the file is harmless, and its removal no measurement.
    let _ = std::fs::remove_file(&path);
    let mut times =
        times.with_context(|| format!("cannot write to {} to time fdatasync", folder.display()))?;
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primitives_are_measured_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let primitives = Primitives::measure(Some(folder.path())).unwrap();
        let Primitives {
            p256_sign,
            p256_verify,
            ed25519_sign,
            ed25519_verify,
            rsa2048_verify,
            sha256_entry,
            send_mib,
            ..
        } = primitives;
        let signatures = [p256_sign, p256_verify, ed25519_sign, ed25519_verify, rsa2048_verify];
        for one in signatures.into_iter().chain([sha256_entry, send_mib]) {
            assert!(one > 0.0 && one.is_finite(), "{primitives:?}");
        }
        assert!(primitives.fdatasync_p50.is_some_and(|p50| p50 > 0.0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = folder.path().join("missing");
        assert!(Primitives::measure(Some(&missing)).unwrap_err().to_string().contains("cannot write"));
    }
}
