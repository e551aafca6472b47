//! The in-memory index of an engine's messages: which exist, in what order, until when, and how
//! large they are.
//!
//! Pure: no disk, no clock, no lock. Every engine keeps an index beside its records, and changes
//! both under the same lock.

mod admission;
mod largest;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use bugle_protocol::{MessageId, ReceiptSubscriptionId, SubscriptionId, Uaid, UnixTime, Urgency};

pub(super) use self::admission::AwaitedReceipts;
pub(super) use self::largest::Oldest;
use super::holders::{Amount, Holder, Holders};
use super::log::{Entry, Log, TopicKey};
use super::receipt_logs::Settled;
use super::{Backlog, Batch, ExpiryCursor, NewMessage, Page, Removal, Usage};

/// A receipt that a message creates when it is removed.
#[derive(Debug)]
struct Awaited {
    by: ReceiptSubscriptionId,
    /// How many times the message was given out.
    attempts: u8,
}

/// A message to remove, and the reason.
pub(super) type ToRemove = (Uaid, MessageId, Removal);

/// All stored messages. A user agent without messages takes no memory.
#[derive(Debug, Default)]
pub(super) struct Index {
    logs: HashMap<Uaid, Log>,
    expiry: BTreeMap<(UnixTime, MessageId), Uaid>,
    topics: HashMap<Arc<TopicKey>, MessageId>,
    /// Not in the entries, because few messages have a receipt subscription.
    awaited: HashMap<MessageId, Awaited>,
    /// What each sender and each address holds in all logs together.
    holders: Holders,
    messages: u64,
    bytes: u64,
}

impl Index {
    fn replaced_by(&self, message: &NewMessage) -> Option<MessageId> {
        self.topics.get(&TopicKey::of(message)?).copied()
    }

    /// Adds a message that is stored in `parts` records. Its id must be greater than all ids in its
    /// log.
    pub(super) fn insert(&mut self, uaid: Uaid, id: MessageId, message: &NewMessage, parts: u16) {
        if let Some(target) = message.receipt {
            let by = target.id;
            self.awaited.insert(id, Awaited { by, attempts: 0 });
        }
        let amount = Amount {
            items: 1,
            bytes: message.size() as u64,
            receipts: u64::from(message.receipt.is_some()),
        };
        let charged = self
            .holders
            .charge(&message.origin, amount, message.accepted_at);
        let entry = Entry::new(id, message, parts, charged);
        self.messages += 1;
        self.bytes += u64::from(entry.size);
        self.expiry.insert((entry.expires_at, entry.id), uaid);
        if let Some(key) = &entry.topic {
            self.topics.insert(Arc::clone(key), entry.id);
        }
        self.logs.entry(uaid).or_insert_with(Log::new).push(entry);
    }

    /// Removes a message, if it exists.
    pub(super) fn remove(&mut self, uaid: Uaid, id: MessageId) -> Option<Entry> {
        let log = self.logs.get_mut(&uaid)?;
        let entry = log.remove(id)?;
        if log.entries().is_empty() {
            self.logs.remove(&uaid);
        }
        self.messages -= 1;
        self.bytes -= u64::from(entry.size);
        self.expiry.remove(&(entry.expires_at, id));
        let awaited = self.awaited.remove(&id);
        let amount = Amount {
            items: 1,
            bytes: u64::from(entry.size),
            receipts: u64::from(awaited.is_some()),
        };
        self.holders.discharge(entry.charged, amount);
        // A later message may already have taken the topic.
        if let Some(key) = &entry.topic
            && self.topics.get(key) == Some(&id)
        {
            self.topics.remove(key);
        }
        Some(entry)
    }

    /// Returns how much a log holds.
    pub(super) fn backlog(&self, uaid: Uaid) -> Backlog {
        self.logs
            .get(&uaid)
            .map_or(Backlog::default(), Log::backlog)
    }

    /// Returns a message of a log.
    pub(super) fn get(&self, uaid: Uaid, id: MessageId) -> Option<&Entry> {
        self.logs.get(&uaid)?.get(id)
    }

    /// Returns the entries of a log above `after` that are live at `now`, at least as urgent as
    /// `min`, and of `subscription` if one is given; as many as fit into the batch, and at least
    /// one. Scans until it finds one entry more than that.
    pub(super) fn after(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        (min, subscription): (Urgency, Option<SubscriptionId>),
        batch: Batch,
        now: UnixTime,
    ) -> Page<&Entry> {
        let mut page = Page::EMPTY;
        let Some(log) = self.logs.get(&uaid) else {
            return page;
        };
        let entries = log.entries();
        let start = entries.partition_point(|e| after.is_some_and(|after| e.id <= after));
        let wanted = entries
            .range(start..)
            .filter(|entry| entry.is_live(now) && entry.urgency >= min)
            .filter(|entry| subscription.is_none_or(|only| entry.subscription == only));
        let mut bytes = 0_usize;
        for entry in wanted {
            bytes = bytes.saturating_add(entry.size as usize);
            let fits = page.items.len() < batch.messages && bytes <= batch.bytes;
            if !fits && !page.items.is_empty() {
                page.more = true;
                break;
            }
            page.items.push(entry);
        }
        page
    }

    /// Records that a message is given out.
    pub(super) fn give_out(&mut self, id: MessageId) {
        if let Some(awaited) = self.awaited.get_mut(&id) {
            awaited.attempts = awaited.attempts.saturating_add(1);
        }
    }

    /// Returns all messages, each log in the order of its ids.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<(Uaid, MessageId, u16)> {
        let logs = self.logs.iter();
        let entries = logs.flat_map(|(uaid, log)| log.entries().iter().map(|e| (*uaid, e)));
        entries.map(|(uaid, e)| (uaid, e.id, e.parts)).collect()
    }

    /// Returns whether a message has a receipt subscription.
    pub(super) fn is_awaited(&self, id: MessageId) -> bool {
        self.awaited.contains_key(&id)
    }

    /// Returns those of the messages that are in this log, each once, with its first reason.
    pub(super) fn present(&self, uaid: Uaid, messages: &[(MessageId, Removal)]) -> Vec<ToRemove> {
        let mut seen = HashSet::new();
        let messages = messages
            .iter()
            .filter(|(id, _)| self.get(uaid, *id).is_some() && seen.insert(*id));
        messages.map(|(id, why)| (uaid, *id, *why)).collect()
    }

    /// Returns the receipt that a message leaves if it is removed now, if any.
    pub(super) fn settle(&self, uaid: Uaid, id: MessageId, why: Removal) -> Option<Settled> {
        self.get(uaid, id)?;
        let awaited = self.awaited.get(&id)?;
        Some(Settled {
            subscription: awaited.by,
            uaid,
            message: id,
            status: why.status(awaited.attempts)?,
        })
    }

    /// Returns the messages of one subscription, to be given up with it.
    pub(super) fn of_subscription(
        &self,
        uaid: Uaid,
        subscription: SubscriptionId,
    ) -> Vec<ToRemove> {
        let log = self.logs.get(&uaid).into_iter();
        log.flat_map(|log| log.entries())
            .filter(|entry| entry.subscription == subscription)
            .map(|entry| (uaid, entry.id, Removal::GivenUp))
            .collect()
    }

    /// Returns up to `limit` messages that have expired at `now`, the oldest expiry first.
    pub(super) fn expired(&self, now: UnixTime, limit: usize) -> Vec<ToRemove> {
        let end = (now, MessageId::new(u64::MAX));
        let expired = self.expiry.range(..=end).take(limit);
        expired
            .map(|((_, id), uaid)| (*uaid, *id, Removal::GivenUp))
            .collect()
    }

    /// Scans the next `scanned` messages in the order of their expiry. Returns those that are
    /// charged to `holder`, and the cursor to continue with.
    pub(super) fn charged_to(
        &self,
        holder: Holder,
        after: Option<ExpiryCursor>,
        scanned: usize,
    ) -> (Vec<ToRemove>, Option<ExpiryCursor>) {
        let from = after.map_or(Unbounded, Excluded);
        let (mut charged, mut last) = (Vec::new(), None);
        for ((expires_at, id), uaid) in self.expiry.range((from, Unbounded)).take(scanned) {
            last = Some((*expires_at, *id));
            let entry = self.get(*uaid, *id);
            if entry.is_some_and(|entry| self.holders.is_charged(entry.charged, holder)) {
                charged.push((*uaid, *id, Removal::GivenUp));
            }
        }
        (charged, last)
    }

    /// Returns the totals of messages; all other fields are 0.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            messages: self.messages,
            live_bytes: self.bytes,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use bugle_protocol::ChannelId;

    use super::*;
    use crate::store::{Origin, ReceiptTarget};

    const RECEIPTS: ReceiptSubscriptionId = ReceiptSubscriptionId::from_bytes([3; 16]);

    fn message(expires_at: u64, topic: Option<&str>) -> NewMessage {
        NewMessage {
            channel: ChannelId::from_bytes([2; 16]),
            subscription: SubscriptionId::from_bytes([1; 16]),
            accepted_at: UnixTime::from_millis(0),
            expires_at: UnixTime::from_millis(expires_at),
            urgency: Urgency::Normal,
            topic: topic.map(|topic| topic.parse().unwrap()),
            content: None,
            receipt: Some(ReceiptTarget::existing(RECEIPTS)),
            origin: Origin {
                key: None,
                network: Some([192, 0, 2, 1].into()),
            },
        }
    }

    const fn id(id: u64) -> MessageId {
        MessageId::new(id)
    }

    #[test]
    fn an_emptied_index_holds_nothing() {
        let mut index = Index::default();
        let uaid = Uaid::from_bytes([7; 16]);
        for n in 1..=100 {
            index.insert(uaid, id(n), &message(1000 - n, Some("t")), 1);
        }
        for n in 1..=100 {
            assert!(index.remove(uaid, id(n)).is_some());
            assert!(index.remove(uaid, id(n)).is_none());
        }
        assert!(index.logs.is_empty() && index.expiry.is_empty() && index.topics.is_empty());
        assert!(index.awaited.is_empty() && index.holders.iter().next().is_none());
        assert_eq!(index.usage(), Usage::default());
    }

    #[test]
    fn a_removed_predecessor_leaves_its_successor_the_topic() {
        let mut index = Index::default();
        let uaid = Uaid::from_bytes([7; 16]);
        index.insert(uaid, id(1), &message(10, Some("t")), 1);
        index.insert(uaid, id(2), &message(10, Some("t")), 1);
        index.remove(uaid, MessageId::new(1));
        assert_eq!(
            index.topics.values().collect::<Vec<_>>(),
            [&MessageId::new(2)]
        );
    }
}
