//! Files that the programs write: every kind of place for a bundle, places that cannot be written to, links that somebody
//! else put there. Nothing is signed that cannot be written, and nothing that was logged is lost.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use chancery_tests::small_disk::{SmallDisk, may_mount_or_run_inside};
use chancery_tests::{Chancery, Instance, Outcome, Policy, Rekor};
use nix::sys::stat::{Mode, SFlag};
use serde_json::Value;

/// An instance with one log, a client of it, and a token.
struct World {
    instance: Instance,
    chancery: Chancery,
    token: String,
    policy: [String; 4],
}

impl World {
    async fn new() -> Result<Self> {
        let instance = Instance::start_with(Rekor::V2).await?;
        let chancery = Chancery::trusting(&instance)?;
        let token = instance.issuer.token().await?;
        let policy = Policy::of(&token);
        let token = instance.file("token", token.as_str())?.display().to_string();
        Ok(Self { instance, chancery, token, policy })
    }

    fn folder(&self) -> &Path {
        self.chancery.home()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Entries in the attestation log.
    async fn size(&self) -> Result<u64> {
        let url = format!("{}/checkpoint", self.instance.server.url());
        let checkpoint = chancery_tests::http()?.get(url).send().await?.text().await?;
        Ok(checkpoint.lines().nth(1).context("a checkpoint has a size")?.parse()?)
    }

    /// `chancery sign` of the file `artifact`, with more arguments.
    fn sign(&self, artifact: &Path, more: &[&str]) -> Result<Outcome> {
        let artifact = artifact.to_str().context("a name in UTF-8")?;
        self.chancery.run(&[&["sign", artifact, "--identity-token-file", &self.token], more].concat())
    }

    fn verify(&self, artifact: &Path, bundle: &Path) -> Result<()> {
        let policy = self.policy.each_ref().map(String::as_str);
        let [artifact, bundle] = [artifact, bundle].map(|path| path.to_str().unwrap_or_default());
        self.chancery
            .run(&[&["verify", "--bundle", bundle], &policy[..], &[artifact]].concat())?
            .success()?;
        Ok(())
    }

    /// Demands that signing with `more` arguments is refused before anything is asked for or logged.
    async fn refused_beforehand(&self, artifact: &Path, more: &[&str], reason: &str) -> Result<()> {
        let (before, names) = (self.size().await?, names(self.folder())?);
        let outcome = self.sign(artifact, more)?.refused(2, &["cannot write the bundle", reason])?;
        ensure!(!outcome.said().contains("signing as"), "a certificate was asked for: {}", outcome.said());
        ensure!(self.size().await? == before, "{more:?}: something was logged");
        ensure!(names == self::names(self.folder())?, "{more:?}: files were left");
        Ok(())
    }
}

/// A device of the test's own, `/dev/null` (3) or `/dev/full` (7): a program that replaces what it should write to would
/// replace the machine's. Without root, which alone could, a link to that one.
fn device(path: &Path, name: &str, minor: u64) -> Result<()> {
    let number = nix::sys::stat::makedev(1, minor);
    let made = nix::sys::stat::mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), number);
    if made.is_ok() && fs::OpenOptions::new().write(true).open(path).is_ok() {
        return Ok(());
    }
    let _ = fs::remove_file(path);
    Ok(symlink(Path::new("/dev").join(name), path)?)
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_written_to_plain_files_whatever_leads_to_them() -> Result<()> {
    let world = World::new().await?;
    let artifact = world.at("rocket.tar");
    fs::write(&artifact, "a rocket")?;
    fs::create_dir(world.at("elsewhere"))?;
    fs::write(world.at("old.json"), "old")?;
    fs::set_permissions(world.at("old.json"), fs::Permissions::from_mode(0o640))?;
    symlink("old.json", world.at("link"))?;
    symlink("../link", world.at("elsewhere/chain"))?;
    symlink("elsewhere/created.json", world.at("dangling"))?;
    let longest = "n".repeat(255);
    for (wanted, written) in [
        ("new.json", "new.json"),
        ("old.json", "old.json"),
        ("elsewhere/chain", "old.json"),
        ("dangling", "elsewhere/created.json"),
        (&longest, &longest),
    ] {
        let (wanted, written) = (world.at(wanted), world.at(written));
        let kind = fs::symlink_metadata(&wanted).map(|found| found.file_type()).ok();
        world.sign(&artifact, &["--bundle", wanted.to_str().unwrap_or_default()])?.success()?;
        world.verify(&artifact, &written)?;
        ensure!(fs::symlink_metadata(&written)?.is_file(), "{}", written.display());
        ensure!(
            kind.is_none_or(|kind| kind == fs::symlink_metadata(&wanted).unwrap().file_type()),
            "its kind"
        );
    }
    ensure!(fs::metadata(world.at("old.json"))?.mode() & 0o777 == 0o640, "the mode stays");
    let left = names(world.folder())?.into_iter().find(|name| name.contains(".new"));
    ensure!(left.is_none(), "a temporary file is left: {left:?}");
    // 241 bytes and the suffix's 14 are the most that a name can have.
    let long = world.at(&"l".repeat(241));
    fs::write(&long, "x")?;
    world.sign(&long, &[])?.success()?;
    world.verify(&long, &world.at(&format!("{}.sigstore.json", "l".repeat(241))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_written_into_what_is_not_a_plain_file() -> Result<()> {
    let world = World::new().await?;
    let artifact = world.at("rocket.tar");
    fs::write(&artifact, "a rocket")?;
    nix::unistd::mkfifo(&world.at("fifo"), Mode::S_IRWXU)?;
    device(&world.at("null"), "null", 3)?;
    let null = fs::symlink_metadata(world.at("null"))?.file_type();
    // What /dev/stdout and /dev/stderr are.
    symlink("/proc/self/fd/1", world.at("stdout"))?;
    symlink("/proc/self/fd/2", world.at("stderr"))?;
    let sign = "chancery sign rocket.tar --identity-token-file \"$1\" --bundle";
    for (script, kept) in [
        (format!("cat fifo >from-fifo & {sign} fifo && wait"), Some("from-fifo")),
        (format!("{sign} /dev/fd/3 3>from-fd"), Some("from-fd")),
        (format!("{sign} /proc/self/fd/4 4>from-proc"), Some("from-proc")),
        (format!("{sign} - >from-stdout"), Some("from-stdout")),
        (format!("{sign} stdout >from-dev-stdout"), Some("from-dev-stdout")),
        (format!("{sign} - | cat >from-pipe"), Some("from-pipe")),
        (format!("{sign} stderr 2>from-stderr"), None),
        (format!("{sign} null"), None),
    ] {
        let outcome = world.chancery.run_script(&script, &[&world.token])?;
        outcome.success().with_context(|| script.clone())?;
        if let Some(kept) = kept {
            world.verify(&artifact, &world.at(kept)).with_context(|| script)?;
        }
    }
    ensure!(fs::symlink_metadata(world.at("fifo"))?.file_type().is_fifo(), "the FIFO is one still");
    ensure!(fs::symlink_metadata(world.at("null"))?.file_type() == null, "and the device");
    ensure!(fs::metadata(world.at("null"))?.file_type().is_char_device(), "by its link too");
    let said = fs::read_to_string(world.at("from-stderr"))?;
    ensure!(said.contains("verificationMaterial") && said.contains("signing as"), "{said}");
    let appended = format!("echo before >log; {sign} /dev/fd/3 3>>log");
    world.chancery.run_script(&appended, &[&world.token])?.success()?;
    let log = fs::read_to_string(world.at("log"))?;
    ensure!(log.starts_with("before\n{"), "what was there is kept: {log}");
    let both = world.sign(&artifact, &["--bundle", "-", "--output", "json"])?;
    both.refused(2, &["both the bundle and the results"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_that_cannot_be_written() -> Result<()> {
    let world = World::new().await?;
    let artifact = world.at("rocket.tar");
    fs::write(&artifact, "a rocket")?;
    fs::create_dir(world.at("folder"))?;
    symlink("loop", world.at("loop"))?;
    symlink("nosuch/target", world.at("dangling"))?;
    nix::unistd::mkfifo(&world.at("fifo"), Mode::S_IRWXU)?;
    for (bundle, reason) in [
        ("nosuch/bundle.json", "No such file"),
        ("folder", "is a directory"),
        ("rocket.tar/bundle.json", "not a directory"),
        ("loop", "too many symbolic links"),
        ("dangling", "No such file"),
        ("fifo", "no process reads"),
        ("/dev/fd/77", "No such file"),
        (&"n".repeat(256), "File name too long"),
    ] {
        world
            .refused_beforehand(&artifact, &["--bundle", bundle], reason)
            .await
            .with_context(|| bundle.to_owned())?;
    }
    let long = world.at(&"l".repeat(242));
    fs::write(&long, "x")?;
    world.refused_beforehand(&long, &[], "File name too long").await?;
    let closed = "chancery sign rocket.tar --identity-token-file \"$1\" --bundle - >&-";
    let closed = world.chancery.run_script(closed, &[&world.token])?;
    closed.refused(2, &["cannot write the bundle", "standard output is closed"])?;
    read_only_descriptors(&world).await?;
    // The second of two files, and the file to sign itself.
    fs::write(world.at("second"), "x")?;
    fs::create_dir(world.at("second.sigstore.json"))?;
    let before = world.size().await?;
    let two = world.chancery.run_in_job(&world.instance, &["attest", "rocket.tar", "second"])?;
    two.refused(2, &["cannot write the bundle", "second.sigstore.json"])?;
    ensure!(!world.at("rocket.tar.sigstore.json").exists(), "the first is not written either");
    symlink("rocket.tar", world.at("alias"))?;
    for same in ["rocket.tar", "alias", "./folder/../rocket.tar"] {
        world.sign(&artifact, &["--bundle", same])?.refused(2, &["the file to sign"])?;
    }
    ensure!(world.size().await? == before && fs::read(&artifact)? == b"a rocket", "something happened");
    Ok(())
}

/// What is only read from is not written to, though it could be opened anew for that.
async fn read_only_descriptors(world: &World) -> Result<()> {
    let sign = "chancery sign rocket.tar --identity-token-file \"$1\" --bundle";
    fs::write(world.at("release.tar"), "precious")?;
    let before = world.size().await?;
    for script in [
        format!("{sign} /dev/fd/3 3<release.tar"),
        format!("{sign} /proc/self/fd/3 3<release.tar"),
        format!("cat release.tar | {sign} /dev/stdin"),
        format!("{sign} /dev/stdin <release.tar"),
        format!("{sign} - 1<release.tar"),
        format!("{sign} /dev/stdout 1<release.tar"),
    ] {
        let refused = world.chancery.run_script(&script, &[&world.token])?;
        refused.refused(2, &["cannot write the bundle", "open for reading only"]).context(script)?;
    }
    ensure!(world.size().await? == before, "something was logged");
    ensure!(fs::read(world.at("release.tar"))? == b"precious", "the file was written to");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_for_a_full_or_read_only_disk() -> Result<()> {
    if !may_mount_or_run_inside("files::nothing_is_signed_for_a_full_or_read_only_disk")? {
        return Ok(());
    }
    let world = World::new().await?;
    let artifact = world.at("rocket.tar");
    fs::write(&artifact, "a rocket")?;
    let small = world.at("small");
    fs::create_dir(&small)?;
    let disk = SmallDisk::over(&small, 1 << 20)?;
    fs::write(small.join("mounted.json"), "old")?;
    world.sign(&artifact, &["--bundle", "small/bundle.json"])?.success()?;
    let filler = disk.fill()?;
    world.refused_beforehand(&artifact, &["--bundle", "small/new.json"], "No space left").await?;
    world.refused_beforehand(&artifact, &["--bundle", "small/bundle.json"], "No space left").await?;
    world.verify(&artifact, &small.join("bundle.json")).context("the old bundle is whole")?;
    // In place, too: the room that counts is the file's own, not its folder's.
    fs::write(world.at("window.json"), "")?;
    let bind = |from: &Path, to: &Path| -> Result<()> {
        let mounted = std::process::Command::new("mount").arg("--bind").arg(from).arg(to).status()?;
        ensure!(mounted.success(), "no bind mount");
        Ok(())
    };
    bind(&small.join("mounted.json"), &world.at("window.json"))?;
    world.refused_beforehand(&artifact, &["--bundle", "window.json"], "No space left").await?;
    ensure!(fs::read(world.at("window.json"))? == b"old", "what is there stays");
    fs::remove_file(filler)?;
    disk.leave_files(0)?;
    world.refused_beforehand(&artifact, &["--bundle", "small/new.json"], "No space left").await?;
    let mount = |arguments: &[&str]| -> Result<()> {
        let run = std::process::Command::new("mount").args(arguments).arg(&small).output()?;
        ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        Ok(())
    };
    mount(&["-o", "remount,ro"])?;
    world.refused_beforehand(&artifact, &["--bundle", "small/new.json"], "Read-only").await?;
    // A file that is mounted by itself, as into a container, cannot be renamed over: it is written in place.
    fs::write(world.at("host.json"), "a longer old text than any bundle".repeat(1000))?;
    fs::write(world.at("inside.json"), "")?;
    let [host, inside] = ["host.json", "inside.json"].map(|name| world.at(name));
    bind(&host, &inside)?;
    world.sign(&artifact, &["--bundle", "inside.json"])?.success()?;
    world.verify(&artifact, &host)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_without_permission_to_write() -> Result<()> {
    let world = World::new().await?;
    // Another user's run: root could write anywhere. All of it is that user's but the folder for the bundle.
    let user = if nix::unistd::geteuid().is_root() { "setpriv --reuid=65534 --clear-groups" } else { "" };
    for path in [world.instance.scratch(), world.folder()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions(&world.token, fs::Permissions::from_mode(0o644))?;
    fs::create_dir(world.at("locked"))?;
    fs::create_dir(world.at("open"))?;
    fs::write(world.at("rocket.tar"), "a rocket")?;
    for (name, mode) in [("locked/plain.json", 0o444), ("locked/writable.json", 0o666)] {
        fs::write(world.at(name), "old")?;
        fs::set_permissions(world.at(name), fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(world.at("locked"), fs::Permissions::from_mode(0o555))?;
    fs::set_permissions(world.at("open"), fs::Permissions::from_mode(0o777))?;
    // The program may be where that user cannot go.
    let script = format!(
        "cp \"$CHANCERY\" open/chancery && {user} ./open/chancery sign rocket.tar --identity-token-file \"$1\" \
         --bundle \"$2\""
    );
    let before = world.size().await?;
    for bundle in ["locked/new.json", "locked/plain.json"] {
        let outcome = world.chancery.run_script(&script, &[&world.token, bundle])?;
        outcome.refused(2, &["cannot write the bundle", "Permission denied"])?;
    }
    ensure!(world.size().await? == before, "something was logged");
    for bundle in ["open/new.json", "locked/writable.json"] {
        world.chancery.run_script(&script, &[&world.token, bundle])?.success()?;
        world.verify(&world.at("rocket.tar"), &world.at(bundle))?;
    }
    fs::set_permissions(world.at("locked"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logged_bundle_that_cannot_be_written_after_all_is_saved() -> Result<()> {
    let world = World::new().await?;
    let artifact = world.at("rocket.tar");
    fs::write(&artifact, "a rocket")?;
    nix::unistd::mkfifo(&world.at("fifo"), Mode::S_IRWXU)?;
    device(&world.at("full"), "full", 7)?;
    let sign = "chancery sign rocket.tar --identity-token-file \"$1\" --bundle";
    for script in [
        format!("{sign} full"),
        format!("{sign} - >full"),
        // A reader that goes away before the bundle comes.
        format!("(exec 3<fifo) & {sign} fifo"),
    ] {
        let before = world.size().await?;
        let outcome = world.chancery.run_script(&script, &[&world.token])?;
        let said = outcome.said();
        outcome
            .refused(3, &["the signature is logged", "the bundle is in `"])
            .with_context(|| script.clone())?;
        ensure!(world.size().await? == before + 1, "{script}: it is logged");
        let rescue = said.split("the bundle is in `").nth(1).and_then(|rest| rest.split('`').next());
        let rescue = world.at(rescue.context("a path in quotes")?);
        world.verify(&artifact, &rescue).with_context(|| script)?;
        ensure!(
            fs::canonicalize(&rescue)?.starts_with(fs::canonicalize(world.folder())?),
            "it is where files go"
        );
        ensure!(fs::metadata(&rescue)?.mode().trailing_zeros() >= 6, "a rescue is private");
    }
    Ok(())
}

/// A name that another user of the machine can guess: the process's own number, which a shell hands on by `exec`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_in_the_place_of_temporary_files_are_not_followed() -> Result<()> {
    let mut world = World::new().await?;
    fs::write(world.at("rocket.tar"), "a rocket")?;
    let victim = world.at("victim");
    fs::write(&victim, "precious")?;
    let script = "for name in rocket.tar.sigstore.json instance.json; do ln -s victim \"$name.$$.new\"; done
        exec \"$CHANCERY\" sign rocket.tar --identity-token-file \"$1\"";
    world.chancery.run_script(script, &[&world.token])?.success()?;
    ensure!(fs::read(&victim)? == b"precious", "the client wrote through a link");

    // The server: `.NAME.new` and `NAME.new` beside every file of the instance, its memories of heads included.
    world.instance.server.stop().await?;
    let folder = world.instance.server.folder().to_owned();
    for below in ["", "run/heads", "tuf", "tuf/targets", "trust"] {
        for name in names(&folder.join(below))? {
            for link in [format!(".{name}.new"), format!("{name}.new")] {
                symlink(&victim, folder.join(below).join(link))?;
            }
        }
    }
    let trust = folder.join("trust").display().to_string();
    let mut export = chancery_tests::Server::command(&["export-trust"])?;
    chancery_tests::program::run(export.arg(&folder).args(["--output", &trust]))?.success()?;
    world.instance.server.start().await?;
    world
        .chancery
        .run_script("chancery sign rocket.tar --identity-token-file \"$1\"", &[&world.token])?
        .success()?;
    world.instance.server.stop().await?;
    ensure!(fs::read(&victim)? == b"precious", "the server wrote through a link");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exported_trust_files_are_written_through_links_and_whole() -> Result<()> {
    let instance = Instance::stopped().await?;
    let (output, target) = (instance.scratch().join("exported"), instance.scratch().join("target.json"));
    fs::create_dir(&output)?;
    fs::write(&target, "old")?;
    symlink(&target, output.join("trusted_root.json"))?;
    let export = |output: &Path| {
        let mut command = chancery_tests::Server::command(&["export-trust"])?;
        chancery_tests::program::run(command.arg(instance.server.folder()).arg("--output").arg(output))
    };
    export(&output)?.success()?;
    ensure!(fs::symlink_metadata(output.join("trusted_root.json"))?.is_symlink(), "the link stays");
    let root: Value = serde_json::from_slice(&fs::read(&target)?)?;
    ensure!(root["mediaType"].is_string(), "{root}");
    export(&target)?.failure(&["target.json"])?;
    Ok(())
}
