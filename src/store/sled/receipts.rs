//! Implements [`ReceiptStore`]: reading receipts, and removing them and their subscriptions.

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::SledStore;
use super::changes::Changes;
use super::commit::Room;
use super::database::Database;
use super::keys::{receipt_key, receipt_subscription_key};
use crate::store::event::{Event, News};
use crate::store::receipt_logs::Settled;
use crate::store::{BoxFuture, Page, Receipt, ReceiptId, ReceiptStatus, ReceiptStore, StoreError};

impl ReceiptStore for SledStore {
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let state = database.state()?;
            Ok(state.receipts.after(id, after, limit, now))
        })
    }

    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let room = database.committer.room(1, 0).await?;
            let removed = database.apply_remove_receipt(id, receipt)?;
            if removed {
                database.committer.commit_later(Some(room));
            }
            Ok(removed)
        })
    }

    fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let settled = Settled {
            subscription: id,
            uaid,
            message,
            status,
        };
        Box::pin(async move {
            let database = self.database()?;
            let place = database.committer.place()?;
            let room = database.committer.room(2, 0).await?;
            let left = database.apply_settle(settled, now)?;
            let is_left = !left.is_empty();
            if is_left {
                let news = News::default().receipts(left);
                database.committer.commit(place, Some(room), news).await?;
            }
            Ok(is_left)
        })
    }

    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            if !database.state()?.receipts.is_live(id, now) {
                return Ok(false);
            }
            let place = database.committer.place()?;
            let room = database.receipts_room(id).await?;
            let removed = database.apply_remove_receipts(id)?.is_some();
            if removed {
                let news = Event::Receipts(id).into();
                database.committer.commit(place, Some(room), news).await?;
            }
            Ok(removed)
        })
    }
}

impl Database {
    /// Takes a permit to remove a receipt subscription with its receipts.
    pub(super) async fn receipts_room(
        &self,
        id: ReceiptSubscriptionId,
    ) -> Result<Room, StoreError> {
        let receipts = self.state()?.receipts.ids(id).map_or(0, |ids| ids.len());
        self.committer.room(1 + receipts, 0).await
    }

    /// Returns the number of removed keys; `None` when there was no such subscription.
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

    /// Returns the receipt subscriptions that have a new receipt.
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

    fn apply_remove_receipt(
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
