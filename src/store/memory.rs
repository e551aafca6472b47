//! The engine that forgets: all in memory. The reference for the others, and
//! what tests run on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bugle_protocol::{ChannelId, MessageId, PushMessage, SubscriptionId, Uaid, UnixTime};

use super::index::{Entry, Index};
use super::{
    Batch, BoxFuture, Filter, Limit, NewMessage, Store, StoreError, StoreLimits, Subscription,
    Usage,
};
use crate::broadcasts::{Broadcasts, Label};

/// A [`Store`] without a disk: nothing survives the process.
#[derive(Debug)]
pub struct MemoryStore {
    limits: StoreLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    last_id: u64,
    subscriptions: u64,
    user_agents: HashMap<Uaid, HashMap<ChannelId, Subscription>>,
    messages: HashMap<MessageId, PushMessage>,
    broadcasts: Arc<Broadcasts>,
}

impl MemoryStore {
    /// An empty store that keeps to `limits`; `waiting_for_disk` has no
    /// meaning here.
    pub fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in a critical section here panics half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, subscription: Subscription) -> Result<(), StoreError> {
        let (uaid, channel) = (subscription.uaid, subscription.channel);
        let mut state = self.state();
        if let Some(old) = state.subscription(uaid, channel).map(|s| s.id) {
            state.remove_messages(uaid, old);
        } else {
            let count = state.user_agents.get(&uaid).map_or(0, HashMap::len);
            if count >= self.limits.subscriptions_per_user_agent as usize {
                return Err(StoreError::Full(Limit::SubscriptionsPerUserAgent));
            }
            if state.subscriptions >= self.limits.subscriptions {
                return Err(StoreError::Full(Limit::Subscriptions));
            }
            state.subscriptions += 1;
        }
        let channels = state.user_agents.entry(uaid).or_default();
        channels.insert(channel, subscription);
        Ok(())
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
        state.last_id += 1;
        let id = MessageId::new(state.last_id);
        if let Some(replaced) = replaced {
            state.remove_message(uaid, replaced);
        }
        if message.is_stored() {
            state.index.insert(uaid, Entry::new(id, &message, 1));
            state.messages.insert(id, message.with_id(id));
        }
        Ok(id)
    }
}

impl State {
    fn subscription(&self, uaid: Uaid, channel: ChannelId) -> Option<&Subscription> {
        self.user_agents.get(&uaid)?.get(&channel)
    }

    fn remove_subscription(&mut self, uaid: Uaid, channel: ChannelId) -> bool {
        let Some(channels) = self.user_agents.get_mut(&uaid) else {
            return false;
        };
        let Some(removed) = channels.remove(&channel) else {
            return false;
        };
        if channels.is_empty() {
            self.user_agents.remove(&uaid);
        }
        self.subscriptions -= 1;
        self.remove_messages(uaid, removed.id);
        true
    }

    fn remove_messages(&mut self, uaid: Uaid, subscription: SubscriptionId) {
        let entries = self.index.of_subscription(uaid, subscription);
        let ids: Vec<_> = entries.map(|entry| entry.id).collect();
        for id in ids {
            self.remove_message(uaid, id);
        }
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
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.put(subscription) })
    }

    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>> {
        Box::pin(async move { Ok(self.state().subscription(uaid, channel).cloned()) })
    }

    fn knows(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().user_agents.contains_key(&uaid)) })
    }

    fn remove_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().remove_subscription(uaid, channel)) })
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
        Box::pin(async move {
            let state = self.state();
            let only = match filter.channel.map(|c| state.subscription(uaid, c)) {
                Some(None) => return Ok(Vec::new()),
                only => only.flatten().map(|subscription| subscription.id),
            };
            let filter = (filter.min_urgency, only);
            let entries = state.index.after(uaid, after, filter, batch, now);
            let messages = entries.filter_map(|entry| state.messages.get(&entry.id));
            Ok(messages.cloned().collect())
        })
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

    fn remove(&self, uaid: Uaid, id: MessageId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.state().remove_message(uaid, id)) })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let mut state = self.state();
            let expired = state.index.expired(now, limit);
            for (uaid, id) in &expired {
                state.remove_message(*uaid, *id);
            }
            Ok(expired.len())
        })
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
                return Err(StoreError::Full(Limit::Broadcasts));
            }
            *current = current.with(id, version).into();
            Ok(had)
        })
    }

    fn broadcasts(&self) -> Arc<Broadcasts> {
        Arc::clone(&self.state().broadcasts)
    }

    fn usage(&self) -> Usage {
        let state = self.state();
        Usage {
            subscriptions: state.subscriptions,
            ..state.index.usage()
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
