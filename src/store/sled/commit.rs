//! Group commit: everybody who waits for the disk waits for the same sync.
//!
//! A thread of its own takes all who wait, syncs once, and answers them; those
//! who come meanwhile are the next batch. While several share a sync, the next
//! one begins [`APART`] after it, so that more share that: a sync costs the same
//! for one and for thirty.
//!
//! What may be applied between two syncs is bounded in octets too ([`Room`]).
//! The engine reuses parts of its file in place, which reaches the disk ahead
//! of what it appends; were a whole segment of its log missing behind such a
//! part after a power loss, it would discard the rest of the log.

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

/// For how long a change that nobody waits for may stay unsynced.
const UNSYNCED_AT_MOST: Duration = Duration::from_secs(1);

/// How far apart syncs begin that several share. Disks that take longer for one
/// set the pace themselves.
const APART: Duration = Duration::from_millis(1);

/// How many are several: where fewer come, the wait would gather too few to be
/// worth it.
const SEVERAL: usize = 6;

/// Octets of changes that may be applied and not yet synced. The engine writes
/// several octets for one of a change; this is a quarter of its segment.
const UNSYNCED_BYTES: usize = super::open::SEGMENT_BYTES / 4;

/// What a change of one key costs beside its record: the engine now and then
/// writes the whole page that the key is in.
const KEY_COST: usize = 4 << 10;

/// For how long a caller waits for the disk. A user agent waits 10 s for the
/// answer to a `register` (WS-R-10).
const PATIENCE: Duration = Duration::from_secs(8);

/// Makes changes durable. Dropping it syncs what is left and ends its thread.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    /// How many places there are.
    most: usize,
    bytes: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

/// The right to wait for the disk. Taken before a change is applied, so that
/// what is applied can also be answered.
pub(super) type Place = OwnedSemaphorePermit;

/// Leave to apply a change of some octets; given back when it is durable.
pub(super) type Room = OwnedSemaphorePermit;

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// The last batch that is durable.
    durable: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    waiters: Vec<Waiter>,
    /// There are changes that nobody waits for.
    unsynced: bool,
    /// Held by the changes in this batch.
    rooms: Vec<Room>,
    /// How many wait for room, which only a sync can give.
    cramped: usize,
    /// The batch that is being gathered; the first is 1.
    batch: u64,
    closed: bool,
    /// Why nothing can be promised any more. Never cleared: after a failed
    /// sync the system may have dropped the data and report the next as fine.
    /// Only opening the engine anew shows what is there.
    failure: Option<String>,
}

/// A batch on its way to the disk.
#[derive(Debug)]
struct Taken {
    number: u64,
    waiters: Vec<Waiter>,
    rooms: Vec<Room>,
}

/// One who waits for room, also if it stops waiting.
struct Cramped<'a>(&'a Shared);

/// A change that waits for the disk, also if nobody waits for the answer any
/// more: its news is told and its place given back all the same.
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
    /// Starts the thread. `sync` makes durable all that was applied before it
    /// is called; at most `waiting` callers, and at least one, wait at one time.
    /// The thread also tells `notifier` what they have changed.
    ///
    /// # Errors
    /// When the system gives no thread.
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

    /// A place among those who wait for the disk.
    ///
    /// # Errors
    /// `Full` when all are taken, `Unavailable` when a sync has failed.
    pub(super) fn place(&self) -> Result<Place, StoreError> {
        self.health()?;
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(TryAcquireError::NoPermits) => Err(StoreError::Full(Limit::WaitingForDisk.into())),
            Err(TryAcquireError::Closed) => Err(ended()),
        }
    }

    /// Like [`place`](Self::place), but waits for one to become free.
    ///
    /// # Errors
    /// `Unavailable` when a sync has failed.
    pub(super) async fn free_place(&self) -> Result<Place, StoreError> {
        self.health()?;
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| ended())
    }

    /// How many wait for the disk.
    pub(super) fn waiting(&self) -> u64 {
        self.most.saturating_sub(self.places.available_permits()) as u64
    }

    /// Leave to change `keys` keys with records of `bytes` octets in all.
    /// Waits for a sync when too much is unsynced. A change too large for any
    /// leave is the only one of its time.
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

    /// Leave to change `keys` keys with small records, if there is room now.
    pub(super) fn room_now(&self, keys: u32) -> Option<Room> {
        let cost = keys.saturating_mul(u32::try_from(KEY_COST).unwrap_or(u32::MAX));
        Arc::clone(&self.bytes).try_acquire_many_owned(cost).ok()
    }

    /// Waits until all that was applied before the call is durable; `room` is
    /// what that took. Then, and whether or not the caller still waits, `news`
    /// is told; the caller is answered after that.
    ///
    /// # Errors
    /// `Unavailable` when that cannot be promised, or not within [`PATIENCE`].
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

    /// Whether changes are taken.
    ///
    /// # Errors
    /// `Unavailable` when a write or a sync has failed.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.shared.queue().health()
    }

    /// Notes that a write has failed: nothing is promised from now on.
    pub(super) fn fail(&self, error: &dyn Display) -> StoreError {
        self.shared.fail(error)
    }

    /// The batch that a change which is applied now becomes durable with.
    pub(super) fn batch(&self) -> u64 {
        self.shared.queue().batch
    }

    /// Sees that what was applied before the call becomes durable soon, and
    /// says in which batch.
    pub(super) fn commit_later(&self, room: Option<Room>) -> u64 {
        let mut queue = self.shared.queue();
        let first = !mem::replace(&mut queue.unsynced, true);
        queue.rooms.extend(room);
        if (first || queue.cramped > 0) && queue.waiters.is_empty() {
            self.shared.wake.notify_one();
        }
        queue.batch
    }

    /// Whether a batch is durable.
    pub(super) fn is_durable(&self, batch: u64) -> bool {
        batch <= self.shared.durable.load(Ordering::Acquire)
    }

    /// Syncs what is left, and ends the thread.
    pub(super) fn finish(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of `sync` and has no other.
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
        // Nothing in a critical section here panics half way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, waiter: Waiter, room: Option<Room>) -> Result<(), StoreError> {
        let mut queue = self.queue();
        queue.health()?;
        queue.waiters.push(waiter);
        queue.rooms.extend(room);
        // Who finds the queue empty wakes the thread; it looks again before it
        // sleeps, so the others need not.
        if queue.waiters.len() == 1 {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn run(&self, mut sync: impl FnMut() -> io::Result<()>, notifier: &Notifier) {
        while let Some(taken) = self.next_batch() {
            let (began, shared) = (Instant::now(), taken.waiters.len() >= SEVERAL);
            // After a failure a sync proves nothing of what came before it.
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
                // First, so that who is answered can come again.
                drop(waiter.place);
                // What a failed sync leaves is told of when the folder is opened
                // anew, by `Event::Gap`.
                if result.is_ok() {
                    notifier.tell(waiter.news);
                }
                // Who does not listen any more has no need of the answer.
                let _ = waiter.answer.send(result.clone());
            }
            if shared {
                thread::sleep(APART.saturating_sub(began.elapsed()));
            }
        }
    }

    /// Sleeps until there is something to sync; `None` when there never will
    /// be again.
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
