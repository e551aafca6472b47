//! The engine while it is open: its trees, what is known of them in memory,
//! and the one way in which they are changed.

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

/// An open database. When a write or a sync of it fails, it takes no change any
/// more, and is read until it can be opened anew: what it holds then may or may
/// not be on disk.
#[derive(Debug)]
pub(super) struct Database {
    /// First, because it must be dropped first: its thread holds the database.
    pub(super) committer: Committer,
    pub(super) limits: StoreLimits,
    pub(super) space: Arc<Space>,
    pub(super) notifier: Notifier,
    state: Mutex<State>,
    generations: Generations,
    /// Of the keys in the tree; changed under the lock of `state`.
    keys: Mutex<KeySum>,
    /// Changed under the lock of `state`, read without.
    pub(super) broadcasts: Arc<ArcSwap<Broadcasts>>,
    pub(super) tree: Tree,
    /// Where records are moved that cannot be read.
    pub(super) damaged: Tree,
    db: Db,
    #[cfg(test)]
    pub(super) stand_in: super::stand_in::StandIn,
}

/// What the lock guards; the tree is changed under it too.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) receipts: ReceiptLogs,
    pub(super) ids: Ids,
    pub(super) unsynced: Unsynced,
    pub(super) subscriptions: u64,
    pub(super) damaged: u64,
    /// `None` until the first day is counted.
    pub(super) days: Option<Days>,
    /// How far the search for unused user agents is.
    pub(super) pass: Pass,
}

/// The numbers that a reader's cursor may have seen: what is given out after
/// these is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The next id of a message.
    next_id: u64,
    /// The last id of a receipt.
    last_receipt: u64,
}

/// What outlives an engine that is opened anew.
#[derive(Clone, Debug)]
pub(super) struct Lasting {
    pub(super) config: StoreConfig,
    pub(super) limits: StoreLimits,
    pub(super) space: Arc<Space>,
    pub(super) broadcasts: Arc<ArcSwap<Broadcasts>>,
    pub(super) notifier: Notifier,
}

impl Database {
    /// Opens the folder `path`, or creates it for this user alone.
    pub(super) fn open(path: &Path, lasting: &Lasting, seen: Seen) -> Result<Self, OpenError> {
        let opened = open::open(path, lasting.config.cache)?;
        let (tree, file) = (opened.tree.clone(), opened.file);
        let (without_sync, space) = (lasting.config.without_sync, Arc::clone(&lasting.space));
        // The engine's flush writes; only the second call makes that durable.
        let sync = move || {
            tree.flush().map_err(io::Error::other)?;
            space.look();
            if without_sync {
                return Ok(());
            }
            file.sync_data()
        };
        let committer = Committer::start(
            sync,
            lasting.limits.waiting_for_disk,
            lasting.notifier.clone(),
        );
        let committer = committer.map_err(|source| OpenError::Folder {
            path: path.to_owned(),
            source,
        })?;
        let mut recovered = opened.recovered;
        let next_id = recovered.next_id.max(seen.next_id);
        let reserved = recovered.next_id.saturating_add(BLOCK);
        recovered.receipts.go_on_after(seen.last_receipt);
        lasting.broadcasts.store(recovered.broadcasts.into());
        Ok(Self {
            committer,
            limits: lasting.limits,
            space: Arc::clone(&lasting.space),
            notifier: lasting.notifier.clone(),
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
            keys: Mutex::new(recovered.left),
            broadcasts: Arc::clone(&lasting.broadcasts),
            tree: opened.tree,
            damaged: opened.damaged,
            db: opened.db,
            #[cfg(test)]
            stand_in: super::stand_in::StandIn::default(),
        })
    }

    pub(super) fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        // Only the engine may have panicked: records and index may differ.
        self.state
            .lock()
            .map_err(|_| self.committer.fail(&"the engine panicked in a change"))
    }

    /// Reads records of a user agent in front of the lock, and takes the lock:
    /// what was read is valid until that is dropped.
    ///
    /// A slow disk so holds up this caller and nobody else. Where the records
    /// may have changed before the lock was held, they are read again under it;
    /// the engine has their pages in memory by then.
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

    /// The one way to change the tree; called under the lock of `state`.
    ///
    /// The engine reads the page of each key that it writes, if it has it not in
    /// memory, and it lets a change of several keys wait for all reads that are
    /// going on. This must stay under the lock, since the order of changes is
    /// that of the index. It is bounded by what one change may hold: one message
    /// and what it replaces, or what is removed at once, by 64 messages; only
    /// the end of a subscription, a user agent or a receipt subscription takes
    /// all that these hold.
    ///
    /// # Errors
    /// `Unavailable`, now and from then on until the engine is opened anew.
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
        // After the change, also after a half of it: whoever has read before
        // reads again.
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

    /// Reads the tree: the engine panics where its files fail.
    ///
    /// # Errors
    /// What `read` says, and `Unavailable` when it panics.
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

    /// Ends a sync that waits for a write which has failed: the engine notes
    /// such a failure, but wakes only who asks again.
    pub(super) fn end_failed_waits(&self) {
        // The engine may panic in a flush that fails: it has failed anyway.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            self.stand_in.flush();
            if self.db.context.global_error().is_err() {
                // Says again what has failed.
                let _ = self.tree.flush();
            }
        }));
        if ended.is_err() {
            self.committer.fail(&"the engine panicked in a flush");
        }
    }

    /// Moves a record that cannot be read to where nothing reads it.
    pub(super) fn set_aside(&self, key: &[u8], what: &str) -> Result<(), StoreError> {
        set_aside(&self.tree, &self.damaged, key, what).map_err(|error| unavailable(&error))?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(key);
        Ok(())
    }

    /// Makes all of it durable, and says in the folder what it holds; not after
    /// a failure, when nobody knows.
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
