//! Receipts, and how they and their subscriptions are removed.

use bugle_protocol::{ReceiptSubscriptionId, UnixTime};

use super::changes::Changes;
use super::commit::Room;
use super::engine::Engine;
use super::keys::{receipt_key, receipt_subscription_key};
use crate::store::event::{Event, News};
use crate::store::receipt_logs::Settled;
use crate::store::{ReceiptId, StoreError};

impl Engine {
    pub(super) async fn remove_receipts(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        if !self.state()?.receipts.is_live(id, now) {
            return Ok(false);
        }
        let place = self.committer.place()?;
        let room = self.receipts_room(id).await?;
        let removed = self.apply_remove_receipts(id)?.is_some();
        if removed {
            let news = Event::Receipts(id).into();
            self.committer.commit(place, Some(room), news).await?;
        }
        Ok(removed)
    }

    /// Leave to remove a receipt subscription with its receipts.
    pub(super) async fn receipts_room(
        &self,
        id: ReceiptSubscriptionId,
    ) -> Result<Room, StoreError> {
        let receipts = self.state()?.receipts.ids(id).map_or(0, |ids| ids.len());
        self.committer.room(1 + receipts, 0).await
    }

    /// How many keys are gone; `None` when it was not there.
    pub(super) fn apply_remove_receipts(
        &self,
        id: ReceiptSubscriptionId,
    ) -> Result<Option<usize>, StoreError> {
        let mut state = self.state()?;
        let Some(receipts) = state.receipts.ids(id) else {
            return Ok(None);
        };
        let mut changes = Changes::default();
        changes.remove(&receipt_subscription_key(id));
        for receipt in &receipts {
            changes.remove(&receipt_key(id, *receipt));
        }
        self.apply(changes)?;
        state.receipts.remove(id);
        Ok(Some(1 + receipts.len()))
    }

    pub(super) async fn settle_one(
        &self,
        settled: Settled,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let place = self.committer.place()?;
        let room = self.committer.room(2, 0).await?;
        let left = self.apply_settle(settled, now)?;
        let is_left = !left.is_empty();
        if is_left {
            let news = News::default().receipts(left);
            self.committer.commit(place, Some(room), news).await?;
        }
        Ok(is_left)
    }

    /// Whose receipt subscription has something new.
    fn apply_settle(
        &self,
        settled: Settled,
        now: UnixTime,
    ) -> Result<Vec<ReceiptSubscriptionId>, StoreError> {
        let mut state = self.state()?;
        let plan = state.receipts.plan([settled], now, &self.limits);
        let mut changes = Changes::default();
        changes.write_receipts(&plan)?;
        self.apply(changes)?;
        Ok(state.receipts.commit(plan))
    }

    pub(super) async fn take_receipt(
        &self,
        subscription: ReceiptSubscriptionId,
        id: ReceiptId,
    ) -> Result<bool, StoreError> {
        let room = self.committer.room(1, 0).await?;
        let removed = self.apply_take_receipt(subscription, id)?;
        if removed {
            self.committer.commit_later(Some(room));
        }
        Ok(removed)
    }

    fn apply_take_receipt(
        &self,
        subscription: ReceiptSubscriptionId,
        id: ReceiptId,
    ) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        if !state.receipts.holds(subscription, id) {
            return Ok(false);
        }
        let mut changes = Changes::default();
        changes.remove(&receipt_key(subscription, id));
        self.apply(changes)?;
        Ok(state.receipts.remove_receipt(subscription, id))
    }
}
