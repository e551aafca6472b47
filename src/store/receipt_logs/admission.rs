//! Whether the bounds let in a receipt subscription, or a message that will
//! leave a receipt. Both are shared by the rule of [`Room`] among the keys and
//! the addresses that they come from.

use bugle_protocol::{ReceiptSubscriptionId, UnixTime};

use super::ReceiptLogs;
use crate::store::holders::Holder;
use crate::store::index::AwaitedReceipts;
use crate::store::room::Room;
use crate::store::{Full, Limit, NewMessage, Origin, StoreError, StoreLimits, Whose};

impl ReceiptLogs {
    /// Whether a new message may be taken, as far as its receipt goes, beside
    /// those that are `awaited`.
    ///
    /// # Errors
    /// `NoReceiptSubscription`, or `Full` over `limits.receipts` or the share
    /// of it that the sender or its address has.
    pub(in crate::store) fn admit(
        &self,
        message: &NewMessage,
        awaited: AwaitedReceipts<'_>,
        limits: &StoreLimits,
    ) -> Result<(), StoreError> {
        let Some(id) = message.receipt else {
            return Ok(());
        };
        if !self.is_live(id, message.accepted_at) {
            return Err(StoreError::NoReceiptSubscription);
        }
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
            None => Ok(()),
        }
    }

    /// Whether a subscription would change if it lasted until `ends_at`: it
    /// never ends sooner than it was said.
    ///
    /// # Errors
    /// The bound that one more would cross, or the share of it that the sender
    /// or its address has.
    pub(in crate::store) fn extends(
        &self,
        id: ReceiptSubscriptionId,
        ends_at: UnixTime,
        origin: &Origin,
        limits: &StoreLimits,
    ) -> Result<bool, Full> {
        if let Some(log) = self.logs.get(&id) {
            return Ok(log.ends_at < ends_at);
        }
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
            None => Ok(true),
        }
    }
}
