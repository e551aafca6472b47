//! The logs of receipts: [`ReceiptStore`].

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::{BoxFuture, Page, Receipt, ReceiptId, ReceiptStatus, StoreError};

/// The receipts for application servers (RFC 8030 §5.1, §6.3).
///
/// A receipt subscription is a log of receipts in the order of their ids. The
/// [append](super::Store::append) of a message creates it. The step that removes a message from the
/// store adds its receipt; if the log then exceeds its bound, the oldest receipt is removed. A
/// receipt is removed when its lifetime is over, and a receipt subscription with all its receipts
/// when it ends.
///
/// Durability, cancellation, events and errors are those of
/// [`Store`](super::Store).
pub trait ReceiptStore: Send + Sync + 'static {
    /// Returns up to `limit` receipts with ids above `after`, in the order of
    /// ids, none of them expired at `now`, and whether more follow the last one.
    ///
    /// Returns `None` if the receipt subscription does not exist or has ended at `now`; a `limit`
    /// of 0 checks only that. A read changes nothing.
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>>;

    /// Removes a receipt that its application server has received, and returns whether it existed.
    ///
    /// The removal is durable with the next change. If it is lost, the receipt is delivered twice.
    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Creates the receipt of a message with TTL 0, which was never stored. Returns `false`, and
    /// creates none, if the receipt subscription does not exist. The receipt is durable when this
    /// returns.
    fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a receipt subscription with its receipts. Returns `false` if it does not exist or
    /// has ended at `now`. The removal is durable when this returns.
    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}
