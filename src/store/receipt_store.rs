//! The logs of receipts: [`ReceiptStore`].

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::{BoxFuture, Page, Receipt, ReceiptId, ReceiptStatus, StoreError};

/// The receipts that application servers are to be told of (RFC 8030 §5.1,
/// §6.3).
///
/// A receipt subscription is a log of receipts in the order of their ids. It is
/// created by the [append](super::Store::append) of a message, and filled by the
/// step in which a message leaves the store. When one receipt more than the
/// bound is left there, the oldest is removed. A receipt is removed when its
/// lifetime is over, and a receipt subscription with all its receipts at its
/// end.
///
/// Durability, cancellation, events and errors are those of
/// [`Store`](super::Store).
pub trait ReceiptStore: Send + Sync + 'static {
    /// Returns up to `limit` receipts with ids above `after`, in the order of
    /// ids, none of them expired at `now`, and whether more follow the last one.
    ///
    /// Returns `None` if the receipt subscription is not there or has ended at
    /// `now`; a `limit` of 0 asks for no more than that. A read changes nothing.
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>>;

    /// Removes a receipt that its application server has received, and says
    /// whether it was there.
    ///
    /// The removal is durable with the next change: one that is lost is a receipt
    /// that is delivered twice.
    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Leaves the receipt of a message with TTL 0, which was never stored.
    /// Returns `false`, and leaves none, if the receipt subscription is not
    /// there. The receipt is durable when this returns.
    fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a receipt subscription with its receipts. Returns `false` if it
    /// is not there or has ended at `now`. The removal is durable when this
    /// returns.
    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}
