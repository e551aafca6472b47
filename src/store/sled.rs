//! The default engine: sled, with group commit.
//!
//! One tree holds every record, so a change of several records is one atomic batch. An in-memory
//! `Index` lists what the tree holds, so a read never scans the tree. Changes are applied
//! immediately, in order, under one lock; a change that must be durable then waits for the
//! `Committer`. When a write fails, the `Keeper` reopens the folder.

mod broadcasts;
mod changes;
mod commit;
mod contents;
#[cfg(test)]
mod damage;
mod database;
mod files;
mod fuzz;
mod generations;
mod ids;
mod inspect;
mod keeper;
mod keys;
mod messages;
mod offline;
mod open;
mod receipts;
mod record;
mod recover;
mod removal;
mod replace;
mod scan;
mod space;
#[cfg(test)]
mod stand_in;
mod store;
mod subscriptions;
#[cfg(test)]
mod tests;
mod unsynced;
mod unused;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;

use self::database::{Database, StoreContext};
use self::keeper::Keeper;
use self::space::Space;
use super::event::{Listener, Notifier};
use super::{StoreError, StoreLimits};
use crate::config::StoreConfig;
use crate::store::broadcasts::Broadcasts;

pub use self::fuzz::fuzz_record;
pub use self::offline::{Found, InsertError, Offline};
pub use self::open::{OpenError, guarded};
pub use self::replace::replace;

/// An [`Engine`](super::Engine) that keeps its records in a folder on disk.
#[derive(Debug)]
pub struct SledStore {
    keeper: Arc<Keeper>,
    /// Runs `Keeper::run`; joined when the store is dropped.
    thread: Option<JoinHandle<()>>,
    broadcasts: Arc<ArcSwap<Broadcasts>>,
}

impl SledStore {
    /// Opens the store in the folder `path`, or creates it readable only by this user. The engine
    /// notifies `listener` of its changes.
    ///
    /// Reads every message once: a million of them take seconds. Blocks.
    ///
    /// # Errors
    /// Fails when the folder cannot be used, is locked by another store, is damaged, or was written
    /// by a newer version.
    pub fn open(
        path: &Path,
        config: &StoreConfig,
        limits: StoreLimits,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, OpenError> {
        let broadcasts = Arc::default();
        let context = StoreContext {
            config: config.clone(),
            limits,
            space: Arc::new(Space::of(path, config.min_free)),
            broadcasts: Arc::clone(&broadcasts),
            notifier: Notifier::new(listener),
        };
        let keeper = Arc::new(Keeper::open(path.to_owned(), context)?);
        let thread = thread::Builder::new().name("store-keeper".to_owned());
        let thread = thread.spawn({
            let keeper = Arc::clone(&keeper);
            move || keeper.run()
        });
        let thread = thread.map_err(|source| OpenError::Folder {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            keeper,
            thread: Some(thread),
            broadcasts,
        })
    }

    /// Opens a store with the default configuration, whose events nobody receives.
    #[cfg(test)]
    fn open_default(folder: &Path) -> Result<Self, OpenError> {
        let config = crate::config::Config::default();
        let limits = StoreLimits::from(&config);
        let listener = Arc::new(super::event::IgnoreEvents);
        Self::open(folder, &config.store, limits, listener)
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.keeper.database()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.keeper.close();
        if let Some(thread) = self.thread.take() {
            // The thread catches panics of the engine itself.
            let _ = thread.join();
        }
    }
}
