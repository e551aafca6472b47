//! The default engine: sled, with group commit.
//!
//! One tree holds everything, so that a change of several records is one
//! atomic batch. An `Index` beside it says what there is, so that no read
//! ever scans the tree. Changes are applied at once, in order, under one lock;
//! what is promised to be durable then waits for the `Committer`. When the disk
//! has failed, the `Keeper` opens the folder anew.

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

use self::database::{Database, Lasting};
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

/// An [`Engine`](super::Engine) of the store in a folder on disk.
#[derive(Debug)]
pub struct SledStore {
    keeper: Arc<Keeper>,
    /// Looks after the engine; ends with the store.
    thread: Option<JoinHandle<()>>,
    broadcasts: Arc<ArcSwap<Broadcasts>>,
}

impl SledStore {
    /// Opens the store in the folder `path`, or creates it for this user
    /// alone. It tells `listener` of its changes.
    ///
    /// Every message is read once: a million of them take seconds. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, is damaged, or was written
    /// by a later version.
    pub fn open(
        path: &Path,
        config: &StoreConfig,
        limits: StoreLimits,
        listener: Arc<dyn Listener>,
    ) -> Result<Self, OpenError> {
        let broadcasts = Arc::default();
        let lasting = Lasting {
            config: config.clone(),
            limits,
            space: Arc::new(Space::of(path, config.min_free)),
            broadcasts: Arc::clone(&broadcasts),
            notifier: Notifier::new(listener),
        };
        let keeper = Arc::new(Keeper::open(path.to_owned(), lasting)?);
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

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        self.keeper.database()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.keeper.close();
        if let Some(thread) = self.thread.take() {
            // What panics in the engine is caught there.
            let _ = thread.join();
        }
    }
}
