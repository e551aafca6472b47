//! The engine that keeps everything in memory. It is the reference for the others, and tests use
//! it.

mod broadcasts;
mod inspect;
mod receipts;
mod store;
mod unused;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bugle_protocol::{ChannelId, MessageId, PushMessage, SubscriptionId, Uaid, UnixTime};

use super::days::{Day, Days, Pass};
use super::event::{Listener, Notice, Notifier, Readers};
use super::index::{Index, ToRemove};
use super::receipt::Removed;
use super::receipt_logs::ReceiptLogs;
use super::{Expired, NewMessage, StoreError, StoreLimits, Subscription};
#[cfg(test)]
use super::{Origin, ReceiptTarget};
use crate::store::broadcasts::Broadcasts;

/// How many messages are examined, and possibly removed, under one hold of the lock.
const SCAN_LIMIT: usize = 64;

/// An [`Engine`](super::Engine) without a disk: nothing survives the process.
#[derive(Debug)]
pub struct MemoryStore {
    limits: StoreLimits,
    state: Mutex<State>,
    notifier: Notifier,
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
    /// The day on which a connection was last recorded.
    connected: Option<Day>,
    /// Each with the day on which a message for it was last recorded.
    channels: BTreeMap<ChannelId, (Subscription, Option<Day>)>,
}

impl MemoryStore {
    /// Creates an empty store with these limits, except for `waiting_for_disk`, which has no
    /// meaning here. The store notifies `listener` of its changes.
    pub fn new(limits: StoreLimits, listener: Arc<dyn Listener>) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            notifier: Notifier::new(listener),
        }
    }

    /// Forgets what a restart forgets: which messages were given out, all origins, and the progress
    /// of the search for unused user agents.
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
                receipt: message.receipt.map(ReceiptTarget::existing),
                origin: Origin { key, network: None },
            };
            index.insert(uaid, id, &message, parts);
        }
        state.index = index;
        state.receipts.forget_origins();
        state.pass = Pass::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section here panics half way, so the state is consistent even if the lock is
        // poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, new: Subscription, now: UnixTime) -> Result<(Subscription, Notice), StoreError> {
        let (uaid, channel) = (new.uaid, new.channel);
        let mut state = self.state();
        let old = state.subscription(uaid, channel).cloned();
        let is_new = old.is_none();
        let mut removed = Removed::default();
        match old {
            Some(old) if old.vapid_key == new.vapid_key => return Ok((old, Notice::default())),
            Some(old) => {
                let messages = state.index.of_subscription(uaid, old.id);
                removed = self.remove_all(&mut state, &messages, now);
            }
            None => {
                let user_agent = state.user_agents.get(&uaid);
                let count = user_agent.map_or(0, |it| it.channels.len());
                self.limits.admit_subscription(count, state.subscriptions)?;
                state.subscriptions += 1;
            }
        }
        let today = state.days.map(|days| days.today);
        let user_agent = state.user_agents.entry(uaid).or_default();
        user_agent.channels.insert(channel, (new.clone(), today));
        if is_new {
            user_agent.connected = today;
        }
        Ok((new, Notice::default().receipts(removed.receipts)))
    }

    fn end(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> Option<Notice> {
        let mut state = self.state();
        let user_agent = state.user_agents.get_mut(&uaid)?;
        let there = user_agent.channels.get(&channel);
        there.filter(|(it, _)| life.is_none_or(|life| life == it.id))?;
        let (ended, _) = user_agent.channels.remove(&channel)?;
        let is_last = user_agent.channels.is_empty();
        if is_last {
            state.user_agents.remove(&uaid);
        }
        state.subscriptions -= 1;
        let messages = state.index.of_subscription(uaid, ended.id);
        let removed = self.remove_all(&mut state, &messages, now);
        Some(Notice::ended(uaid, channel, is_last, readers).receipts(removed.receipts))
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
        let granted = state.receipts.admit(&message, awaited, &self.limits)?;
        if let Some((to, ends_at)) = granted {
            let (origin, now) = (&message.origin, message.accepted_at);
            state.receipts.put(to, ends_at, origin, now);
        }
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

    /// Removes those messages that exist, and creates their receipts.
    fn remove_all(&self, state: &mut State, messages: &[ToRemove], now: UnixTime) -> Removed {
        let settled = messages
            .iter()
            .filter_map(|(uaid, id, why)| state.index.settle(*uaid, *id, *why));
        let plan = state.receipts.plan(settled, now, &self.limits);
        let removed = messages
            .iter()
            .filter(|(uaid, id, _)| state.remove_message(*uaid, *id));
        Removed {
            messages: removed.count(),
            receipts: state.receipts.commit(plan),
        }
    }

    fn sweep(&self, now: UnixTime, limit: usize) -> (Expired, Notice) {
        let mut state = self.state();
        let messages = state.index.expired(now, limit);
        let removed = self.remove_all(&mut state, &messages, now);
        let mut remaining = limit - removed.messages;
        let receipts = state.receipts.expired(now, remaining);
        remaining -= receipts.len();
        for (subscription, id) in receipts {
            state.receipts.remove_receipt(subscription, id);
        }
        let mut notice = Notice::default().receipts(removed.receipts);
        while remaining > 0
            && let Some(id) = state.receipts.ended(now)
        {
            let receipts = state.receipts.ids(id).map_or(0, |ids| ids.len());
            remaining = remaining.saturating_sub(1 + receipts);
            state.receipts.remove(id);
            notice = notice.receipts([id]);
        }
        let expired = Expired {
            messages: removed.messages,
            more: remaining == 0,
        };
        (expired, notice)
    }
}

impl State {
    fn subscription(&self, uaid: Uaid, channel: ChannelId) -> Option<&Subscription> {
        let (subscription, _) = self.user_agents.get(&uaid)?.channels.get(&channel)?;
        Some(subscription)
    }

    fn remove_message(&mut self, uaid: Uaid, id: MessageId) -> bool {
        let removed = self.index.remove(uaid, id).is_some();
        if removed {
            self.messages.remove(&id);
        }
        removed
    }
}
