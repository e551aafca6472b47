//! Detects whether the records of a user agent have changed since they were read.
//!
//! Records are read before the engine's lock is taken, so that a slow disk delays only the caller.
//! Under the lock the caller compares generations, and reads again if they differ.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use bugle_protocol::Uaid;

use super::keys::{SUBSCRIPTION, USER_AGENT};

/// Counts the changes to records of user agents and subscriptions, with one counter for all uaids
/// that have the same first byte. Uaids are random or digests, so a change of one user agent rarely
/// makes the caller of another one read twice.
#[derive(Debug)]
pub(super) struct Generations([AtomicU64; 256]);

impl Default for Generations {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Generations {
    /// Returns the current generation of the records of a user agent. The caller takes it before it
    /// reads them, and compares it under the lock.
    pub(super) fn of(&self, uaid: Uaid) -> u64 {
        self.0[usize::from(uaid.as_bytes()[0])].load(Ordering::Acquire)
    }

    /// Starts a new generation after a change of records, under its lock.
    pub(super) fn raise(&self, counter: u8) {
        self.0[usize::from(counter)].fetch_add(1, Ordering::Release);
    }
}

/// Returns the counter of a user agent's or subscription's key.
pub(super) fn counter_of(key: &[u8]) -> Option<u8> {
    match key {
        [SUBSCRIPTION | USER_AGENT, first, ..] => Some(*first),
        _ => None,
    }
}
