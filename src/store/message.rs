//! Messages on their way into a store, and what a reader takes of a log.

use bugle_protocol::{
    ChannelId, Content, MessageId, PushMessage, ReceiptSubscriptionId, SubscriptionId, Topic,
    UnixTime, Urgency,
};

use super::Origin;

/// The receipt subscription that learns what becomes of a message, and how long
/// it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptTarget {
    /// Which one.
    pub id: ReceiptSubscriptionId,
    /// Whether it is made or prolonged with the message.
    pub grant: Grant,
}

/// What the append of a message does to its receipt subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Nothing: it must be there.
    AsItIs,
    /// It must be there. If it ends before the receipt of the message can have
    /// expired, it lasts until this time, or longer if it does already.
    Prolong(UnixTime),
    /// It is made, and ends at this time. One that is there is prolonged.
    Make(UnixTime),
}

impl ReceiptTarget {
    /// One that is there.
    pub const fn existing(id: ReceiptSubscriptionId) -> Self {
        let grant = Grant::AsItIs;
        Self { id, grant }
    }
}

/// A message on its way into the store: all of a [`PushMessage`] but the id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The channel it is for.
    pub channel: ChannelId,
    /// The life of the subscription it was sent to.
    pub subscription: SubscriptionId,
    /// When the POST was accepted.
    pub accepted_at: UnixTime,
    /// From this time on it is not delivered. Equal to `accepted_at` for TTL 0.
    pub expires_at: UnixTime,
    /// Filters delivery, never order.
    pub urgency: Urgency,
    /// Which message this one replaces.
    pub topic: Option<Topic>,
    /// The body, if there is one.
    pub content: Option<Content>,
    /// Who is told what becomes of it (RFC 8030 §5.1).
    pub receipt: Option<ReceiptTarget>,
    /// Whose shares of the bounds it counts against; kept in memory alone.
    pub origin: Origin,
}

impl NewMessage {
    /// Whether it has a time to live; without one it is never stored
    /// (RFC 8030 §5.2).
    pub fn is_stored(&self) -> bool {
        self.expires_at > self.accepted_at
    }

    /// Octets, as [`PushMessage::size`] counts them.
    pub fn size(&self) -> usize {
        PushMessage::size_with(self.content.as_ref())
    }

    /// The message under the id that the store gave it.
    pub fn with_id(self, id: MessageId) -> PushMessage {
        PushMessage {
            id,
            channel: self.channel,
            subscription: self.subscription,
            accepted_at: self.accepted_at,
            expires_at: self.expires_at,
            urgency: self.urgency,
            topic: self.topic,
            content: self.content,
            receipt: self.receipt.map(|target| target.id),
        }
    }
}

/// How much one read of a log may return; at least one message always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of messages.
    pub messages: usize,
    /// Octets, as [`PushMessage::size`] counts them.
    pub bytes: usize,
}

/// Which messages of a log its reader takes now. What it holds back stays in
/// the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only messages of at least this urgency (RFC 8030 §5.3).
    pub min_urgency: Urgency,
    /// Only messages of this channel, if one is named (RFC 8030 §6).
    pub channel: Option<ChannelId>,
}

impl Filter {
    /// The whole log (RFC 8030 §6.1).
    #[cfg(test)]
    pub const NONE: Self = Self {
        min_urgency: Urgency::VeryLow,
        channel: None,
    };

    /// Whether a message that no log holds is taken.
    pub fn lets_pass(&self, message: &PushMessage) -> bool {
        message.urgency >= self.min_urgency
            && self
                .channel
                .is_none_or(|channel| channel == message.channel)
    }
}
