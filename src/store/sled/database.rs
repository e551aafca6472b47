//! An open engine: its trees, their in-memory index, and the one function that changes them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use bugle_protocol::Uaid;
use sled::{Db, IVec, Tree};

use super::changes::Changes;
use super::commit::Committer;
use super::contents::{self, Contents, KeySum};
use super::generations::Generations;
use super::ids::{BLOCK, Ids};
use super::open::{self, OpenError};
use super::record::unavailable;
use super::recover::set_aside;
use super::space::Space;
use super::unsynced::Unsynced;
use crate::config::StoreConfig;
use crate::store::broadcasts::Broadcasts;
use crate::store::days::{Days, Pass};
use crate::store::event::Notifier;
use crate::store::index::Index;
use crate::store::receipt_logs::ReceiptLogs;
use crate::store::{StoreError, StoreLimits, Usage};

/// An open database. After a failed write or sync it refuses all changes, and serves reads until
/// the folder is reopened: what it holds then may or may not be on disk.
#[derive(Debug)]
pub(super) struct Database {
    /// The first field, because it must be dropped first: its thread holds the database.
    pub(super) committer: Committer,
    pub(super) limits: StoreLimits,
    pub(super) space: Arc<Space>,
    pub(super) notifier: Notifier,
    state: Mutex<State>,
    generations: Generations,
    /// The sum of the keys in the tree; changed under the lock of `state`.
    keys: Mutex<KeySum>,
    /// Changed under the lock of `state`, read without it.
    pub(super) broadcasts: Arc<ArcSwap<Broadcasts>>,
    pub(super) tree: Tree,
    /// Holds damaged records that were set aside.
    pub(super) damaged: Tree,
    db: Db,
    #[cfg(test)]
    pub(super) stand_in: super::stand_in::StandIn,
}

/// The state that the lock guards. The tree is changed under the same lock.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) receipts: ReceiptLogs,
    pub(super) ids: Ids,
    pub(super) unsynced: Unsynced,
    pub(super) subscriptions: u64,
    pub(super) damaged: u64,
    /// `None` until the first day of service is counted.
    pub(super) days: Option<Days>,
    /// The progress of the search for unused user agents.
    pub(super) pass: Pass,
}

/// The numbers that readers' cursors may contain. A reopened engine only gives out greater ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The next message id.
    next_id: u64,
    /// The last receipt id.
    last_receipt: u64,
}

/// What the databases of one store share: each reopened one gets it from the one before.
#[derive(Clone, Debug)]
pub(super) struct StoreContext {
    pub(super) config: StoreConfig,
    pub(super) limits: StoreLimits,
    pub(super) space: Arc<Space>,
    pub(super) broadcasts: Arc<ArcSwap<Broadcasts>>,
    pub(super) notifier: Notifier,
}

impl Database {
    /// Opens the folder `path`, or creates it readable only by this user.
    pub(super) fn open(path: &Path, context: &StoreContext, seen: Seen) -> Result<Self, OpenError> {
        let opened = open::open(path, context.config.cache)?;
        let (tree, file) = (opened.tree.clone(), opened.file);
        let (without_sync, space) = (context.config.without_sync, Arc::clone(&context.space));
        // The engine's flush only writes; `sync_data` makes that durable.
        let sync = move || {
            tree.flush().map_err(io::Error::other)?;
            space.measure();
            if without_sync {
                return Ok(());
            }
            file.sync_data()
        };
        let committer = Committer::start(
            sync,
            context.limits.waiting_for_disk,
            context.notifier.clone(),
        );
        let committer = committer.map_err(|source| OpenError::Folder {
            path: path.to_owned(),
            source,
        })?;
        let mut recovered = opened.recovered;
        let next_id = recovered.next_id.max(seen.next_id);
        let reserved = recovered.next_id.saturating_add(BLOCK);
        recovered.receipts.go_on_after(seen.last_receipt);
        context.broadcasts.store(recovered.broadcasts.into());
        Ok(Self {
            committer,
            limits: context.limits,
            space: Arc::clone(&context.space),
            notifier: context.notifier.clone(),
            state: Mutex::new(State {
                index: recovered.index,
                receipts: recovered.receipts,
                ids: Ids::new(next_id, reserved),
                unsynced: Unsynced::default(),
                subscriptions: recovered.subscriptions,
                damaged: recovered.damaged,
                days: recovered.days,
                pass: Pass::default(),
            }),
            generations: Generations::default(),
            keys: Mutex::new(recovered.keys),
            broadcasts: Arc::clone(&context.broadcasts),
            tree: opened.tree,
            damaged: opened.damaged,
            db: opened.db,
            #[cfg(test)]
            stand_in: super::stand_in::StandIn::default(),
        })
    }

    pub(super) fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // Only a panic of the engine poisons this lock; records and index may differ then.
        self.state
            .lock()
            .map_err(|_| self.committer.fail(&"the engine panicked in a change"))
    }

    /// Reads records of a user agent before taking the lock, and returns both. What was read is
    /// valid while the lock is held.
    ///
    /// A slow disk therefore delays only this caller. If the records may have changed before the
    /// lock was taken, they are read again under it; by then the engine has their pages in memory.
    pub(super) fn state_with<T>(
        &self,
        uaid: Uaid,
        read: impl Fn(&Self) -> Result<T, StoreError>,
    ) -> Result<(MutexGuard<'_, State>, T), StoreError> {
        let generation = self.generations.of(uaid);
        let found = read(self)?;
        let state = self.state()?;
        if self.generations.of(uaid) == generation {
            return Ok((state, found));
        }
        let found = read(self)?;
        Ok((state, found))
    }

    /// The only function that changes the tree; called under the lock of `state`.
    ///
    /// The engine reads the page of each key that it writes, unless the page is in memory. A change
    /// of several keys waits for all reads in progress, by a lock that sled has once per process:
    /// two engines in one process, as in tests, delay each other. This must happen under the lock of
    /// `state`, because the tree and the index must change in the same order. The size of one change bounds
    /// the time: one message and what it replaces, or a removal of at most 64 messages. Only the
    /// end of a subscription, a user agent or a receipt subscription removes everything that it
    /// holds.
    ///
    /// # Errors
    /// `Unavailable`, from the first failure until the engine is reopened.
    pub(super) fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.committer.health()?;
        let counters = changes.counters();
        let applied = catch_unwind(AssertUnwindSafe(|| {
            let difference = changes.difference(&self.tree)?;
            changes.apply(&self.tree)?;
            Ok::<_, sled::Error>(difference)
        }));
        // Raised after the change, even after a partial one: callers that read before it must read
        // again.
        counters.iter().for_each(|it| self.generations.raise(*it));
        match applied {
            Ok(Ok(difference)) => {
                let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
                *keys = keys.changed(difference);
                Ok(())
            }
            Ok(Err(error)) => Err(self.committer.fail(&error)),
            Err(_) => Err(self.committer.fail(&"the engine panicked in a change")),
        }
    }

    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        self.reading(|tree| tree.get(key).map_err(|error| unavailable(&error)))
    }

    /// Reads the tree, and catches the panics of an engine whose files fail.
    ///
    /// # Errors
    /// The error of `read`, and `Unavailable` when it panics.
    pub(super) fn reading<T>(
        &self,
        read: impl FnOnce(&Tree) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let read = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            self.stand_in.read();
            read(&self.tree)
        }));
        read.unwrap_or_else(|_| {
            let panicked = "the engine panicked in a read".to_owned();
            Err(StoreError::Unavailable(panicked))
        })
    }

    /// Ends a sync that waits for a failed write. The engine records the failure, but wakes the
    /// waiter only on another flush.
    pub(super) fn end_failed_waits(&self) {
        // The engine may panic in a failing flush; it has failed anyway.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            self.stand_in.flush();
            if self.db.context.global_error().is_err() {
                // The flush returns the recorded failure.
                let _ = self.tree.flush();
            }
        }));
        if ended.is_err() {
            self.committer.fail(&"the engine panicked in a flush");
        }
    }

    /// Moves a damaged record to the tree that nothing reads.
    pub(super) fn set_aside(&self, key: &[u8], what: &str) -> Result<(), StoreError> {
        set_aside(&self.tree, &self.damaged, key, what).map_err(|error| unavailable(&error))?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(key);
        Ok(())
    }

    /// Syncs all changes, and writes the contents file. After a failure it does not write the file,
    /// because what is on disk is unknown.
    pub(super) fn close(mut self, path: &Path) {
        self.committer.finish();
        if self.committer.health().is_err() {
            return;
        }
        let keys = *self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = contents::write(path, Contents::Closed(keys)) {
            tracing::warn!(%error, "the next start cannot see whether a record is missing");
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Seen {
            next_id: state.ids.next(),
            last_receipt: state.receipts.last_id(),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let receipts = state.receipts.usage();
        let usage = Usage {
            subscriptions: state.subscriptions,
            receipts: receipts.receipts,
            receipt_subscriptions: receipts.receipt_subscriptions,
            damaged: state.damaged,
            ..state.index.usage()
        };
        drop(state);
        Usage {
            disk_bytes: self.db.size_on_disk().unwrap_or_default(),
            waiting: self.committer.waiting(),
            ..usage
        }
    }
}
