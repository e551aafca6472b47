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
mod fuzz;
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
mod subscriptions;
mod unsynced;
mod unused;

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId, Uaid, UnixTime,
};
use tokio::sync::watch;

use self::engine::{Engine, Lasting};
use self::keeper::Keeper;
use self::space::Space;
use super::days::{Sweep, Unused};
use super::receipt_logs::Settled;
use super::{
    Backlog, Batch, BoxFuture, Expired, Filter, Largest, NewMessage, Origin, Receipt, ReceiptId,
    ReceiptStatus, Removal, Removed, Store, StoreError, StoreLimits, Subscription, Usage,
};
use crate::broadcasts::{Broadcasts, Label};
use crate::config::StoreConfig;

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
    /// alone.
    ///
    /// Every message is read once: a million of them take seconds. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used, is in use, is damaged, or was written
    /// by a later version.
    pub fn open(path: &Path, config: &StoreConfig, limits: StoreLimits) -> Result<Self, OpenError> {
        let broadcasts = Arc::default();
        let lasting = Lasting {
            config: config.clone(),
            limits,
            space: Arc::new(Space::of(path, config.min_free)),
            broadcasts: Arc::clone(&broadcasts),
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
    fn put_subscription(
        &self,
        subscription: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Removed, StoreError>> {
        Box::pin(async move { self.engine()?.put(subscription, now).await })
    }

    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>> {
        Box::pin(async move { self.engine()?.durable_subscription(uaid, channel) })
    }

    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        Box::pin(async move { Ok(self.engine()?.state()?.index.backlog(uaid)) })
    }

    fn knows(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.engine()?.user_agent(uaid)?.is_some()) })
    }

    fn subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move { self.engine()?.subscriptions_after(after, limit) })
    }

    fn receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>> {
        Box::pin(async move { Ok(self.engine()?.state()?.receipts.subscriptions(after, limit)) })
    }

    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<(UnixTime, MessageId)>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(Removed, Option<(UnixTime, MessageId)>), StoreError>> {
        Box::pin(async move { self.engine()?.remove_signed(key, after, now).await })
    }

    fn connected(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.engine()?.connected(uaid) })
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        Box::pin(async move { self.engine()?.end_unused(sweep).await })
    }

    fn channels(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<ChannelId>, StoreError>> {
        Box::pin(async move { self.engine()?.read_channels(uaid) })
    }

    fn remove_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Removed>, StoreError>> {
        Box::pin(async move { self.engine()?.unsubscribe(uaid, channel, now).await })
    }

    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>> {
        Box::pin(async move { self.engine()?.append_message(uaid, message).await })
    }

    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Vec<PushMessage>, StoreError>> {
        Box::pin(async move { self.engine()?.read_pending(uaid, after, filter, batch, now) })
    }

    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>> {
        Box::pin(async move { self.engine()?.read_live(uaid, id, now) })
    }

    fn remove(
        &self,
        uaid: Uaid,
        id: MessageId,
        why: Removal,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Removed, StoreError>> {
        Box::pin(async move { self.engine()?.remove_all(&[(uaid, id)], why, now).await })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move { self.engine()?.sweep(now, limit).await })
    }

    fn put_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        ends_at: UnixTime,
        origin: Origin,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let engine = self.engine()?;
            engine.put_receipts(id, ends_at, origin, now).await
        })
    }

    fn knows_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.engine()?.state()?.receipts.is_live(id, now)) })
    }

    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { self.engine()?.remove_receipts(id).await })
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

    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Vec<Receipt>, StoreError>> {
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

    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>> {
        Box::pin(async move { self.engine()?.largest(most) })
    }

    fn usage(&self) -> Usage {
        self.keeper.usage()
    }

    fn health(&self) -> Result<(), StoreError> {
        self.keeper.health()
    }

    fn reopened(&self) -> watch::Receiver<u64> {
        self.keeper.reopened()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let engine = self.engine()?;
            let place = engine.committer.free_place().await?;
            engine.committer.commit(place, None).await
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::time::Duration;

    use bugle_protocol::{Content, SubscriptionId, Urgency};
    use futures_util::FutureExt;

    use super::keys::{MESSAGE, SUBSCRIPTION};
    use super::*;
    use crate::config::Config;
    use crate::store::Limit;

    const UAID: Uaid = Uaid::from_bytes([1; 16]);
    const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
    const ALL: Batch = Batch {
        messages: 100,
        bytes: 1 << 20,
    };
    const NOW: UnixTime = UnixTime::from_secs(5);

    async fn store(folder: &tempfile::TempDir) -> SledStore {
        let limits = StoreLimits {
            subscriptions_per_user_agent: 10,
            subscriptions: 10,
            messages_per_user_agent: 10,
            bytes_per_user_agent: 1 << 20,
            stored_bytes: 1 << 20,
            receipt_subscriptions: 10,
            receipts_per_subscription: 10,
            receipts: 10,
            receipt_lifetime: Duration::from_secs(1),
            waiting_for_disk: 2,
            broadcasts: 10,
        };
        let store = SledStore::open(folder.path(), &Config::default().store, limits).unwrap();
        let subscription = Subscription {
            uaid: UAID,
            channel: CHANNEL,
            id: SubscriptionId::from_bytes([3; 16]),
            vapid_key: None,
        };
        store.put_subscription(subscription, NOW).await.unwrap();
        store
    }

    fn message(ttl: u64) -> NewMessage {
        NewMessage {
            channel: CHANNEL,
            subscription: SubscriptionId::from_bytes([3; 16]),
            accepted_at: NOW,
            expires_at: UnixTime::from_millis(NOW.as_millis() + ttl),
            urgency: Urgency::Normal,
            topic: None,
            content: Some(Content {
                coding: None,
                content_type: None,
                body: vec![8; 100],
            }),
            receipt: None,
            origin: Origin::default(),
        }
    }

    /// Overwrites the first record of a kind, as a broken disk might.
    fn damage_first(store: &SledStore, kind: u8) {
        let (key, _) = store
            .engine()
            .unwrap()
            .tree
            .scan_prefix([kind])
            .next()
            .unwrap()
            .unwrap();
        store
            .engine()
            .unwrap()
            .tree
            .insert(key, b"not what it was")
            .unwrap();
    }

    #[tokio::test]
    async fn a_message_that_cannot_be_read_is_set_aside_and_the_log_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let first = store.append(UAID, message(1)).await.unwrap();
        let second = store.append(UAID, message(1)).await.unwrap();
        damage_first(&store, MESSAGE);
        let one = Batch {
            messages: 1,
            bytes: 0,
        };
        let read = store
            .pending(UAID, None, Filter::NONE, one, NOW)
            .await
            .unwrap();
        assert_eq!(read.iter().map(|m| m.id).collect::<Vec<_>>(), [second]);
        assert_eq!(store.message(UAID, first, NOW).await, Ok(None));
        let usage = store.usage();
        assert_eq!((usage.messages, usage.damaged), (1, 1));
        assert_eq!(store.engine().unwrap().damaged.len(), 1);
    }

    #[tokio::test]
    async fn a_subscription_that_cannot_be_read_is_not_reported_as_gone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        damage_first(&store, SUBSCRIPTION);
        let unavailable = |error| matches!(error, Some(StoreError::Unavailable(_)));
        assert!(unavailable(store.subscription(UAID, CHANNEL).await.err()));
        assert!(unavailable(store.append(UAID, message(1)).await.err()));
    }

    #[tokio::test]
    async fn when_too_many_wait_nothing_is_applied() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        let engine = store.engine().unwrap();
        let places = (engine.committer.place(), engine.committer.place());
        let full = StoreError::Full(Limit::WaitingForDisk.into());
        assert_eq!(store.append(UAID, message(1)).await, Err(full.clone()));
        let removed = store.remove_subscription(UAID, CHANNEL, NOW).await;
        assert_eq!(removed, Err(full));
        assert_eq!(store.usage().messages, 0);
        assert!(store.knows(UAID).await.unwrap());
        // What waits for no disk goes on.
        store.append(UAID, message(0)).await.unwrap();
        drop(places);
        store.append(UAID, message(1)).await.unwrap();
        store.flush().await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        for _ in 0..5 {
            // Polled once, then dropped: the client has gone away.
            let _ = store.append(UAID, message(1)).now_or_never();
        }
        store.flush().await.unwrap();
        let read = store
            .pending(UAID, None, Filter::NONE, ALL, NOW)
            .await
            .unwrap();
        assert_eq!(read.len() as u64, store.usage().messages);
        store.append(UAID, message(1)).await.unwrap();
    }
}
