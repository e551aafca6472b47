//! Whether the records of a user agent have changed since they were read.
//!
//! Records are read in front of the lock of the engine, so that a slow disk
//! holds up the caller alone. Whoever then holds the lock compares generations,
//! and reads again where they differ.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use bugle_protocol::Uaid;

use super::keys::{SUBSCRIPTION, USER_AGENT};

/// Counts the changes of the records of user agents and of subscriptions: one
/// counter for all uaids with the same first byte. Uaids are random or digests,
/// so a change of one user agent rarely makes another one's caller read twice.
#[derive(Debug)]
pub(super) struct Generations([AtomicU64; 256]);

impl Default for Generations {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Generations {
    /// The generation that the records of a user agent are in. Taken before they
    /// are read, and compared under the lock.
    pub(super) fn of(&self, uaid: Uaid) -> u64 {
        self.0[usize::from(uaid.as_bytes()[0])].load(Ordering::Acquire)
    }

    /// Begins another generation after a change of records, under its lock.
    pub(super) fn raise(&self, counter: u8) {
        self.0[usize::from(counter)].fetch_add(1, Ordering::Release);
    }
}

/// Which counter a key belongs to: that of a user agent or a subscription.
pub(super) fn counter_of(key: &[u8]) -> Option<u8> {
    match key {
        [SUBSCRIPTION | USER_AGENT, first, ..] => Some(*first),
        _ => None,
    }
}
