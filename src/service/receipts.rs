//! Receipts: what became of a message, for the application server that asked
//! (RFC 8030 §5.1, §6.3).

use bugle_protocol::{MessageId, ReceiptSubscriptionId, ReceiptSubscriptionUrl, Uaid};

use super::{Error, PushService};
use crate::random::random;
use crate::store::{Grant, Page, Receipt, ReceiptId, ReceiptStatus, ReceiptTarget};

/// What a request says about receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No receipt.
    None,
    /// A receipt, in a new receipt subscription.
    New,
    /// A receipt, in this one (8030-5.1-f).
    In(ReceiptSubscriptionId),
}

impl PushService {
    /// Looks for the receipt subscription `given`. One that is given where no
    /// receipt is `wanted` asks for nothing, and must be there all the same.
    ///
    /// # Errors
    /// [`Error::NoReceipts`] (8030-5.1-i), [`Error::Unavailable`].
    pub async fn receipt_wish(
        &self,
        wanted: bool,
        given: Option<ReceiptSubscriptionUrl>,
    ) -> Result<Wish, Error> {
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
            _ if !wanted => Wish::None,
            None => Wish::New,
            Some(id) => Wish::In(id),
        })
    }

    /// The receipt subscription that is wished for. It lasts until the message
    /// has left its receipt there and that has expired.
    pub(super) fn receipt_target(&self, wish: Wish) -> Option<ReceiptTarget> {
        // Longer than this message needs, so that not every push writes it.
        let ends_at = self.now() + self.config.push.max_ttl + self.config.push.receipt_lifetime;
        let (id, grant) = match wish {
            Wish::None => return None,
            Wish::New => {
                let id = ReceiptSubscriptionId::from_bytes(random());
                (id, Grant::Make(ends_at))
            }
            Wish::In(id) => (id, Grant::Prolong(ends_at)),
        };
        Some(ReceiptTarget { id, grant })
    }

    /// The receipt subscription that a URL names.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not there (any more).
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
    /// [`Error::NotFound`] when there are none, nor will be: the receipt
    /// subscription has ended (8030-7.3-b). [`Error::Unavailable`].
    pub async fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
    ) -> Result<Page<Receipt>, Error> {
        let receipts = self.store.receipts(id, after, limit, self.now()).await;
        self.stored(receipts)?.ok_or(Error::NotFound)
    }

    /// Says that a receipt has reached its application server. If that
    /// fails, it comes twice.
    pub async fn forget_receipt(&self, id: ReceiptSubscriptionId, receipt: ReceiptId) {
        let forgotten = self.store.remove_receipt(id, receipt).await;
        // Counted and logged.
        let _ = self.stored(forgotten);
    }

    /// Leaves the receipt of a message that was never stored, its TTL 0.
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
        // A failure is counted and logged; the message itself is dealt with.
        let _ = self.stored(settled);
    }
}
