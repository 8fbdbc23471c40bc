//! [`Waiting`]: how many requests of one client may wait for their credentials to be judged.
//!
//! A judgement may wait for the network: for the keys of a token's issuer. Anyone can cause that with an
//! unsigned token, and a request that waits has a place for reads.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Requests of one address that may wait at one time: half of those that may wait for one issuer, so that an
/// address alone keeps no other from waiting for the same keys.
const MOST: usize = 16;

/// Numbers of waiting requests by address. Clients that cannot be told apart are one.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<Option<IpAddr>, usize>>);

/// A waiting request.
pub(super) struct Place<'w> {
    waiting: &'w Waiting,
    address: Option<IpAddr>,
}

impl Waiting {
    /// A place for one more request of `address`, if there is one.
    pub(super) fn join(&self, address: Option<IpAddr>) -> Option<Place<'_>> {
        let mut numbers = self.lock();
        let number = numbers.entry(address).or_default();
        if *number >= MOST {
            return None;
        }
        *number += 1;
        Some(Place { waiting: self, address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut numbers = self.waiting.lock();
        if let Some(number) = numbers.get_mut(&self.address) {
            *number -= 1;
            if *number == 0 {
                numbers.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places_and_leaves_nothing() {
        let waiting = Waiting::default();
        let addresses = [None, Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2]))];
        let mut places = Vec::new();
        for address in addresses {
            places.extend((0..100).filter_map(|_| waiting.join(address)));
            assert!(waiting.join(address).is_none());
        }
        assert_eq!(places.len(), 3 * MOST);
        places.pop();
        assert!(waiting.join(addresses[2]).is_some());
        drop(places);
        assert!(waiting.lock().is_empty());
    }
}
