//! `[limits.per_address]`: the share of a listener that one client address can hold.
//!
//! The defaults are between a quarter and a half of the bounds for all clients: a company's gateway or a
//! machine whose jobs all come from 127.0.0.1 does not notice them, and a client at its limit leaves the rest
//! to others.

use serde::{Deserialize, Serialize};

/// The `[limits.per_address]` table. An address is an IPv4 address or an IPv6 /64. All addresses of an IPv6
/// /48 together have half of the bounds for all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerAddress {
    /// Open connections; further ones are closed at once. A proxy in front is exempt. Default: 1024, a
    /// quarter of all.
    pub connections: usize,
    /// Writes in work at one time; further ones are answered 429. Default: 448, half of those of all clients.
    pub requests: usize,
    /// Reads in flight at one time; further ones are answered 429. Default: 256, a quarter of all requests.
    pub reads: usize,
    /// Requests whose bodies are not complete; further ones are answered 429. Default: 512, a quarter of all.
    pub bodies: usize,
    /// Bytes of request bodies in memory; further ones are answered 429. Default: 67108864 (64 MiB), a
    /// quarter of all.
    pub body_bytes: usize,
    /// Bytes of answers that the address has not read, and 4 KiB for each of these answers; requests beyond are
    /// answered 429. Default: 67108864 (64 MiB), a quarter of all.
    pub unread_bytes: usize,
}

impl Default for PerAddress {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 448,
            reads: 256,
            bodies: 512,
            body_bytes: 64 * 1024 * 1024,
            unread_bytes: 64 * 1024 * 1024,
        }
    }
}

impl PerAddress {
    /// The name of a limit that lets nothing through.
    pub(super) fn zero(&self) -> Option<&'static str> {
        let limits = [
            ("per_address.connections", self.connections),
            ("per_address.requests", self.requests),
            ("per_address.reads", self.reads),
            ("per_address.bodies", self.bodies),
            ("per_address.unread_bytes", self.unread_bytes),
        ];
        limits.into_iter().find(|(_, limit)| *limit == 0).map(|(name, _)| name)
    }
}
