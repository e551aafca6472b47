//! Receipt subscriptions and their receipts: storing and removing them.

use bugle_protocol::{ReceiptSubscriptionId, UnixTime};

use super::changes::Changes;
use super::commit::Room;
use super::engine::Engine;
use super::keys::{receipt_key, receipt_subscription_key};
use super::record::encode;
use crate::store::event::{Event, News};
use crate::store::receipt_logs::Settled;
use crate::store::{Origin, ReceiptId, StoreError};

impl Engine {
    pub(super) async fn put_receipts(
        &self,
        id: ReceiptSubscriptionId,
        ends_at: UnixTime,
        origin: Origin,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.space.admit()?;
        let place = self.committer.place()?;
        let room = self.committer.room(1, 0).await?;
        if self.apply_put_receipts(id, ends_at, &origin, now)? {
            let news = News::default();
            self.committer.commit(place, Some(room), news).await?;
        }
        Ok(())
    }

    fn apply_put_receipts(
        &self,
        id: ReceiptSubscriptionId,
        ends_at: UnixTime,
        origin: &Origin,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        let extends = state.receipts.extends(id, ends_at, origin, &self.limits);
        if !extends.map_err(StoreError::Full)? {
            return Ok(false);
        }
        let mut changes = Changes::default();
        changes.insert(&receipt_subscription_key(id), &encode(&ends_at)?);
        self.apply(changes)?;
        state.receipts.put(id, ends_at, origin, now);
        Ok(true)
    }

    pub(super) async fn remove_receipts(
        &self,
        id: ReceiptSubscriptionId,
    ) -> Result<bool, StoreError> {
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
