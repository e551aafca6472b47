//! Keeps an engine open: closes a failed one, and reopens the folder when the disk accepts writes
//! again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::database::{Database, Seen, StoreContext};
use super::open::OpenError;
use crate::store::event::Event;
use crate::store::{StoreError, Usage};

/// Interval between checks of the engine and the disk.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum interval between attempts to reopen a failed engine.
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// Poll interval while a failed engine is still referenced.
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// Owns the open engine, if there is one, and what must survive reopening.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    context: StoreContext,
    database: ArcSwapOption<Database>,
    /// Used while no engine is open.
    last: Mutex<LastState>,
    /// How many times the folder was reopened.
    reopened: AtomicU64,
    closed: Mutex<bool>,
    wake: Condvar,
}

/// State of the last engine.
#[derive(Debug, Default)]
struct LastState {
    seen: Seen,
    usage: Usage,
}

impl Keeper {
    /// Opens the folder for the first time.
    pub(super) fn open(path: PathBuf, context: StoreContext) -> Result<Self, OpenError> {
        let database = Database::open(&path, &context, Seen::default())?;
        context.space.measure();
        Ok(Self {
            path,
            context,
            database: ArcSwapOption::from_pointee(database),
            last: Mutex::default(),
            reopened: AtomicU64::new(0),
            closed: Mutex::new(false),
            wake: Condvar::new(),
        })
    }

    /// Returns the engine. It always serves reads, and accepts changes unless it has failed.
    ///
    /// # Errors
    /// `Unavailable` while no engine is open.
    pub(super) fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.database
            .load_full()
            .ok_or_else(|| StoreError::Unavailable("the store is being opened again".to_owned()))
    }

    pub(super) fn usage(&self) -> Usage {
        let held = match self.database.load_full() {
            Some(database) => database.usage(),
            None => {
                self.last
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .usage
            }
        };
        Usage {
            free_bytes: self.context.space.free(),
            failing: self
                .database()
                .and_then(|it| it.committer.health())
                .is_err(),
            reopened: self.reopened.load(Ordering::Relaxed),
            ..held
        }
    }

    /// Checks the engine and the disk periodically, and reopens the folder if needed, until
    /// [closed](Self::close).
    pub(super) fn run(&self) {
        let mut pause = CHECK_INTERVAL;
        while !self.sleep(pause) {
            self.context.space.measure();
            pause = match self.check() {
                Ok(()) => CHECK_INTERVAL,
                Err(error) => {
                    tracing::error!(%error, "the store takes no changes; it is tried again");
                    (pause * 2).min(MAX_PAUSE)
                }
            };
        }
        self.discard();
    }

    /// Ends [`run`](Self::run), which then syncs the remaining changes.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Sleeps, and returns whether the keeper was closed.
    fn sleep(&self, pause: Duration) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self
            .wake
            .wait_timeout_while(closed, pause, |closed| !*closed);
        *slept.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Reopens the folder if the engine has failed and the disk accepts writes.
    fn check(&self) -> Result<(), OpenError> {
        if let Some(database) = self.database.load_full() {
            database.end_failed_waits();
            if database.committer.health().is_ok() {
                return Ok(());
            }
        }
        // While the disk fails, the old engine still serves reads, so it is kept until the probe
        // succeeds.
        let probed = self.context.space.probe();
        probed.map_err(|source| OpenError::Folder {
            path: self.path.clone(),
            source,
        })?;
        self.discard();
        let seen = self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .seen;
        let database = Database::open(&self.path, &self.context, seen)?;
        self.database.store(Some(Arc::new(database)));
        self.reopened.fetch_add(1, Ordering::Relaxed);
        self.context.notifier.notify(Event::Gap.into());
        tracing::info!("the store takes changes again");
        Ok(())
    }

    /// Closes the engine once its last user has dropped it.
    fn discard(&self) {
        let Some(mut database) = self.database.swap(None) else {
            return;
        };
        let database = loop {
            match Arc::try_unwrap(database) {
                Ok(database) => break database,
                Err(shared) => database = shared,
            }
            thread::sleep(RELEASE_POLL);
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = LastState {
            seen: database.seen(),
            usage: database.usage(),
        };
        // The engine syncs while it is dropped, and panics if that fails.
        if catch_unwind(AssertUnwindSafe(|| database.close(&self.path))).is_err() {
            tracing::debug!("the engine panicked as it was dropped");
        }
    }
}
