//! What became of single messages, for the operator who asks: the newest of
//! them with what happened to each, in memory alone. Holds nothing that opens a
//! message: no body, no key of a user agent.
//!
//! Only what passes by is noted. That a message has expired or was replaced
//! follows from it, and is found out when somebody asks.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_protocol::{ChannelId, MessageId, PublicKey, SubscriptionId, Uaid, UnixTime, Urgency};

use crate::store::NewMessage;

/// How many events are kept for each message, on average.
const EVENTS: usize = 4;

/// A message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The message.
    pub id: MessageId,
    /// For whom.
    pub uaid: Uaid,
    /// On which channel of theirs.
    pub channel: ChannelId,
    /// In which life of it.
    pub subscription: SubscriptionId,
    /// When its POST was read.
    pub accepted_at: UnixTime,
    /// When the store had it; `None` for TTL 0.
    pub stored_at: Option<UnixTime>,
    /// From when on it is not delivered.
    pub expires_at: UnixTime,
    /// How urgent it is.
    pub urgency: Urgency,
    /// Octets of its body.
    pub size: usize,
    /// A digest of the key that signed it.
    signed_by: Option<u64>,
    /// A digest of its topic.
    topic: Option<u64>,
}

impl Accepted {
    /// Whether it was signed by VAPID.
    pub fn is_signed(&self) -> bool {
        self.signed_by.is_some()
    }
}

/// What happened to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was sent to its user agent.
    Delivered,
    /// Its user agent acknowledged it, with this code (WS-N-8).
    Acknowledged(u16),
    /// Its URL was deleted, which both sides can do.
    Withdrawn,
    /// Its TTL was 0, and its user agent was not there or did not want it.
    Dropped,
}

/// All that is known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    /// How it began.
    pub accepted: Accepted,
    /// What happened, in order.
    pub events: Vec<(UnixTime, Event)>,
    /// When another message with its topic was accepted (RFC 8030 §5.4).
    pub replaced_at: Option<UnixTime>,
}

/// Which messages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those to one subscription.
    Subscription(SubscriptionId),
    /// This one.
    Message(MessageId),
    /// Those that this key signed.
    Key(PublicKey),
}

/// The newest messages.
pub struct Trace {
    /// `None`: it is off.
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
    /// Remembers so many messages; 0 for none.
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

    /// Whether anything is remembered.
    pub fn is_on(&self) -> bool {
        self.rings.is_some()
    }

    /// A message on its way into the store, before that takes it; `None` when
    /// the trace is off.
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

    /// The message is accepted, under the id that the store gave it.
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

    /// Something happened to a message.
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

    /// The newest messages of those that are wanted, `most` of them, the newest
    /// first; and since when nothing is missing. `None` when the trace is off.
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
        // Nothing that holds this lock can panic half-way.
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
            // From the newest on, so the last one noted is the next in time.
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
    fn off_it_keeps_and_tells_nothing() {
        let trace = Trace::new(0, at(0));
        accept(&trace, 1, 1, None);
        trace.note(MessageId::new(1), Event::Delivered, at(1));
        assert_eq!(trace.find(Wanted::Message(MessageId::new(1)), 9), None);
    }

    #[test]
    fn the_newest_are_kept_and_told_first() {
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
