//! What an operator does on a server that runs, or that was killed.

use anyhow::{Context as _, Result, ensure};
use chancery_tests::ca::CaClient;
use chancery_tests::program;

use crate::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_work() -> Result<()> {
    let mut world = World::begin(&[("entries = \"open\"", "entries = \"token\"")]).await?;
    world.operator.set("READER", "auditor");
    let mut leaves = world.section("A reader has to go")?;
    let (revoke, renew) = (leaves.block()?, leaves.block()?);
    leaves.done()?;
    let lost = world.operator.follows(&renew)?.stdout.trim().to_owned();
    world.operator.starts().await?;
    world.add("before").await?;
    server_is_down(&world).await?;
    slow_commits(&world)?;
    writes_are_refused(&world).await?;
    client_at_its_limits(&world)?;
    log_lines_are_lost(&world)?;
    clock_is_behind(&world)?;
    reader_has_to_go(&world, &lost, &revoke, &renew).await?;
    reload_is_refused(&world).await?;
    tuf_metadata_ends(&mut world)?;
    upgrade(&mut world)?;
    passphrase(&world).await
}

async fn server_is_down(world: &World) -> Result<()> {
    let mut section = world.section("The server is down")?;
    world.operator.pulls_the_plug()?;
    world.operator.until("the server is gone", async || Ok(!world.operator.is_running())).await?;
    let why = world.operator.follows(&section.block()?)?;
    ensure!(why.stdout.contains("listening on"), "the journal: {}", why.stdout);
    world.operator.follows(&section.block()?)?;
    let well = world.operator.follows(&section.block()?)?.stdout;
    ensure!(well.matches("chancery_log_open").count() == 3 && !well.contains("} 0"), "{well}");
    section.done()
}

fn slow_commits(world: &World) -> Result<()> {
    let mut section = world.section("No new head, or slow commits")?;
    let figures = world.operator.follows(&section.block()?)?.stdout;
    for figure in ["sync_seconds_sum", "stage=\"commit\"", "queue_oldest_seconds"] {
        ensure!(figures.contains(figure), "no {figure}:\n{figures}");
    }
    world.operator.follows(&section.block()?)?;
    section.done()
}

async fn writes_are_refused(world: &World) -> Result<()> {
    let request = chancery_tests::http()?.post(format!("{}/api/v2/signingCert", world.server().url()));
    ensure!(request.bearer_auth("not.a.token").body("{}").send().await?.status() == 400, "refused");
    let mut section = world.section("Writes are refused")?;
    let reasons = world.operator.follows(&section.block()?)?.stdout;
    ensure!(reasons.contains("chancery_ca_refusals_total{reason=\"token_malformed\"} 1"), "{reasons}");
    section.done()
}

/// A healthy server: what is held is shown, and nothing is refused.
fn client_at_its_limits(world: &World) -> Result<()> {
    let mut section = world.section("A client at its limits")?;
    let held = world.operator.follows(&section.block()?)?.stdout;
    for name in ["connections", "addresses", "writes", "bodies", "body_bytes", "unread_bytes"] {
        ensure!(held.contains(&format!("chancery_http_{name} ")), "{held}");
    }
    section.done()
}

/// The log of a test is written: the numbers are there, at zero.
fn log_lines_are_lost(world: &World) -> Result<()> {
    let mut section = world.section("Log lines are lost")?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.contains("chancery_log_lines_lost_total{kind=\"audit\"} 0"), "{shown}");
    section.done()
}

/// The clock of a test cannot be set: the commands are run while it is right.
fn clock_is_behind(world: &World) -> Result<()> {
    let mut section = world.section("The clock is behind")?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.matches("chancery_log_clock_behind_seconds").count() == 3, "{shown}");
    section.done()
}

async fn reader_has_to_go(world: &World, lost: &str, revoke: &str, renew: &str) -> Result<()> {
    let http = chancery_tests::http()?;
    let url = format!("{}/api/v1/log/entries?logIndex=0", world.server().url());
    let status = async |token: &str| -> Result<u16> {
        Ok(http.get(&url).bearer_auth(token).send().await?.status().as_u16())
    };
    ensure!(status(lost).await? == 200, "the token reads");
    world.operator.follows(revoke)?;
    world.operator.until("the lost token is refused", async || Ok(status(lost).await? == 401)).await?;
    let token = world.operator.follows(renew)?.stdout.trim().to_owned();
    world.operator.until("the new token reads", async || Ok(status(&token).await? == 200)).await?;
    ensure!(status(lost).await? == 401, "the lost token is good again");
    Ok(())
}

/// Somebody has broken the issuers, and reloads.
async fn reload_is_refused(world: &World) -> Result<()> {
    let issuers = world.server().folder().join("fulcio.yaml");
    let good = std::fs::read(&issuers)?;
    std::fs::write(&issuers, "oidc-issuers: [")?;
    let mut section = world.section("A reload is refused")?;
    let (look, reload, check) = (section.block()?, section.block()?, section.block()?);
    section.done()?;
    world.operator.follows(&reload)?;
    let refused = "configuration not reloaded";
    world.operator.until(refused, async || Ok(world.operator.journal().contains(refused))).await?;
    let shown = world.operator.follows(&look)?.stdout;
    for words in
        ["chancery_reload_successful 0", refused, "fulcio.yaml", "chancery_file_current{file=\"readers\"} 1"]
    {
        ensure!(shown.contains(words), "no `{words}`:\n{shown}");
    }
    std::fs::write(&issuers, good)?;
    world.operator.follows(&reload)?;
    let reloaded = "configuration reloaded";
    world.operator.until(reloaded, async || Ok(world.operator.journal().contains(reloaded))).await?;
    let shown = world.operator.follows(&check)?.stdout;
    ensure!(shown.contains("chancery_reload_successful 1") && !shown.contains(" 0\n"), "{shown}");
    Ok(())
}

/// The trust files have changed since the last signature.
fn tuf_metadata_ends(world: &mut World) -> Result<()> {
    world.takes_tuf_key_away()?;
    world.server().configure(&[("[ca]\n", "[ca]\n# a comment that changes nothing\n")])?;
    let mut section = world.section("TUF metadata ends")?;
    world.operator.follows(&section.block()?)?;
    let shown = world.operator.follows(&section.block()?)?.stdout;
    ensure!(shown.contains("ok") && !shown.contains("warning") && !shown.contains("problem"), "{shown}");
    section.done()
}

/// The new program is a wrapper of the one that there is, and says that it was here.
fn upgrade(world: &mut World) -> Result<()> {
    let real = program::own("chancery-server")?;
    let script = format!("#!/bin/sh\necho 'the new program' >&2\nexec {} \"$@\"\n", real.display());
    let new = world.operator.program("chancery-server.new", &script)?;
    world.operator.set("NEW", new.display().to_string());
    let mut section = world.section("Upgrade")?;
    world.operator.follows(&section.block()?)?;
    ensure!(world.operator.journal().contains("the new program"), "{}", world.operator.journal());
    section.done()
}

async fn passphrase(world: &World) -> Result<()> {
    world.server().configure(&[(
        "# passphrase = { file = \"passphrase\" }",
        "passphrase = { file = \"passphrase\" }",
    )])?;
    // Once for keys in clear, once for a passphrase that is replaced.
    for _ in 0..2 {
        let mut section = world.section("The passphrase of the keys")?;
        world.operator.follows(&section.block()?)?;
        world.operator.follows(&section.block()?)?;
        section.done()?;
    }
    let ca = CaClient::new(world.server().url(), &world.server().trust("ct.pub"))?;
    ca.issue(&world.instance.issuer.token().await?).await?.context("an idle CA issues")?;
    world.add("with encrypted keys").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_ends() -> Result<()> {
    let tls = "# [listen.tls]\n# certificate = \"tls.crt\"\n# key = \"tls.key\"";
    let set = "[listen.tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"";
    let mut world = World::begin(&[(tls, set)]).await?;
    let make = |days: u32, key: &str, certificate: &str| {
        let command = format!(
            "umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} \
             -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout \"{key}\" -out \"{certificate}\""
        );
        world.operator.follows(&command).map(drop)
    };
    make(3, "$DIR/tls.key", "$DIR/tls.crt")?;
    make(90, "new.key", "new.crt")?;
    world.operator.set("NEW_KEY", "new.key");
    world.operator.set("NEW_CERTIFICATE", "new.crt");
    world.operator.follows("systemctl start chancery-server")?;
    let left = "curl -fsS --retry 60 --retry-all-errors --retry-delay 1 \"$METRICS/metrics\" | \
                awk '/certificate=\"tls\"/ { print int(($2 - '$(date +%s)') / 86400) }'";
    let days = world.operator.follows(left)?.stdout;
    ensure!(matches!(days.trim(), "2" | "3"), "{days} days are left, of 3");
    let mut section = world.section("A certificate ends")?;
    for _ in 0..3 {
        world.operator.follows(&section.block()?)?;
    }
    section.done()?;
    let days = world.operator.follows(left)?.stdout;
    ensure!(matches!(days.trim(), "89" | "90"), "{days} days are left, of 90");
    // The listener looks every few seconds.
    let served = "curl -fsS --cacert new.crt \"https://${URL#http://}/healthz\"";
    world
        .operator
        .until("the new certificate is served", async || Ok(world.operator.tries(served)?.code == Some(0)))
        .await
}
