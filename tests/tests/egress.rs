//! Packets: a run contacts no host outside the instance file, as seen from below every library.
//!
//! Issuer, server and clients run in a network namespace of their own, whose default route leads to an interface with
//! nobody behind it, and whose one name server is ours. So a name that is asked for is in a list, and a packet that
//! wants out is in a counter, whatever sent it. A test enters its namespace by starting itself again inside.

use std::ffi::OsStr;
use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chancery_tests::{Instance, Outcome, Policy, peers, program};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Tells a test that it is inside.
const INSIDE: &str = "CHANCERY_TEST_NAMESPACE";
/// The interface that leads away.
const OUT: &str = "out";
/// Our name server.
const NAME_SERVER: &str = "192.0.2.53";
/// What it answers for every name: a documentation address, behind the interface that leads away.
const ANYWHERE: [u8; 4] = [198, 51, 100, 7];
/// Long enough for a first packet to leave, and nobody answers it.
const MOMENT: Duration = Duration::from_millis(300);

/// Makes the namespace's network, then becomes the arguments. A kernel without dummy interfaces has pairs of virtual
/// ones; neither makes packets of its own, since it has no IPv6 address.
const SETUP: &str = r#"
    ip link set lo up
    ip link add out type dummy 2>/dev/null || ip link add out type veth peer name far
    for link in out far; do ip link set "$link" addrgenmode none 2>/dev/null || true; done
    ! ip link show far >/dev/null 2>&1 || ip link set far up
    ip address add 192.0.2.1/24 dev out
    ip link set out up
    ip route add default via 192.0.2.254 dev out
    ip neighbour add 192.0.2.254 lladdr 02:00:00:00:00:01 dev out nud permanent
    ip address add 192.0.2.53/32 dev lo
    mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)"
    mount --bind "$1/nsswitch.conf" "$(readlink -f /etc/nsswitch.conf)"
    # A daemon outside would ask for names on our behalf.
    [ ! -d /run/nscd ] || mount -t tmpfs none /run/nscd
    shift
    exec "$@"
"#;

/// Runs `scenario` in a new namespace, as the whole of the test `name`.
fn isolated<S>(name: &str, scenario: impl FnOnce() -> S) -> Result<()>
where
    S: Future<Output = Result<()>>,
{
    if std::env::var_os(INSIDE).is_none() {
        return reenter(name);
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(scenario())
}

fn reenter(name: &str) -> Result<()> {
    let files = TempDir::new()?;
    std::fs::write(
        files.path().join("resolv.conf"),
        format!("nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n"),
    )?;
    std::fs::write(files.path().join("nsswitch.conf"), "hosts: files dns\n")?;
    let mut command = Command::new("unshare");
    command.args(namespace()?).args(["sh", "-euc", SETUP, "setup"]).arg(files.path());
    command.arg(std::env::current_exe()?).args(["--exact", name, "--nocapture"]).env(INSIDE, "1");
    // No time limit but the test runner's: this is a whole test.
    let output = command.output().context("`unshare` cannot be run: install util-linux")?;
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    // A name that fits no test is a success to the test runner.
    ensure!(output.status.success() && said.contains("1 passed"), "in its namespace the test says:\n{said}");
    eprintln!("{said}");
    Ok(())
}

/// What makes a namespace here: being root, or being root in a user namespace.
fn namespace() -> Result<&'static [&'static str]> {
    const WAYS: [&[&str]; 2] = [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];
    let mut refusals = Vec::new();
    for way in WAYS {
        let tried = program::run(Command::new("unshare").args(way).args(["ip", "link"]))?;
        if tried.code == Some(0) {
            return Ok(way);
        }
        refusals.push(format!("unshare {}: {}", way.join(" "), tried.stderr.trim()));
    }
    bail!(
        "this machine lets nobody make a network namespace, without which it cannot be seen who is contacted. In a \
         container give it CAP_SYS_ADMIN or a seccomp profile that allows unshare; the programs are in iproute2 and \
         util-linux.\n{}",
        refusals.join("\n")
    )
}

/// Who would like to be contacted: names asked for, and packets sent away.
struct Watch {
    names: Arc<Mutex<Vec<String>>>,
    packets: u64,
    lost: u64,
}

impl Watch {
    /// Watches from now on.
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).context("not in the namespace")?;
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = Arc::clone(&names);
        std::thread::spawn(move || serve_names(&socket, &asked));
        // What the kernel sends when an interface comes up is no contact.
        std::thread::sleep(MOMENT);
        Ok(Self { names, packets: packets_sent()?, lost: packets_without_route()? })
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packets that left since the start, and packets that would have left for IPv6.
    fn packets(&self) -> Result<u64> {
        std::thread::sleep(MOMENT);
        Ok(packets_sent()? - self.packets + packets_without_route()? - self.lost)
    }

    /// Demands that nobody was contacted so far.
    fn saw_nobody(&self, what: &str) -> Result<()> {
        let (names, packets) = (self.names(), self.packets()?);
        ensure!(
            names.is_empty() && packets == 0,
            "{what} asked for {names:?} and sent {packets} packets away"
        );
        Ok(())
    }
}

/// Everything that was given to the interface: sent, dropped or failed.
fn packets_sent() -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/dev")?;
    let row = table.lines().find_map(|line| line.trim().strip_prefix(OUT)?.strip_prefix(':'));
    let row = row.with_context(|| format!("there is no interface `{OUT}`: not in the namespace"))?;
    let numbers = row.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    // Of 8 columns for what was received and 8 for what was sent: packets, errs, drop.
    Ok(numbers.get(9..12).context("a kernel with another table")?.iter().sum())
}

/// IPv6 has no route, so nothing of it leaves; the kernel counts who tries.
fn packets_without_route() -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/snmp6")?;
    let row = table.lines().find_map(|line| line.strip_prefix("Ip6OutNoRoutes"));
    Ok(row.context("a kernel without Ip6OutNoRoutes")?.trim().parse()?)
}

/// A name server that knows every name, and keeps a list.
fn serve_names(socket: &UdpSocket, asked: &Mutex<Vec<String>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        let query = &buffer[..length];
        let Some((name, question_end)) = question(query) else { continue };
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        // Type A, class IN.
        let is_ipv4 = query[question_end - 4..question_end] == [0, 1, 0, 1];
        let mut answer = query[..question_end].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[6..12].copy_from_slice(&[0, u8::from(is_ipv4), 0, 0, 0, 0]);
        if is_ipv4 {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(ANYWHERE);
        }
        let _ = socket.send_to(&answer, peer);
    }
}

/// The name of a query's first question, and where that question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    query.get(at..at + 4)?;
    Some((labels.join("."), at + 4))
}

/// A command with a home of its own. Unlike other tests' it names no proxy: one on loopback would hide every contact.
fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    program::isolate(&mut command, home);
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(proxy);
    }
    command.current_dir(home);
    command
}

/// `chancery` as a step of a job.
fn chancery<S: AsRef<OsStr>>(instance: &Instance, home: &str, arguments: &[S]) -> Result<Outcome> {
    let mut command = command(&program::own("chancery")?, &instance.home(home)?);
    program::run(command.envs(instance.issuer.job_environment()).args(arguments))
}

/// An HTTP server on loopback that has no TUF repository and otherwise gives everybody the same answer.
async fn answering(answer: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let answer = if request[..length].starts_with(b"GET /tuf/") { NOT_FOUND } else { &answer };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(url)
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn document(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The instance's trust configuration, changed.
fn changed(instance: &Instance, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<String> {
    let config = std::fs::read(instance.server.trust("client_trust_config.json"))?;
    let mut config = serde_json::from_slice(&config)?;
    change(&mut config)?;
    Ok(config.to_string())
}

#[test]
fn signing_and_verifying_contact_nobody_but_the_instance() -> Result<()> {
    isolated("signing_and_verifying_contact_nobody_but_the_instance", async || {
        let watch = Watch::start()?;
        let instance = Instance::start().await?;
        let token = instance.issuer.token().await?;
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        let bundle = format!("{file}.sigstore.json");
        let run = |arguments: &[&str]| chancery(&instance, "client", arguments)?.success();
        run(&["trust", "add", instance.server.url()])?;
        watch.saw_nobody("`trust add`")?;
        for verb in ["attest", "sign"] {
            run(&[verb, &file])?;
            watch.saw_nobody(verb)?;
            let policy = Policy::of(&token);
            let policy = policy.each_ref().map(String::as_str);
            run(&[&["verify", "--bundle", &bundle], &policy[..], &[&file]].concat())?;
            watch.saw_nobody("`verify`")?;
            std::fs::remove_file(&bundle)?;
        }
        Ok(())
    })
}

/// The trusted root names hosts only to say whose logs they are; none is ever contacted.
#[test]
fn hosts_that_only_the_trusted_root_names_are_not_contacted() -> Result<()> {
    isolated("hosts_that_only_the_trusted_root_names_are_not_contacted", async || {
        let watch = Watch::start()?;
        let instance = Instance::start().await?;
        let config = changed(&instance, |config| {
            let root = config["trustedRoot"].as_object_mut().context("trustedRoot")?;
            for (list, member) in
                [("certificateAuthorities", "uri"), ("ctlogs", "baseUrl"), ("timestampAuthorities", "uri")]
            {
                for service in root.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                    service[member] = "https://elsewhere.example.com".into();
                }
            }
            Ok(())
        })?;
        ensure!(config.contains("elsewhere"), "nothing was changed");
        let url = answering(document(&config)).await?;
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        chancery(&instance, "client", &["trust", "add", &url])?.success()?;
        chancery(&instance, "client", &["attest", &file])?.success()?;
        watch.saw_nobody("a run with a foreign trusted root")
    })
}

#[test]
fn a_configuration_that_names_a_public_instance_is_refused_before_anybody_is_contacted() -> Result<()> {
    let name = "a_configuration_that_names_a_public_instance_is_refused_before_anybody_is_contacted";
    isolated(name, async || {
        let watch = Watch::start()?;
        let instance = Instance::start().await?;
        for (list, public) in [
            ("caUrls", "https://fulcio.sigstore.dev"),
            ("rekorTlogUrls", "https://rekor.sigstore.dev"),
            ("rekorTlogUrls", "https://REKOR.sigstage.dev."),
            ("tsaUrls", "https://timestamp.sigstore.dev/api/v1/timestamp"),
        ] {
            let config = changed(&instance, |config| {
                let services = config["signingConfig"][list].as_array_mut().context("services")?;
                for service in services {
                    service["url"] = public.into();
                }
                Ok(())
            })?;
            let url = answering(document(&config)).await?;
            chancery(&instance, "client", &["trust", "add", &url])?.failure(&["public instance"])?;
            watch.saw_nobody(public)?;
        }
        Ok(())
    })
}

#[test]
fn neither_a_redirect_nor_a_proxy_of_the_environment_leads_away() -> Result<()> {
    isolated("neither_a_redirect_nor_a_proxy_of_the_environment_leads_away", async || {
        let watch = Watch::start()?;
        let instance = Instance::start().await?;
        let redirect = "HTTP/1.1 307 Temporary Redirect\r\nlocation: https://elsewhere.example.com/\r\n\
                        content-length: 0\r\nconnection: close\r\n\r\n";
        let url = answering(redirect.to_owned()).await?;
        chancery(&instance, "client", &["trust", "add", &url])?.failure(&["redirect"])?;
        watch.saw_nobody("a redirect")?;
        let mut proxied = command(&program::own("chancery")?, &instance.home("client")?);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            proxied.env(proxy, "http://proxy.example.com:3128");
        }
        program::run(proxied.args(["trust", "add", instance.server.url()]))?.success()?;
        watch.saw_nobody("a proxy in the environment")
    })
}

/// The test of the tests: every way to contact somebody is seen.
#[test]
fn whoever_tries_to_contact_somebody_is_seen() -> Result<()> {
    isolated("whoever_tries_to_contact_somebody_is_seen", async || {
        let instance = Instance::start().await?;
        let connect = |address: &str| -> Result<()> {
            let address: IpAddr = address.parse()?;
            let _ = TcpStream::connect_timeout(&SocketAddr::new(address, 443), MOMENT);
            Ok(())
        };
        let watch = Watch::start()?;
        connect("192.0.2.77")?;
        let neighbour = watch.packets()?;
        ensure!(neighbour > 0, "a connection to the neighbouring network was not seen");
        connect("203.0.113.1")?;
        let far = watch.packets()?;
        ensure!(far > neighbour, "a connection through the default route was not seen");
        connect("2001:db8::1")?;
        ensure!(watch.packets()? > far, "an IPv6 connection was not seen");
        ensure!(watch.names().is_empty(), "nobody has asked for a name yet: {:?}", watch.names());

        program::run(Command::new("getent").args(["ahostsv4", "getent.example.com"]))?.success()?;
        ensure!(watch.names().iter().any(|name| name == "getent.example.com"), "{:?}", watch.names());

        // The same program and environment as in the tests above: what it does can be seen.
        let before = watch.packets()?;
        let stranger = command(&program::own("chancery")?, &instance.home("client")?)
            .args(["trust", "add", "https://stranger.example.com"])
            .spawn();
        let mut stranger = stranger?;
        let seen = async {
            while !watch.names().iter().any(|name| name == "stranger.example.com")
                || watch.packets()? == before
            {
                tokio::time::sleep(MOMENT).await;
            }
            anyhow::Ok(())
        };
        let seen = tokio::time::timeout(program::PATIENCE, seen).await;
        stranger.kill()?;
        stranger.wait()?;
        seen.context("our client contacts a stranger, and nobody sees it")?
    })
}

/// Verification needs no network, and asks for none: not even a socket.
#[tokio::test]
async fn verification_opens_no_socket() -> Result<()> {
    let instance = Instance::start().await?;
    let token = instance.issuer.token().await?;
    let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
    let bundle = format!("{file}.sigstore.json");
    let traced = |arguments: &[&str]| -> Result<String> {
        let trace = instance.scratch().join("trace");
        let mut strace = command(Path::new("strace"), &instance.home("client")?);
        strace.envs(instance.issuer.job_environment());
        strace
            .args(["-f", "-e", "trace=network", "-o"])
            .arg(&trace)
            .arg(program::own("chancery")?)
            .args(arguments);
        program::run(&mut strace)?.success()?;
        let calls = std::fs::read_to_string(&trace)?;
        // A runtime talks to its own threads over a pair that leads nowhere.
        Ok(calls.lines().filter(|line| line.contains('(') && !line.contains(" socketpair(")).collect())
    };
    traced(&["trust", "add", instance.server.url()])?;
    let signing = traced(&["attest", &file])?;
    ensure!(signing.contains("connect("), "signing needs a network, so the trace sees nothing: {signing}");
    let policy = Policy::of(&token);
    let policy = policy.each_ref().map(String::as_str);
    let calls = traced(&[&["verify", "--bundle", &bundle], &policy[..], &[&file]].concat())?;
    ensure!(calls.is_empty(), "verification uses the network: {calls}");
    Ok(())
}

/// What others do with the same files: cosign 3.1 with a signing config and a trusted root contacts nobody either.
#[test]
fn cosign_3_contacts_nobody_else_when_it_is_given_both_files() -> Result<()> {
    isolated("cosign_3_contacts_nobody_else_when_it_is_given_both_files", async || {
        let watch = Watch::start()?;
        let instance = Instance::start().await?;
        let token = instance.issuer.token().await?;
        let file = instance.file("rocket.tar", "a rocket")?.display().to_string();
        let bundle = instance.scratch().join("bundle.json").display().to_string();
        let root = instance.server.trust("trusted_root.json").display().to_string();
        let config = instance.server.trust("signing_config.json").display().to_string();
        let cosign = |arguments: &[&str]| {
            let mut cosign = command(&peers::program("cosign3")?, &instance.home("cosign3")?);
            program::run(cosign.args(arguments))?.success()
        };
        let common = ["--trusted-root", &root, "--bundle", &bundle, &file];
        let signing = ["sign-blob", "--yes", "--signing-config", &config, "--identity-token", token.as_str()];
        cosign(&[&signing[..], &common].concat())?;
        watch.saw_nobody("`cosign sign-blob`")?;
        let policy = Policy::of(&token);
        let policy = policy.each_ref().map(String::as_str);
        cosign(&[&["verify-blob"], &policy[..], &common].concat())?;
        watch.saw_nobody("`cosign verify-blob`")
    })
}
