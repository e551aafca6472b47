//! Where subscriptions and messages are kept: the [`Store`] trait, its
//! contracts, and [`open`].

mod memory;
mod sled;

mod index;

#[cfg(test)]
mod conformance;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bugle_protocol::{
    ChannelId, Content, MessageId, PublicKey, PushMessage, SubscriptionId, Topic, Uaid, UnixTime,
    Urgency,
};

use self::memory::MemoryStore;
pub use self::sled::OpenError;
use self::sled::SledStore;
use crate::broadcasts::{Broadcasts, Label};
use crate::config::{Config, Limits, StoreEngine};

/// The boxed future that keeps [`Store`] object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A push subscription: a channel of a user agent, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Whose it is.
    pub uaid: Uaid,
    /// The name the user agent gave it.
    pub channel: ChannelId,
    /// This life of it; in its endpoint.
    pub id: SubscriptionId,
    /// The application server key it is restricted to (RFC 8292 §4).
    pub vapid_key: Option<PublicKey>,
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
    pub const NONE: Self = Self {
        min_urgency: Urgency::VeryLow,
        channel: None,
    };
}

/// What a store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages not yet acknowledged, expired or replaced.
    pub messages: u64,
    /// Octets of those messages, as [`PushMessage::size`] counts them.
    pub live_bytes: u64,
    /// Octets on disk; 0 for an engine without one.
    pub disk_bytes: u64,
    /// Records that failed their checksum or could not be read, set aside.
    pub damaged: u64,
}

/// A bound that a store keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `limits.subscriptions_per_user_agent`
    SubscriptionsPerUserAgent,
    /// `limits.subscriptions`
    Subscriptions,
    /// `limits.messages_per_user_agent`
    MessagesPerUserAgent,
    /// `limits.bytes_per_user_agent`
    BytesPerUserAgent,
    /// `limits.stored_bytes`
    StoredBytes,
    /// `limits.waiting_for_disk`
    WaitingForDisk,
    /// `limits.broadcasts`
    Broadcasts,
}

impl Limit {
    /// The name of the setting.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::SubscriptionsPerUserAgent => "limits.subscriptions_per_user_agent",
            Self::Subscriptions => "limits.subscriptions",
            Self::MessagesPerUserAgent => "limits.messages_per_user_agent",
            Self::BytesPerUserAgent => "limits.bytes_per_user_agent",
            Self::StoredBytes => "limits.stored_bytes",
            Self::WaitingForDisk => "limits.waiting_for_disk",
            Self::Broadcasts => "limits.broadcasts",
        }
    }
}

/// The bounds a store keeps to; each is named in [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Subscriptions of one user agent.
    pub subscriptions_per_user_agent: u32,
    /// Subscriptions of all user agents.
    pub subscriptions: u64,
    /// Stored messages of one user agent.
    pub messages_per_user_agent: u32,
    /// Octets of the stored messages of one user agent.
    pub bytes_per_user_agent: u64,
    /// Octets of all stored messages.
    pub stored_bytes: u64,
    /// Changes that wait for the disk at one time.
    pub waiting_for_disk: usize,
    /// Broadcasts.
    pub broadcasts: usize,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The subscription is not there, or has begun another life.
    #[error("no such subscription")]
    NoSubscription,
    /// The change would go over a bound; nothing was changed.
    #[error("over the limit {}", .0.setting())]
    Full(Limit),
    /// The engine cannot do it now. What was asked may or may not have been
    /// done, and is not promised.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// A storage engine. All it promises is here; `conformance.rs` tests it.
///
/// Every change is atomic, and visible to every later call as soon as its
/// future is ready. A change that is answered `Ok` survives a crash of the
/// process and the loss of power, except where its contract says otherwise.
///
/// The log of a user agent is the messages of all its subscriptions in the
/// order of their ids. Once [`pending`](Store::pending) has returned an id, no
/// smaller id of that log that passes the same filter appears later.
pub trait Store: Send + Sync + 'static {
    /// Stores a subscription. One of the same channel is replaced: its
    /// messages go with it, in the same step.
    ///
    /// # Errors
    /// `Full` when this is one more and over a bound.
    fn put_subscription(&self, subscription: Subscription)
    -> BoxFuture<'_, Result<(), StoreError>>;

    /// The subscription of a channel, in whatever life it is.
    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>>;

    /// Whether the user agent has a subscription.
    fn knows(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a subscription with its messages. `false` when it was not there.
    fn remove_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Gives the message an id, greater than every id before it, also across
    /// restarts. Stores it, unless its TTL is 0. A stored message of the same
    /// subscription and topic is removed in the same step; where the TTL is 0,
    /// that is durable like [`remove`](Store::remove).
    ///
    /// # Errors
    /// `NoSubscription` when the channel's subscription is gone or another
    /// one; `Full` when a bound would be crossed, the replaced message counted
    /// out.
    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>>;

    /// The messages of a log with ids above `after` that pass the filter, in the
    /// order of ids, none of them expired at `now`.
    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Vec<PushMessage>, StoreError>>;

    /// One message of a log, unless it has expired at `now`.
    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>>;

    /// Removes a message and says whether it was there. Visible at once;
    /// durable with the next durable change: a lost removal is a second
    /// delivery, which the protocol allows.
    fn remove(&self, uaid: Uaid, id: MessageId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes up to `limit` messages that have expired at `now`, the oldest
    /// expiry first, and says how many. Durable like [`remove`](Store::remove).
    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Sets the version of a broadcast, or with `None` removes it, and says
    /// whether it was there before.
    ///
    /// # Errors
    /// `Full` when this is one more and over a bound.
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The broadcasts as they are now; cheap enough for every connection.
    fn broadcasts(&self) -> Arc<Broadcasts>;

    /// What is held now; cheap enough for every scrape of the metrics.
    fn usage(&self) -> Usage;

    /// Makes all changes so far durable; `Err` when the engine can take none.
    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Opens the engine that is configured, with its files in the data folder.
///
/// # Errors
/// When the folder is in use, damaged, of a newer version, or not accessible.
pub fn open(config: &Config) -> Result<Arc<dyn Store>, OpenError> {
    let limits = StoreLimits::from(&config.limits);
    Ok(match config.store.engine {
        StoreEngine::Memory => Arc::new(MemoryStore::new(limits)),
        StoreEngine::Sled => {
            let folder = config.server.data.join("store");
            Arc::new(SledStore::open(&folder, config.store.cache, limits)?)
        }
    })
}

impl From<&Limits> for StoreLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            subscriptions_per_user_agent: limits.subscriptions_per_user_agent,
            subscriptions: limits.subscriptions,
            messages_per_user_agent: limits.messages_per_user_agent,
            bytes_per_user_agent: limits.bytes_per_user_agent,
            stored_bytes: limits.stored_bytes,
            waiting_for_disk: limits.waiting_for_disk,
            broadcasts: limits.broadcasts,
        }
    }
}
