//! Implements [`ReceiptStore`].

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::MemoryStore;
use crate::store::event::{Event, Notice};
use crate::store::receipt_logs::Settled;
use crate::store::{BoxFuture, Page, Receipt, ReceiptId, ReceiptStatus, ReceiptStore, StoreError};

impl ReceiptStore for MemoryStore {
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.after(id, after, limit, now)) })
    }

    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.remove_receipt(id, receipt)) })
    }

    fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let settled = Settled {
                subscription: id,
                uaid,
                message,
                status,
            };
            let mut state = self.state();
            let plan = state.receipts.plan([settled], now, &self.limits);
            let receipts = state.receipts.commit(plan);
            drop(state);
            let is_stored = !receipts.is_empty();
            self.notifier.notify(Notice::default().receipts(receipts));
            Ok(is_stored)
        })
    }

    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let removed = state.receipts.is_live(id, now) && state.receipts.remove(id);
            drop(state);
            if removed {
                self.notifier.notify(Event::Receipts(id).into());
            }
            Ok(removed)
        })
    }
}
