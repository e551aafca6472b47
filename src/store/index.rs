//! What an engine must know of its messages without reading one: which there
//! are, in what order, until when, and how much they take.
//!
//! Pure: no disk, no clock, no lock. Every engine keeps one beside its records
//! and changes both under the same lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bugle_protocol::{
    MessageId, ReceiptSubscriptionId, SubscriptionId, Topic, Uaid, UnixTime, Urgency,
};

use super::receipt_logs::Settled;
use super::{Backlog, Batch, Limit, NewMessage, Removal, StoreLimits, Usage};

/// What a later message of the same subscription and topic replaces
/// (RFC 8030 §5.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TopicKey {
    subscription: SubscriptionId,
    topic: Topic,
}

impl TopicKey {
    /// `None` for a message without a topic.
    fn of(message: &NewMessage) -> Option<Self> {
        message.topic.clone().map(|topic| Self {
            subscription: message.subscription,
            topic,
        })
    }
}

/// One stored message.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its place in the log.
    pub(super) id: MessageId,
    /// From this time on it is not delivered.
    pub(super) expires_at: UnixTime,
    /// Goes with its messages.
    pub(super) subscription: SubscriptionId,
    /// Octets, as `PushMessage::size` counts them.
    pub(super) size: u32,
    /// In how many records the engine keeps it.
    pub(super) parts: u16,
    /// Filters delivery (RFC 8030 §5.3).
    urgency: Urgency,
    /// Shared with the key of [`Index::topics`].
    topic: Option<Arc<TopicKey>>,
}

impl Entry {
    /// For a message under the id it was given, kept in `parts` records.
    fn new(id: MessageId, message: &NewMessage, parts: u16) -> Self {
        Self {
            id,
            expires_at: message.expires_at,
            subscription: message.subscription,
            size: u32::try_from(message.size()).unwrap_or(u32::MAX),
            parts,
            urgency: message.urgency,
            topic: TopicKey::of(message).map(Arc::new),
        }
    }

    /// Whether it may still be delivered (RFC 8030 §5.2).
    pub(super) fn is_live(&self, now: UnixTime) -> bool {
        now < self.expires_at
    }
}

/// The messages of one user agent.
#[derive(Debug)]
struct Log {
    /// In the order of ids, which only grow.
    entries: VecDeque<Entry>,
    /// The sum of their sizes.
    bytes: u64,
}

impl Log {
    fn position(&self, id: MessageId) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |e| e.id).ok()
    }
}

/// A receipt that a message will leave.
#[derive(Debug)]
struct Awaited {
    by: ReceiptSubscriptionId,
    /// How often the message was given out.
    attempts: u8,
}

/// All stored messages. A user agent without one takes no room.
#[derive(Debug, Default)]
pub(super) struct Index {
    logs: HashMap<Uaid, Log>,
    expiry: BTreeMap<(UnixTime, MessageId), Uaid>,
    topics: HashMap<Arc<TopicKey>, MessageId>,
    /// Beside the entries, because few messages have one.
    awaited: HashMap<MessageId, Awaited>,
    messages: u64,
    bytes: u64,
}

impl Index {
    /// Which message the new one replaces, if the bounds let it in.
    ///
    /// # Errors
    /// The bound that it would cross, the replaced message counted out.
    pub(super) fn admit(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        limits: &StoreLimits,
    ) -> Result<Option<MessageId>, Limit> {
        let replaced = self.replaced_by(message);
        if !message.is_stored() {
            return Ok(replaced);
        }
        let old = replaced.and_then(|id| self.get(uaid, id));
        let (less, freed) = old.map_or((0, 0), |e| (1, u64::from(e.size)));
        let size = message.size() as u64;
        let (count, bytes) = self
            .logs
            .get(&uaid)
            .map_or((0, 0), |log| (log.entries.len(), log.bytes));
        if count - less >= limits.messages_per_user_agent as usize {
            return Err(Limit::MessagesPerUserAgent);
        }
        if bytes - freed + size > limits.bytes_per_user_agent {
            return Err(Limit::BytesPerUserAgent);
        }
        if self.bytes - freed + size > limits.stored_bytes {
            return Err(Limit::StoredBytes);
        }
        Ok(replaced)
    }

    fn replaced_by(&self, message: &NewMessage) -> Option<MessageId> {
        self.topics.get(&TopicKey::of(message)?).copied()
    }

    /// Adds a message that is kept in `parts` records; its id is greater than
    /// those already in its log.
    pub(super) fn insert(&mut self, uaid: Uaid, id: MessageId, message: &NewMessage, parts: u16) {
        let entry = Entry::new(id, message, parts);
        if let Some(by) = message.receipt {
            self.awaited.insert(id, Awaited { by, attempts: 0 });
        }
        self.messages += 1;
        self.bytes += u64::from(entry.size);
        self.expiry.insert((entry.expires_at, entry.id), uaid);
        if let Some(key) = &entry.topic {
            self.topics.insert(Arc::clone(key), entry.id);
        }
        // Most logs hold one message: begin with room for that.
        let log = self.logs.entry(uaid).or_insert_with(|| Log {
            entries: VecDeque::with_capacity(1),
            bytes: 0,
        });
        log.bytes += u64::from(entry.size);
        log.entries.push_back(entry);
    }

    /// Takes a message out, if it is there.
    pub(super) fn remove(&mut self, uaid: Uaid, id: MessageId) -> Option<Entry> {
        let log = self.logs.get_mut(&uaid)?;
        let entry = log.entries.remove(log.position(id)?)?;
        log.bytes -= u64::from(entry.size);
        if log.entries.is_empty() {
            self.logs.remove(&uaid);
        } else if log.entries.len() * 4 < log.entries.capacity() {
            log.entries.shrink_to(log.entries.len() * 2);
        }
        self.messages -= 1;
        self.bytes -= u64::from(entry.size);
        self.expiry.remove(&(entry.expires_at, id));
        self.awaited.remove(&id);
        // A successor with the same topic may already stand here.
        if let Some(key) = &entry.topic
            && self.topics.get(key) == Some(&id)
        {
            self.topics.remove(key);
        }
        Some(entry)
    }

    /// How much a log holds.
    pub(super) fn backlog(&self, uaid: Uaid) -> Backlog {
        let log = self.logs.get(&uaid);
        log.map_or(Backlog::default(), |log| Backlog {
            messages: log.entries.len() as u64,
            bytes: log.bytes,
        })
    }

    /// A message of a log.
    pub(super) fn get(&self, uaid: Uaid, id: MessageId) -> Option<&Entry> {
        let log = self.logs.get(&uaid)?;
        log.entries.get(log.position(id)?)
    }

    /// The entries of a log above `after` that are live at `now`, at least as
    /// urgent as `min`, and of the one subscription where one is given; as many
    /// as the batch takes and at least one.
    pub(super) fn after(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        (min, subscription): (Urgency, Option<SubscriptionId>),
        batch: Batch,
        now: UnixTime,
    ) -> impl Iterator<Item = &Entry> {
        let log = self.logs.get(&uaid).into_iter();
        let mut taken = Batch {
            messages: 0,
            bytes: 0,
        };
        log.flat_map(move |log| {
            let start = log
                .entries
                .partition_point(|e| after.is_some_and(|after| e.id <= after));
            log.entries.range(start..)
        })
        .filter(move |entry| entry.is_live(now) && entry.urgency >= min)
        .filter(move |entry| subscription.is_none_or(|only| entry.subscription == only))
        .take_while(move |entry| {
            let first = taken.messages == 0;
            taken.messages += 1;
            taken.bytes = taken.bytes.saturating_add(entry.size as usize);
            first || (taken.messages <= batch.messages && taken.bytes <= batch.bytes)
        })
    }

    /// Notes that a message is given out.
    pub(super) fn give_out(&mut self, id: MessageId) {
        if let Some(awaited) = self.awaited.get_mut(&id) {
            awaited.attempts = awaited.attempts.saturating_add(1);
        }
    }

    #[cfg(test)]
    pub(super) fn forget_attempts(&mut self) {
        for awaited in self.awaited.values_mut() {
            awaited.attempts = 0;
        }
    }

    /// How many stored messages but for `id` will leave a receipt.
    pub(super) fn awaited_without(&self, id: Option<MessageId>) -> usize {
        let less = id.is_some_and(|id| self.is_awaited(id));
        self.awaited.len() - usize::from(less)
    }

    /// Whether a message has a receipt subscription.
    pub(super) fn is_awaited(&self, id: MessageId) -> bool {
        self.awaited.contains_key(&id)
    }

    /// What a message's receipt says when it is removed now, if it leaves one.
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

    /// The messages of one subscription.
    pub(super) fn of_subscription(
        &self,
        uaid: Uaid,
        subscription: SubscriptionId,
    ) -> impl Iterator<Item = &Entry> {
        let log = self.logs.get(&uaid).into_iter();
        log.flat_map(|log| &log.entries)
            .filter(move |entry| entry.subscription == subscription)
    }

    /// Up to `limit` messages that have expired at `now`, the oldest expiry
    /// first.
    pub(super) fn expired(&self, now: UnixTime, limit: usize) -> Vec<(Uaid, MessageId)> {
        let end = (now, MessageId::new(u64::MAX));
        let expired = self.expiry.range(..=end).take(limit);
        expired.map(|((_, id), uaid)| (*uaid, *id)).collect()
    }

    /// The totals of messages; the other fields are 0.
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

    fn message(expires_at: u64, topic: Option<&str>) -> NewMessage {
        NewMessage {
            channel: ChannelId::from_bytes([2; 16]),
            subscription: SubscriptionId::from_bytes([1; 16]),
            accepted_at: UnixTime::from_millis(0),
            expires_at: UnixTime::from_millis(expires_at),
            urgency: Urgency::Normal,
            topic: topic.map(|topic| topic.parse().unwrap()),
            content: None,
            receipt: Some(ReceiptSubscriptionId::from_bytes([3; 16])),
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
        assert!(index.awaited.is_empty());
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

    #[test]
    fn an_entry_takes_six_words() {
        assert!(size_of::<Entry>() <= 48);
    }

    #[test]
    fn a_drained_log_gives_its_room_back() {
        let mut index = Index::default();
        let uaid = Uaid::from_bytes([7; 16]);
        for n in 1..=1000 {
            index.insert(uaid, id(n), &message(10, None), 1);
        }
        for n in 1..=990 {
            index.remove(uaid, id(n));
        }
        assert!(index.logs[&uaid].entries.capacity() <= 64);
    }
}
