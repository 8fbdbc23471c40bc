//! Client addresses behind proxies, from `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address of its own client, so the header is read from its end, and only as far as
//! trusted proxies wrote it: earlier elements come from the client, which can write anything. Invariant: an
//! address that was not written by a trusted proxy is never used. Where the header ends early or cannot be
//! parsed, the result is the last address that a trusted proxy reported.

mod network;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

pub use self::network::{Network, NetworkError};

/// Maximum number of proxies in a row.
pub(super) const MAX_PROXIES: usize = 16;

/// The trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Proxies {
    /// This many proxies, one behind another, in front of the listener.
    Count(usize),
    /// Every proxy with an address in one of these networks.
    Networks(Vec<Network>),
}

impl Default for Proxies {
    fn default() -> Self {
        Self::Count(1)
    }
}

/// The header that the proxies write. Only one is read, because clients can send the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 192.0.2.7`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.7`
    Forwarded,
}

/// Rules for finding the client's address behind proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The trusted proxies.
    pub proxies: Proxies,
    /// The header that they write.
    pub header: ForwardedHeader,
}

impl Forwarding {
    /// The client's address for a request received from `direct`.
    pub(super) fn client(&self, direct: IpAddr, headers: &HeaderMap) -> IpAddr {
        let (mut client, mut hops) = (direct, 0);
        while self.trusts(client, hops) {
            let Some(address) = self.hop(headers, hops) else { break };
            client = address;
            hops += 1;
        }
        client
    }

    /// True if `address`, reached through `hops` proxies, is a trusted proxy as well.
    pub(super) fn trusts(&self, address: IpAddr, hops: usize) -> bool {
        match &self.proxies {
            Proxies::Count(count) => hops < *count,
            Proxies::Networks(networks) => {
                hops < MAX_PROXIES && networks.iter().any(|network| network.contains(address))
            }
        }
    }

    /// The address in one element of the header, counted from the end.
    fn hop(&self, headers: &HeaderMap, number: usize) -> Option<IpAddr> {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ForwardedHeader::XForwardedFor => ("x-forwarded-for", node),
            ForwardedHeader::Forwarded => ("forwarded", forwarded_for),
        };
        let lines = headers.get_all(HeaderName::from_static(name)).iter().rev();
        // A line that is not text counts as one unparsable element.
        let mut elements = lines.flat_map(|line| from_the_end(line.to_str().unwrap_or_default(), b','));
        elements.nth(number).and_then(read)
    }
}

/// The elements of a list, last first. Separators inside quotes do not count. Quotes are paired from the end,
/// so an unclosed quote sent by a client cannot swallow the elements that proxies appended.
fn from_the_end(list: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let at = text.bytes().rposition(|byte| {
            quoted ^= byte == b'"';
            byte == separator && !quoted
        });
        rest = at.map(|at| &text[..at]);
        Some(at.map_or(text, |at| &text[at + 1..]))
    })
}

/// The address in the `for` parameter of a `Forwarded` element, if there is exactly one such parameter.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = from_the_end(element, b';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    let value = found.next()?;
    if found.next().is_some() { None } else { node(value) }
}

/// Parses an address with optional quotes and port. IPv6 addresses with a port must be in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let (address, port) = if let Some(after) = text.strip_prefix('[') {
        let (address, port) = after.split_once(']')?;
        (v6(address)?.into(), port)
    } else if let Some(address) = v6(text) {
        (IpAddr::V6(address), "")
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (IpAddr::V4(text[..end].parse().ok()?), &text[end..])
    };
    is_port(port).then(|| address.to_canonical())
}

/// Parses an IPv6 address and drops its zone, which some proxies add to link-local addresses.
fn v6(text: &str) -> Option<Ipv6Addr> {
    text.split_once('%').map_or(text, |(address, _)| address).parse().ok()
}

/// True for an empty text, and for a colon and a port number or obfuscated port (RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    let name = port.strip_prefix('_').is_some_and(|name| name.bytes().all(|b| b.is_ascii_graphic()));
    name || (!port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()))
}

impl<'de> Deserialize<'de> for Proxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProxiesVisitor)
    }
}

/// Visitor for both forms of [`Proxies`].
struct ProxiesVisitor;

impl<'de> Visitor<'de> for ProxiesVisitor {
    type Value = Proxies;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the number of proxies in a row, from 1 to {MAX_PROXIES}, or a list of their networks as in \
             [\"10.0.0.0/8\", \"2001:db8::7\"]"
        )
    }

    fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Proxies, E> {
        let sane = usize::try_from(count).ok().filter(|count| (1..=MAX_PROXIES).contains(count));
        let wrong = || E::invalid_value(serde::de::Unexpected::Unsigned(count), &self);
        sane.map(Proxies::Count).ok_or_else(wrong)
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Proxies, E> {
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(count), &self);
        u64::try_from(count).map_err(wrong).and_then(|count| self.visit_u64(count))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Proxies, A::Error> {
        let mut networks = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            networks.push(text.parse().map_err(A::Error::custom)?);
        }
        if networks.is_empty() {
            return Err(A::Error::invalid_length(0, &self));
        }
        Ok(Proxies::Networks(networks))
    }
}

#[cfg(test)]
mod tests;
