//! [`Network`]: an IP network in CIDR notation.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A network of IPv4 or IPv6, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Length of the prefix in bits.
    length: u32,
}

/// Invalid network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Malformed address, or prefix length out of range.
    #[error("`{0}` is not a network: write it as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")]
    Form(String),
    /// The address has bits set beyond the prefix.
    #[error("`{0}` is an address inside of its network: write {1}")]
    Inside(String, Network),
}

impl Network {
    /// True if `address` is in the network. IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && bits(address) & mask(*self) == bits(self.address)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError::Form(text.chars().take(64).flat_map(char::escape_default).collect());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let width = width(address);
        let length = length.map_or(Ok(width), |length| length.parse().map_err(|_| wrong()))?;
        if length > width {
            return Err(wrong());
        }
        let network = Self { address, length };
        let begin = bits(address) & mask(network);
        if begin != bits(address) {
            return Err(NetworkError::Inside(
                text.to_owned(),
                Self { address: of_bits(begin, address), length },
            ));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with these bits, in the family of `like`.
fn of_bits(bits: u128, like: IpAddr) -> IpAddr {
    match (like, u32::try_from(bits)) {
        (IpAddr::V4(_), Ok(bits)) => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    }
}

/// The netmask.
fn mask(network: Network) -> u128 {
    let free = width(network.address) - network.length;
    u128::MAX.checked_shl(free).unwrap_or(0)
}
