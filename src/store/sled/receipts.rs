//! Implements [`ReceiptStore`]: reading receipts, and removing them and their subscriptions.

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::SledStore;
use super::changes::Changes;
use super::commit::BytePermit;
use super::database::Database;
use super::keys::{receipt_key, receipt_subscription_key};
use crate::store::event::{Event, Notice};
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
            let bytes = database.committer.byte_permit(1, 0).await?;
            let removed = database.apply_remove_receipt(id, receipt)?;
            if removed {
                database.committer.commit_later(Some(bytes));
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
            let permit = database.committer.try_wait_permit()?;
            let bytes = database.committer.byte_permit(2, 0).await?;
            let receipts = database.apply_settle(settled, now)?;
            let is_stored = !receipts.is_empty();
            if is_stored {
                let notice = Notice::default().receipts(receipts);
                database
                    .committer
                    .commit(permit, Some(bytes), notice)
                    .await?;
            }
            Ok(is_stored)
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
            let permit = database.committer.try_wait_permit()?;
            let bytes = database.receipts_permit(id).await?;
            let removed = database.apply_remove_receipts(id)?.is_some();
            if removed {
                let notice = Event::Receipts(id).into();
                database
                    .committer
                    .commit(permit, Some(bytes), notice)
                    .await?;
            }
            Ok(removed)
        })
    }
}

impl Database {
    /// Takes a permit to remove a receipt subscription with its receipts.
    pub(super) async fn receipts_permit(
        &self,
        id: ReceiptSubscriptionId,
    ) -> Result<BytePermit, StoreError> {
        let receipts = self.state()?.receipts.ids(id).map_or(0, |ids| ids.len());
        self.committer.byte_permit(1 + receipts, 0).await
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
