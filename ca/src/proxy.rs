//! Proxies of the environment, for every host but those of this machine.
//!
//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` mean what they mean to Go's programs: an address of this machine
//! is contacted directly whatever they say, since no proxy elsewhere can reach it.

use reqwest::{ClientBuilder, NoProxy, Proxy};

/// Makes a proxy for one scheme of its address.
type Scheme = fn(String) -> reqwest::Result<Proxy>;

/// What a proxy never gets, in the form of `NO_PROXY`.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The builder with the proxies of this process's environment; an error names the variable that is not a proxy's address.
pub(crate) fn through(builder: ClientBuilder) -> Result<ClientBuilder, String> {
    with_variables(builder, |name| std::env::var(name).ok())
}

fn with_variables(
    mut builder: ClientBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ClientBuilder, String> {
    let either = |name: &str| {
        let names = [name.to_owned(), name.to_lowercase()];
        names
            .into_iter()
            .find_map(|name| Some((variable(&name).filter(|value| !value.trim().is_empty())?, name)))
    };
    let exempt =
        either("NO_PROXY").map_or_else(|| LOOPBACK.to_owned(), |(hosts, _)| format!("{LOOPBACK},{hosts}"));
    // Without this reqwest would read the environment by its own rules, which send loopback through the proxy.
    builder = builder.no_proxy();
    let schemes: [(&str, Scheme); 2] = [("HTTP_PROXY", Proxy::http), ("HTTPS_PROXY", Proxy::https)];
    for (name, proxy) in schemes {
        let Some((address, name)) = either(name).or_else(|| either("ALL_PROXY")) else { continue };
        let proxy = proxy(address)
            .map_err(|_| format!("the environment variable {name} is not the address of a proxy"))?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&exempt)));
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// The first line of the request that reaches the listener, which answers it.
    async fn first_line(listener: &TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = stream.read(&mut head).await.unwrap();
        stream.write_all(b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned()
    }

    /// Whether a GET of `url` goes through the proxy that the variables name.
    async fn is_proxied(url: &str, variables: &[(&str, &str)]) -> bool {
        let (proxy, direct) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.replace("PROXY", &address))
        };
        let client = with_variables(reqwest::Client::builder(), variable).unwrap().build().unwrap();
        let url = url.replace("PORT", &direct.local_addr().unwrap().port().to_string());
        let request = client.get(url).send();
        tokio::select! {
            line = first_line(&proxy) => { assert!(line.starts_with("GET http://"), "{line}"); true }
            _ = first_line(&direct) => false,
            failed = request => panic!("{failed:?}"),
        }
    }

    #[tokio::test]
    async fn hosts_of_this_machine_are_contacted_directly_and_others_through_the_proxy() {
        for set in [
            &[("HTTP_PROXY", "PROXY")][..],
            &[("http_proxy", "PROXY")],
            &[("ALL_PROXY", "PROXY"), ("NO_PROXY", "x.example")],
        ] {
            for own in ["http://127.0.0.1:PORT/", "http://localhost:PORT/"] {
                assert!(!is_proxied(own, set).await, "{own} {set:?}");
            }
            assert!(is_proxied("http://issuer.example/", set).await, "{set:?}");
        }
        assert!(!is_proxied("http://127.0.0.1:PORT/", &[("HTTP_PROXY", ""), ("HTTPS_PROXY", "PROXY")]).await);
    }

    #[test]
    fn a_variable_that_is_not_an_address_is_named() {
        let variable = |name: &str| (name == "https_proxy").then(|| "http://[".to_owned());
        let refused = with_variables(reqwest::Client::builder(), variable).map(drop).unwrap_err();
        assert!(refused.contains("https_proxy"), "{refused}");
    }
}
