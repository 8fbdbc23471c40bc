//! Chains of the CA and the timestamp authority that are replaced, and that end: real clients go on with old and new.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chancery_tests::verdicts::{Signed, Time, all_verify, sign, verdicts};
use chancery_tests::{Instance, Rekor, Server, http, issuers_yaml, peers, program};
use chancery_tlog::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

/// Runs a subcommand on the instance's folder.
fn changed(instance: &Instance, subcommand: &[&str], arguments: &[&str]) -> Result<program::Outcome> {
    program::run(Server::command(subcommand)?.arg(instance.server.folder()).args(arguments))
}

/// Replaces a chain of an instance that is stopped for it, tells TUF clients, and starts it again.
async fn replace(instance: &mut Instance, arguments: &[&str]) -> Result<()> {
    instance.server.stop().await?;
    changed(instance, &["replace-chain"], arguments)?.success()?;
    changed(instance, &["tuf", "sign"], &[])?.success()?;
    let checked = instance.server.run("check-config")?.success()?;
    ensure!(!checked.said().contains("differs from"), "{}", checked.said());
    instance.server.start().await
}

fn trusted_root(instance: &Instance) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(instance.server.trust("trusted_root.json"))?)?)
}

/// Which authorities of a kind have an end, in the order of the trusted root.
fn ends(instance: &Instance, kind: &str) -> Result<Vec<bool>> {
    let root = trusted_root(instance)?;
    let authorities = root[kind].as_array().context("authorities")?;
    Ok(authorities.iter().map(|authority| authority["validFor"].get("end").is_some()).collect())
}

#[tokio::test]
async fn what_every_chain_vouched_for_verifies_after_all_were_replaced() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let mut all: Vec<Signed> = vec![sign(&instance, "first").await?];
    for (name, arguments) in [
        ("under-the-root", &["ca"][..]),
        ("stamped-by-another", &["tsa"]),
        ("under-another-root", &["ca", "--new-root"]),
        ("stamped-under-another-root", &["tsa", "--new-root"]),
    ] {
        replace(&mut instance, arguments).await.context(name)?;
        all.push(sign(&instance, name).await.context(name)?);
    }
    for signed in &all {
        all_verify(&instance, signed, Time::Authority)?;
    }
    ensure!(ends(&instance, "certificateAuthorities")? == [false, true, true]);
    ensure!(ends(&instance, "timestampAuthorities")? == [false, true, true]);
    let checked = instance.server.run("check-config")?.success()?.said();
    for key in ["ca-root.key", "ca-root-3.key", "tsa-root.key", "tsa-root-3.key", "tuf-root.key"] {
        ensure!(checked.contains(&format!("keys/{key} is on this machine")), "{key}: {checked}");
    }
    // The folder is whole: it survives a backup, and the server's own checks.
    instance.server.stop().await?;
    instance.server.run("fsck")?.success()?;
    let copy = instance.scratch().join("backup");
    changed(&instance, &["backup"], &[&copy.display().to_string()])?.success()?;
    Ok(())
}

#[tokio::test]
async fn a_prepared_chain_is_published_before_it_is_used() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    replace(&mut instance, &["ca", "--prepare"]).await?;
    ensure!(ends(&instance, "certificateAuthorities")? == [false, false]);
    let before = sign(&instance, "before").await?;
    // What clients pinned then is enough for what comes.
    let pinned = trusted_root(&instance)?;
    replace(&mut instance, &["ca"]).await?;
    let after = sign(&instance, "after").await?;
    ensure!(ends(&instance, "certificateAuthorities")? == [false, true]);
    let chains = |root: &Value| -> Vec<Value> {
        root["certificateAuthorities"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|ca| ca["certChain"].clone())
            .collect()
    };
    let (known, now) = (chains(&pinned), chains(&trusted_root(&instance)?));
    ensure!(now.iter().all(|chain| known.contains(chain)), "a chain that nobody was told of");
    ensure!(now[0] == known[1] && now[1] == known[0], "the prepared chain is not in service");
    for signed in [&before, &after] {
        all_verify(&instance, signed, Time::Authority)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_root_elsewhere_signs_a_request() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let old = sign(&instance, "old").await?;
    let elsewhere = instance.scratch().join("elsewhere");
    std::fs::create_dir(&elsewhere)?;
    for role in ["ca", "tsa"] {
        let keys = instance.server.folder().join("keys");
        std::fs::rename(keys.join(format!("{role}-root.key")), elsewhere.join(format!("{role}-root.key")))?;
        std::fs::copy(
            instance.server.trust(&format!("{role}-chain.pem")),
            elsewhere.join(format!("{role}.pem")),
        )?;
        let at = |name: &str| elsewhere.join(name).display().to_string();
        let (request, chain) = (at(&format!("{role}.csr")), at(&format!("{role}-new.pem")));
        // The server goes on meanwhile.
        changed(&instance, &["replace-chain"], &[role, "--csr", &request])?.success()?;
        let mut sign = Server::command(&["sign-csr", role, &request])?;
        sign.args(["--root-key", &at(&format!("{role}-root.key")), "--chain", &at(&format!("{role}.pem"))]);
        program::run(sign.args(["--output", &chain]))?.success()?;
        instance.server.stop().await?;
        changed(&instance, &["replace-chain"], &[role])?.failure(&["--root-key", "--csr", "--new-root"])?;
        instance.server.start().await?;
        replace(&mut instance, &[role, "--chain", &chain]).await?;
    }
    let new = sign(&instance, "new").await?;
    for signed in [&old, &new] {
        all_verify(&instance, signed, Time::Authority)?;
    }
    Ok(())
}

#[tokio::test]
async fn trust_is_taken_back_with_a_reason_and_never_by_forgetting() -> Result<()> {
    let mut instance = Instance::start_with(Rekor::Both).await?;
    let old = sign(&instance, "old").await?;
    replace(&mut instance, &["ca"]).await?;
    instance.server.stop().await?;
    // Somebody tidies up.
    let path = instance.server.folder().join("chancery.toml");
    let (whole, trusted) = (std::fs::read_to_string(&path)?, trusted_root(&instance)?);
    let at = whole.find("[[ca.past]]").context("a chain of the past")?;
    let end = whole[at + 1..].find("\n[").map_or(whole.len(), |end| at + 1 + end);
    std::fs::write(&path, [&whole[..at], &whole[end..]].concat())?;
    instance.server.run("check-config")?.failure(&["was published", "withdrawn"])?;
    let output = instance.scratch().join("out").display().to_string();
    for arguments in [&["--output", &*output][..], &["--for", "cosign3", "--output", &output]] {
        changed(&instance, &["export-trust"], arguments)?.failure(&["trusted no more", "--untrusted"])?;
    }
    let written = ["--output", &output, "--untrusted", "the key was stolen"];
    changed(&instance, &["export-trust"], &written)?.success()?;
    std::fs::copy(Path::new(&output).join("trusted_root.json"), instance.server.trust("trusted_root.json"))?;
    changed(&instance, &["tuf", "sign"], &[])?.failure(&["trusted no more", "--untrusted"])?;

    // And does it as it is meant.
    std::fs::write(
        &path,
        whole.replacen("[[ca.past]]", "[[ca.past]]\nwithdrawn = \"the key was stolen\"", 1),
    )?;
    instance.server.run("check-config")?.success()?;
    let folder = instance.server.folder().join("trust").display().to_string();
    changed(&instance, &["export-trust"], &["--output", &folder])?.success()?;
    changed(&instance, &["tuf", "sign"], &[])?.failure(&["--untrusted"])?;
    changed(&instance, &["tuf", "sign"], &["--untrusted", "the key was stolen"])?.success()?;
    ensure!(trusted_root(&instance)? != trusted, "nothing was withdrawn");
    instance.server.start().await?;
    for (client, outcome) in verdicts(&instance, &old, Time::Authority)? {
        outcome.failure(&[]).with_context(|| format!("{client} believes a chain that is trusted no more"))?;
    }
    let new = sign(&instance, "new").await?;
    all_verify(&instance, &new, Time::Authority)
}

/// `chancery-server SUBCOMMAND` so many years later.
fn later(years: u64, subcommand: &[&str]) -> Result<Command> {
    let mut command = Server::command(subcommand)?;
    command.env("LD_PRELOAD", peers::libfaketime()?).env("FAKETIME", format!("+{}d", years * 366));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Ok(command)
}

async fn get(instance: &Instance, path: &str) -> Result<(u16, String)> {
    let answer = http()?.get(format!("{}{path}", instance.server.url())).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn a_chain_that_ends_takes_its_own_role_out_of_service_and_nothing_else() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.start_by(later(4, &["run"])?).await?;
    let (status, ready) = get(&instance, "/readyz").await?;
    ensure!(status == 200 && ready.contains("\"degraded\":[\"certificate authority\"]"), "{status} {ready}");
    ensure!(get(&instance, "/checkpoint").await?.0 == 200, "the log is down");
    ensure!(instance.server.output().await?.contains("out of service since"), "nobody was told");
    instance.server.stop().await?;
    let checked = program::run(later(4, &["check-config"])?.arg(instance.server.folder()))?.success()?;
    ensure!(checked.said().contains("out of service since"), "{}", checked.said());

    // Three months before the end of the first one, and not yet a year before.
    for (days, told) in [(1096 - 80, true), (1096 - 120, false)] {
        let mut early = Server::command(&["check-config"])?;
        early.env("LD_PRELOAD", peers::libfaketime()?).env("FAKETIME", format!("+{days}d"));
        let checked = program::run(early.arg(instance.server.folder()))?.success()?;
        let said = checked.said().contains("the certificates of the certificate authority end on");
        ensure!(said == told, "{days} days: {}", checked.said());
    }

    // The way out, with the root at hand.
    let folder: PathBuf = instance.server.folder().to_owned();
    program::run(later(4, &["replace-chain"])?.arg(&folder).arg("ca"))?.success()?;
    program::run(later(4, &["tuf", "sign"])?.arg(&folder))?.success()?;
    instance.server.start_by(later(4, &["run"])?).await?;
    let (status, ready) = get(&instance, "/readyz").await?;
    ensure!(status == 200 && !ready.contains("degraded"), "{status} {ready}");
    Ok(())
}

/// The period of each member of a list of the trusted root, as start and end.
fn periods(root: &Value, list: &str) -> Result<Vec<(Value, Value)>> {
    let members = root[list].as_array().with_context(|| format!("{list}: {root}"))?;
    let period = |member: &Value| {
        let range = member.pointer("/publicKey/validFor").unwrap_or(&member["validFor"]);
        (range["start"].clone(), range["end"].clone())
    };
    Ok(members.iter().map(period).collect())
}

/// Takes an instance's own issuance log away and lets the CA write to the one of another process.
async fn log_elsewhere(instance: &Instance) -> Result<Server> {
    let issuers = issuers_yaml(&[instance.issuer.url()]);
    let mut elsewhere = Server::init(instance.scratch(), "elsewhere", &issuers, Rekor::V1)?;
    std::fs::copy(instance.server.trust("ca-chain.pem"), elsewhere.folder().join("roots.pem"))?;
    elsewhere.configure(&[("dialect = \"ct\"", "dialect = \"ct\"\nroots = \"roots.pem\"")])?;
    elsewhere.start().await?;

    let folder = instance.server.folder();
    std::fs::copy(elsewhere.trust("ct.pub"), folder.join("elsewhere.pub"))?;
    let path = folder.join("chancery.toml");
    let text = std::fs::read_to_string(&path)?;
    let own = text.find("\n[[log]]\n").context("a log")?;
    let next = own + 1 + text[own + 1..].find("\n[[log]]\n").context("another log")?;
    std::fs::write(&path, [&text[..own], &text[next..]].concat())?;
    let key = "key = \"keys/ca.key\"\n";
    let log =
        format!("{key}issuance_log = {{ url = \"{}/ct\", key = \"elsewhere.pub\" }}\n", elsewhere.url());
    instance.server.configure(&[(key, &log)])?;
    let (trust, why) = (folder.join("trust").display().to_string(), "nothing was ever logged there");
    changed(instance, &["export-trust"], &["--output", &trust, "--untrusted", why])?.success()?;
    changed(instance, &["tuf", "sign"], &["--untrusted", why])?.success()?;
    Ok(elsewhere)
}

#[tokio::test]
async fn a_log_of_another_process_is_trusted_since_its_own_start_whatever_becomes_of_the_ca() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    let mut elsewhere = log_elsewhere(&instance).await?;
    instance.server.start().await?;
    let before = trusted_root(&instance)?;
    let mut all = vec![sign(&instance, "first").await?];
    // Whole seconds are written down: the next one has begun.
    let begun = SystemClock.now().seconds();
    while SystemClock.now().seconds() == begun {
        tokio::task::yield_now().await;
    }
    for name in ["second", "third"] {
        replace(&mut instance, &["ca"]).await.context(name)?;
        all.push(sign(&instance, name).await.context(name)?);
    }
    let after = trusted_root(&instance)?;
    let (then, now) = (periods(&before, "ctlogs")?, periods(&after, "ctlogs")?);
    ensure!(then == now, "the period of the log moved with the CA: {then:?}, {now:?}");
    for signed in &all {
        all_verify(&instance, signed, Time::Authority)?;
    }
    let text = std::fs::read_to_string(instance.server.folder().join("chancery.toml"))?;
    let line = text.lines().find(|line| line.starts_with("issuance_log")).context("issuance_log")?;
    let since = then[0].0.as_str().context("a start")?;
    ensure!(line.contains(since), "it is not written down: {line}");

    // The CA gets a log of its own again, beside the other one at first.
    instance.server.stop().await?;
    changed(&instance, &["add-log"], &["ct"])?.success()?;
    ensure!(periods(&trusted_root(&instance)?, "ctlogs")?.len() == 2, "one log hides the other");
    let past = format!(
        "[[ca.past_issuance_log]]\nname = \"elsewhere\"\nurl = \"{}/ct\"\nkey = \"elsewhere.pub\"\n\
         since = \"{since}\"\nuntil = \"{}\"\n\n[[ca.past]]",
        elsewhere.url(),
        SystemClock.now().plus(Duration::from_secs(1)).to_rfc3339()
    );
    let whole = std::fs::read_to_string(instance.server.folder().join("chancery.toml"))?;
    let moved = whole.replace(&format!("{line}\n"), "").replacen("[[ca.past]]", &past, 1);
    std::fs::write(instance.server.folder().join("chancery.toml"), moved)?;
    let trust = instance.server.folder().join("trust").display().to_string();
    changed(&instance, &["export-trust"], &["--output", &trust])?.success()?;
    changed(&instance, &["tuf", "sign"], &[])?.success()?;
    ensure!(instance.server.trust("past.ct.elsewhere.pub").exists(), "clients of single keys need it");
    let checked = instance.server.run("check-config")?.success()?;
    ensure!(!checked.said().contains("differs from"), "{}", checked.said());
    elsewhere.stop().await?;
    instance.server.start().await?;
    all.push(sign(&instance, "fourth").await?);
    for signed in &all {
        all_verify(&instance, signed, Time::Authority)?;
    }
    Ok(())
}

/// The same trusted root as others may spell it: with base64 of the other alphabet and without padding, and with a member
/// that cosign 2.5 refuses.
fn spelt_otherwise(mut root: Value) -> Value {
    fn rewrite(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    match value {
                        Value::String(text) if name == "rawBytes" => {
                            let spelt = text.replace('+', "-").replace('/', "_");
                            spelt.trim_end_matches('=').clone_into(text);
                        }
                        other => rewrite(other),
                    }
                }
            }
            Value::Array(elements) => elements.iter_mut().for_each(rewrite),
            _ => {}
        }
    }
    rewrite(&mut root);
    for list in ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"] {
        for member in root[list].as_array_mut().into_iter().flatten() {
            member["operator"] = "example.com".into();
        }
    }
    root
}

/// A time as the trust files have it, in whole seconds.
fn in_minutes(minutes: u64) -> String {
    Timestamp::from_seconds(SystemClock.now().seconds()).plus(Duration::from_mins(minutes)).to_rfc3339()
}

#[tokio::test]
async fn what_is_withdrawn_does_not_come_back_by_an_import() -> Result<()> {
    let instance = Instance::stopped().await?;
    let first = trusted_root(&instance)?;
    let (plain, other) = (
        instance.file("plain.json", first.to_string())?,
        instance.file("other.json", spelt_otherwise(first.clone()).to_string())?,
    );
    let import = |file: &Path, name: &str, until: &str| {
        let file = file.display().to_string();
        changed(&instance, &["import-trust"], &[&file, "--name", name, "--until", until])?.success()
    };
    // An earlier root of its own: what is in service has no end, and nothing is there twice.
    import(&other, "other", &in_minutes(9))?;
    let last = in_minutes(8);
    import(&plain, "plain", &last)?;
    let text = std::fs::read_to_string(instance.server.trust("trusted_root.json"))?;
    ensure!(serde_json::from_str::<Value>(&text)? == first, "an import of what is known changed it: {text}");
    let kept = std::fs::read_to_string(instance.server.folder().join("chains/imported.other.json"))?;
    ensure!(!kept.contains("operator"), "cosign 2.5 refuses it: {kept}");

    for (replaced, withdrawn, list) in [
        (None, &["replace-chain", "ca", "--untrusted", "stolen"][..], "certificateAuthorities"),
        (None, &["replace-chain", "tsa", "--untrusted", "stolen"], "timestampAuthorities"),
        (
            Some(["add-log", "rekor-v1", "--replaces", "rekor-v1"]),
            &["end-log", "rekor-v1", "--untrusted"],
            "tlogs",
        ),
        (Some(["add-log", "ct", "--replaces", "ct"]), &["end-log", "ct", "--untrusted"], "ctlogs"),
    ] {
        if let Some(replaced) = replaced {
            changed(&instance, &replaced[..1], &replaced[1..])?.success()?;
            let ended = periods(&trusted_root(&instance)?, list)?;
            ensure!(ended.iter().all(|(_, end)| end.as_str().is_none_or(|end| end < &*last)), "{ended:?}");
        }
        changed(&instance, &withdrawn[..1], &withdrawn[1..])?.success()?;
        let now = trusted_root(&instance)?;
        let gone = |member: &Value| {
            let part =
                |member: &Value| (member["publicKey"]["rawBytes"].clone(), member["certChain"].clone());
            now[list].as_array().is_some_and(|now| now.iter().all(|other| part(other) != part(member)))
        };
        let was = first[list].as_array().context("members")?;
        ensure!(was.iter().any(gone), "{withdrawn:?}: it came back: {now}");
    }
    let (why, checked) = (["--untrusted", "stolen"], instance.server.run("check-config")?.success()?);
    ensure!(!checked.said().contains("differs from"), "{}", checked.said());
    changed(&instance, &["tuf", "sign"], &why)?.success()?;
    // Of several imports the earliest end counts.
    let stranger =
        Server::init(instance.scratch(), "stranger", &issuers_yaml(&[instance.issuer.url()]), Rekor::V2)?;
    let theirs = stranger.trust("trusted_root.json");
    let (later, earlier) = (in_minutes(9), in_minutes(7));
    import(&theirs, "theirs", &later)?;
    import(&theirs, "theirs-again", &earlier)?;
    let ends = periods(&trusted_root(&instance)?, "tlogs")?;
    let ends = |time: &str| ends.iter().filter(|(_, end)| end.as_str() == Some(time)).count();
    ensure!((ends(&earlier), ends(&later)) == (1, 0), "{}", trusted_root(&instance)?);
    Ok(())
}

#[tokio::test]
async fn an_import_that_is_withdrawn_takes_nothing_out_of_service() -> Result<()> {
    let instance = Instance::stopped().await?;
    let first = instance.file("first.json", trusted_root(&instance)?.to_string())?.display().to_string();
    changed(&instance, &["import-trust"], &[&first, "--name", "before"])?.success()?;
    let entry = "name = \"before\"\n";
    instance.server.configure(&[(entry, &format!("{entry}withdrawn = \"tidied up\"\n"))])?;
    instance.server.run("check-config")?.failure(&["in service", "withdrawn", "before"])?;
    Ok(())
}

#[tokio::test]
async fn a_period_shrinks_by_a_command_or_with_a_reason() -> Result<()> {
    let instance = Instance::stopped().await?;
    let path = instance.server.folder().join("chancery.toml");
    let output = instance.scratch().join("out").display().to_string();
    let export =
        |more: &[&str]| changed(&instance, &["export-trust"], &[&["--output", &output], more].concat());
    changed(
        &instance,
        &["add-log"],
        &["rekor-v1", "--replaces", "rekor-v1", "--until", "2100-01-01T00:00:00Z"],
    )?
    .success()?;
    changed(&instance, &["tuf", "sign"], &[])?.success()?;
    // A command moves the end of what has ended, and TUF clients can be told.
    changed(&instance, &["end-log"], &["rekor-v1", "--until", "2099-01-01T00:00:00Z"])?.success()?;
    export(&[])?.success()?;
    instance.server.run("check-config")?.success()?;
    changed(&instance, &["tuf", "sign"], &[])?.success()?;

    let whole = std::fs::read_to_string(&path)?;
    let since = whole.lines().rfind(|line| line.starts_with("since = ")).context("a start")?.to_owned();
    for (old, new, said) in [
        ("until = \"2099", "until = \"2098", "until 2098"),
        // Of the CA, both authorities and every log.
        (&*since, "since = \"2090-01-01T00:00:00Z\"", "since 2090"),
    ] {
        std::fs::write(&path, whole.replace(old, new))?;
        instance.server.run("check-config")?.failure(&[said, "was published"])?;
        export(&[])?.failure(&[said, "--untrusted"])?;
        export(&["--untrusted", "a slip of the pen"])?.success()?;
    }
    // The ceremony has the files alone. An end that nothing there accounts for is told too.
    let trust = instance.server.trust("trusted_root.json");
    std::fs::copy(Path::new(&output).join("trusted_root.json"), &trust)?;
    changed(&instance, &["tuf", "sign"], &[])?.failure(&["since 2090", "--untrusted"])?;
    std::fs::write(&path, &whole)?;
    let mut root: Value = {
        changed(
            &instance,
            &["export-trust"],
            &["--output", &instance.server.folder().join("trust").display().to_string()],
        )?
        .success()?;
        trusted_root(&instance)?
    };
    root["ctlogs"][0]["publicKey"]["validFor"]["end"] = "2095-01-01T00:00:00Z".into();
    std::fs::write(&trust, root.to_string())?;
    changed(&instance, &["tuf", "sign"], &[])?.failure(&["until 2095", "--untrusted"])?;
    changed(&instance, &["tuf", "sign"], &["--untrusted", "it is over"])?.success()?;
    Ok(())
}
