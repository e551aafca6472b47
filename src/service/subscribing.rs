//! The operations of user agents on subscriptions (RFC 8030 §4, §7.3; `register`, `unregister`).

use std::net::IpAddr;

use bugle_protocol::{
    ChannelId, PublicKey, PushEndpoint, SubscriptionId, SubscriptionSetUrl, Uaid,
};

use super::{Error, PushService};
use crate::random::random;
use crate::service::registry::Registration;
use crate::store::{Readers, StoreError, Subscription};

impl PushService {
    /// Subscribes a channel for the user agent of a connection, and returns its endpoint. If the
    /// key differs from the previous one, the subscription gets a new endpoint, and the old one is
    /// gone (WS-R-5, WS-R-6).
    ///
    /// # Errors
    /// [`Error::KeyRequired`], [`Error::Full`], [`Error::Unavailable`]; the last also for a
    /// connection that is closing.
    pub async fn subscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        vapid_key: Option<PublicKey>,
        connection: &Registration,
    ) -> Result<PushEndpoint, Error> {
        let _turn = self.order.share(uaid).await?;
        // The user agent may have been dropped while this waited, perhaps after
        // a newer connection superseded this one.
        if connection.closing().is_some() {
            return Err(Error::Unavailable);
        }
        let address = connection.address();
        let known = self.store.subscription(uaid, channel).await;
        if vapid_key.is_none() && self.config.push.require_vapid {
            // A subscription from before the setting stays valid.
            let known = self.stored(known.clone())?;
            if known.is_none_or(|known| known.vapid_key.is_some()) {
                return Err(Error::KeyRequired);
            }
        }
        let new = new_life(uaid, channel, vapid_key);
        match known {
            Ok(Some(_)) => Ok(self.put(new).await?.0),
            // Also if a concurrent request is making it.
            _ => self.add(new, address).await,
        }
    }

    /// Subscribes a new channel, in an existing set or in a new one.
    ///
    /// # Errors
    /// [`Error::NoSet`] if there is no such set (8030-4.1-f); otherwise as
    /// [`subscribe`](Self::subscribe).
    pub async fn subscribe_in_set(
        &self,
        set: Option<SubscriptionSetUrl>,
        vapid_key: Option<PublicKey>,
        address: IpAddr,
    ) -> Result<PushEndpoint, Error> {
        let (uaid, _turn) = match set {
            None => (Uaid::from_bytes(random()), None),
            Some(SubscriptionSetUrl(uaid)) => {
                let turn = self.order.share(uaid).await?;
                if !self.stored(self.store.connect(uaid).await)? {
                    return Err(Error::NoSet);
                }
                (uaid, Some(turn))
            }
        };
        if vapid_key.is_none() && self.config.push.require_vapid {
            return Err(Error::KeyRequired);
        }
        let channel = ChannelId::from_bytes(random());
        self.add(new_life(uaid, channel, vapid_key), address).await
    }

    /// Stores a subscription, and counts it for its address unless it already exists.
    pub(super) async fn add(
        &self,
        new: Subscription,
        address: IpAddr,
    ) -> Result<PushEndpoint, Error> {
        if self.tells_addresses_apart() {
            let used = self.usage().subscriptions;
            let admitted = self.subscribers.admit(address, used);
            self.stored(admitted.map_err(StoreError::Full))?;
        }
        let added = self.put(new).await;
        let counts = match &added {
            Ok((_, is_made)) => *is_made,
            // It counts, because the store may have made it.
            Err(error) => *error == Error::Unavailable,
        };
        if !counts {
            self.subscribers.give_back(address);
        }
        added.map(|(endpoint, _)| endpoint)
    }

    /// Stores a subscription. Returns the endpoint of the channel, and whether this call made it.
    pub(super) async fn put(&self, new: Subscription) -> Result<(PushEndpoint, bool), Error> {
        let (uaid, channel, made) = (new.uaid, new.channel, new.id);
        let stored = self.store.subscribe(new, self.now()).await;
        let subscription = self.stored(stored)?.id;
        let endpoint = PushEndpoint {
            uaid,
            channel,
            subscription,
        };
        Ok((endpoint, subscription == made))
    }

    /// The subscription of its own URL.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it does not exist, [`Error::Unavailable`].
    pub async fn subscription(&self, named: &PushEndpoint) -> Result<Subscription, Error> {
        let stored = self.store.subscription(named.uaid, named.channel).await;
        let stored = self.stored(stored)?;
        let same = stored.filter(|stored| stored.id == named.subscription);
        same.ok_or(Error::NotFound)
    }

    /// Returns the user agent of a set, and records it as connected, because only the user agent
    /// knows this URL.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has no subscription, [`Error::Unavailable`].
    pub async fn set(&self, SubscriptionSetUrl(uaid): SubscriptionSetUrl) -> Result<Uaid, Error> {
        match self.stored(self.store.connect(uaid).await)? {
            true => Ok(uaid),
            false => Err(Error::NotFound),
        }
    }

    /// Ends a subscription with its messages, for a user agent at `address`. Succeeds if there is
    /// none (WS-U-2).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        address: IpAddr,
    ) -> Result<(), Error> {
        let ended = self.end_channel(uaid, channel, None, Readers::Stay);
        if ended.await? {
            self.subscribers.give_back(address);
        }
        Ok(())
    }

    /// Ends a subscription over HTTP (RFC 8030 §7.3). Held GETs on it end too, and those on its set
    /// if it was the last one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn end_subscription(
        &self,
        named: &PushEndpoint,
        address: IpAddr,
    ) -> Result<(), Error> {
        let life = Some(named.subscription);
        let ended = self.end_channel(named.uaid, named.channel, life, Readers::Close);
        if !ended.await? {
            return Err(Error::NotFound);
        }
        self.subscribers.give_back(address);
        Ok(())
    }

    /// Ends the subscription of a channel, if `life` is `None` or its current id. Returns whether
    /// it did.
    pub(super) async fn end_channel(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
    ) -> Result<bool, Error> {
        let now = self.now();
        let ended = self.store.unsubscribe(uaid, channel, life, readers, now);
        self.stored(ended.await)
    }

    /// Ends all subscriptions of a set (RFC 8030 §7.3.1), for a user agent at
    /// `address`.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`], and some may have ended then.
    pub async fn end_set(&self, set: SubscriptionSetUrl, address: IpAddr) -> Result<(), Error> {
        let uaid = self.set(set).await?;
        for _ in 0..self.drop_user_agent(uaid).await? {
            self.subscribers.give_back(address);
        }
        Ok(())
    }
}

/// A subscription in a life of its own.
pub(super) fn new_life(
    uaid: Uaid,
    channel: ChannelId,
    vapid_key: Option<PublicKey>,
) -> Subscription {
    Subscription {
        uaid,
        channel,
        id: SubscriptionId::from_bytes(random()),
        vapid_key,
        registration: None,
    }
}
