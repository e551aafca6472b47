//! Receipts: whether a message was delivered, for the application server that requested it (RFC
//! 8030 §5.1, §6.3).

use bugle_protocol::{MessageId, ReceiptSubscriptionId, ReceiptSubscriptionUrl, Uaid};

use super::{Error, PushService};
use crate::random::random;
use crate::store::{Grant, Page, Receipt, ReceiptId, ReceiptStatus, ReceiptTarget};

/// The receipt that a push requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptRequest {
    /// No receipt.
    None,
    /// A receipt, in a new receipt subscription.
    New,
    /// A receipt, in this receipt subscription (8030-5.1-f).
    In(ReceiptSubscriptionId),
}

impl PushService {
    /// Determines the receipt of a push. A receipt subscription that is `given` must exist, even if
    /// no receipt is `wanted`.
    ///
    /// # Errors
    /// [`Error::NoReceipts`] (8030-5.1-i), [`Error::Unavailable`].
    pub async fn receipt_request(
        &self,
        wanted: bool,
        given: Option<ReceiptSubscriptionUrl>,
    ) -> Result<ReceiptRequest, Error> {
        let given = match given {
            None => None,
            Some(given) => {
                let known = self.receipt_subscription(given).await;
                Some(known.map_err(|error| match error {
                    Error::NotFound => Error::NoReceipts,
                    error => error,
                })?)
            }
        };
        Ok(match given {
            _ if !wanted => ReceiptRequest::None,
            None => ReceiptRequest::New,
            Some(id) => ReceiptRequest::In(id),
        })
    }

    /// The receipt subscription for a message. It lasts until the receipt of the message has
    /// expired.
    pub(super) fn receipt_target(&self, request: ReceiptRequest) -> Option<ReceiptTarget> {
        // Longer than this message needs, so that not every push writes a new end.
        let ends_at = self.now() + self.config.push.max_ttl + self.config.push.receipt_lifetime;
        let (id, grant) = match request {
            ReceiptRequest::None => return None,
            ReceiptRequest::New => {
                let id = ReceiptSubscriptionId::from_bytes(random());
                (id, Grant::Make(ends_at))
            }
            ReceiptRequest::In(id) => (id, Grant::Prolong(ends_at)),
        };
        Some(ReceiptTarget { id, grant })
    }

    /// The receipt subscription of a URL.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not exist, [`Error::Unavailable`].
    pub async fn receipt_subscription(
        &self,
        ReceiptSubscriptionUrl(id): ReceiptSubscriptionUrl,
    ) -> Result<ReceiptSubscriptionId, Error> {
        self.receipts(id, None, 0).await.map(|_| id)
    }

    /// Ends a receipt subscription, with its receipts (8030-7.3-e).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn end_receipts(
        &self,
        ReceiptSubscriptionUrl(id): ReceiptSubscriptionUrl,
    ) -> Result<(), Error> {
        match self.drop_receipts(id).await? {
            true => Ok(()),
            false => Err(Error::NotFound),
        }
    }

    /// The next receipts, after `after`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there are none and the receipt subscription has ended (8030-7.3-b),
    /// [`Error::Unavailable`].
    pub async fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
    ) -> Result<Page<Receipt>, Error> {
        let receipts = self.store.receipts(id, after, limit, self.now()).await;
        self.stored(receipts)?.ok_or(Error::NotFound)
    }

    /// Removes a receipt that has reached its application server. If that fails, the receipt
    /// is sent twice.
    pub async fn forget_receipt(&self, id: ReceiptSubscriptionId, receipt: ReceiptId) {
        let forgotten = self.store.remove_receipt(id, receipt).await;
        // `stored` counts and logs a failure.
        let _ = self.stored(forgotten);
    }

    /// Stores the receipt of a message that was never stored itself, because its TTL is 0.
    pub(super) async fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
    ) {
        let settled = self
            .store
            .settle(id, uaid, message, status, self.now())
            .await;
        // `stored` counts and logs a failure; the message itself has been handled.
        let _ = self.stored(settled);
    }
}
