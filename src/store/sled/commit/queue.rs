//! The queue between the callers that wait for a sync and the thread that syncs.
//!
//! After a sync that several callers shared, the next one starts no sooner than
//! [`SHARED_SYNC_INTERVAL`] after it started, so that more callers share it: a sync costs the same
//! for one caller and for thirty.

use std::fmt::Display;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{BytePermit, WaitPermit};
use crate::store::StoreError;
use crate::store::event::{Notice, Notifier};

/// How long a change without a waiter may stay unsynced.
const MAX_UNSYNCED_TIME: Duration = Duration::from_secs(1);

/// The minimum interval between the starts of syncs that several callers share. A disk whose syncs
/// take longer sets the pace itself.
pub(super) const SHARED_SYNC_INTERVAL: Duration = Duration::from_millis(1);

/// From how many waiters on a sync counts as shared. With fewer, waiting for
/// [`SHARED_SYNC_INTERVAL`] would gather too few callers to be worth the delay.
pub(super) const SHARED_SYNC_WAITERS: usize = 6;

/// The changes that are not yet durable, and the callers that wait for them.
#[derive(Debug, Default)]
pub(super) struct CommitQueue {
    state: Mutex<State>,
    wake: Condvar,
    /// The number of the last durable batch.
    durable: AtomicU64,
}

#[derive(Debug)]
struct State {
    waiters: Vec<Waiter>,
    /// Whether there are unsynced changes without a waiter.
    unsynced: bool,
    /// The byte permits of the changes in this batch.
    bytes: Vec<BytePermit>,
    /// How many callers wait for byte permits, which only a sync releases.
    blocked: usize,
    /// The number of the batch that is being gathered, from 1.
    batch: u64,
    closed: bool,
    /// Why no change can become durable any more. Never cleared: after a failed sync the kernel may
    /// have dropped the data and report success for the next sync. Only reopening the engine shows
    /// what is on disk.
    failure: Option<String>,
}

/// A change that waits for the disk. If its caller is cancelled, the notifier still sends its
/// notice and its permit is released.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
    pub(super) permit: WaitPermit,
    pub(super) notice: Notice,
}

/// The changes that one sync makes durable.
#[derive(Debug)]
struct Batch {
    number: u64,
    waiters: Vec<Waiter>,
    bytes: Vec<BytePermit>,
}

/// Counts a caller that waits for byte permits, until it is dropped, so also when the caller is
/// cancelled.
pub(super) struct BlockedOnBytes<'a>(&'a CommitQueue);

impl Default for State {
    fn default() -> Self {
        Self {
            waiters: Vec::new(),
            unsynced: false,
            bytes: Vec::new(),
            blocked: 0,
            batch: 1,
            closed: false,
            failure: None,
        }
    }
}

impl CommitQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section here panics half way, so the state is consistent even if the lock is
        // poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a waiter to the batch that is being gathered, and the byte permit of its change.
    ///
    /// # Errors
    /// `Unavailable` when a write or a sync has failed.
    pub(super) fn push(&self, waiter: Waiter, bytes: Option<BytePermit>) -> Result<(), StoreError> {
        let mut state = self.state();
        state.health()?;
        state.waiters.push(waiter);
        state.bytes.extend(bytes);
        // The first waiter in an empty queue wakes the thread. The thread checks the queue before
        // it sleeps, so later waiters need not wake it.
        if state.waiters.len() == 1 {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Adds a change without a waiter, and returns the number of its batch.
    pub(super) fn push_unwaited(&self, bytes: Option<BytePermit>) -> u64 {
        let mut state = self.state();
        let first = !mem::replace(&mut state.unsynced, true);
        state.bytes.extend(bytes);
        if (first || state.blocked > 0) && state.waiters.is_empty() {
            self.wake.notify_one();
        }
        state.batch
    }

    /// Counts the caller as blocked on byte permits, and wakes the thread: only a sync releases
    /// them.
    ///
    /// # Errors
    /// `Unavailable` when a write or a sync has failed.
    pub(super) fn block_on_bytes(&self) -> Result<BlockedOnBytes<'_>, StoreError> {
        let mut state = self.state();
        state.health()?;
        state.blocked += 1;
        self.wake.notify_one();
        drop(state);
        Ok(BlockedOnBytes(self))
    }

    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.state().health()
    }

    /// Records a failure, and logs the first one.
    pub(super) fn fail(&self, error: &dyn Display) -> StoreError {
        let failure = format!("writing to disk failed: {error}");
        if self.state().failure.replace(failure.clone()).is_none() {
            tracing::error!(%error, "writing to disk failed: the store takes no changes for now");
        }
        StoreError::Unavailable(failure)
    }

    /// Returns the number of the batch that is being gathered.
    pub(super) fn batch(&self) -> u64 {
        self.state().batch
    }

    pub(super) fn is_durable(&self, batch: u64) -> bool {
        batch <= self.durable.load(Ordering::Acquire)
    }

    /// Makes [`run`](Self::run) sync what remains and return.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Syncs one batch after another, until the queue is closed and empty. After each, it releases
    /// the permits, notifies the listener of what is durable, and answers the callers.
    pub(super) fn run(&self, mut sync: impl FnMut() -> io::Result<()>, notifier: &Notifier) {
        while let Some(batch) = self.next_batch() {
            let began = Instant::now();
            let is_shared = batch.waiters.len() >= SHARED_SYNC_WAITERS;
            // After a failure, a successful sync proves nothing about earlier changes.
            let synced = self.health().and_then(|()| {
                catch_unwind(AssertUnwindSafe(&mut sync))
                    .unwrap_or_else(|_| Err(io::Error::other("the engine panicked")))
                    .map_err(|error| self.fail(&error))
            });
            if synced.is_ok() {
                self.durable.store(batch.number, Ordering::Release);
            }
            drop(batch.bytes);
            for waiter in batch.waiters {
                // Released before the answer, so an answered caller can take it again.
                drop(waiter.permit);
                // After a failed sync, `Event::Gap` notifies readers when the folder is reopened.
                if synced.is_ok() {
                    notifier.notify(waiter.notice);
                }
                // A cancelled caller needs no answer.
                let _ = waiter.answer.send(synced.clone());
            }
            if is_shared {
                thread::sleep(SHARED_SYNC_INTERVAL.saturating_sub(began.elapsed()));
            }
        }
    }

    /// Sleeps until there is something to sync; returns `None` when the queue is closed and nothing
    /// is left.
    fn next_batch(&self) -> Option<Batch> {
        let mut state = self.state();
        loop {
            let at_once = state.closed || state.blocked > 0;
            if !state.waiters.is_empty() || (state.unsynced && at_once) {
                return Some(state.take());
            }
            if state.closed {
                return None;
            }
            if state.unsynced {
                let slept = self.wake.wait_timeout(state, MAX_UNSYNCED_TIME);
                let (woken, timeout) = slept.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if timeout.timed_out() {
                    return Some(state.take());
                }
            } else {
                let slept = self.wake.wait(state);
                state = slept.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for BlockedOnBytes<'_> {
    fn drop(&mut self) {
        self.0.state().blocked -= 1;
    }
}

impl State {
    fn take(&mut self) -> Batch {
        let number = self.batch;
        self.batch += 1;
        self.unsynced = false;
        Batch {
            number,
            waiters: mem::take(&mut self.waiters),
            bytes: mem::take(&mut self.bytes),
        }
    }

    fn health(&self) -> Result<(), StoreError> {
        match &self.failure {
            Some(failure) => Err(StoreError::Unavailable(failure.clone())),
            None => Ok(()),
        }
    }
}
