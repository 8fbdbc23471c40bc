//! The public address of an instance.

use ::url::Url;

/// Scheme, host and port of an instance; no path, so that every client may append its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseUrl(Url);

impl BaseUrl {
    /// Parses `https://host[:port]`, a trailing slash allowed. `Err` says what to do.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        let wrong = |what: &str| Err(format!("`{text}` {what}: write it as in https://sigstore.example.com"));
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return wrong("is no http or https address");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return wrong("has a path or a query, which clients would lose");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("has a user name or password");
        }
        Ok(Self(url))
    }

    /// The URL without a trailing slash.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The host alone: Rekor's name for the log.
    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The host as checkpoints of Rekor v2 name the log: an IPv6 address without brackets, as Go's `URL.Hostname()`.
    pub(crate) fn hostname(&self) -> &str {
        self.host().trim_matches(['[', ']'])
    }

    /// A URL whose host is `hostname`: this one, or one that was the log's before it moved. Clients that know a log by
    /// its base URL take the host and never go there.
    pub(crate) fn naming(&self, hostname: &str) -> String {
        if hostname == self.hostname() {
            self.to_string()
        } else if hostname.contains(':') {
            format!("https://[{hostname}]")
        } else {
            format!("https://{hostname}")
        }
    }

    /// Host and explicit port: what C2SP origins begin with.
    pub(crate) fn authority(&self) -> String {
        self.0.port().map_or_else(|| self.host().to_owned(), |port| format!("{}:{port}", self.host()))
    }

    /// Host and port as a listener would have them, if the host is an IP address.
    pub(crate) fn address(&self) -> Option<std::net::SocketAddr> {
        let port = self.0.port_or_known_default()?;
        let ip = match self.0.host()? {
            ::url::Host::Ipv4(ip) => ip.into(),
            ::url::Host::Ipv6(ip) => ip.into(),
            ::url::Host::Domain(_) => return None,
        };
        Some(std::net::SocketAddr::new(ip, port))
    }

    /// Addresses of this machine alone that the host has, as the system resolves it; empty if it has others, or none. A
    /// name that means this machine to its resolver means it to local clients too.
    pub(crate) fn loopback_addresses(&self) -> Vec<std::net::SocketAddr> {
        use std::net::ToSocketAddrs as _;
        let found = (self.hostname(), self.port()).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let mut found = found.unwrap_or_default();
        if !found.iter().all(|address| address.ip().is_loopback()) {
            found.clear();
        }
        // The order is the resolver's, and may differ from call to call.
        found.sort();
        found.dedup();
        found
    }

    /// Whether only clients on this machine can come by it.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.address().is_some_and(|address| address.ip().is_loopback())
    }

    /// The port that clients connect to.
    pub(crate) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// Whether clients come by TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
