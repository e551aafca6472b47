//! A store for tests, which counts the reads of logs and can block them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId, SubscriptionId, Uaid,
    UnixTime,
};
use tokio::sync::{Mutex, MutexGuard};

use super::broadcasts::{Broadcasts, Label};
use super::{
    Backlog, Batch, BoxFuture, BroadcastStore, Engine, Expired, ExpiryCursor, Filter, Inspect,
    Largest, NewMessage, OnAccepted, Page, Readers, Receipt, ReceiptId, ReceiptStatus,
    ReceiptStore, Removal, Store, StoreError, Subscription, Sweep, Unused, Usage,
};

/// Wraps another store.
pub(crate) struct Watched {
    inner: Arc<dyn Engine>,
    reads: AtomicUsize,
    gate: Mutex<()>,
}

impl Watched {
    pub(crate) fn over(inner: Arc<dyn Engine>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            reads: AtomicUsize::new(0),
            gate: Mutex::default(),
        })
    }

    /// Returns how many reads of a log have started.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// Delays the results of reads, like a slow engine, until the guard is dropped.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().await
    }

    async fn read<T>(&self, read: BoxFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let page = read.await;
        drop(self.gate.lock().await);
        page
    }
}

/// Defines methods that forward to the inner store.
macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)?;)*) => {
        $(fn $name(&self, $($argument: $type),*) $(-> $output)? {
            self.inner.$name($($argument),*)
        })*
    };
}

impl Store for Watched {
    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Page<PushMessage>, StoreError>> {
        Box::pin(self.read(self.inner.pending(uaid, after, filter, batch, now)))
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        self.inner.end_unused(sweep)
    }

    fn remove<'s>(
        &'s self,
        uaid: Uaid,
        messages: &'s [(MessageId, Removal)],
        now: UnixTime,
    ) -> BoxFuture<'s, Result<usize, StoreError>> {
        self.inner.remove(uaid, messages, now)
    }

    forward! {
        fn connect(uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn subscribe(new: Subscription, now: UnixTime)
            -> BoxFuture<'_, Result<Subscription, StoreError>>;
        fn subscription(uaid: Uaid, channel: ChannelId)
            -> BoxFuture<'_, Result<Option<Subscription>, StoreError>>;
        fn subscriptions(uaid: Uaid) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;
        fn unsubscribe(
            uaid: Uaid,
            channel: ChannelId,
            life: Option<SubscriptionId>,
            readers: Readers,
            now: UnixTime
        ) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn append(uaid: Uaid, message: NewMessage, accepted: Option<OnAccepted>)
            -> BoxFuture<'_, Result<MessageId, StoreError>>;
        fn give_out(id: MessageId);
        fn message(uaid: Uaid, id: MessageId, now: UnixTime)
            -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>>;
        fn expire(now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>>;
        fn health() -> Result<(), StoreError>;
        fn flush() -> BoxFuture<'_, Result<(), StoreError>>;
    }
}

impl ReceiptStore for Watched {
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>> {
        Box::pin(self.read(self.inner.receipts(id, after, limit, now)))
    }

    forward! {
        fn remove_receipt(id: ReceiptSubscriptionId, receipt: ReceiptId)
            -> BoxFuture<'_, Result<bool, StoreError>>;
        fn settle(
            id: ReceiptSubscriptionId,
            uaid: Uaid,
            message: MessageId,
            status: ReceiptStatus,
            now: UnixTime
        ) -> BoxFuture<'_, Result<bool, StoreError>>;
        fn remove_receipt_subscription(id: ReceiptSubscriptionId, now: UnixTime)
            -> BoxFuture<'_, Result<bool, StoreError>>;
    }
}

impl BroadcastStore for Watched {
    forward! {
        fn set_broadcast(id: Label, version: Option<Label>)
            -> BoxFuture<'_, Result<bool, StoreError>>;
        fn broadcasts() -> Arc<Broadcasts>;
    }
}

impl Inspect for Watched {
    forward! {
        fn usage() -> Usage;
        fn backlog(uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>>;
        fn largest(most: usize) -> BoxFuture<'_, Result<Largest, StoreError>>;
        fn all_subscriptions(after: Option<(Uaid, ChannelId)>, limit: usize)
            -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;
        fn all_receipt_subscriptions(
            after: Option<(UnixTime, ReceiptSubscriptionId)>,
            limit: usize
        ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>>;
        fn remove_signed(key: PublicKey, after: Option<ExpiryCursor>, now: UnixTime)
            -> BoxFuture<'_, Result<(usize, Option<ExpiryCursor>), StoreError>>;
    }
}
