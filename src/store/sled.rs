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
mod engine;
mod files;
mod fuzz;
mod generations;
mod ids;
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
mod subscriptions;
#[cfg(test)]
mod tests;
mod unsynced;
mod unused;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId, SubscriptionId, Uaid,
    UnixTime,
};

use self::engine::{Engine, Lasting};
use self::keeper::Keeper;
use self::space::Space;
use super::days::{Sweep, Unused};
use super::event::{Listener, News, Notifier, OnAccepted, Readers};
use super::receipt_logs::Settled;
use super::{
    Backlog, Batch, BoxFuture, BroadcastStore, Expired, ExpiryCursor, Filter, Inspect, Largest,
    NewMessage, Page, Receipt, ReceiptId, ReceiptStatus, ReceiptStore, Removal, Store, StoreError,
    StoreLimits, Subscription, Usage,
};
use crate::config::StoreConfig;
use crate::store::broadcasts::{Broadcasts, Label};

pub use self::fuzz::fuzz_record;
pub use self::offline::{Found, InsertError, Offline};
pub use self::open::{OpenError, guarded};
pub use self::replace::replace;

/// A [`Store`] in a folder on disk.
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

    fn engine(&self) -> Result<Arc<Engine>, StoreError> {
        self.keeper.engine()
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

impl Store for SledStore {
    fn connect(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.engine()?.connect(uaid) })
    }

    fn subscribe(
        &self,
        new: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Subscription, StoreError>> {
        Box::pin(async move { self.engine()?.put(new, now).await })
    }

    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>> {
        Box::pin(async move { self.engine()?.durable_subscription(uaid, channel) })
    }

    fn subscriptions(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move { self.engine()?.read_subscriptions(uaid) })
    }

    fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let engine = self.engine()?;
            engine.end((uaid, channel), life, readers, now).await
        })
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        Box::pin(async move { self.engine()?.end_unused(sweep).await })
    }

    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
        accepted: Option<OnAccepted>,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>> {
        Box::pin(async move {
            let engine = self.engine()?;
            engine.append_message(uaid, message, accepted).await
        })
    }

    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Page<PushMessage>, StoreError>> {
        Box::pin(async move { self.engine()?.read_pending(uaid, after, filter, batch, now) })
    }

    fn give_out(&self, id: MessageId) {
        // What cannot be noted counts as before: the engine is being replaced.
        if let Ok(engine) = self.engine()
            && let Ok(mut state) = engine.state()
        {
            state.index.give_out(id);
        }
    }

    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>> {
        Box::pin(async move { self.engine()?.read_live(uaid, id, now) })
    }

    fn remove<'s>(
        &'s self,
        uaid: Uaid,
        messages: &'s [(MessageId, Removal)],
        now: UnixTime,
    ) -> BoxFuture<'s, Result<usize, StoreError>> {
        Box::pin(async move { self.engine()?.remove_of(uaid, messages, now).await })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move { self.engine()?.sweep(now, limit).await })
    }

    fn health(&self) -> Result<(), StoreError> {
        self.keeper.health()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let engine = self.engine()?;
            let place = engine.committer.free_place().await?;
            engine.committer.commit(place, None, News::default()).await
        })
    }
}

impl ReceiptStore for SledStore {
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .engine()?
                .state()?
                .receipts
                .after(id, after, limit, now))
        })
    }

    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.engine()?.take_receipt(id, receipt).await })
    }

    fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let settled = Settled {
            subscription: id,
            uaid,
            message,
            status,
        };
        Box::pin(async move { self.engine()?.settle_one(settled, now).await })
    }

    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.engine()?.remove_receipts(id, now).await })
    }
}

impl BroadcastStore for SledStore {
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.engine()?.put_broadcast(id, version).await })
    }

    fn broadcasts(&self) -> Arc<Broadcasts> {
        self.broadcasts.load_full()
    }
}

impl Inspect for SledStore {
    fn usage(&self) -> Usage {
        self.keeper.usage()
    }

    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        Box::pin(async move { Ok(self.engine()?.state()?.index.backlog(uaid)) })
    }

    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>> {
        Box::pin(async move { self.engine()?.largest(most) })
    }

    fn all_subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move { self.engine()?.subscriptions_after(after, limit) })
    }

    fn all_receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>> {
        Box::pin(async move { Ok(self.engine()?.state()?.receipts.subscriptions(after, limit)) })
    }

    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<ExpiryCursor>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(usize, Option<ExpiryCursor>), StoreError>> {
        Box::pin(async move { self.engine()?.remove_signed(key, after, now).await })
    }
}
