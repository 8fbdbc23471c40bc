//! A log ends and another one takes its place: in a new year, after a theft, after a loss.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::rekor::{Acknowledged, RekorLog};
use chancery_tests::{Chancery, Cosign, IdToken, Outcome, Policy, Rekor, Server};
use chancery_tlog::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::{Users, World};

/// A file, the bundle over it, and who signed it.
struct Signed {
    file: PathBuf,
    bundle: PathBuf,
    token: IdToken,
}

impl Signed {
    /// What a verifier who asks `world` for its trust now says of it.
    fn verdicts(&self, world: &World) -> Result<[(&'static str, Outcome); 2]> {
        let [file, bundle] = [&self.file, &self.bundle].map(|path| path.display().to_string());
        let chancery = Chancery::new(&world.instance, &format!("home-{}", SystemClock.now().millis()))?;
        chancery.run(&["trust", "add", world.server().url()])?.success()?;
        let own = ["verify", "--bundle", &bundle, &file].map(str::to_owned);
        let own = [&own[..], &Policy::of(&self.token)].concat();
        let cosign = Cosign::v3(&world.instance)?;
        Ok([
            ("cosign 3", cosign.verify("verify-blob", &self.token, &["--bundle", &bundle, &file])?),
            ("chancery", chancery.run(&own)?),
        ])
    }

    fn is_believed(&self, world: &World) -> Result<()> {
        for (client, outcome) in self.verdicts(world)? {
            outcome.success().with_context(|| format!("{client}: {}", self.bundle.display()))?;
        }
        Ok(())
    }

    fn is_refused(&self, world: &World) -> Result<()> {
        for (client, outcome) in self.verdicts(world)? {
            outcome.failure(&[]).with_context(|| format!("{client}: {}", self.bundle.display()))?;
        }
        Ok(())
    }
}

/// Signs with cosign 3 and a log entry as the only time.
async fn sign(world: &World, name: &str) -> Result<Signed> {
    let (cosign, token) = (Cosign::v3(&world.instance)?, world.instance.issuer.token().await?);
    let file = world.instance.file(name, format!("a rocket called {name}"))?;
    let bundle = world.instance.scratch().join(format!("{name}.json"));
    let [to, from] = [&bundle, &file].map(|path| path.display().to_string());
    cosign.sign("sign-blob", &token, &["--bundle", &to, &from])?.success()?;
    Ok(Signed { file, bundle, token })
}

fn trusted_root(world: &World) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(world.server().trust("trusted_root.json"))?)?)
}

/// The start of trust in the first attestation log.
fn start(world: &World) -> Result<Timestamp> {
    let root = trusted_root(world)?;
    let start = root.pointer("/tlogs/0/publicKey/validFor/start").and_then(Value::as_str);
    Timestamp::parse_rfc3339(start.context("a start of trust")?).context("a time")
}

async fn after(time: Timestamp) {
    while SystemClock.now() < time {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The TUF repository, from which clients learn of new keys, has the trusted root of `trust/`.
fn tuf_has_it(world: &World) -> Result<()> {
    let same = "for file in \"$DIR\"/tuf/targets/*trusted_root.json \"$DIR\"/tuf/*trusted_root.json; do \
                if cmp -s \"$file\" \"$DIR/trust/trusted_root.json\"; then echo same; fi; done";
    ensure!(world.sh(same)?.contains("same"), "TUF clients do not learn of the new log");
    Ok(())
}

/// The log that takes entries now, with the key that the trust files name now.
fn newest_log(world: &World) -> Result<RekorLog> {
    RekorLog::new(world.server().url(), &world.server().trust("rekor.pub"))
}

/// The new log is well, and counts on.
async fn takes_over(world: &World, least: u64) -> Result<Acknowledged> {
    let entry = world.submitter.hashedrekord(format!("the first from {least}").as_bytes())?;
    let entry = newest_log(world)?.add(&entry).await?.context("the new log takes entries")?;
    ensure!(entry.index >= least, "index {} was given twice", entry.index);
    Ok(entry)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_and_turns_out_to_be_stolen() -> Result<()> {
    // Rekor v1 alone, whose entries have no time but the log's.
    let mut world = World::begin_with(Rekor::V1, &[]).await?;
    world.takes_tuf_key_away()?;
    world.operator.starts().await?;
    let began = start(&world)?;
    // So that there is a moment between the start of trust and this signature.
    after(began.plus(Duration::from_secs(2))).await;
    let old = sign(&world, "old").await?;
    let before = world.add("before").await?;
    let shown = world.checkpoint("/rekor-v1").await?;

    let mut section = world.section("Key replacement")?;
    let replace = section.block()?;
    section.done()?;
    world.operator.follows(&replace)?;
    world.is_ready().await?;
    tuf_has_it(&world)?;
    takes_over(&world, before.index + 1).await?;
    let new = sign(&world, "new").await?;
    old.is_believed(&world)?;
    new.is_believed(&world)?;
    ensure!(world.log.get(&before.id).await?.body == before.body, "the old log is not read as it was");
    ensure!(world.checkpoint("/rekor-v1").await? == shown, "the old log has another head");
    // "or ct --replaces ct"
    world.operator.follows(&replace.replace("rekor-v1", "ct"))?;
    world.is_ready().await?;
    let ca = CaClient::new(world.server().url(), &world.server().trust("ct.pub"))?;
    ca.issue(&world.instance.issuer.token().await?).await?.context("the CA writes to the new log")?;
    old.is_believed(&world)?;

    world.operator.set("BEFORE_THE_THEFT", began.plus(Duration::from_secs(1)).to_rfc3339());
    stolen(&mut world, &old, &before).await?;
    new.is_believed(&world)
}

async fn stolen(world: &mut World, old: &Signed, before: &Acknowledged) -> Result<()> {
    let mut section = world.section("Key replacement: a stolen key")?;
    let stop = section.block()?;
    let (until, untrusted, unserved) = (section.block()?, section.block()?, section.block()?);
    let publish = section.block()?;
    section.done()?;
    for end in [&until, &untrusted] {
        world.operator.follows(&stop)?;
        world.operator.follows(end)?;
        world.operator.follows(&publish)?;
        world.is_ready().await?;
        tuf_has_it(world)?;
        old.is_refused(world)?;
        ensure!(world.log.get(&before.id).await?.body == before.body, "it is read, whoever believes it");
    }
    world.operator.follows(&stop)?;
    let said = world.operator.follows(&unserved)?.stderr;
    let named: Vec<&str> = said.split_whitespace().filter(|word| word.ends_with("/rekor-v1.key")).collect();
    ensure!(named == ["keys/rekor-v1.key"], "which files are to be destroyed: {said}");
    world.sh("rm \"$DIR/keys/rekor-v1.key\" \"$DIR/keys/rekor-v1.checkpoint.key\"")?;
    world.operator.follows(&publish)?;
    world.is_ready().await?;
    ensure!(world.log.get(&before.id).await.is_err(), "a log that is served no more is served");
    takes_over(world, before.index + 1).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_are_replaced_with_the_root_at_hand_and_elsewhere() -> Result<()> {
    let mut world = World::begin_with(Rekor::V1, &[]).await?;
    world.takes_tuf_key_away()?;
    for (variable, key) in [("CA_ROOT_KEY", "ca-root.key"), ("TSA_ROOT_KEY", "tsa-root.key")] {
        world.place(variable, key);
        world.sh(&format!("mv \"$DIR/keys/{key}\" \"${variable}\""))?;
    }
    world.operator.starts().await?;
    let old = sign(&world, "old").await?;
    let mut section = world.section("A chain is replaced")?;
    let (replace, request) = (section.block()?, section.block()?);
    section.done()?;
    world.operator.follows(&replace)?;
    world.is_ready().await?;
    tuf_has_it(&world)?;
    let new = sign(&world, "new").await?;
    // "or tsa --root-key …", and by a request.
    world
        .operator
        .follows(&replace.replace("ca --root-key \"$CA_ROOT_KEY\"", "tsa --root-key \"$TSA_ROOT_KEY\""))?;
    world.operator.follows(&request)?;
    world.sh(
        "chancery-server sign-csr ca ca.csr --root-key \"$CA_ROOT_KEY\" --chain \"$DIR/trust/ca-chain.pem\" \
         --output ca-new.pem",
    )?;
    world.operator.follows(&replace.replace("--root-key \"$CA_ROOT_KEY\"", "--chain ca-new.pem"))?;
    world.is_ready().await?;
    let newest = sign(&world, "newest").await?;
    for signed in [&old, &new, &newest] {
        signed.is_believed(&world)?;
    }
    Ok(())
}

/// Another instance has ended, and this one speaks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trust_of_an_instance_before_this_one_is_imported() -> Result<()> {
    let mut world = World::begin_with(Rekor::V1, &[]).await?;
    world.takes_tuf_key_away()?;
    world.operator.starts().await?;
    let stranger = world.instance.stranger().await?;
    world.operator.set("OLD_TRUSTED_ROOT", stranger.trust("trusted_root.json").display().to_string());
    let mut section = world.section("Trust of an instance before this one")?;
    world.operator.follows(&section.block()?)?;
    section.done()?;
    world.is_ready().await?;
    tuf_has_it(&world)?;
    let read = |server: &Server| -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(server.trust("trusted_root.json"))?)?)
    };
    let (before, now) = (read(&stranger)?, read(world.server())?);
    for kind in ["certificateAuthorities", "timestampAuthorities"] {
        let theirs = &before[kind][0]["certChain"];
        let named = now[kind].as_array().context("authorities")?;
        let named = named.iter().find(|authority| authority["certChain"] == *theirs);
        ensure!(named.context("it is not named")?["validFor"]["end"].is_string(), "{kind} goes on");
    }
    for kind in ["tlogs", "ctlogs"] {
        let ended = now[kind]
            .as_array()
            .context("logs")?
            .iter()
            .filter(|log| log["publicKey"]["validFor"]["end"].is_string());
        ensure!(ended.count() == before[kind].as_array().context("logs")?.len(), "{kind}: {now}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_over() -> Result<()> {
    let mut world = World::begin(&[]).await?;
    world.takes_tuf_key_away()?;
    let users = world.starts().await?;
    world.place("BACKUP", "backup");
    world.operator.follows(&world.section("Backup")?.block()?)?;
    let lost = world.add("lost").await?;
    world.keeps_checkpoints()?;
    let seen: u64 = world.sh("sed -n 2p seen/rekor-v1")?.trim().parse()?;
    ensure!(seen == lost.index + 1, "the newest checkpoint was kept");

    let mut section = world.section("Key replacement: a log that is over")?;
    let (aside, rest, replace) = (section.block()?, section.block()?, section.block()?);
    section.done()?;
    // Everything but this log is as it was, in one of two worlds.
    world.sh("systemctl stop chancery-server; cp -a \"$DIR\" \"$DIR.before\"")?;
    world.operator.follows(&aside)?;
    world.operator.follows(&replace)?;
    goes_on(&world, seen).await?;
    // Nothing but the backup is left.
    world.sh("systemctl stop chancery-server; mv \"$DIR\" \"$DIR.lost\"; rm -r \"$DIR.before\"")?;
    world.operator.follows(&rest)?;
    world.operator.tries("systemctl start chancery-server")?;
    world.operator.until("no start before it is replaced", async || Ok(!world.operator.is_running())).await?;
    world.operator.follows(&replace)?;
    goes_on(&world, seen).await?;
    let Users { logs, token, .. } = users;
    logs.rekor_v2.add(&world.submitter.hashedrekord_v2(b"after")?).await?.context("v2 goes on")?;
    logs.ca.issue(&token).await?.context("the CA goes on").map(drop)
}

/// What the other logs have is what they had, and the new log gives no index that the old one may have given.
async fn goes_on(world: &World, seen: u64) -> Result<()> {
    world.is_ready().await?;
    tuf_has_it(world)?;
    for (log, prefix) in [("rekor-v2", ""), ("ct", "/ct")] {
        ensure!(world.checkpoint(prefix).await? == world.sh(&format!("cat seen/{log}"))?, "{log} changed");
    }
    takes_over(world, seen).await?;
    let root = trusted_root(world)?;
    let ended = |log: &&Value| log["publicKey"]["validFor"].get("end").is_some();
    let logs = root["tlogs"].as_array().context("logs")?;
    ensure!(logs.iter().filter(ended).count() == 1, "what the lost log signed is believed: {root}");
    Ok(())
}
