//! Whether the bounds let in a receipt subscription, or a message that will
//! leave a receipt. Both are shared by the rule of [`Room`] among the keys and
//! the addresses that they come from.

use bugle_protocol::{ReceiptSubscriptionId, UnixTime};

use super::ReceiptLogs;
use crate::store::holders::Holder;
use crate::store::index::AwaitedReceipts;
use crate::store::room::Room;
use crate::store::{
    Full, Grant, Limit, NewMessage, Origin, ReceiptTarget, StoreError, StoreLimits, Whose,
};

impl ReceiptLogs {
    /// Whether a new message may be taken, as far as its receipt goes, beside
    /// those that are `awaited`; and until when its receipt subscription lasts
    /// from then on, if that changes.
    ///
    /// # Errors
    /// `NoReceiptSubscription`, or `Full` over `limits.receipt_subscriptions`,
    /// `limits.receipts` or the share of them that the sender or its address
    /// has.
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
        let full = |whose| {
            StoreError::Full(Full {
                limit: Limit::Receipts,
                whose,
                until: self.expiry.first_key_value().map(|((at, _), _)| *at),
            })
        };
        let room = Room::after(limits.receipts, used, 1, awaited.freed());
        let room = room.ok_or_else(|| full(Whose::All))?;
        let held = |holder| self.holders.held(holder).receipts + awaited.of(holder);
        let over = |holder: &Holder| !room.is_for(held(*holder));
        match message.origin.holders().find(over) {
            Some(holder) => Err(full(holder.into())),
            None => Ok(granted.map(|ends_at| (id, ends_at))),
        }
    }

    /// Until when the receipt subscription of a message lasts from then on, if
    /// that changes: it never ends sooner than it was said.
    ///
    /// # Errors
    /// `NoReceiptSubscription` when it is gone and not to be made; `Full` when
    /// it is one too many.
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
                // The receipt waits there for its whole lifetime.
                let needed = message.expires_at + limits.receipt_lifetime;
                Ok((log.ends_at < needed.min(ends_at)).then_some(ends_at))
            }
        }
    }

    /// Whether one more receipt subscription may be made.
    ///
    /// # Errors
    /// The bound that it would cross, or the share of it that the sender or its
    /// address has.
    fn admit_one_more(&self, origin: &Origin, limits: &StoreLimits) -> Result<(), Full> {
        let full = |whose| Full {
            limit: Limit::ReceiptSubscriptions,
            whose,
            until: self.ends.first().map(|(ends_at, _)| *ends_at),
        };
        let used = self.logs.len() as u64;
        let room = Room::after(limits.receipt_subscriptions, used, 1, 0);
        let room = room.ok_or_else(|| full(Whose::All))?;
        let over = |holder: &Holder| !room.is_for(self.holders.held(*holder).items);
        match origin.holders().find(over) {
            Some(holder) => Err(full(holder.into())),
            None => Ok(()),
        }
    }
}
