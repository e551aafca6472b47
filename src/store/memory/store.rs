//! Implements [`Store`]: each call changes or reads the state under its lock, and notifies the
//! listener afterwards.

use bugle_protocol::{ChannelId, MessageId, PushMessage, SubscriptionId, Uaid, UnixTime};

use super::MemoryStore;
use crate::store::event::{Event, Notice, OnAccepted, Readers};
use crate::store::{
    Batch, BoxFuture, Expired, Filter, NewMessage, Page, Removal, Store, StoreError, Subscription,
    Sweep, Unused,
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
            let (subscription, notice) = self.put(new, now)?;
            self.notifier.notify(notice);
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
            let notice = self.end(uaid, channel, life, readers, now);
            Ok(notice.map(|notice| self.notifier.notify(notice)).is_some())
        })
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        Box::pin(async move {
            let (unused, notice) = self.continue_pass(&sweep);
            self.notifier.notify(notice);
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
            self.notifier.notify(Notice {
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
        Box::pin(async move {
            let state = self.state();
            let only = match filter.channel.map(|c| state.subscription(uaid, c)) {
                Some(None) => return Ok(Page::EMPTY),
                only => only.flatten().map(|subscription| subscription.id),
            };
            let filter = (filter.min_urgency, only);
            let page = state.index.after(uaid, after, filter, batch, now);
            let entries = page.items.into_iter();
            let messages = entries.filter_map(|entry| state.messages.get(&entry.id));
            Ok(Page {
                items: messages.cloned().collect(),
                more: page.more,
            })
        })
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
                .notify(Notice::default().receipts(removed.receipts));
            Ok(removed.messages)
        })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move {
            let (expired, notice) = self.sweep(now, limit);
            self.notifier.notify(notice);
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
