//! The calls of the traits of a storage engine.

use std::sync::Arc;

use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId, SubscriptionId, Uaid,
    UnixTime,
};

use super::{LOOKED_AT, MemoryStore};
use crate::store::broadcasts::{Broadcasts, Label};
use crate::store::event::{Event, News, OnAccepted, Readers};
use crate::store::receipt_logs::Settled;
use crate::store::{
    Backlog, Batch, BoxFuture, BroadcastStore, Expired, ExpiryCursor, Filter, Holder, Inspect,
    Largest, NewMessage, Page, Receipt, ReceiptId, ReceiptStatus, ReceiptStore, Removal, Store,
    StoreError, Subscription, Sweep, Unused, Usage,
};

impl Store for MemoryStore {
    fn connect(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().note_connected(uaid)) })
    }

    fn subscribe(
        &self,
        new: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Subscription, StoreError>> {
        Box::pin(async move {
            let (subscription, news) = self.put(new, now)?;
            self.notifier.tell(news);
            Ok(subscription)
        })
    }

    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>> {
        Box::pin(async move { Ok(self.state().subscription(uaid, channel).cloned()) })
    }

    fn subscriptions(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let of_one = state.user_agents.get(&uaid).into_iter();
            let all = of_one.flat_map(|it| it.channels.values());
            Ok(all.map(|(subscription, _)| subscription.clone()).collect())
        })
    }

    fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let news = self.end(uaid, channel, life, readers, now);
            Ok(news.map(|news| self.notifier.tell(news)).is_some())
        })
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        Box::pin(async move {
            let (unused, news) = self.pass_over(&sweep);
            self.notifier.tell(news);
            Ok(unused)
        })
    }

    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
        accepted: Option<OnAccepted>,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>> {
        Box::pin(async move {
            let channel = message.channel;
            let is_stored = message.is_stored();
            let id = self.append_message(uaid, message)?;
            let stored = is_stored.then_some(Event::Message { uaid, channel });
            self.notifier.tell(News {
                accepted: accepted.map(|accepted| (id, accepted)),
                events: Vec::from_iter(stored),
            });
            Ok(id)
        })
    }

    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Page<PushMessage>, StoreError>> {
        Box::pin(async move { Ok(self.read(uaid, after, filter, batch, now)) })
    }

    fn give_out(&self, id: MessageId) {
        self.state().index.give_out(id);
    }

    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let entry = state.index.get(uaid, id).filter(|e| e.is_live(now));
            Ok(entry.and_then(|e| state.messages.get(&e.id)).cloned())
        })
    }

    fn remove<'s>(
        &'s self,
        uaid: Uaid,
        messages: &'s [(MessageId, Removal)],
        now: UnixTime,
    ) -> BoxFuture<'s, Result<usize, StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let messages = state.index.present(uaid, messages);
            let removed = self.remove_all(&mut state, &messages, now);
            drop(state);
            self.notifier
                .tell(News::default().receipts(removed.receipts));
            Ok(removed.messages)
        })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move {
            let (expired, news) = self.sweep(now, limit);
            self.notifier.tell(news);
            Ok(expired)
        })
    }

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

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
            let is_left = !receipts.is_empty();
            self.notifier.tell(News::default().receipts(receipts));
            Ok(is_left)
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
                self.notifier.tell(Event::Receipts(id).into());
            }
            Ok(removed)
        })
    }
}

impl BroadcastStore for MemoryStore {
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let had = self.set_version(id, version)?;
            self.notifier.tell(Event::Broadcasts.into());
            Ok(had)
        })
    }

    fn broadcasts(&self) -> Arc<Broadcasts> {
        Arc::clone(&self.state().broadcasts)
    }
}

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
        Box::pin(async move { Ok(self.state().subscriptions_after(after, limit)) })
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
            let (signed, last) = state.index.charged_to(Holder::Key(key), after, LOOKED_AT);
            let removed = self.remove_all(&mut state, &signed, now);
            drop(state);
            self.notifier
                .tell(News::default().receipts(removed.receipts));
            Ok((removed.messages, last))
        })
    }
}
