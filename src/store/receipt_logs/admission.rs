//! Admission of receipt subscriptions, and of messages that will leave a receipt. [`Headroom`] divides
//! both bounds among the keys and the addresses that these come from.

use bugle_protocol::{ReceiptSubscriptionId, UnixTime};

use super::ReceiptLogs;
use crate::store::headroom::Headroom;
use crate::store::holders::Holder;
use crate::store::index::AwaitedReceipts;
use crate::store::{
    Full, Grant, Limit, NewMessage, Origin, ReceiptTarget, Scope, StoreError, StoreLimits,
};

impl ReceiptLogs {
    /// Admits a new message as far as its receipt goes, in addition to the receipts that are
    /// `awaited`. Returns the new end of its receipt subscription, if that changes.
    ///
    /// # Errors
    /// `NoReceiptSubscription`, or `Full` for `limits.receipt_subscriptions` or `limits.receipts`,
    /// or for the sender's or its address's share of them.
    pub(in crate::store) fn admit(
        &self,
        message: &NewMessage,
        awaited: AwaitedReceipts<'_>,
        limits: &StoreLimits,
    ) -> Result<Option<(ReceiptSubscriptionId, UnixTime)>, StoreError> {
        let Some(ReceiptTarget { id, .. }) = message.receipt else {
            return Ok(None);
        };
        let granted = self.grant(message, limits)?;
        let used = self.expiry.len() as u64 + awaited.all();
        let full = |scope| {
            StoreError::Full(Full {
                limit: Limit::Receipts,
                scope,
                until: self.expiry.first_key_value().map(|((at, _), _)| *at),
            })
        };
        let headroom = Headroom::after(limits.receipts, used, 1, awaited.freed());
        let headroom = headroom.ok_or_else(|| full(Scope::All))?;
        let held = |holder| self.holders.held(holder).receipts + awaited.of(holder);
        let over = |holder: &Holder| !headroom.admits(held(*holder));
        match message.origin.holders().find(over) {
            Some(holder) => Err(full(holder.into())),
            None => Ok(granted.map(|ends_at| (id, ends_at))),
        }
    }

    /// Returns the new end of the receipt subscription of a message, if that changes. A
    /// subscription never ends earlier than announced.
    ///
    /// # Errors
    /// `NoReceiptSubscription` when it does not exist and is not to be created; `Full` when it
    /// would be one too many.
    pub(in crate::store) fn grant(
        &self,
        message: &NewMessage,
        limits: &StoreLimits,
    ) -> Result<Option<UnixTime>, StoreError> {
        let Some(ReceiptTarget { id, grant }) = message.receipt else {
            return Ok(None);
        };
        let log = self.logs.get(&id);
        match (log.filter(|log| message.accepted_at < log.ends_at), grant) {
            (None, Grant::Make(ends_at)) => {
                let admitted = self.admit_one_more(&message.origin, limits);
                admitted.map_err(StoreError::Full)?;
                Ok(Some(ends_at))
            }
            (None, _) => Err(StoreError::NoReceiptSubscription),
            (Some(_), Grant::AsItIs) => Ok(None),
            (Some(log), Grant::Prolong(ends_at) | Grant::Make(ends_at)) => {
                // The subscription must last for the whole lifetime of the receipt.
                let needed = message.expires_at + limits.receipt_lifetime;
                Ok((log.ends_at < needed.min(ends_at)).then_some(ends_at))
            }
        }
    }

    /// Admits one more receipt subscription.
    ///
    /// # Errors
    /// The bound that it would exceed, or the bound of which the sender or its address already has
    /// its share.
    fn admit_one_more(&self, origin: &Origin, limits: &StoreLimits) -> Result<(), Full> {
        let full = |scope| Full {
            limit: Limit::ReceiptSubscriptions,
            scope,
            until: self.ends.first().map(|(ends_at, _)| *ends_at),
        };
        let used = self.logs.len() as u64;
        let headroom = Headroom::after(limits.receipt_subscriptions, used, 1, 0);
        let headroom = headroom.ok_or_else(|| full(Scope::All))?;
        let over = |holder: &Holder| !headroom.admits(self.holders.held(*holder).items);
        match origin.holders().find(over) {
            Some(holder) => Err(full(holder.into())),
            None => Ok(()),
        }
    }
}
