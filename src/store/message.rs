//! Messages to store, and the filters of their readers.

use bugle_protocol::{
    ChannelId, Content, MessageId, PushMessage, ReceiptSubscriptionId, SubscriptionId, Topic,
    UnixTime, Urgency,
};

use super::Origin;

/// The receipt subscription of a message, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptTarget {
    /// Its id.
    pub id: ReceiptSubscriptionId,
    /// Whether the message creates or extends it.
    pub grant: Grant,
}

/// What the append of a message does to its receipt subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Nothing: it must exist.
    AsItIs,
    /// It must exist. If it ends before the receipt of the message can have expired, it is extended
    /// to this time, unless it already lasts longer.
    Prolong(UnixTime),
    /// It is created with this end. An existing one is extended.
    Make(UnixTime),
}

impl ReceiptTarget {
    /// An existing receipt subscription, which stays as it is.
    pub const fn existing(id: ReceiptSubscriptionId) -> Self {
        let grant = Grant::AsItIs;
        Self { id, grant }
    }
}

/// A message to store: a [`PushMessage`] without its id.
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
    /// The topic; it decides which message this one replaces.
    pub topic: Option<Topic>,
    /// The body, if there is one.
    pub content: Option<Content>,
    /// The receipt subscription that receives its receipt (RFC 8030 §5.1).
    pub receipt: Option<ReceiptTarget>,
    /// The holders it is charged to; kept in memory only.
    pub origin: Origin,
}

impl NewMessage {
    /// Returns whether it has a time to live; without one it is never stored (RFC 8030 §5.2).
    pub fn is_stored(&self) -> bool {
        self.expires_at > self.accepted_at
    }

    /// Returns its bytes, as [`PushMessage::size`] counts them.
    pub fn size(&self) -> usize {
        PushMessage::size_with(self.content.as_ref())
    }

    /// Returns the message with the id that the store gave it.
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

/// How much one read of a log may return. It may always return one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Number of messages.
    pub messages: usize,
    /// Bytes, as [`PushMessage::size`] counts them.
    pub bytes: usize,
}

/// The messages of a log that its reader accepts now. All others stay in the log.
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

    /// Returns whether a message that is not stored passes the filter.
    pub fn lets_pass(&self, message: &PushMessage) -> bool {
        message.urgency >= self.min_urgency
            && self
                .channel
                .is_none_or(|channel| channel == message.channel)
    }
}
