//! `abuse`: whether a hostile client costs the others anything.
//!
//! A client at 127.0.0.3 adds entries at a steady rate, first undisturbed and then beside each attack from
//! 127.0.0.2. What is printed is its 99th percentile beside each attack as a multiple of the undisturbed one.
//! Attacks are bounded in connections, bytes and time, and go to a server of this program's own.

mod attack;
mod frames;

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use reqwest::Client;
use url::Url;

pub(crate) use self::attack::Attack;
use self::attack::Attackers;
use crate::arguments::Load;
use crate::cpu::resident_mebibytes;
use crate::instance::{Instance, Setting};
use crate::load::{Counts, fire};
use crate::run::Verdict;
use crate::schedule::{Spacing, arrivals};
use crate::submitter::Submitter;
use crate::target::Target as _;
use crate::target::rekor_v2::RekorV2;
use crate::trust::{self, LogKeys};
use crate::{http, say};

/// Where attacks come from.
const HOSTILE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Where the client comes from that must not notice them.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// Entries a second of that client, unless `--rates` names another number.
const RATE: f64 = 20.0;
/// An attack stands before its effect is measured.
const SETTLE: Duration = Duration::from_secs(2);
/// The multiple of the undisturbed 99th percentile that an attack may cost.
const BOUND: f64 = 2.0;

/// The limits of an exposed instance, which one on loopback does not have by itself.
const EXPOSED: [Setting; 3] = [
    ("CHANCERY_LIMITS__RATES__WRITES_PER_ADDRESS", "{per_minute=3000, burst=1500}"),
    ("CHANCERY_LIMITS__RATES__READS_PER_ADDRESS", "{per_minute=12000, burst=6000}"),
    ("CHANCERY_LIMITS__RATES__PROBES_PER_ADDRESS", "{per_minute=6000, burst=3000}"),
];

/// What the client saw in one phase.
struct Phase {
    name: String,
    p50: Duration,
    p99: Duration,
    counts: Counts,
    /// Megabytes of memory that the server has at the end.
    resident: f64,
    /// How often attackers connected, and requests that they sent.
    attacks: Option<(u64, u64)>,
}

/// Runs all attacks, or those that are named, and prints what they cost.
pub(crate) async fn abuse(
    client: &Client,
    load: &Load,
    attacks: &[Attack],
    binaries: &Path,
    folder: &Path,
) -> Result<Verdict> {
    let instance = Instance::start(binaries, folder, false, None, &EXPOSED, client).await?;
    let victim = Victim::of(&instance, load).await?;
    let address = address(instance.url())?;
    let mut phases = vec![victim.phase("undisturbed", None).await?];
    say(&phases[0].to_string());
    let verifier = Submitter::new()?.certificate().to_pem();
    let attacks = if attacks.is_empty() { Attack::value_variants() } else { attacks };
    for attack in attacks {
        let attackers = Attackers::start(*attack, address, HOSTILE, &verifier);
        tokio::time::sleep(SETTLE).await;
        let phase = victim.phase(&attack.to_string(), Some(&attackers)).await?;
        attackers.stop().await;
        say(&phase.to_string());
        phases.push(phase);
        tokio::time::sleep(SETTLE).await;
    }
    print(&phases)?;
    Ok(match phases.iter().map(|phase| phase.counts.due - phase.counts.accepted).sum() {
        0 => Verdict::Kept,
        lost => Verdict::Broken(lost),
    })
}

/// The client that must not notice.
struct Victim {
    target: Arc<RekorV2>,
    client: Client,
    rate: f64,
    span: Duration,
    in_flight: usize,
    server: u32,
}

impl Victim {
    async fn of(instance: &Instance, load: &Load) -> Result<Self> {
        let url = instance.url();
        let client = http::client_from(load.timeout, OTHER)?;
        let keyring = trust::keyring(&client, url, None).await?;
        let keys = LogKeys::rekor_v2(&keyring)?;
        let target = RekorV2::new(client.clone(), url, url, keys, Submitter::new()?).await?;
        Ok(Self {
            target: Arc::new(target),
            client,
            rate: load.rates.first().copied().unwrap_or(RATE),
            span: load.seconds,
            in_flight: load.in_flight,
            server: instance.server_id(),
        })
    }

    async fn phase(&self, name: &str, attackers: Option<&Attackers>) -> Result<Phase> {
        let times = arrivals(self.rate, self.span, Spacing::Even, 1);
        let shots = Arc::new(self.target.prepare(times.len()).await?);
        let (target, client) = (Arc::clone(&self.target), self.client.clone());
        let volley = fire(times, self.in_flight, move |number| {
            let (target, client, shots) = (Arc::clone(&target), client.clone(), Arc::clone(&shots));
            async move {
                let request = target.request(&shots[number]);
                http::send(client, request).await
            }
        });
        let volley = volley.await?;
        let quantile = |q| Duration::from_micros(volley.latency.value_at_quantile(q));
        Ok(Phase {
            name: name.to_owned(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            counts: volley.counts,
            resident: resident_mebibytes(self.server)?,
            attacks: attackers.map(Attackers::counts),
        })
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    let url = Url::parse(url)?;
    let addresses = url.socket_addrs(|| None)?;
    let address = addresses.first().copied().context("an address")?;
    ensure!(address.ip().is_loopback(), "attacks go to loopback alone");
    Ok(address)
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, p50, p99, counts, resident, attacks } = self;
        let milliseconds = |time: &Duration| time.as_secs_f64() * 1000.0;
        let (p50, p99) = (milliseconds(p50), milliseconds(p99));
        write!(f, "{name:<12} {p50:>8.2} {p99:>8.2} {:>9} {:>8}", counts.accepted, counts.due)?;
        write!(f, " {resident:>8.0}")?;
        if let Some((connections, requests)) = attacks {
            write!(f, " {connections:>12} {requests:>10}")?;
        }
        for (complaint, count) in &counts.complaints {
            write!(f, "\n    {count} × {complaint}")?;
        }
        Ok(())
    }
}

fn print(phases: &[Phase]) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{:<12} {:>8} {:>8} {:>9} {:>8} {:>8} {:>12} {:>10}",
        "attack", "p50 ms", "p99 ms", "accepted", "due", "MiB", "connections", "requests"
    )?;
    for phase in phases {
        writeln!(out, "{phase}")?;
    }
    let Some((undisturbed, attacked)) = phases.split_first() else { return Ok(()) };
    writeln!(out, "\np99 of another address, as a multiple of its undisturbed value")?;
    for phase in attacked {
        let ratio = phase.p99.as_secs_f64() / undisturbed.p99.as_secs_f64().max(1e-6);
        let verdict = if ratio <= BOUND { "within 2" } else { "ABOVE 2" };
        writeln!(out, "{:<12} {ratio:>6.2}  {verdict}", phase.name)?;
    }
    Ok(())
}
