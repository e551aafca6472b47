//! The log of one user agent: its stored messages in order, and the totals of each subscription.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bugle_protocol::{MessageId, SubscriptionId, Topic, UnixTime, Urgency};

use super::holders::Charged;
use super::{Backlog, NewMessage};

/// A log of at least this many messages keeps a tally per subscription. In a shorter one, the
/// messages are counted on demand: most logs are short, and a tally takes memory.
const LONG: usize = 64;

/// A log that shrinks to this length drops its tallies.
const SHORT: usize = 16;

/// How many of the oldest messages `next_expiry` examines. It bounds the cost of a refusal.
const SCAN_LIMIT: usize = 256;

/// The subscription and topic of a message. A later message with the same key replaces it (RFC 8030
/// §5.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TopicKey {
    subscription: SubscriptionId,
    topic: Topic,
}

impl TopicKey {
    /// `None` for a message without a topic.
    pub(super) fn of(message: &NewMessage) -> Option<Self> {
        message.topic.clone().map(|topic| Self {
            subscription: message.subscription,
            topic,
        })
    }
}

/// One stored message.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its position in the log.
    pub(super) id: MessageId,
    /// From this time on it is not delivered.
    pub(super) expires_at: UnixTime,
    /// The life of the subscription; when it ends, its messages are removed.
    pub(super) subscription: SubscriptionId,
    /// Bytes, as `PushMessage::size` counts them.
    pub(super) size: u32,
    /// The number of records that store it.
    pub(super) parts: u16,
    /// Filters delivery (RFC 8030 §5.3).
    pub(super) urgency: Urgency,
    /// The holders it is charged to.
    pub(super) charged: Charged,
    /// Shared with the key of the index's topics.
    pub(super) topic: Option<Arc<TopicKey>>,
}

impl Entry {
    /// Creates the entry of a message with this id that is stored in `parts` records.
    pub(super) fn new(id: MessageId, message: &NewMessage, parts: u16, charged: Charged) -> Self {
        Self {
            id,
            expires_at: message.expires_at,
            subscription: message.subscription,
            size: u32::try_from(message.size()).unwrap_or(u32::MAX),
            parts,
            urgency: message.urgency,
            charged,
            topic: TopicKey::of(message).map(Arc::new),
        }
    }

    /// Returns whether it may still be delivered (RFC 8030 §5.2).
    pub(super) fn is_live(&self, now: UnixTime) -> bool {
        now < self.expires_at
    }
}

/// The totals of each subscription. Boxed because most logs have none: 8 bytes per log instead of
/// 48.
#[derive(Debug)]
struct Tallies(HashMap<SubscriptionId, Backlog>);

#[derive(Debug)]
pub(super) struct Log {
    /// In the order of ids, which only grow.
    entries: VecDeque<Entry>,
    /// The sum of their sizes.
    bytes: u64,
    /// Totals by subscription, while the log is long.
    tallies: Option<Box<Tallies>>,
}

impl Log {
    /// Creates an empty log with capacity for one message, which is all that most logs hold.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(1),
            bytes: 0,
            tallies: None,
        }
    }

    /// Returns all messages, in the order of their ids.
    pub(super) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// Returns the totals of all messages.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog {
            messages: self.entries.len() as u64,
            bytes: self.bytes,
        }
    }

    fn position(&self, id: MessageId) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |e| e.id).ok()
    }

    /// Returns the message with this id.
    pub(super) fn get(&self, id: MessageId) -> Option<&Entry> {
        self.entries.get(self.position(id)?)
    }

    /// Adds a message whose id is greater than all ids in the log.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += u64::from(entry.size);
        if let Some(tallies) = &mut self.tallies {
            add(&mut tallies.0, &entry);
        }
        self.entries.push_back(entry);
        if self.entries.len() >= LONG && self.tallies.is_none() {
            self.tallies = Some(Box::new(Tallies(self.count())));
        }
    }

    /// Removes a message, if it exists.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Entry> {
        let entry = self.entries.remove(self.position(id)?)?;
        self.bytes -= u64::from(entry.size);
        if self.entries.len() <= SHORT {
            self.tallies = None;
        } else if let Some(tallies) = &mut self.tallies {
            subtract(&mut tallies.0, &entry);
        }
        if self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        Some(entry)
    }

    fn count(&self) -> HashMap<SubscriptionId, Backlog> {
        let mut tallies = HashMap::new();
        for entry in &self.entries {
            add(&mut tallies, entry);
        }
        tallies
    }

    /// Returns the totals of one subscription.
    pub(super) fn of_subscription(&self, subscription: SubscriptionId) -> Backlog {
        match &self.tallies {
            Some(tallies) => tallies.0.get(&subscription).copied().unwrap_or_default(),
            None => self.count().remove(&subscription).unwrap_or_default(),
        }
    }

    /// Returns the totals of each subscription that has messages here.
    pub(super) fn by_subscription(&self) -> HashMap<SubscriptionId, Backlog> {
        match &self.tallies {
            Some(tallies) => tallies.0.clone(),
            None => self.count(),
        }
    }

    /// Returns an upper bound of the time at which the next message expires: the earliest expiry
    /// among the oldest messages.
    pub(super) fn next_expiry(&self) -> Option<UnixTime> {
        let oldest = self.entries.iter().take(SCAN_LIMIT);
        oldest.map(|entry| entry.expires_at).min()
    }
}

fn add(tallies: &mut HashMap<SubscriptionId, Backlog>, entry: &Entry) {
    let tally = tallies.entry(entry.subscription).or_default();
    tally.messages += 1;
    tally.bytes += u64::from(entry.size);
}

fn subtract(tallies: &mut HashMap<SubscriptionId, Backlog>, entry: &Entry) {
    if let Some(tally) = tallies.get_mut(&entry.subscription) {
        tally.messages -= 1;
        tally.bytes -= u64::from(entry.size);
        if tally.messages == 0 {
            tallies.remove(&entry.subscription);
        }
    }
}

#[cfg(test)]
mod tests {
    use bugle_protocol::ChannelId;

    use super::*;
    use crate::store::Origin;

    fn entry(id: u64, subscription: u8) -> Entry {
        let message = NewMessage {
            channel: ChannelId::from_bytes([2; 16]),
            subscription: SubscriptionId::from_bytes([subscription; 16]),
            accepted_at: UnixTime::from_millis(0),
            expires_at: UnixTime::from_millis(10_000 - id),
            urgency: Urgency::Normal,
            topic: None,
            content: None,
            receipt: None,
            origin: Origin::default(),
        };
        Entry::new(MessageId::new(id), &message, 1, Charged::default())
    }

    #[test]
    fn an_entry_takes_seven_words() {
        assert!(size_of::<Entry>() <= 56);
    }

    #[test]
    fn tallies_equal_the_counts_while_a_log_grows_and_shrinks() {
        let mut log = Log::new();
        for id in 0..200 {
            log.push(entry(id, u8::try_from(id % 3).unwrap_or(0)));
            assert_eq!(log.tallies.is_some(), id + 1 >= LONG as u64);
            assert_eq!(log.by_subscription(), log.count());
        }
        for id in 0..200 {
            log.remove(MessageId::new((id * 7) % 200));
            assert_eq!(log.by_subscription(), log.count());
        }
        assert!(log.tallies.is_none() && log.entries.is_empty());
    }

    #[test]
    fn a_drained_log_frees_its_memory() {
        let mut log = Log::new();
        for id in 1..=1000 {
            log.push(entry(id, 1));
        }
        for id in 1..=990 {
            log.remove(MessageId::new(id));
        }
        assert!(log.entries.capacity() <= 64);
    }

    #[test]
    fn the_next_expiry_is_the_earliest_of_the_oldest() {
        let mut log = Log::new();
        assert_eq!(log.next_expiry(), None);
        for id in 0..1000 {
            log.push(entry(id, 1));
        }
        assert_eq!(log.next_expiry(), Some(UnixTime::from_millis(10_000 - 255)));
    }
}
