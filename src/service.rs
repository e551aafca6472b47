//! The push service itself: the rules between those who send and those who
//! receive, whatever protocol they speak.

use std::sync::Arc;

use bugle_protocol::push::PushHeaders;
use bugle_protocol::websocket::AckUpdate;
use bugle_protocol::{
    ChannelId, Content, Keyring, MessageId, MessageUrl, PublicKey, PushEndpoint, PushMessage,
    SubscriptionId, Ttl, Uaid, UnixTime,
};
use http::HeaderMap;

use crate::broadcasts::{Broadcasts, Label};
use crate::clients::{Clients, Registration};
use crate::compat::Compat;
use crate::config::{Config, PublicUrl};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::random::random;
use crate::store::{Batch, Filter, NewMessage, Removal, Store, StoreError, Subscription};
use crate::time::Clock;
use crate::verifier::{Sender, Verifier};

/// The rules of the service. Handlers and transports call it; nothing else
/// but the expiry talks to the store.
pub struct PushService {
    store: Arc<dyn Store>,
    clients: Arc<Clients>,
    keyring: Keyring,
    verifier: Verifier,
    public_url: PublicUrl,
    config: Config,
    compat: Compat,
    clock: Clock,
    metrics: Metrics,
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The URL of the message (RFC 8030 §5).
    pub location: String,
    /// The lifetime that was granted (RFC 8030 §5.2).
    pub ttl: Ttl,
}

impl PushService {
    /// A service that hands out URLs below `public_url`.
    pub fn new(
        config: Config,
        public_url: PublicUrl,
        store: Arc<dyn Store>,
        keyring: Keyring,
        clock: Clock,
    ) -> Self {
        let compat = Compat::new(&config.compat);
        let verifier = Verifier::new(
            public_url.audience(),
            compat.tolerances,
            config.push.vapid_leeway,
            config.limits.verified_tokens,
        );
        let clients = Clients::new(config.limits.live_queue);
        let metrics = Metrics::default();
        Self {
            store,
            clients,
            keyring,
            verifier,
            public_url,
            config,
            compat,
            clock,
            metrics,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is tolerated of senders.
    pub fn compat(&self) -> &Compat {
        &self.compat
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The text of the metrics.
    pub fn metrics_text(&self) -> String {
        self.metrics.text(self.store.usage())
    }

    /// Who is connected.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The origin that URLs are handed out under.
    pub fn public_url(&self) -> &PublicUrl {
        &self.public_url
    }

    /// The time.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    // Sending (RFC 8030 §5).

    /// The subscription that an endpoint's token names.
    ///
    /// # Errors
    /// [`Error::UnknownEndpoint`] when it was not issued here,
    /// [`Error::Gone`] when it was and is no more (RFC 8030 §7.3, A-4).
    pub async fn endpoint(&self, token: &str) -> Result<Subscription, Error> {
        let endpoint =
            PushEndpoint::open(&self.keyring, token).map_err(|_| Error::UnknownEndpoint)?;
        let stored = self
            .store
            .subscription(endpoint.uaid, endpoint.channel)
            .await;
        match self.stored(stored)? {
            Some(subscription) if subscription.id == endpoint.subscription => Ok(subscription),
            _ => Err(self.gone()),
        }
    }

    /// Checks that the sender may push to the subscription, and says who it is
    /// (RFC 8292 §4.2). A token that is not valid is refused on any
    /// subscription (V-1).
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::OtherKey`], [`Error::Vapid`].
    pub fn authenticate(
        &self,
        subscription: &Subscription,
        headers: &HeaderMap,
    ) -> Result<Option<Sender>, Error> {
        let sender = self.verifier.verify(headers, self.now(), &self.metrics)?;
        match (&subscription.vapid_key, sender) {
            (Some(_), None) => Err(Error::Unauthorized),
            (Some(key), Some(sender)) if *key != sender.key => Err(Error::OtherKey),
            (_, sender) => Ok(sender),
        }
    }

    /// Takes a message. When this returns, the message is safe, or its TTL is
    /// 0 and it has been handed to the user agent or dropped (RFC 8030 §5.2).
    ///
    /// # Errors
    /// [`Error::Gone`] when the subscription went meanwhile, [`Error::Limit`],
    /// [`Error::Unavailable`].
    pub async fn push(
        &self,
        subscription: &Subscription,
        headers: PushHeaders,
        content: Option<Content>,
    ) -> Result<Accepted, Error> {
        let now = self.now();
        let most = Ttl::from_secs(self.config.push.max_ttl.as_secs());
        let ttl = headers.ttl.min(most);
        let message = NewMessage {
            channel: subscription.channel,
            subscription: subscription.id,
            accepted_at: now,
            expires_at: now + ttl,
            urgency: headers.urgency,
            topic: headers.topic,
            content,
            receipt: None,
        };
        let uaid = subscription.uaid;
        // Only a message that nothing will keep is worth a second copy.
        let live = (ttl == Ttl::ZERO).then(|| message.clone());
        let id = match self.store.append(uaid, message).await {
            Err(StoreError::NoSubscription) => return Err(self.gone()),
            appended => self.stored(appended)?,
        };
        match live.map(|message| self.clients.offer(uaid, message.with_id(id))) {
            None => self.clients.wake(uaid),
            Some(true) => {}
            Some(false) => drop(self.metrics.dropped.inc()),
        }
        self.metrics.accepted.inc();
        Ok(Accepted {
            location: self.location(uaid, id),
            ttl,
        })
    }

    // The message resource (RFC 8030 §5, §6.2).

    /// The message that a token names.
    ///
    /// # Errors
    /// [`Error::NoMessage`] when it is not there (any more).
    pub async fn message(&self, token: &str) -> Result<PushMessage, Error> {
        let MessageUrl { uaid, id } = self.message_url(token)?;
        let stored = self.store.message(uaid, id, self.now()).await;
        self.stored(stored)?.ok_or(Error::NoMessage)
    }

    /// Withdraws the message that a token names.
    ///
    /// # Errors
    /// [`Error::NoMessage`] when it is not there (any more).
    pub async fn withdraw(&self, token: &str) -> Result<(), Error> {
        let MessageUrl { uaid, id } = self.message_url(token)?;
        let live = self.store.message(uaid, id, self.now()).await;
        if self.stored(live)?.is_none() {
            return Err(Error::NoMessage);
        }
        let now = self.now();
        let removed = self.store.remove(uaid, id, Removal::Withdrawn, now).await;
        if self.stored(removed)?.messages > 0 {
            Ok(())
        } else {
            Err(Error::NoMessage)
        }
    }

    fn message_url(&self, token: &str) -> Result<MessageUrl, Error> {
        MessageUrl::open(&self.keyring, token).map_err(|_| Error::NoMessage)
    }

    // Subscribing (RFC 8030 §4, `register` and `unregister`).

    /// Subscribes a channel, and gives its endpoint. Another key than before
    /// begins another life of the subscription, with another endpoint; the old
    /// one is gone (WS-R-5, WS-R-6).
    ///
    /// # Errors
    /// [`Error::KeyRequired`], [`Error::Limit`], [`Error::Unavailable`].
    pub async fn subscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        vapid_key: Option<PublicKey>,
    ) -> Result<String, Error> {
        if vapid_key.is_none() && self.config.push.require_vapid {
            return Err(Error::KeyRequired);
        }
        let known = self.store.subscription(uaid, channel).await;
        let subscription = match self.stored(known)? {
            Some(known) if known.vapid_key == vapid_key => known,
            _ => {
                let id = SubscriptionId::from_bytes(random());
                let made = Subscription {
                    uaid,
                    channel,
                    id,
                    vapid_key,
                };
                let put = self.store.put_subscription(made.clone(), self.now()).await;
                self.stored(put)?;
                made
            }
        };
        let endpoint = PushEndpoint {
            uaid,
            channel,
            subscription: subscription.id,
        };
        Ok(self
            .public_url
            .url(&format!("/push/{}", endpoint.seal(&self.keyring))))
    }

    /// Ends a subscription, with its messages. One that is not there is ended
    /// already (WS-U-2).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn unsubscribe(&self, uaid: Uaid, channel: ChannelId) -> Result<(), Error> {
        let now = self.now();
        let removed = self.store.remove_subscription(uaid, channel, now).await;
        self.stored(removed).map(drop)
    }

    // Receiving (RFC 8030 §6, `hello`, `notification` and `ack`).

    /// Connects a user agent: the one it says it is, if that has a
    /// subscription here, else a new one (WS-H-8 to WS-H-10).
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no name is given out then (WS-H-11).
    pub async fn connect(&self, uaid: Option<Uaid>) -> Result<Registration, Error> {
        let uaid = match uaid {
            Some(uaid) if self.stored(self.store.knows(uaid).await)? => uaid,
            _ => Uaid::from_bytes(random()),
        };
        Ok(self.clients.register(uaid))
    }

    /// The next messages of a log after `after`, those that pass the filter.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
    ) -> Result<Vec<PushMessage>, Error> {
        let pending = self.store.pending(uaid, after, filter, batch, self.now());
        self.stored(pending.await)
    }

    /// The `version` of a message: the token of its URL.
    pub fn version(&self, uaid: Uaid, id: MessageId) -> String {
        MessageUrl { uaid, id }.seal(&self.keyring)
    }

    /// Ends the delivery of a message, whatever the code (WS-N-9), and says
    /// which one it was: `None` when the version names none of this user
    /// agent's (WS-N-12).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn acknowledge(
        &self,
        uaid: Uaid,
        update: &AckUpdate,
    ) -> Result<Option<MessageId>, Error> {
        let version = update.version.as_deref().unwrap_or_default();
        let id = match MessageUrl::open(&self.keyring, version) {
            Ok(message) if message.uaid == uaid => message.id,
            _ => return Ok(None),
        };
        let why = match update.code {
            Some(101) => Removal::NotDecrypted,
            Some(102) => Removal::NotWanted,
            _ => Removal::Delivered,
        };
        let removed = self.store.remove(uaid, id, why, self.now()).await;
        self.stored(removed)?;
        self.metrics.acknowledge(update.code);
        Ok(Some(id))
    }

    // Broadcasts (WS-B-1 to WS-B-3).

    /// The broadcasts as they are now.
    pub fn broadcasts(&self) -> Arc<Broadcasts> {
        self.store.broadcasts()
    }

    /// Sets the version of a broadcast, or with `None` removes it, and says
    /// whether it was there before. When this returns, the change is safe and
    /// all who are connected have been told.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Unavailable`].
    pub async fn set_broadcast(&self, id: Label, version: Option<Label>) -> Result<bool, Error> {
        let set = self.store.set_broadcast(id, version).await;
        let had = self.stored(set)?;
        self.clients.announce();
        Ok(had)
    }

    // Upkeep.

    /// Removes what has expired, in one step of `limits.expire_batch`, and says
    /// whether there may be more.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn expire(&self) -> Result<bool, Error> {
        let expired = self
            .store
            .expire(self.now(), self.config.limits.expire_batch)
            .await;
        let expired = self.stored(expired)?;
        self.metrics.expired.inc_by(expired.messages as u64);
        Ok(expired.more)
    }

    /// Whether the store takes changes, all of them so far made durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.stored(self.store.flush().await)
    }

    fn location(&self, uaid: Uaid, id: MessageId) -> String {
        self.public_url
            .url(&format!("/message/{}", self.version(uaid, id)))
    }

    fn gone(&self) -> Error {
        Error::Gone(self.compat.gone_status)
    }

    /// What the store said, a failure counted and logged.
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, Error> {
        result.map_err(|error| {
            if let StoreError::Unavailable(reason) = &error {
                self.metrics.store_failures.inc();
                tracing::error!(%reason, "the store failed");
            }
            error.into()
        })
    }
}
