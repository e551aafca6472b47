//! Subscriptions: made and ended by user agents (RFC 8030 §4, §7.3; `register`
//! and `unregister`).

use std::net::IpAddr;

use bugle_protocol::session::Close;
use bugle_protocol::{
    ChannelId, PublicKey, PushEndpoint, SubscriptionId, SubscriptionSetUrl, Uaid,
};

use super::PushService;
use crate::clients::Reader;
use crate::error::Error;
use crate::random::random;
use crate::store::{StoreError, Subscription};

/// The resources of a new subscription (RFC 8030 §4), by their URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// For its user agent alone.
    pub subscription: String,
    /// For application servers.
    pub push: String,
    /// The set it belongs to (§4.1).
    pub set: String,
}

impl PushService {
    /// Subscribes a channel for a user agent at `address`, and gives its
    /// endpoint. Another key than before
    /// begins another life of the subscription, with another endpoint; the old
    /// one is gone (WS-R-5, WS-R-6).
    ///
    /// # Errors
    /// [`Error::KeyRequired`], [`Error::Full`], [`Error::Unavailable`].
    pub async fn subscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        vapid_key: Option<PublicKey>,
        address: IpAddr,
    ) -> Result<String, Error> {
        let known = self.store.subscription(uaid, channel).await;
        let subscription = match self.stored(known)? {
            Some(known) if known.vapid_key == vapid_key => known.id,
            Some(_) => self.put(uaid, channel, vapid_key).await?,
            None => self.add(uaid, channel, vapid_key, address).await?,
        };
        let endpoint = PushEndpoint {
            uaid,
            channel,
            subscription,
        };
        Ok(self.endpoint_url(&endpoint))
    }

    /// Subscribes over HTTP, in the set at the URL `set` or in a new one.
    ///
    /// # Errors
    /// [`Error::Set`] when there is no such set (8030-4.1-f); as
    /// [`subscribe`](Self::subscribe).
    pub async fn subscribe_in_set(
        &self,
        set: Option<&str>,
        vapid_key: Option<PublicKey>,
        address: IpAddr,
    ) -> Result<Subscribed, Error> {
        let uaid = match set {
            None => Uaid::from_bytes(random()),
            Some(url) => {
                let token = self.token_in(url, "/subscription-set/").ok_or(Error::Set)?;
                self.set(token).await.map_err(|error| match error {
                    Error::NotFound => Error::Set,
                    error => error,
                })?
            }
        };
        let channel = ChannelId::from_bytes(random());
        let endpoint = PushEndpoint {
            uaid,
            channel,
            subscription: self.add(uaid, channel, vapid_key, address).await?,
        };
        let own = endpoint.seal_subscription(&self.keyring);
        let set = SubscriptionSetUrl(uaid).seal(&self.keyring);
        Ok(Subscribed {
            subscription: self.public_url.url(&format!("/subscription/{own}")),
            push: self.endpoint_url(&endpoint),
            set: self.public_url.url(&format!("/subscription-set/{set}")),
        })
    }

    /// Stores one more subscription, which counts for its address.
    async fn add(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        vapid_key: Option<PublicKey>,
        address: IpAddr,
    ) -> Result<SubscriptionId, Error> {
        if self.tells_addresses_apart() {
            let used = self.usage().subscriptions;
            let admitted = self.subscribers.admit(address, used);
            self.stored(admitted.map_err(StoreError::Full))?;
        }
        let added = self.put(uaid, channel, vapid_key).await;
        // One of which the store does not know whether it is there counts.
        if added
            .as_ref()
            .is_err_and(|error| *error != Error::Unavailable)
        {
            self.subscribers.give_back(address);
        }
        added
    }

    async fn put(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        vapid_key: Option<PublicKey>,
    ) -> Result<SubscriptionId, Error> {
        if vapid_key.is_none() && self.config.push.require_vapid {
            return Err(Error::KeyRequired);
        }
        let id = SubscriptionId::from_bytes(random());
        let made = Subscription {
            uaid,
            channel,
            id,
            vapid_key,
        };
        let put = self.store.put_subscription(made, self.now()).await;
        self.tell(self.stored(put)?.wake);
        Ok(id)
    }

    /// The subscription that its own URL's token names.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not there (any more).
    pub async fn subscription(&self, token: &str) -> Result<Subscription, Error> {
        let named = PushEndpoint::open_subscription(&self.keyring, token);
        let named = named.map_err(|_| Error::NotFound)?;
        let stored = self.store.subscription(named.uaid, named.channel).await;
        let stored = self.stored(stored)?;
        let same = stored.filter(|stored| stored.id == named.subscription);
        same.ok_or(Error::NotFound)
    }

    /// The user agent whose set a token names, which only that user agent
    /// knows: it is noted as connected.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has no subscription (any more).
    pub async fn set(&self, token: &str) -> Result<Uaid, Error> {
        let set = SubscriptionSetUrl::open(&self.keyring, token);
        let SubscriptionSetUrl(uaid) = set.map_err(|_| Error::NotFound)?;
        match self.stored(self.store.connected(uaid).await)? {
            true => Ok(uaid),
            false => Err(Error::NotFound),
        }
    }

    /// Ends a subscription, with its messages, for a user agent at `address`. One
    /// that is not there is ended already (WS-U-2).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        address: IpAddr,
    ) -> Result<(), Error> {
        if self.remove(uaid, channel).await? {
            self.subscribers.give_back(address);
        }
        Ok(())
    }

    /// Ends a subscription, with its messages, and says whether it was there.
    pub(super) async fn remove(&self, uaid: Uaid, channel: ChannelId) -> Result<bool, Error> {
        let removed = self
            .store
            .remove_subscription(uaid, channel, self.now())
            .await;
        let removed = self.stored(removed)?;
        let was_there = removed.is_some();
        self.tell(removed.unwrap_or_default().wake);
        Ok(was_there)
    }

    /// Ends a subscription over HTTP (RFC 8030 §7.3): held GETs on it end, and
    /// those on its set when it was the last one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn end_subscription(&self, token: &str, address: IpAddr) -> Result<(), Error> {
        let Subscription { uaid, channel, .. } = self.subscription(token).await?;
        if self.end_channel(uaid, channel).await? {
            self.subscribers.give_back(address);
        }
        Ok(())
    }

    /// Ends a subscription, and says whether it was there.
    pub(super) async fn end_channel(&self, uaid: Uaid, channel: ChannelId) -> Result<bool, Error> {
        let was_there = self.remove(uaid, channel).await?;
        self.clients
            .close(Reader::Channel(uaid, channel), Close::Removed);
        if !self.stored(self.store.knows(uaid).await)? {
            self.clients.close(Reader::UserAgent(uaid), Close::Removed);
        }
        Ok(was_there)
    }

    /// Ends all subscriptions of a set (RFC 8030 §7.3.1), for a user agent at
    /// `address`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`], when some may be ended.
    pub async fn end_set(&self, token: &str, address: IpAddr) -> Result<(), Error> {
        let uaid = self.set(token).await?;
        for _ in 0..self.drop_user_agent(uaid).await? {
            self.subscribers.give_back(address);
        }
        Ok(())
    }

    pub(super) fn endpoint_url(&self, endpoint: &PushEndpoint) -> String {
        self.public_url
            .url(&format!("/push/{}", endpoint.seal(&self.keyring)))
    }
}
