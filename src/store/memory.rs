//! The engine that forgets: all in memory. The reference for the others, and
//! what tests run on.

mod unused;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId, SubscriptionId, Uaid,
    UnixTime,
};
use tokio::sync::watch;

use super::days::{Day, Days, Pass, Sweep, Unused};
use super::index::Index;
use super::receipt_logs::{ReceiptLogs, Settled};
use super::{
    Backlog, Batch, BoxFuture, Expired, Filter, Holder, Largest, Limit, NewMessage, Origin,
    Receipt, ReceiptId, ReceiptStatus, Removal, Removed, Store, StoreError, StoreLimits,
    Subscription, Usage,
};
use crate::broadcasts::{Broadcasts, Label};

/// How many messages are looked at, of which some are to be removed, under one
/// hold of the lock.
const LOOKED_AT: usize = 64;

/// A [`Store`] without a disk: nothing survives the process.
#[derive(Debug)]
pub struct MemoryStore {
    limits: StoreLimits,
    state: Mutex<State>,
    /// Never changes: there is nothing that fails.
    reopened: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    receipts: ReceiptLogs,
    last_id: u64,
    subscriptions: u64,
    user_agents: BTreeMap<Uaid, UserAgent>,
    days: Option<Days>,
    pass: Pass,
    messages: HashMap<MessageId, PushMessage>,
    broadcasts: Arc<Broadcasts>,
}

/// A user agent that has a subscription.
#[derive(Debug, Default)]
struct UserAgent {
    /// When it was last noted as connected.
    connected: Option<Day>,
    /// When a message was last noted, with each.
    channels: BTreeMap<ChannelId, (Subscription, Option<Day>)>,
}

impl MemoryStore {
    /// An empty store that keeps to `limits`; `waiting_for_disk` has no
    /// meaning here.
    pub fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            reopened: watch::Sender::new(0),
        }
    }

    /// As after a restart: no message has been given out, and where anything
    /// came from is forgotten. The search for unused user agents begins anew.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        let mut state = self.state();
        let mut index = Index::default();
        for (uaid, id, parts) in state.index.all() {
            let message = state.messages[&id].clone();
            let subscription = state.subscription(uaid, message.channel);
            let key = subscription.and_then(|subscription| subscription.vapid_key);
            let message = NewMessage {
                channel: message.channel,
                subscription: message.subscription,
                accepted_at: message.accepted_at,
                expires_at: message.expires_at,
                urgency: message.urgency,
                topic: message.topic,
                content: message.content,
                receipt: message.receipt,
                origin: Origin { key, network: None },
            };
            index.insert(uaid, id, &message, parts);
        }
        state.index = index;
        state.receipts.forget_origins();
        state.pass = Pass::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, subscription: Subscription, now: UnixTime) -> Result<Removed, StoreError> {
        let (uaid, channel) = (subscription.uaid, subscription.channel);
        let mut state = self.state();
        let old = state.subscription(uaid, channel).map(|s| s.id);
        if old.is_none() {
            let user_agent = state.user_agents.get(&uaid);
            let count = user_agent.map_or(0, |it| it.channels.len());
            if count >= self.limits.subscriptions_per_user_agent as usize {
                return Err(StoreError::Full(Limit::SubscriptionsPerUserAgent.into()));
            }
            if state.subscriptions >= self.limits.subscriptions {
                return Err(StoreError::Full(Limit::Subscriptions.into()));
            }
            state.subscriptions += 1;
        }
        let today = state.days.map(|days| days.today);
        let user_agent = state.user_agents.entry(uaid).or_default();
        user_agent.channels.insert(channel, (subscription, today));
        if old.is_none() {
            user_agent.connected = today;
        }
        let messages = old.map_or(Vec::new(), |old| state.messages_of(uaid, old));
        Ok(self.remove_all(&mut state, &messages, Removal::GivenUp, now))
    }

    fn unsubscribe(&self, uaid: Uaid, channel: ChannelId, now: UnixTime) -> Option<Removed> {
        let mut state = self.state();
        let user_agent = state.user_agents.get_mut(&uaid)?;
        let (removed, _) = user_agent.channels.remove(&channel)?;
        if user_agent.channels.is_empty() {
            state.user_agents.remove(&uaid);
        }
        state.subscriptions -= 1;
        let messages = state.messages_of(uaid, removed.id);
        Some(self.remove_all(&mut state, &messages, Removal::GivenUp, now))
    }

    fn append_message(&self, uaid: Uaid, message: NewMessage) -> Result<MessageId, StoreError> {
        let mut state = self.state();
        state
            .subscription(uaid, message.channel)
            .filter(|s| s.id == message.subscription)
            .ok_or(StoreError::NoSubscription)?;
        let replaced = state
            .index
            .admit(uaid, &message, &self.limits)
            .map_err(StoreError::Full)?;
        let awaited = state.index.awaited_with(replaced);
        state.receipts.admit(&message, awaited, &self.limits)?;
        state.last_id += 1;
        let id = MessageId::new(state.last_id);
        if let Some(replaced) = replaced {
            state.remove_message(uaid, replaced);
        }
        state.note_received(uaid, message.channel);
        if message.is_stored() {
            state.index.insert(uaid, id, &message, 1);
            state.messages.insert(id, message.with_id(id));
        }
        Ok(id)
    }

    fn read(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> Vec<PushMessage> {
        let mut state = self.state();
        let only = match filter.channel.map(|c| state.subscription(uaid, c)) {
            Some(None) => return Vec::new(),
            only => only.flatten().map(|subscription| subscription.id),
        };
        let filter = (filter.min_urgency, only);
        let entries = state.index.after(uaid, after, filter, batch, now);
        let messages = entries.filter_map(|entry| state.messages.get(&entry.id));
        let messages: Vec<_> = messages.cloned().collect();
        for message in &messages {
            state.index.give_out(message.id);
        }
        messages
    }

    /// Removes those of the messages that are there, and leaves their receipts.
    fn remove_all(
        &self,
        state: &mut State,
        messages: &[(Uaid, MessageId)],
        why: Removal,
        now: UnixTime,
    ) -> Removed {
        let settled = messages
            .iter()
            .filter_map(|(uaid, id)| state.index.settle(*uaid, *id, why));
        let plan = state.receipts.plan(settled, now, &self.limits);
        let removed = messages
            .iter()
            .filter(|(uaid, id)| state.remove_message(*uaid, *id));
        Removed {
            messages: removed.count(),
            wake: state.receipts.commit(plan),
        }
    }

    fn sweep(&self, now: UnixTime, limit: usize) -> Expired {
        let mut state = self.state();
        let messages = state.index.expired(now, limit);
        let removed = self.remove_all(&mut state, &messages, Removal::GivenUp, now);
        let mut left = limit - removed.messages;
        let receipts = state.receipts.expired(now, left);
        left -= receipts.len();
        for (subscription, id) in receipts {
            state.receipts.remove_receipt(subscription, id);
        }
        let mut wake = removed.wake;
        while left > 0
            && let Some(id) = state.receipts.ended(now)
        {
            let receipts = state.receipts.ids(id).map_or(0, |ids| ids.len());
            left = left.saturating_sub(1 + receipts);
            state.receipts.remove(id);
            wake.push(id);
        }
        wake.sort_unstable();
        wake.dedup();
        Expired {
            messages: removed.messages,
            wake,
            more: left == 0,
        }
    }
}

impl State {
    fn subscription(&self, uaid: Uaid, channel: ChannelId) -> Option<&Subscription> {
        let (subscription, _) = self.user_agents.get(&uaid)?.channels.get(&channel)?;
        Some(subscription)
    }

    fn messages_of(&self, uaid: Uaid, subscription: SubscriptionId) -> Vec<(Uaid, MessageId)> {
        let entries = self.index.of_subscription(uaid, subscription);
        entries.map(|entry| (uaid, entry.id)).collect()
    }

    fn remove_message(&mut self, uaid: Uaid, id: MessageId) -> bool {
        let removed = self.index.remove(uaid, id).is_some();
        if removed {
            self.messages.remove(&id);
        }
        removed
    }
}

impl Store for MemoryStore {
    fn put_subscription(
        &self,
        subscription: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Removed, StoreError>> {
        Box::pin(async move { self.put(subscription, now) })
    }

    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>> {
        Box::pin(async move { Ok(self.state().subscription(uaid, channel).cloned()) })
    }

    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        Box::pin(async move { Ok(self.state().index.backlog(uaid)) })
    }

    fn knows(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().user_agents.contains_key(&uaid)) })
    }

    fn subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move { Ok(self.state().subscriptions_after(after, limit)) })
    }

    fn receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.subscriptions(after, limit)) })
    }

    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<(UnixTime, MessageId)>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(Removed, Option<(UnixTime, MessageId)>), StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let (signed, last) = state.index.charged_to(Holder::Key(key), after, LOOKED_AT);
            let removed = self.remove_all(&mut state, &signed, Removal::GivenUp, now);
            Ok((removed, last))
        })
    }

    fn connected(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().note_connected(uaid)) })
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        Box::pin(async move { Ok(self.pass_over(&sweep)) })
    }

    fn channels(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<ChannelId>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let channels = state.user_agents.get(&uaid).into_iter();
            Ok(channels
                .flat_map(|it| it.channels.keys().copied())
                .collect())
        })
    }

    fn remove_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Removed>, StoreError>> {
        Box::pin(async move { Ok(self.unsubscribe(uaid, channel, now)) })
    }

    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>> {
        Box::pin(async move { self.append_message(uaid, message) })
    }

    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Vec<PushMessage>, StoreError>> {
        Box::pin(async move { Ok(self.read(uaid, after, filter, batch, now)) })
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

    fn remove(
        &self,
        uaid: Uaid,
        id: MessageId,
        why: Removal,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Removed, StoreError>> {
        Box::pin(async move { Ok(self.remove_all(&mut self.state(), &[(uaid, id)], why, now)) })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move { Ok(self.sweep(now, limit)) })
    }

    fn put_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        ends_at: UnixTime,
        origin: Origin,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let extends = state.receipts.extends(id, ends_at, &origin, &self.limits);
            if extends.map_err(StoreError::Full)? {
                state.receipts.put(id, ends_at, &origin, now);
            }
            Ok(())
        })
    }

    fn knows_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.is_live(id, now)) })
    }

    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.remove(id)) })
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
            Ok(!state.receipts.commit(plan).is_empty())
        })
    }

    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Vec<Receipt>, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.after(id, after, limit, now)) })
    }

    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().receipts.remove_receipt(id, receipt)) })
    }

    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let current = &mut self.state().broadcasts;
            let had = current.has(&id);
            if version.is_some() && !had && current.len() >= self.limits.broadcasts {
                return Err(StoreError::Full(Limit::Broadcasts.into()));
            }
            *current = current.with(id, version).into();
            Ok(had)
        })
    }

    fn broadcasts(&self) -> Arc<Broadcasts> {
        Arc::clone(&self.state().broadcasts)
    }

    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let largest = state.index.largest(most, |_, entry| {
                let message = state.messages.get(&entry.id)?;
                Some((message.channel, message.accepted_at))
            });
            Ok(state.receipts.largest(most, largest, &self.limits))
        })
    }

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

    fn health(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reopened(&self) -> watch::Receiver<u64> {
        self.reopened.subscribe()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
