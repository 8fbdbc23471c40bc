//! Add latency of the log engine on RocksDB, beside the fsync it stands on.
//!
//! A log without a ticker answers an idle writer in about one fsync and batches by itself under load, so the numbers
//! to look at are ratios: the idle add against an fdatasync of a same-size append in the same folder, measured in
//! the same run, and the mean batch for 1, 16 and 256 writers. Run with `cargo bench -p chancery-tlog --features
//! server --bench sequencer`; `CHANCERY_BENCH_DIR` chooses the disk.
#![expect(clippy::print_stdout, reason = "a benchmark's output is its purpose")]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chancery_tlog::checkpoint::Origin;
use chancery_tlog::clock::SystemClock;
use chancery_tlog::key::{KeyKind, Signer, SoftwareSigner};
use chancery_tlog::server::log::{HashedLeaf, Log, LogSettings, Submission};
use chancery_tlog::server::store::Rocks;
use tokio_util::sync::CancellationToken;

/// A Rekor v2 entry with a GitHub workflow's certificate has about 3 KB.
const ENTRY_BYTES: usize = 3 << 10;
/// How long each number of writers is measured.
const SPAN: Duration = Duration::from_secs(3);
const FSYNCS: usize = 200;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let parent = std::env::var_os("CHANCERY_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent)?;
    println!("folder {}, entries of {ENTRY_BYTES} bytes, {} s each", folder.path().display(), SPAN.as_secs());
    let fsync = fsync_latencies(folder.path())?;
    println!("{:>8}  {:>9}  {:>9}", "", "p50 ms", "p99 ms");
    println!(
        "{:>8}  {:>9.3}  {:>9.3}",
        "fsync",
        millis(percentile(&fsync, 50)),
        millis(percentile(&fsync, 99))
    );

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut idle = Duration::ZERO;
    for writers in [1, 16, 256] {
        let path = folder.path().join(format!("log-{writers}"));
        let measured = runtime.block_on(measure(&path, writers))?;
        let (p50, p99) = (percentile(&measured.latencies, 50), percentile(&measured.latencies, 99));
        if writers == 1 {
            idle = p50;
        }
        println!(
            "{writers:>8}  {:>9.3}  {:>9.3}  mean batch {:.1}, {:.0} adds/s",
            millis(p50),
            millis(p99),
            measured.mean_batch(),
            measured.rate(),
        );
    }
    let one = percentile(&fsync, 50);
    let fsyncs = (idle.as_secs_f64() / one.as_secs_f64()).floor().clamp(1.0, 2.0);
    let rest = idle.saturating_sub(one.mul_f64(fsyncs));
    println!("idle add p50 = {fsyncs:.0} fsyncs + {:.2} ms (goal: at most 2 fsyncs + 2 ms)", millis(rest));
    Ok(())
}

struct Measured {
    latencies: Vec<Duration>,
    batches: usize,
    took: Duration,
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn mean_batch(&self) -> f64 {
        self.latencies.len() as f64 / self.batches.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }
}

async fn measure(path: &Path, writers: u64) -> Result<Measured, Failure> {
    let mut settings = LogSettings::new(Origin::new("bench.example")?);
    settings.min_free_bytes = 0;
    let signer: Arc<dyn Signer> = Arc::new(SoftwareSigner::generate(KeyKind::Ed25519)?);
    let store = Arc::new(Rocks::create(path)?);
    Log::create(&settings, &*store, Arc::clone(&signer), &SystemClock, None).await?;
    let (log, sequencer) = Log::open(settings, store, signer, Arc::new(SystemClock)).await?;
    let stop = CancellationToken::new();
    let sequencer = tokio::spawn(sequencer.run(stop.clone()));

    let started = Instant::now();
    let tasks: Vec<_> = (0..writers).map(|writer| tokio::spawn(write(log.clone(), writer))).collect();
    let (mut latencies, mut heads) = (Vec::new(), BTreeSet::new());
    for task in tasks {
        for (latency, head) in task.await?? {
            latencies.push(latency);
            heads.insert(head);
        }
    }
    let took = started.elapsed();
    stop.cancel();
    sequencer.await??;
    latencies.sort_unstable();
    Ok(Measured { latencies, batches: heads.len(), took })
}

/// Adds one entry after the other; gives the latency of each and the size of the head it came under.
async fn write(log: Log, writer: u64) -> Result<Vec<(Duration, u64)>, Failure> {
    let mut measured = Vec::new();
    let begin = Instant::now();
    for n in 0u64.. {
        if begin.elapsed() > SPAN {
            break;
        }
        let submission = entry(writer, n);
        let started = Instant::now();
        let receipt = log.add(submission).await?;
        measured.push((started.elapsed(), receipt.head.size));
    }
    Ok(measured)
}

fn entry(writer: u64, n: u64) -> Submission {
    let mut leaf = vec![0x5A; ENTRY_BYTES];
    leaf[..8].copy_from_slice(&writer.to_be_bytes());
    leaf[8..16].copy_from_slice(&n.to_be_bytes());
    let leaf = HashedLeaf::new(leaf);
    Submission { identity: leaf.hash(), leaf, extra: Bytes::new(), terms: Vec::new() }
}

fn fsync_latencies(folder: &Path) -> Result<Vec<Duration>, Failure> {
    let mut file = File::create(folder.join("fsync"))?;
    let bytes = vec![0x5A; ENTRY_BYTES];
    let mut latencies = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let started = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        latencies.push(started.elapsed());
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
