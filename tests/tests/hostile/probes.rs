//! Requests to the paths of an orchestrator's probes: only probes are apart from other requests, and they have
//! limits of their own.

use anyhow::{Result, ensure};
use chancery_tests::Instance;
use chancery_tests::raw::RawClient;

/// Any method and any path below the gRPC service once was a probe: without a rate, and with a line in the log
/// for each request.
#[tokio::test]
async fn other_requests_to_the_paths_of_probes_are_reads() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[
        ("# [limits.rates]", "[limits.rates]"),
        (
            "# reads_per_address = { per_minute = 12000, burst = 6000 }",
            "reads_per_address = { per_minute = 1, burst = 3 }",
        ),
    ])?;
    instance.server.start().await?;
    let mut raw = RawClient::new(instance.server.url())?;
    for (method, path, status) in [
        ("POST", "/healthz", 405),
        ("DELETE", "/readyz", 405),
        ("GET", "/grpc.health.v1.Health/Check", 405),
        ("POST", "/grpc.health.v1.Health/Watch", 429),
        ("POST", "/readyz", 429),
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/readyz", 200),
    ] {
        let answer = raw.ask(method, path, &[], "").await?;
        ensure!(answer.status == status, "{method} {path}: {}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn probes_have_a_rate_of_their_own_and_no_lines_in_the_log() -> Result<()> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[
        ("# [limits.rates]", "[limits.rates]"),
        (
            "# probes_per_address = { per_minute = 6000, burst = 3000 }",
            "probes_per_address = { per_minute = 1, burst = 20 }",
        ),
    ])?;
    // Its start probes it as well.
    instance.server.start().await?;
    let mut raw = RawClient::new(instance.server.url())?;
    let mut refused = 0;
    for _ in 0..40 {
        let status = raw.ask("GET", "/healthz", &[], "").await?.status;
        ensure!(matches!(status, 200 | 429), "{status}");
        refused += u32::from(status == 429);
    }
    ensure!((20..30).contains(&refused), "{refused} of 40 are refused, with room for 20");
    ensure!(raw.ask("GET", "/checkpoint", &[], "").await?.status == 200, "a read is another matter");
    let log = instance.server.output().await?;
    ensure!(log.contains("path=/checkpoint"), "no access log:\n{log}");
    ensure!(!log.contains("path=/healthz"), "probes are in the access log:\n{log}");
    Ok(())
}
