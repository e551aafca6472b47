//! Tracks subscriptions whose last change is not yet durable.
//!
//! A read reports whether a subscription exists. It must not report that one exists, or that it has
//! ended, before that survives a crash.

use std::collections::{HashMap, VecDeque};

use bugle_protocol::{ChannelId, Uaid};

type Key = (Uaid, ChannelId);

/// The last batch in which each subscription changed. Holds at most as many as may wait for the
/// disk at one time.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// In the order of batches.
    order: VecDeque<(u64, Key)>,
    last: HashMap<Key, u64>,
}

impl Unsynced {
    /// Records a change that becomes durable with `batch`, and removes those that are durable now.
    pub(super) fn note(&mut self, key: Key, batch: u64, is_durable: impl Fn(u64) -> bool) {
        while let Some((durable, key)) = self.order.pop_front_if(|(batch, _)| is_durable(*batch)) {
            if self.last.get(&key) == Some(&durable) {
                self.last.remove(&key);
            }
        }
        self.order.push_back((batch, key));
        self.last.insert(key, batch);
    }

    pub(super) fn holds(&self, key: Key, is_durable: impl Fn(u64) -> bool) -> bool {
        self.last.get(&key).is_some_and(|batch| !is_durable(*batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_held_until_its_last_batch_is_durable() {
        let key = |n| (Uaid::from_bytes([n; 16]), ChannelId::from_bytes([n; 16]));
        let mut unsynced = Unsynced::default();
        unsynced.note(key(1), 1, |_| false);
        unsynced.note(key(2), 1, |_| false);
        unsynced.note(key(1), 2, |_| false);
        assert!(unsynced.holds(key(1), |batch| batch <= 1));
        assert!(!unsynced.holds(key(2), |batch| batch <= 1));
        assert!(!unsynced.holds(key(3), |_| false));
        unsynced.note(key(3), 3, |batch| batch <= 2);
        assert_eq!((unsynced.order.len(), unsynced.last.len()), (1, 1));
    }
}
