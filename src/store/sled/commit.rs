//! Group commit: all callers that wait for the disk share one sync.
//!
//! A dedicated thread takes all waiters, syncs once, and answers them; callers that arrive during
//! the sync form the next batch. After a sync that several callers shared, the next one starts no
//! sooner than [`APART`] after it started, so that more callers share it: a sync costs the same for
//! one caller and for thirty.
//!
//! The bytes that may be applied between two syncs are bounded too ([`Room`]). The engine reuses
//! parts of its file in place, and these writes reach the disk before what it appends. If a whole
//! segment of its log were missing behind such a part after a power loss, the engine would discard
//! the rest of the log.

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tokio::time::{Instant, timeout};

use crate::store::event::{News, Notifier};
use crate::store::{Limit, StoreError};

/// How long a change without a waiter may stay unsynced.
const UNSYNCED_AT_MOST: Duration = Duration::from_secs(1);

/// The minimum interval between the starts of syncs that several callers share. A disk whose syncs
/// take longer sets the pace itself.
const APART: Duration = Duration::from_millis(1);

/// From how many waiters on a sync counts as shared. With fewer, waiting for [`APART`] would gather
/// too few callers to be worth the delay.
const SEVERAL: usize = 6;

/// Bytes of changes that may be applied and not yet synced. The engine writes several bytes for
/// each byte of a change; this is a quarter of its segment.
const UNSYNCED_BYTES: usize = super::open::SEGMENT_BYTES / 4;

/// What a change of one key costs in addition to its record, in bytes: the engine sometimes writes
/// the whole page that holds the key.
const KEY_COST: usize = 4 << 10;

/// How long a caller waits for the disk. A user agent waits 10 s for the answer to a `register`
/// (WS-R-10).
const PATIENCE: Duration = Duration::from_secs(8);

/// Makes changes durable. Dropping it syncs the remaining changes and ends its thread.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    /// The capacity of `places`.
    most: usize,
    bytes: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// A permit to wait for the disk. A caller takes it before it applies a change, so that it can wait
/// for every change that it has applied.
pub(super) type Place = OwnedSemaphorePermit;

/// A permit to apply a change of a number of bytes; released when the change is durable.
pub(super) type Room = OwnedSemaphorePermit;

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// The number of the last durable batch.
    durable: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    waiters: Vec<Waiter>,
    /// Whether there are unsynced changes without a waiter.
    unsynced: bool,
    /// The byte permits of the changes in this batch.
    rooms: Vec<Room>,
    /// How many callers wait for byte permits, which only a sync releases.
    cramped: usize,
    /// The number of the batch that is being gathered, from 1.
    batch: u64,
    closed: bool,
    /// Why no change can become durable any more. Never cleared: after a failed sync the kernel may
    /// have dropped the data and report success for the next sync. Only reopening the engine shows
    /// what is on disk.
    failure: Option<String>,
}

/// A batch that is being synced.
#[derive(Debug)]
struct Taken {
    number: u64,
    waiters: Vec<Waiter>,
    rooms: Vec<Room>,
}

/// Counts a caller that waits for byte permits, until it is dropped, so also when the caller is
/// cancelled.
struct Cramped<'a>(&'a Shared);

/// A change that waits for the disk. If its caller is cancelled, the notifier still sends its news
/// and its permit is released.
#[derive(Debug)]
struct Waiter {
    answer: oneshot::Sender<Result<(), StoreError>>,
    place: Place,
    news: News,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiters: Vec::new(),
            unsynced: false,
            rooms: Vec::new(),
            cramped: 0,
            batch: 1,
            closed: false,
            failure: None,
        }
    }
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
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("store-commit".to_owned());
        let thread = thread.spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(sync, &notifier)
        })?;
        let most = waiting.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            shared,
            places: Arc::new(Semaphore::new(most)),
            most,
            bytes: Arc::new(Semaphore::new(UNSYNCED_BYTES)),
            thread: Some(thread),
        })
    }

    /// Takes a permit to wait for the disk.
    ///
    /// # Errors
    /// `Full` when no permit is free, `Unavailable` when a sync has failed.
    pub(super) fn place(&self) -> Result<Place, StoreError> {
        self.health()?;
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(TryAcquireError::NoPermits) => Err(StoreError::Full(Limit::WaitingForDisk.into())),
            Err(TryAcquireError::Closed) => Err(ended()),
        }
    }

    /// Like [`place`](Self::place), but waits for a free permit.
    ///
    /// # Errors
    /// `Unavailable` when a sync has failed.
    pub(super) async fn free_place(&self) -> Result<Place, StoreError> {
        self.health()?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| ended())
    }

    /// Returns how many callers wait for the disk.
    pub(super) fn waiting(&self) -> u64 {
        self.most.saturating_sub(self.places.available_permits()) as u64
    }

    /// Takes a permit to change `keys` keys with records of `bytes` bytes in all. Waits for a sync
    /// when too much is unsynced. A change larger than the bound takes all permits, so it is the
    /// only one between two syncs.
    ///
    /// # Errors
    /// `Unavailable` when a sync has failed.
    pub(super) async fn room(&self, keys: usize, bytes: usize) -> Result<Room, StoreError> {
        let cost = keys.saturating_mul(KEY_COST).saturating_add(bytes);
        let cost = u32::try_from(cost.min(UNSYNCED_BYTES)).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.bytes).try_acquire_many_owned(cost) {
            return Ok(room);
        }
        let _cramped = Cramped::new(&self.shared)?;
        let room = Arc::clone(&self.bytes).acquire_many_owned(cost).await;
        room.map_err(|_| ended())
    }

    /// Takes a permit to change `keys` keys with small records, if one is free now.
    pub(super) fn room_now(&self, keys: u32) -> Option<Room> {
        let cost = keys.saturating_mul(u32::try_from(KEY_COST).unwrap_or(u32::MAX));
        Arc::clone(&self.bytes).try_acquire_many_owned(cost).ok()
    }

    /// Waits until everything that was applied before the call is durable; `room` is the permit of
    /// the change. Then the notifier sends `news`, even if the caller was cancelled, and the caller
    /// is answered after that.
    ///
    /// # Errors
    /// `Unavailable` when a write or sync has failed, or the sync takes longer than [`PATIENCE`].
    pub(super) async fn commit(
        &self,
        place: Place,
        room: Option<Room>,
        news: News,
    ) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            answer,
            place,
            news,
        };
        self.shared.push(waiter, room)?;
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(StoreError::Unavailable(format!(
                "the disk has not confirmed a change for {} s",
                PATIENCE.as_secs()
            ))),
        }
    }

    /// Succeeds while the committer accepts changes.
    ///
    /// # Errors
    /// `Unavailable` when a write or a sync has failed.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.shared.queue().health()
    }

    /// Records that a write has failed. From now on every change is refused.
    pub(super) fn fail(&self, error: &dyn Display) -> StoreError {
        self.shared.fail(error)
    }

    /// Returns the number of the batch that makes a change durable that is applied now.
    pub(super) fn batch(&self) -> u64 {
        self.shared.queue().batch
    }

    /// Schedules a sync of what was applied before the call, without waiting for it, and returns
    /// the number of its batch.
    pub(super) fn commit_later(&self, room: Option<Room>) -> u64 {
        let mut queue = self.shared.queue();
        let first = !mem::replace(&mut queue.unsynced, true);
        queue.rooms.extend(room);
        if (first || queue.cramped > 0) && queue.waiters.is_empty() {
            self.shared.wake.notify_one();
        }
        queue.batch
    }

    pub(super) fn is_durable(&self, batch: u64) -> bool {
        batch <= self.shared.durable.load(Ordering::Acquire)
    }

    /// Syncs the remaining changes, and ends the thread.
    pub(super) fn finish(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
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

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No critical section here panics half way, so the queue is consistent even if the lock is
        // poisoned.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, waiter: Waiter, room: Option<Room>) -> Result<(), StoreError> {
        let mut queue = self.queue();
        queue.health()?;
        queue.waiters.push(waiter);
        queue.rooms.extend(room);
        // The first waiter in an empty queue wakes the thread. The thread checks the queue before
        // it sleeps, so later waiters need not wake it.
        if queue.waiters.len() == 1 {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn run(&self, mut sync: impl FnMut() -> io::Result<()>, notifier: &Notifier) {
        while let Some(taken) = self.next_batch() {
            let (began, shared) = (Instant::now(), taken.waiters.len() >= SEVERAL);
            // After a failure, a successful sync proves nothing about earlier changes.
            let well = self.queue().health();
            let result = well.and_then(|()| {
                catch_unwind(AssertUnwindSafe(&mut sync))
                    .unwrap_or_else(|_| Err(io::Error::other("the engine panicked")))
                    .map_err(|error| self.fail(&error))
            });
            if result.is_ok() {
                self.durable.store(taken.number, Ordering::Release);
            }
            drop(taken.rooms);
            for waiter in taken.waiters {
                // Released before the answer, so an answered caller can take it again.
                drop(waiter.place);
                // After a failed sync, `Event::Gap` notifies readers when the folder is reopened.
                if result.is_ok() {
                    notifier.tell(waiter.news);
                }
                // A cancelled caller needs no answer.
                let _ = waiter.answer.send(result.clone());
            }
            if shared {
                thread::sleep(APART.saturating_sub(began.elapsed()));
            }
        }
    }

    /// Sleeps until there is something to sync; returns `None` when the committer is closed and
    /// nothing is left.
    fn next_batch(&self) -> Option<Taken> {
        let mut queue = self.queue();
        loop {
            let at_once = queue.closed || queue.cramped > 0;
            if !queue.waiters.is_empty() || (queue.unsynced && at_once) {
                return Some(queue.take());
            }
            if queue.closed {
                return None;
            }
            if queue.unsynced {
                let slept = self.wake.wait_timeout(queue, UNSYNCED_AT_MOST);
                let (woken, timeout) = slept.unwrap_or_else(PoisonError::into_inner);
                queue = woken;
                if timeout.timed_out() {
                    return Some(queue.take());
                }
            } else {
                let slept = self.wake.wait(queue);
                queue = slept.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn fail(&self, error: &dyn Display) -> StoreError {
        let failure = format!("writing to disk failed: {error}");
        if self.queue().failure.replace(failure.clone()).is_none() {
            tracing::error!(%error, "writing to disk failed: the store takes no changes for now");
        }
        StoreError::Unavailable(failure)
    }
}

impl<'a> Cramped<'a> {
    fn new(shared: &'a Shared) -> Result<Self, StoreError> {
        let mut queue = shared.queue();
        queue.health()?;
        queue.cramped += 1;
        shared.wake.notify_one();
        drop(queue);
        Ok(Self(shared))
    }
}

impl Drop for Cramped<'_> {
    fn drop(&mut self) {
        self.0.queue().cramped -= 1;
    }
}

impl Queue {
    fn take(&mut self) -> Taken {
        let number = self.batch;
        self.batch += 1;
        self.unsynced = false;
        Taken {
            number,
            waiters: mem::take(&mut self.waiters),
            rooms: mem::take(&mut self.rooms),
        }
    }

    fn health(&self) -> Result<(), StoreError> {
        match &self.failure {
            Some(failure) => Err(StoreError::Unavailable(failure.clone())),
            None => Ok(()),
        }
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("the store is closing".to_owned())
}
