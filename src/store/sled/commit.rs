//! Group commit: all callers that wait for the disk share one sync.
//!
//! A dedicated thread takes all waiters, syncs once, and answers them; callers that arrive during
//! the sync form the next batch ([`CommitQueue`]).
//!
//! The bytes that may be applied between two syncs are bounded too ([`BytePermit`]). The engine
//! reuses parts of its file in place, and these writes reach the disk before what it appends. If a
//! whole segment of its log were missing behind such a part after a power loss, the engine would
//! discard the rest of the log.

mod queue;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tokio::time::timeout;

use self::queue::{CommitQueue, Waiter};
use crate::store::event::{Notice, Notifier};
use crate::store::{Limit, StoreError};

/// Bytes of changes that may be applied and not yet synced. The engine writes several bytes for
/// each byte of a change; this is a quarter of its segment.
const UNSYNCED_BYTES: usize = super::open::SEGMENT_BYTES / 4;

/// What a change of one key costs in addition to its record, in bytes: the engine sometimes writes
/// the whole page that holds the key.
const KEY_COST: usize = 4 << 10;

/// How long a caller waits for the disk. A user agent waits 10 s for the answer to a `register`
/// (WS-R-10).
const COMMIT_TIMEOUT: Duration = Duration::from_secs(8);

/// A permit to wait for the disk. A caller takes it before it applies a change, so that it can wait
/// for every change that it has applied.
pub(super) type WaitPermit = OwnedSemaphorePermit;

/// A permit to apply a change of a number of bytes; released when the change is durable.
pub(super) type BytePermit = OwnedSemaphorePermit;

/// Makes changes durable. Dropping it syncs the remaining changes and ends its thread.
#[derive(Debug)]
pub(super) struct Committer {
    queue: Arc<CommitQueue>,
    wait_permits: Arc<Semaphore>,
    /// The capacity of `wait_permits`.
    max_waiting: usize,
    byte_permits: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread. `sync` makes everything durable that was applied before the call. At most
    /// `waiting` callers, and at least one, wait at a time. The thread also notifies `notifier` of
    /// durable changes.
    ///
    /// # Errors
    /// Fails when the thread cannot be spawned.
    pub(super) fn start(
        sync: impl FnMut() -> io::Result<()> + Send + 'static,
        waiting: usize,
        notifier: Notifier,
    ) -> io::Result<Self> {
        let queue = Arc::new(CommitQueue::default());
        let thread = thread::Builder::new().name("store-commit".to_owned());
        let thread = thread.spawn({
            let queue = Arc::clone(&queue);
            move || queue.run(sync, &notifier)
        })?;
        let max_waiting = waiting.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            queue,
            wait_permits: Arc::new(Semaphore::new(max_waiting)),
            max_waiting,
            byte_permits: Arc::new(Semaphore::new(UNSYNCED_BYTES)),
            thread: Some(thread),
        })
    }

    /// Takes a permit to wait for the disk.
    ///
    /// # Errors
    /// `Full` when no permit is free, `Unavailable` when a sync has failed.
    pub(super) fn try_wait_permit(&self) -> Result<WaitPermit, StoreError> {
        self.health()?;
        match Arc::clone(&self.wait_permits).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(TryAcquireError::NoPermits) => Err(StoreError::Full(Limit::WaitingForDisk.into())),
            Err(TryAcquireError::Closed) => Err(closing()),
        }
    }

    /// Like [`try_wait_permit`](Self::try_wait_permit), but waits for a free permit.
    ///
    /// # Errors
    /// `Unavailable` when a sync has failed.
    pub(super) async fn wait_permit(&self) -> Result<WaitPermit, StoreError> {
        self.health()?;
        let permit = Arc::clone(&self.wait_permits).acquire_owned().await;
        permit.map_err(|_| closing())
    }

    /// Returns how many callers wait for the disk.
    pub(super) fn waiting(&self) -> u64 {
        let free = self.wait_permits.available_permits();
        self.max_waiting.saturating_sub(free) as u64
    }

    /// Takes a permit to change `keys` keys with records of `bytes` bytes in all. Waits for a sync
    /// when too much is unsynced. A change larger than the bound takes all permits, so it is the
    /// only one between two syncs.
    ///
    /// # Errors
    /// `Unavailable` when a sync has failed.
    pub(super) async fn byte_permit(
        &self,
        keys: usize,
        bytes: usize,
    ) -> Result<BytePermit, StoreError> {
        let cost = keys.saturating_mul(KEY_COST).saturating_add(bytes);
        let cost = u32::try_from(cost.min(UNSYNCED_BYTES)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.byte_permits).try_acquire_many_owned(cost) {
            return Ok(permit);
        }
        let _blocked = self.queue.block_on_bytes()?;
        let permit = Arc::clone(&self.byte_permits)
            .acquire_many_owned(cost)
            .await;
        permit.map_err(|_| closing())
    }

    /// Takes a permit to change `keys` keys with small records, if one is free now.
    pub(super) fn try_byte_permit(&self, keys: u32) -> Option<BytePermit> {
        let cost = keys.saturating_mul(u32::try_from(KEY_COST).unwrap_or(u32::MAX));
        Arc::clone(&self.byte_permits)
            .try_acquire_many_owned(cost)
            .ok()
    }

    /// Waits until everything that was applied before the call is durable; `bytes` is the permit of
    /// the change. Then the notifier sends `notice`, even if the caller was cancelled, and the
    /// caller is answered after that.
    ///
    /// # Errors
    /// `Unavailable` when a write or sync has failed, or the sync takes longer than
    /// [`COMMIT_TIMEOUT`].
    pub(super) async fn commit(
        &self,
        permit: WaitPermit,
        bytes: Option<BytePermit>,
        notice: Notice,
    ) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            answer,
            permit,
            notice,
        };
        self.queue.push(waiter, bytes)?;
        match timeout(COMMIT_TIMEOUT, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(closing())),
            Err(_) => Err(StoreError::Unavailable(format!(
                "the disk has not confirmed a change for {} s",
                COMMIT_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Schedules a sync of what was applied before the call, without waiting for it, and returns
    /// the number of its batch.
    pub(super) fn commit_later(&self, bytes: Option<BytePermit>) -> u64 {
        self.queue.push_unwaited(bytes)
    }

    /// Succeeds while the committer accepts changes.
    ///
    /// # Errors
    /// `Unavailable` when a write or a sync has failed.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.queue.health()
    }

    /// Records that a write has failed. From now on every change is refused.
    pub(super) fn fail(&self, error: &dyn Display) -> StoreError {
        self.queue.fail(error)
    }

    /// Returns the number of the batch that makes a change durable that is applied now.
    pub(super) fn batch(&self) -> u64 {
        self.queue.batch()
    }

    pub(super) fn is_durable(&self, batch: u64) -> bool {
        self.queue.is_durable(batch)
    }

    /// Syncs the remaining changes, and ends the thread.
    pub(super) fn finish(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // The thread catches panics of `sync`; nothing else in it panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.finish();
    }
}

fn closing() -> StoreError {
    StoreError::Unavailable("the store is closing".to_owned())
}
