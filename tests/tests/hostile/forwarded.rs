//! Client addresses behind proxies: one address is one client however a proxy writes it, and elements sent by the
//! client never select another.

use anyhow::{Result, ensure};
use chancery_tests::Instance;
use chancery_tests::raw::RawClient;

const HEADER: &str = "x-forwarded-for";

/// An instance behind proxies that allows two reads an address.
async fn behind(proxies: &str) -> Result<Instance> {
    let mut instance = Instance::stopped().await?;
    instance.server.configure(&[
        ("# behind_proxy = false\n", &format!("behind_proxy = true\n{proxies}")),
        ("# [limits.rates]", "[limits.rates]"),
        (
            "# reads_per_address = { per_minute = 12000, burst = 6000 }",
            "reads_per_address = { per_minute = 1, burst = 2 }",
        ),
    ])?;
    instance.server.start().await?;
    Ok(instance)
}

/// Sends one request for each value of the header, and demands that the first two are answered and the rest refused.
async fn one_client(raw: &mut RawClient, header: &str, values: &[&str]) -> Result<()> {
    for (at, value) in values.iter().enumerate() {
        let answer = raw.ask("GET", "/checkpoint", &[(header, value)], "").await?;
        let expected = if at < 2 { 200 } else { 429 };
        ensure!(answer.status == expected, "{header}: {value} is answered {}, not {expected}", answer.status);
    }
    Ok(())
}

#[tokio::test]
async fn one_address_is_one_client_however_it_is_written() -> Result<()> {
    let instance = behind("").await?;
    let mut raw = RawClient::new(instance.server.url())?;
    one_client(
        &mut raw,
        HEADER,
        &["192.0.2.1", "192.0.2.1:51234", "\"192.0.2.1:9\"", "[::ffff:192.0.2.1]:1"],
    )
    .await?;
    one_client(&mut raw, HEADER, &["192.0.2.3:51234", "192.0.2.3:51235", "192.0.2.3"]).await?;
    one_client(&mut raw, HEADER, &["[2001:db8:1::1]:443", "2001:db8:1::1", "[2001:db8:1::2]"]).await?;
    one_client(&mut raw, HEADER, &["[2001:db8:2::1]", "[2001:db8:2::1]:80", "\"[2001:db8:2::1]\""]).await?;
    // Forged elements, and a header that is not the configured one.
    one_client(&mut raw, HEADER, &["1.1.1.1, 192.0.2.4", "\"1.1.1.2, 192.0.2.4", "unknown,192.0.2.4"])
        .await?;
    one_client(&mut raw, "forwarded", &["for=1.1.1.3", "for=1.1.1.4", "for=1.1.1.5"]).await?;
    let log = instance.server.output().await?;
    for client in ["192.0.2.1", "192.0.2.3", "192.0.2.4", "2001:db8:1::1", "2001:db8:2::1", "127.0.0.1"] {
        ensure!(log.contains(&format!("client={client} ")), "{client} is not in the access log:\n{log}");
    }
    ensure!(!log.contains("client=1.1.1."), "a forged address is in the access log:\n{log}");
    Ok(())
}

#[tokio::test]
async fn the_outermost_trusted_proxy_names_the_client() -> Result<()> {
    let count = "proxies = 2\n";
    let networks = "proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n";
    for proxies in [count, networks] {
        let instance = behind(proxies).await?;
        let mut raw = RawClient::new(instance.server.url())?;
        let forged =
            ["192.0.2.1, 10.0.0.1", "1.1.1.1, 192.0.2.1:7, 10.0.0.1:8", "10.9.9.9, 192.0.2.1, 10.0.0.2"];
        one_client(&mut raw, HEADER, &forged).await?;
    }
    let networks = "proxies = [\"127.0.0.0/8\"]\nforwarded_header = \"forwarded\"\n";
    let instance = behind(networks).await?;
    let mut raw = RawClient::new(instance.server.url())?;
    let forged = [
        "for=192.0.2.1",
        "for=\"1.1.1.1, for=\"192.0.2.1:7\";proto=https",
        "for=\"[2001:db8::1]\", by=10.0.0.1;For=192.0.2.1",
    ];
    one_client(&mut raw, "forwarded", &forged).await
}
