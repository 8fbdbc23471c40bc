//! [`Kept`]: what full tiles and bundles were rendered to, so that their next reader costs no reading.
//!
//! Invariants: a full tile never changes, so what is kept is never wrong; the sum of what is kept, with what keeping
//! costs, stays within a bound, and what was not read for the longest time goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::coding::Coding;

/// What an entry of the two maps costs beside its bytes, generously.
const OVERHEAD: usize = 256;

/// Rendered tiles of one kind, each in the codings that were asked for.
pub(super) struct Kept<T> {
    budget: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Bytes kept, [`OVERHEAD`] included.
    weight: usize,
    /// Number of the last use.
    uses: u64,
    tiles: HashMap<(T, Coding), (u64, Bytes)>,
    by_last_use: BTreeMap<u64, (T, Coding)>,
}

impl<T: Copy + Eq + Hash> Kept<T> {
    /// Keeps at most `budget` bytes.
    pub(super) fn within(budget: usize) -> Self {
        let state = State { weight: 0, uses: 0, tiles: HashMap::new(), by_last_use: BTreeMap::new() };
        Self { budget, state: Mutex::new(state) }
    }

    /// What `tile` was rendered to, if that is still kept.
    pub(super) fn get(&self, tile: T, coding: Coding) -> Option<Bytes> {
        let key = (tile, coding);
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let (last_use, bytes) = state.tiles.get_mut(&key)?;
        state.uses += 1;
        state.by_last_use.remove(last_use);
        *last_use = state.uses;
        state.by_last_use.insert(state.uses, key);
        Some(bytes.clone())
    }

    /// Keeps what a full tile was rendered to, in place of what was not read for longer.
    pub(super) fn keep(&self, tile: T, coding: Coding, bytes: Bytes) {
        let (key, weight) = ((tile, coding), bytes.len() + OVERHEAD);
        if weight > self.budget {
            return;
        }
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        state.forget(&key);
        while state.weight + weight > self.budget {
            let Some(oldest) = state.by_last_use.first_key_value().map(|(_, key)| *key) else { break };
            state.forget(&oldest);
        }
        state.uses += 1;
        state.weight += weight;
        state.by_last_use.insert(state.uses, key);
        state.tiles.insert(key, (state.uses, bytes));
    }
}

impl<T: Copy + Eq + Hash> State<T> {
    fn forget(&mut self, key: &(T, Coding)) {
        if let Some((last_use, bytes)) = self.tiles.remove(key) {
            self.by_last_use.remove(&last_use);
            self.weight -= bytes.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::EntryBundle;

    fn tile(index: u64) -> EntryBundle {
        EntryBundle { index, width: 256 }
    }

    fn kept(kept: &Kept<EntryBundle>) -> Vec<u64> {
        (0..10)
            .filter(|index| kept.state.lock().unwrap().tiles.contains_key(&(tile(*index), Coding::Plain)))
            .collect()
    }

    #[test]
    fn what_was_not_read_for_longest_goes_first_and_the_bound_holds() {
        let cache = Kept::within(3 * (100 + OVERHEAD));
        for index in 0..3 {
            cache.keep(tile(index), Coding::Plain, Bytes::from(vec![0; 100]));
        }
        assert!(cache.get(tile(0), Coding::Plain).is_some());
        cache.keep(tile(3), Coding::Plain, Bytes::from(vec![3; 100]));
        assert_eq!(kept(&cache), [0, 2, 3]);
        // A larger one takes the place of two.
        cache.keep(tile(4), Coding::Plain, Bytes::from(vec![4; 101 + OVERHEAD]));
        assert_eq!(kept(&cache), [3, 4]);
        assert_eq!(cache.get(tile(3), Coding::Plain).unwrap(), vec![3; 100]);
        let state = cache.state.lock().unwrap();
        assert_eq!(state.weight, 201 + 3 * OVERHEAD);
        assert_eq!(state.by_last_use.len(), state.tiles.len());
    }

    #[test]
    fn what_exceeds_the_bound_alone_is_not_kept_and_drives_nothing_out() {
        let cache = Kept::within(1000);
        cache.keep(tile(0), Coding::Plain, Bytes::from_static(b"small"));
        cache.keep(tile(1), Coding::Plain, Bytes::from(vec![0; 1000]));
        assert_eq!(kept(&cache), [0]);
    }

    #[test]
    fn codings_of_a_tile_are_kept_apart_and_a_second_one_replaces_the_first() {
        let cache = Kept::within(10_000);
        for text in ["first", "second"] {
            cache.keep(tile(0), Coding::Plain, Bytes::from_static(text.as_bytes()));
        }
        cache.keep(tile(0), Coding::Gzip, Bytes::from_static(b"packed"));
        assert_eq!(cache.get(tile(0), Coding::Plain).unwrap(), "second");
        assert_eq!(cache.get(tile(0), Coding::Gzip).unwrap(), "packed");
        assert_eq!(cache.state.lock().unwrap().weight, 12 + 2 * OVERHEAD);
    }
}
