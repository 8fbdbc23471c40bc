//! [`Table`]: counts of what each client address holds, and each IPv6 site.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::rate;

/// Counts of what an address, a site or all clients hold.
#[derive(Default)]
pub(super) struct Held {
    /// Number of users: of an address, values of [`super::Share`]; of a site, addresses in the table.
    pub(super) users: AtomicUsize,
    pub(super) connections: AtomicUsize,
    /// Complete requests in flight.
    pub(super) requests: AtomicUsize,
    /// Complete requests in flight that only read.
    pub(super) reads: AtomicUsize,
    /// Complete requests in flight that write.
    pub(super) writes: AtomicUsize,
    pub(super) bodies: AtomicUsize,
    pub(super) body_bytes: AtomicUsize,
    pub(super) unread: AtomicUsize,
    /// The site of an IPv6 address. Its counts include those of this address.
    pub(super) site: Option<Site>,
}

/// An IPv6 site in the table.
pub(super) struct Site {
    network: IpAddr,
    pub(super) held: Arc<Held>,
}

/// All addresses that hold something, and their sites.
#[derive(Default)]
pub(super) struct Table {
    addresses: HashMap<IpAddr, Arc<Held>>,
    sites: HashMap<IpAddr, Arc<Held>>,
}

impl Table {
    /// The counts of an address, with one more user.
    pub(super) fn join(&mut self, address: IpAddr) -> Arc<Held> {
        let held = match self.addresses.get(&address) {
            Some(held) => Arc::clone(held),
            None => self.add(address),
        };
        held.users.fetch_add(1, Ordering::Relaxed);
        held
    }

    fn add(&mut self, address: IpAddr) -> Arc<Held> {
        let site = rate::site(address).map(|network| {
            let held = Arc::clone(self.sites.entry(network).or_default());
            held.users.fetch_add(1, Ordering::Relaxed);
            Site { network, held }
        });
        let held = Arc::new(Held { site, ..Held::default() });
        self.addresses.insert(address, Arc::clone(&held));
        held
    }

    /// Removes an address without users.
    pub(super) fn leave(&mut self, address: IpAddr, held: &Arc<Held>) {
        // Another user may have joined, or may have come and gone and been replaced.
        let unused = self.addresses.get(&address).is_some_and(|found| Arc::ptr_eq(found, held))
            && held.users.load(Ordering::Relaxed) == 0;
        if !unused {
            return;
        }
        self.addresses.remove(&address);
        if let Some(site) = &held.site
            && site.held.users.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.sites.remove(&site.network);
        }
    }

    /// Number of addresses.
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// All counts, those of sites last.
    #[cfg(test)]
    pub(super) fn all(&self) -> (Vec<Arc<Held>>, Vec<Arc<Held>>) {
        (self.addresses.values().cloned().collect(), self.sites.values().cloned().collect())
    }
}
