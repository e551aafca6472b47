//! What operators look at and end.

use std::sync::Arc;

use bugle_protocol::{
    ChannelId, MessageId, MessageUrl, PublicKey, PushEndpoint, Resource, ResourcePath,
    SubscriptionId, SubscriptionSetUrl, Uaid, WireUaid,
};

use super::{Error, PushService};
use crate::gate::blocklist::{Blocked, ChangeError};
use crate::service::registry::{Ended, Reader};
use crate::store::{Backlog, Largest, Readers, Subscription};

/// What a text names that an operator was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A user agent, by its uaid or its subscription set.
    UserAgent(Uaid),
    /// A subscription, by its endpoint or its own URL.
    Subscription(PushEndpoint),
    /// A message, by its URL.
    Message(MessageUrl),
}

impl Named {
    /// Whose it is.
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
    /// Whether it is connected by WebSocket, or drains its set.
    pub connected: bool,
    /// What it has not acknowledged.
    pub waiting: Backlog,
    /// All of them.
    pub subscriptions: Vec<Subscription>,
}

impl PushService {
    /// What a uaid or one of our URLs names, if it is one. The sealing proves that
    /// a URL is ours, so its origin may be one that we had before.
    pub fn named(&self, text: &str) -> Option<Named> {
        let text = text.trim();
        if let Ok(uaid) = text.parse::<WireUaid>() {
            return Some(Named::UserAgent(uaid.digest()));
        }
        match self.open(ResourcePath::at_end(text)?)? {
            Resource::Push(it) | Resource::Subscription(it) => Some(Named::Subscription(it)),
            Resource::SubscriptionSet(SubscriptionSetUrl(uaid)) => Some(Named::UserAgent(uaid)),
            Resource::Message(message) => Some(Named::Message(message)),
            Resource::ReceiptSubscription(_) => None,
        }
    }

    /// Names a user agent without giving access to it: 16 hex digits, the same
    /// for as long as the first endpoint key is.
    pub fn handle(&self, uaid: Uaid) -> String {
        self.keyring.handle(uaid.as_bytes())
    }

    /// The same for the key of an application server.
    pub fn key_handle(&self, key: &PublicKey) -> String {
        self.keyring.handle(key.as_bytes())
    }

    /// The same for a subscription.
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

    /// Ends all subscriptions of a user agent with their messages, closes its
    /// connections, and says how many subscriptions there were.
    ///
    /// # Errors
    /// [`Error::Unavailable`], when some may be ended.
    pub async fn drop_user_agent(&self, uaid: Uaid) -> Result<usize, Error> {
        // First, so that a connection that goes on registers nothing afterwards.
        self.clients.close(Reader::UserAgent(uaid), Ended::Removed);
        // What is being registered is there then, and ends with the others.
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

    /// Ends one subscription with its messages: in the life that `life` names,
    /// or in whatever life it is. Says whether it was there.
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

    /// Who holds most of what is stored: at most `most` of each kind, and never
    /// more than 1000.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn largest(&self, most: usize) -> Result<Largest, Error> {
        self.stored(self.store.largest(most).await)
    }

    /// Blocks somebody. When this returns, the block is in force and on disk,
    /// and the connections of user agents and readers from those addresses are
    /// told to end. Of a key, no connection is known. All of it happens, also
    /// when the caller does not wait for it.
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

    /// Whether a message waits for its user agent.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn is_stored(&self, uaid: Uaid, id: MessageId) -> Result<bool, Error> {
        let message = self.store.message(uaid, id, self.now()).await;
        self.stored(message).map(|message| message.is_some())
    }
}
