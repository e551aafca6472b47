//! Keeps an engine open: drops one that has failed, and opens the folder anew
//! when the disk takes writes again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::engine::{Engine, Lasting, Seen};
use super::open::OpenError;
use crate::store::event::Event;
use crate::store::{StoreError, Usage};

/// How often the engine and the disk are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest between two attempts to open an engine that has failed.
const AT_MOST: Duration = Duration::from_secs(8);
/// How often it is looked whether the last request has left a failed engine.
const LEAVING: Duration = Duration::from_millis(10);

/// The engine that is open now, if one is, and what there is to know of it.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    lasting: Lasting,
    engine: ArcSwapOption<Engine>,
    /// Kept while no engine is open.
    left: Mutex<Left>,
    /// How often the folder was opened anew.
    reopened: AtomicU64,
    closed: Mutex<bool>,
    wake: Condvar,
}

/// What the last engine left.
#[derive(Debug, Default)]
struct Left {
    seen: Seen,
    usage: Usage,
}

impl Keeper {
    /// Opens the folder for the first time.
    pub(super) fn open(path: PathBuf, lasting: Lasting) -> Result<Self, OpenError> {
        let engine = Engine::open(&path, &lasting, Seen::default())?;
        lasting.space.look();
        Ok(Self {
            path,
            lasting,
            engine: ArcSwapOption::from_pointee(engine),
            left: Mutex::default(),
            reopened: AtomicU64::new(0),
            closed: Mutex::new(false),
            wake: Condvar::new(),
        })
    }

    /// The engine, to read and, while it is well, to change.
    ///
    /// # Errors
    /// `Unavailable` while none is open.
    pub(super) fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.engine
            .load_full()
            .ok_or_else(|| StoreError::Unavailable("the store is being opened again".to_owned()))
    }

    /// Whether changes are taken.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.engine()?.committer.health()
    }

    pub(super) fn usage(&self) -> Usage {
        let held = match self.engine.load_full() {
            Some(engine) => engine.usage(),
            None => {
                self.left
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .usage
            }
        };
        Usage {
            free_bytes: self.lasting.space.free(),
            failing: self.health().is_err(),
            reopened: self.reopened.load(Ordering::Relaxed),
            ..held
        }
    }

    /// Looks after the engine until it is [closed](Self::close).
    pub(super) fn run(&self) {
        let mut pause = LOOK_EVERY;
        while !self.sleep(pause) {
            self.lasting.space.look();
            pause = match self.look() {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(%error, "the store takes no changes; it is tried again");
                    (pause * 2).min(AT_MOST)
                }
            };
        }
        self.discard();
    }

    /// Ends [`run`](Self::run), which makes durable what is left.
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Whether it was closed meanwhile.
    fn sleep(&self, pause: Duration) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = self
            .wake
            .wait_timeout_while(closed, pause, |closed| !*closed);
        *slept.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Opens the folder anew, if that is needed and the disk lets it.
    fn look(&self) -> Result<(), OpenError> {
        if let Some(engine) = self.engine.load_full() {
            engine.end_failed_waits();
            if engine.committer.health().is_ok() {
                return Ok(());
            }
        }
        // While it fails, the old engine can be read: it stays until then.
        let probed = self.lasting.space.probe();
        probed.map_err(|source| OpenError::Folder {
            path: self.path.clone(),
            source,
        })?;
        self.discard();
        let seen = self
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .seen;
        let engine = Engine::open(&self.path, &self.lasting, seen)?;
        self.engine.store(Some(Arc::new(engine)));
        self.reopened.fetch_add(1, Ordering::Relaxed);
        self.lasting.notifier.tell(Event::Gap.into());
        tracing::info!("the store takes changes again");
        Ok(())
    }

    /// Drops the engine, when the last who uses it has left.
    fn discard(&self) {
        let Some(mut engine) = self.engine.swap(None) else {
            return;
        };
        let engine = loop {
            match Arc::try_unwrap(engine) {
                Ok(engine) => break engine,
                Err(shared) => engine = shared,
            }
            thread::sleep(LEAVING);
        };
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Left {
            seen: engine.seen(),
            usage: engine.usage(),
        };
        // The engine syncs as it goes, and panics when that fails.
        if catch_unwind(AssertUnwindSafe(|| engine.close(&self.path))).is_err() {
            tracing::debug!("the engine panicked as it was dropped");
        }
    }
}
