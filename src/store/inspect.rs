//! Inspection by operators and metrics: [`Inspect`].

use bugle_protocol::{ChannelId, PublicKey, ReceiptSubscriptionId, Uaid, UnixTime};

use super::{Backlog, BoxFuture, ExpiryCursor, Largest, StoreError, Subscription, Usage};

/// Calls for operators and metrics. Neither pushes nor deliveries need them.
///
/// Listings are paged: each call returns what follows `after` in a stable order, so a walk finds
/// everything. It may or may not find what is added or removed concurrently.
///
/// Durability, cancellation, events and errors are those of
/// [`Store`](super::Store).
pub trait Inspect: Send + Sync + 'static {
    /// Returns what the store holds now. It reads counters under a lock and asks for the size on
    /// disk, so it is cheap enough for every scrape of the metrics.
    fn usage(&self) -> Usage;

    /// Returns how much the log of a user agent holds, without reading it.
    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>>;

    /// Returns the largest holders: at most `most` of each kind, and never more than 1000. It
    /// visits everything in memory, so it is too slow for anything but operators' commands.
    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>>;

    /// Returns up to `limit` subscriptions that follow `after`, without those
    /// whose records are damaged. It reads the disk.
    fn all_subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;

    /// Returns up to `limit` receipt subscriptions that follow `after`, each
    /// with its end, in the order of those.
    fn all_receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>>;

    /// Removes the messages that a key signed, as far as that is known, among the next few that
    /// follow `after` in the order of their expiry.
    ///
    /// The messages are [given up](super::Removal::GivenUp). Returns their number, and the cursor
    /// to continue with: `None` when all messages were examined. The removal is durable with the
    /// next change.
    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<ExpiryCursor>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(usize, Option<ExpiryCursor>), StoreError>>;
}
