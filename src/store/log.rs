//! The log of one user agent: its stored messages in order, and what each of
//! its subscriptions has in it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bugle_protocol::{MessageId, SubscriptionId, Topic, UnixTime, Urgency};

use super::holders::Charged;
use super::{Backlog, NewMessage};

/// A log of at least so many messages keeps a tally for each subscription. In
/// a shorter one they are counted when somebody asks: most logs are short, and
/// a tally takes memory.
const LONG: usize = 64;

/// A log that has shrunk to this length drops its tallies.
const SHORT: usize = 16;

/// How many of the oldest messages are looked at to say when room comes. It
/// bounds what a refusal costs.
const LOOKED_AT: usize = 256;

/// What a later message of the same subscription and topic replaces
/// (RFC 8030 §5.4).
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
    pub(super) urgency: Urgency,
    /// Whose shares it counts against.
    pub(super) charged: Charged,
    /// Shared with the key of the index's topics.
    pub(super) topic: Option<Arc<TopicKey>>,
}

impl Entry {
    /// For a message under the id it was given, kept in `parts` records.
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

    /// Whether it may still be delivered (RFC 8030 §5.2).
    pub(super) fn is_live(&self, now: UnixTime) -> bool {
        now < self.expires_at
    }
}

/// What the messages of each subscription take. In a box, since most logs have
/// none: eight octets a log instead of 48.
#[derive(Debug)]
struct Tallies(HashMap<SubscriptionId, Backlog>);

/// The messages of one user agent.
#[derive(Debug)]
pub(super) struct Log {
    /// In the order of ids, which only grow.
    entries: VecDeque<Entry>,
    /// The sum of their sizes.
    bytes: u64,
    /// By subscription, while the log is long.
    tallies: Option<Box<Tallies>>,
}

impl Log {
    /// An empty log. Most logs hold one message: it has room for that.
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(1),
            bytes: 0,
            tallies: None,
        }
    }

    /// All messages, in the order of their ids.
    pub(super) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// How much all of them take.
    pub(super) fn backlog(&self) -> Backlog {
        Backlog {
            messages: self.entries.len() as u64,
            bytes: self.bytes,
        }
    }

    fn position(&self, id: MessageId) -> Option<usize> {
        self.entries.binary_search_by_key(&id, |e| e.id).ok()
    }

    /// The message with this id.
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

    /// Takes a message out, if it is there.
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

    /// How much the messages of one subscription take.
    pub(super) fn of_subscription(&self, subscription: SubscriptionId) -> Backlog {
        match &self.tallies {
            Some(tallies) => tallies.0.get(&subscription).copied().unwrap_or_default(),
            None => self.count().remove(&subscription).unwrap_or_default(),
        }
    }

    /// What each subscription that has messages here has.
    pub(super) fn by_subscription(&self) -> HashMap<SubscriptionId, Backlog> {
        match &self.tallies {
            Some(tallies) => tallies.0.clone(),
            None => self.count(),
        }
    }

    /// When a message of the log expires, at the latest: the earliest expiry
    /// of its oldest messages.
    pub(super) fn next_expiry(&self) -> Option<UnixTime> {
        let oldest = self.entries.iter().take(LOOKED_AT);
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
    fn tallies_are_what_counting_gives_while_a_log_grows_and_shrinks() {
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
    fn a_drained_log_gives_its_room_back() {
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
