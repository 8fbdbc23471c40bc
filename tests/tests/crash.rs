//! Power cuts: what a log has acknowledged is durable, and a head that it has signed is never contradicted.
//!
//! `CHANCERY_KILLS=300` makes it that many.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::Instance;
use chancery_tests::promises::{Load, Logs, Promises};

const KILLS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_entries_and_signed_heads_survive_kill_9_under_load() -> Result<()> {
    let kills = match std::env::var("CHANCERY_KILLS") {
        Ok(text) => text.parse().context("CHANCERY_KILLS is a number")?,
        Err(_) => KILLS,
    };
    let mut instance = Instance::start().await?;
    let logs = Logs::of(&instance)?;
    let mut promises = Promises::default();
    for round in 0..kills {
        // The one before may have expired.
        let token = instance.issuer.token().await?;
        let load = Load::start(&logs, &token)?;
        // Another moment of a batch in every round.
        tokio::time::sleep(Duration::from_millis(300 + 37 * (round % 20))).await;
        promises.see(&logs).await?;
        instance.server.kill()?;
        let made = promises.take(load).await?;
        ensure!(!made.contains(&0), "round {round} acknowledged {made:?}: the load is no load");
        instance.server.start().await?;
        promises.check_round(&logs).await.with_context(|| format!("after kill -9 number {}", round + 1))?;
    }
    promises.check_all(&logs).await.context("after the last round")?;
    eprintln!("{kills} kills");
    Ok(())
}
