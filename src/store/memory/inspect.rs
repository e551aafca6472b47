//! Implements [`Inspect`].

use std::ops::Bound::{Included, Unbounded};

use bugle_protocol::{ChannelId, PublicKey, ReceiptSubscriptionId, Uaid, UnixTime};

use super::{MemoryStore, SCAN_LIMIT};
use crate::store::event::Notice;
use crate::store::{
    Backlog, BoxFuture, ExpiryCursor, Holder, Inspect, Largest, StoreError, Subscription, Usage,
};

impl Inspect for MemoryStore {
    fn usage(&self) -> Usage {
        let state = self.state();
        let receipts = state.receipts.usage();
        Usage {
            subscriptions: state.subscriptions,
            receipts: receipts.receipts,
            receipt_subscriptions: receipts.receipt_subscriptions,
            ..state.index.usage()
        }
    }

    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        Box::pin(async move { Ok(self.state().index.backlog(uaid)) })
    }

    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let receipts = state.receipts.largest(most, &self.limits);
            state.index.largest(most).read(receipts, |oldest| {
                let message = state.messages.get(&oldest.id);
                Ok(message.map(|it| (it.channel, it.accepted_at)))
            })
        })
    }

    fn all_subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let from = after.map_or(Unbounded, |(uaid, _)| Included(uaid));
            let user_agents = state.user_agents.range((from, Unbounded));
            let all = user_agents.flat_map(|(_, it)| it.channels.values());
            let all = all.map(|(it, _)| it);
            let behind = all.filter(|it| after.is_none_or(|after| (it.uaid, it.channel) > after));
            Ok(behind.take(limit).cloned().collect())
        })
    }

    fn all_receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.subscriptions(after, limit)) })
    }

    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<ExpiryCursor>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(usize, Option<ExpiryCursor>), StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let (signed, last) = state.index.charged_to(Holder::Key(key), after, SCAN_LIMIT);
            let removed = self.remove_all(&mut state, &signed, now);
            drop(state);
            self.notifier
                .notify(Notice::default().receipts(removed.receipts));
            Ok((removed.messages, last))
        })
    }
}
