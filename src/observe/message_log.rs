//! The history of single messages, for operators: the newest messages with their events, in memory
//! only. It holds nothing that decrypts a message: no body and no user agent key.
//!
//! Only events that pass through the service are recorded. Expiry and replacement follow from the
//! stored times and topics, and are computed on request.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_protocol::{ChannelId, MessageId, PublicKey, SubscriptionId, Uaid, UnixTime, Urgency};

use crate::store::NewMessage;

/// Average number of events kept per message.
const EVENTS: usize = 4;

/// An accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message.
    pub id: MessageId,
    /// Its user agent.
    pub uaid: Uaid,
    /// Its channel.
    pub channel: ChannelId,
    /// The subscription of that channel at the time.
    pub subscription: SubscriptionId,
    /// When its POST was read.
    pub accepted_at: UnixTime,
    /// When it was on disk; `None` for TTL 0.
    pub stored_at: Option<UnixTime>,
    /// When it expires.
    pub expires_at: UnixTime,
    /// Its urgency.
    pub urgency: Urgency,
    /// Size of its body, in bytes.
    pub size: usize,
    /// Digest of the VAPID key that signed it.
    signed_by: Option<u64>,
    /// Digest of its topic.
    topic: Option<u64>,
}

impl Accepted {
    /// Whether it was signed with VAPID.
    pub fn is_signed(&self) -> bool {
        self.signed_by.is_some()
    }
}

/// An event in the life of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The service sent it to its user agent.
    Delivered,
    /// Its user agent acknowledged it with this code (WS-N-8).
    Acknowledged(u16),
    /// Its URL was deleted; both sides can do this.
    Withdrawn,
    /// Its TTL was 0, and its user agent was not connected or filtered it out.
    Dropped,
}

/// The history of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// The message.
    pub accepted: Accepted,
    /// Its events, oldest first.
    pub events: Vec<(UnixTime, Event)>,
    /// When a message with the same topic replaced it (RFC 8030 §5.4).
    pub replaced_at: Option<UnixTime>,
}

/// The messages to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The messages of one subscription.
    Subscription(SubscriptionId),
    /// One message.
    Message(MessageId),
    /// The messages signed by one key.
    Key(PublicKey),
}

/// The history of the newest messages.
pub struct Trace {
    /// `None` if the trace is off.
    rings: Option<Mutex<Rings>>,
    messages: usize,
    digests: RandomState,
}

struct Rings {
    accepted: VecDeque<Accepted>,
    events: VecDeque<(MessageId, UnixTime, Event)>,
    complete_since: UnixTime,
}

impl Trace {
    /// Keeps `messages` messages; 0 turns the trace off.
    pub fn new(messages: usize, now: UnixTime) -> Self {
        let rings = Rings {
            accepted: VecDeque::new(),
            events: VecDeque::new(),
            complete_since: now,
        };
        Self {
            rings: (messages > 0).then(|| Mutex::new(rings)),
            messages,
            digests: RandomState::new(),
        }
    }

    /// Whether the trace is on.
    pub fn is_on(&self) -> bool {
        self.rings.is_some()
    }

    /// Creates the entry of a message that is about to be stored. Returns `None` if the trace is
    /// off.
    pub fn begin(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        signed_by: Option<&PublicKey>,
    ) -> Option<Accepted> {
        self.is_on().then(|| Accepted {
            id: MessageId::new(0),
            uaid,
            channel: message.channel,
            subscription: message.subscription,
            accepted_at: message.accepted_at,
            stored_at: None,
            expires_at: message.expires_at,
            urgency: message.urgency,
            size: message
                .content
                .as_ref()
                .map_or(0, |content| content.body.len()),
            signed_by: signed_by.map(|key| self.digest_of(key)),
            topic: message
                .topic
                .as_ref()
                .map(|topic| self.digests.hash_one(topic)),
        })
    }

    /// Records a message that was accepted, with the id that the store assigned.
    pub fn accepted(&self, mut accepted: Accepted, id: MessageId, now: UnixTime) {
        let Some(mut rings) = self.rings() else {
            return;
        };
        accepted.id = id;
        if accepted.expires_at > accepted.accepted_at {
            accepted.stored_at = Some(now);
        }
        if rings.accepted.len() == self.messages
            && let Some(oldest) = rings.accepted.pop_front()
        {
            rings.forget(oldest.accepted_at);
        }
        rings.accepted.push_back(accepted);
    }

    /// Records an event of a message.
    pub fn note(&self, id: MessageId, event: Event, now: UnixTime) {
        let Some(mut rings) = self.rings() else {
            return;
        };
        if rings.events.len() == self.messages * EVENTS
            && let Some((_, at, _)) = rings.events.pop_front()
        {
            rings.forget(at);
        }
        rings.events.push_back((id, now, event));
    }

    /// Returns at most `most` matching messages, newest first, and the time since which the history
    /// is complete. Returns `None` if the trace is off.
    pub fn find(&self, wanted: Wanted, most: usize) -> Option<(Vec<Journey>, UnixTime)> {
        let key = match wanted {
            Wanted::Key(key) => Some(self.digest_of(&key)),
            _ => None,
        };
        let is_wanted = |it: &Accepted| match wanted {
            Wanted::Subscription(id) => it.subscription == id,
            Wanted::Message(id) => it.id == id,
            Wanted::Key(_) => it.signed_by == key,
        };
        let rings = self.rings()?;
        let mut journeys = rings.journeys(is_wanted, most);
        let at: HashMap<MessageId, usize> = journeys
            .iter()
            .enumerate()
            .map(|(at, journey)| (journey.accepted.id, at))
            .collect();
        for (id, time, event) in &rings.events {
            if let Some(at) = at.get(id) {
                journeys[*at].events.push((*time, *event));
            }
        }
        Some((journeys, rings.complete_since))
    }

    fn digest_of(&self, key: &PublicKey) -> u64 {
        self.digests.hash_one(key.as_bytes())
    }

    fn rings(&self) -> Option<MutexGuard<'_, Rings>> {
        // No code can panic while it holds this lock.
        let rings = self.rings.as_ref()?.lock();
        Some(rings.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rings {
    fn forget(&mut self, at: UnixTime) {
        self.complete_since = self.complete_since.max(at);
    }

    fn journeys(&self, is_wanted: impl Fn(&Accepted) -> bool, most: usize) -> Vec<Journey> {
        let mut successors = HashMap::new();
        let mut journeys = Vec::new();
        for accepted in self.accepted.iter().rev() {
            // The iteration goes from newest to oldest, so the entry seen last is the successor in
            // time.
            let replaced_at = accepted.topic.and_then(|topic| {
                successors.insert((accepted.subscription, topic), accepted.accepted_at)
            });
            if is_wanted(accepted) {
                journeys.push(Journey {
                    accepted: *accepted,
                    events: Vec::new(),
                    replaced_at,
                });
            }
            if journeys.len() == most {
                break;
            }
        }
        journeys
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use bugle_protocol::Topic;

    use super::*;
    use crate::store::Origin;

    const UAID: Uaid = Uaid::from_bytes([1; 16]);

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    fn life(of: u8) -> SubscriptionId {
        SubscriptionId::from_bytes([of; 16])
    }

    fn accept(trace: &Trace, id: u64, subscription: u8, topic: Option<&str>) {
        let message = NewMessage {
            channel: ChannelId::from_bytes([2; 16]),
            subscription: life(subscription),
            accepted_at: at(id),
            expires_at: at(id + 60),
            urgency: Urgency::Normal,
            topic: topic.map(|topic| topic.parse::<Topic>().unwrap()),
            content: None,
            receipt: None,
            origin: Origin::default(),
        };
        if let Some(begun) = trace.begin(UAID, &message, None) {
            trace.accepted(begun, MessageId::new(id), at(id));
        }
    }

    fn ids(trace: &Trace, wanted: Wanted, most: usize) -> Vec<u64> {
        let (journeys, _) = trace.find(wanted, most).unwrap();
        journeys.iter().map(|it| it.accepted.id.get()).collect()
    }

    #[test]
    fn a_trace_that_is_off_keeps_nothing() {
        let trace = Trace::new(0, at(0));
        accept(&trace, 1, 1, None);
        trace.note(MessageId::new(1), Event::Delivered, at(1));
        assert_eq!(trace.find(Wanted::Message(MessageId::new(1)), 9), None);
    }

    #[test]
    fn the_newest_messages_are_kept_and_listed_first() {
        let trace = Trace::new(3, at(0));
        for id in 1..=5 {
            accept(&trace, id, u8::try_from(id % 2).unwrap(), None);
        }
        assert_eq!(ids(&trace, Wanted::Subscription(life(1)), 9), [5, 3]);
        assert_eq!(ids(&trace, Wanted::Subscription(life(1)), 1), [5]);
        assert_eq!(
            ids(&trace, Wanted::Message(MessageId::new(2)), 9),
            [] as [u64; 0]
        );
        let (_, since) = trace.find(Wanted::Subscription(life(0)), 9).unwrap();
        assert_eq!(since, at(2));
        for _ in 0..100 {
            trace.note(MessageId::new(5), Event::Delivered, at(9));
        }
        let (journeys, since) = trace.find(Wanted::Message(MessageId::new(5)), 9).unwrap();
        assert_eq!((journeys[0].events.len(), since), (3 * EVENTS, at(9)));
    }

    #[test]
    fn a_message_is_replaced_by_the_next_of_its_topic() {
        let trace = Trace::new(9, at(0));
        accept(&trace, 1, 1, Some("a"));
        accept(&trace, 2, 1, Some("b"));
        accept(&trace, 3, 2, Some("a"));
        accept(&trace, 4, 1, Some("a"));
        accept(&trace, 5, 1, Some("a"));
        let (journeys, _) = trace.find(Wanted::Subscription(life(1)), 9).unwrap();
        let replaced: Vec<_> = journeys.iter().map(|it| it.replaced_at).collect();
        assert_eq!(replaced, [None, Some(at(5)), None, Some(at(4))]);
    }
}
