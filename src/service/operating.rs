//! The operations of the admin API on user agents, subscriptions, messages and blocks.

use std::sync::Arc;

use bugle_protocol::{
    ChannelId, MessageId, MessageUrl, PublicKey, PushEndpoint, Resource, ResourcePath,
    SubscriptionId, SubscriptionSetUrl, Uaid, WireUaid,
};

use super::{Error, PushService};
use crate::gate::blocklist::{Blocked, ChangeError};
use crate::service::registry::{Ended, Reader};
use crate::store::{Backlog, Largest, Readers, Subscription};

/// The object that a text of an operator identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user agent, by its uaid or its subscription set.
    UserAgent(Uaid),
    /// A subscription, by its endpoint or its own URL.
    Subscription(PushEndpoint),
    /// A message, by its URL.
    Message(MessageUrl),
}

impl Subject {
    /// The user agent that it belongs to.
    pub fn uaid(&self) -> Uaid {
        match self {
            Self::UserAgent(uaid) => *uaid,
            Self::Subscription(endpoint) => endpoint.uaid,
            Self::Message(message) => message.uaid,
        }
    }
}

/// A user agent as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    /// Whether it is connected by WebSocket, or monitors its subscription set.
    pub connected: bool,
    /// The messages that it has not acknowledged.
    pub waiting: Backlog,
    /// All its subscriptions.
    pub subscriptions: Vec<Subscription>,
}

impl PushService {
    /// Parses a uaid or a URL of this service. The sealed token proves that this service issued the
    /// URL, so its origin may be a former public URL.
    pub fn subject_of(&self, text: &str) -> Option<Subject> {
        let text = text.trim();
        if let Ok(uaid) = text.parse::<WireUaid>() {
            return Some(Subject::UserAgent(uaid.digest()));
        }
        match self.open(ResourcePath::at_end(text)?)? {
            Resource::Push(it) | Resource::Subscription(it) => Some(Subject::Subscription(it)),
            Resource::SubscriptionSet(SubscriptionSetUrl(uaid)) => Some(Subject::UserAgent(uaid)),
            Resource::Message(message) => Some(Subject::Message(message)),
            Resource::ReceiptSubscription(_) => None,
        }
    }

    /// The handle of a user agent, which identifies it without giving access: 16 hex digits, the
    /// same as long as the first endpoint key is the same.
    pub fn handle(&self, uaid: Uaid) -> String {
        self.keyring.handle(uaid.as_bytes())
    }

    /// The handle of the key of an application server.
    pub fn key_handle(&self, key: &PublicKey) -> String {
        self.keyring.handle(key.as_bytes())
    }

    /// The handle of a subscription.
    pub fn subscription_handle(&self, endpoint: &PushEndpoint) -> String {
        endpoint.handle(&self.keyring)
    }

    /// A user agent, if it is connected or has a subscription.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn user_agent(&self, uaid: Uaid) -> Result<Option<UserAgent>, Error> {
        let connected = self.clients.has(Reader::UserAgent(uaid));
        let subscriptions = self.stored(self.store.subscriptions(uaid).await)?;
        if subscriptions.is_empty() && !connected {
            return Ok(None);
        }
        let waiting = self.stored(self.store.backlog(uaid).await)?;
        Ok(Some(UserAgent {
            connected,
            waiting,
            subscriptions,
        }))
    }

    /// Ends all subscriptions of a user agent with their messages, and closes its connections.
    /// Returns the number of subscriptions.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; some subscriptions may have ended then.
    pub async fn drop_user_agent(&self, uaid: Uaid) -> Result<usize, Error> {
        // First, so that an open connection registers nothing afterwards.
        self.clients.close(Reader::UserAgent(uaid), Ended::Removed);
        // Waits for registrations in progress, so that they end with the others.
        let _turn = self.order.alone(uaid).await?;
        let subscriptions = self.stored(self.store.subscriptions(uaid).await)?;
        let mut ended = 0;
        for it in subscriptions {
            let end = self.end_channel(uaid, it.channel, Some(it.id), Readers::Close);
            ended += usize::from(end.await?);
        }
        self.clients.close(Reader::UserAgent(uaid), Ended::Removed);
        Ok(ended)
    }

    /// Ends one subscription with its messages, if `life` is `None` or its current id. Returns
    /// whether it did.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn drop_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
    ) -> Result<bool, Error> {
        let ended = self.end_channel(uaid, channel, life, Readers::Close);
        ended.await
    }

    /// The largest holders of stored data: at most `most` of each kind, and never more than 1000.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn largest(&self, most: usize) -> Result<Largest, Error> {
        self.stored(self.store.largest(most).await)
    }

    /// Blocks a key or a range of addresses. When this returns, the block is in force and on disk,
    /// and the connections of user agents and monitors from those addresses are closing. The
    /// connections of a key are not known. Cancellation does not interrupt it.
    ///
    /// # Errors
    /// As [`Blocks::block`](crate::gate::blocklist::Blocks::block).
    pub async fn block(&self, who: Blocked, note: &str) -> Result<(), ChangeError> {
        let clients = Arc::clone(&self.clients);
        let end = move || {
            if let Blocked::Addresses(range) = who {
                clients.close_addresses(&range, Ended::Blocked);
            }
        };
        self.blocks.block(who, note, self.wall_clock(), end).await
    }

    /// Whether a message is stored for its user agent.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn is_stored(&self, uaid: Uaid, id: MessageId) -> Result<bool, Error> {
        let message = self.store.message(uaid, id, self.now()).await;
        self.stored(message).map(|message| message.is_some())
    }
}
