//! The operations of devices: profiles of Chromium, which register by HTTP and receive by MCS.
//!
//! A device and its registrations are known by what the service has sealed for them, not by what it
//! stores. If the store is lost or replaced, the endpoints that were issued before go on: a push to
//! one of them stores its subscription again. So that this cannot bring back a subscription that was
//! ended, each token names the store that it was issued over, and a store remembers the end of a
//! subscription that an earlier one had issued.

use std::net::IpAddr;

use bugle_protocol::mcs::{Device, Names, Registration};
use bugle_protocol::{ChannelId, PublicKey, PushEndpoint, SubscriptionId, Uaid};

use super::subscribing::new_life;
use super::{Error, PushService};
use crate::random::random;
use crate::store::broadcasts::Label;
use crate::store::{Readers, Subscription};

/// The broadcast whose version names the store: a random number, made with its first registration.
/// Every engine keeps broadcasts, shares them among its nodes, and exports them.
const STORE_NAME: &str = "bugle/store-name";

/// What a device registers.
pub struct Wanted {
    /// The application server key.
    pub key: PublicKey,
    /// The names of the registration.
    pub names: Names,
}

impl PushService {
    /// Makes the credentials of a new device: its id and its security token.
    pub fn new_device(&self) -> (u64, u64) {
        loop {
            if let Some(device) = Device::from_random(random()) {
                return self.credentials(device);
            }
        }
    }

    /// The id of a device and its security token under the current key.
    pub fn credentials(&self, device: Device) -> (u64, u64) {
        (device.id(), device.security_token(&self.keyring))
    }

    /// The device with these credentials, if this service has issued them.
    pub fn device(&self, id: u64, security_token: u64) -> Option<Device> {
        Device::authenticate(&self.keyring, id, security_token)
    }

    /// Registers an application of a device, for a client at `address`. Returns the token of its
    /// endpoint: the same for the same registration as long as the store and the keys are the same.
    ///
    /// # Errors
    /// [`Error::Refused`] if the key is blocked, [`Error::Full`], [`Error::Unavailable`].
    pub async fn register_device(
        &self,
        device: Device,
        wanted: Wanted,
        address: IpAddr,
    ) -> Result<String, Error> {
        self.blocks.check_key(&wanted.key)?;
        let Wanted { key, names } = wanted;
        let store = self.name_store().await?;
        let registration = Registration::new(device, store, &key, names);
        let token = registration.seal(&self.keyring);
        let _turn = self.order.share(device.uaid()).await?;
        let new = stored_as(&registration.endpoint(), key, &token);
        let known = self.store.subscription(new.uaid, new.channel).await;
        match self.stored(known)? {
            Some(known) if known.id == new.id => {}
            Some(_) => drop(self.put(new).await?),
            None => drop(self.add(new, address).await?),
        }
        Ok(token)
    }

    /// Ends a registration of a device with its messages, for a client at `address`. Succeeds if
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn unregister_device(
        &self,
        device: Device,
        names: &Names,
        address: IpAddr,
    ) -> Result<(), Error> {
        let (uaid, channel) = (device.uaid(), names.channel());
        let _turn = self.order.share(uaid).await?;
        let known = self.stored(self.store.subscription(uaid, channel).await)?;
        let Some(known) = known.filter(|known| known.registration.is_some()) else {
            return Ok(());
        };
        let life = Some(known.id);
        if self.end_channel(uaid, channel, life, Readers::Stay).await? {
            self.subscribers.give_back(address);
        }
        let token = known.registration.unwrap_or_default();
        if !self.is_of_this_store(&token) {
            // A subscription without an endpoint takes the channel, so that no token revives it.
            self.put(new_life(uaid, channel, None)).await?;
        }
        Ok(())
    }

    /// The subscription that a token of an earlier store names, if this store does not know it. It
    /// is not stored yet: [`revive`](Self::revive) it once the sender is authenticated.
    ///
    /// # Errors
    /// [`Error::Gone`] if the token is of this store, or the subscription has ended;
    /// [`Error::Unavailable`].
    pub async fn lost(&self, token: &str) -> Result<Subscription, Error> {
        let registration = Registration::open(&self.keyring, token).map_err(|_| Error::Gone)?;
        if !self.config.chromium.enabled || self.is_of_this_store(token) {
            return Err(Error::Gone);
        }
        let endpoint = registration.endpoint();
        let there = self.store.subscription(endpoint.uaid, endpoint.channel);
        match self.stored(there.await)? {
            Some(_) => Err(Error::Gone),
            None => {
                let key = registration.key().map_err(|_| Error::Gone)?;
                Ok(stored_as(&endpoint, key, token))
            }
        }
    }

    /// Stores a [lost](Self::lost) subscription again. It counts for no address.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unavailable`].
    pub async fn revive(&self, lost: &Subscription) -> Result<(), Error> {
        let _turn = self.order.share(lost.uaid).await?;
        tracing::info!("a subscription of an earlier store is stored again");
        self.put(lost.clone()).await.map(drop)
    }

    /// How to address a message to a subscription: its registration and its application server key.
    /// `None` if it has ended or is not that of a device.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn addressee(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: SubscriptionId,
    ) -> Result<Option<(Registration, PublicKey)>, Error> {
        let known = self.stored(self.store.subscription(uaid, channel).await)?;
        let known = known.filter(|known| known.id == life);
        Ok(known.and_then(|known| {
            let token = known.registration?;
            let registration = Registration::open(&self.keyring, &token).ok()?;
            Some((registration, known.vapid_key?))
        }))
    }

    /// Whether a token was issued over this store.
    fn is_of_this_store(&self, token: &str) -> bool {
        let registration = Registration::open(&self.keyring, token);
        let named = self.store_name();
        registration.is_ok_and(|registration| named == Some(registration.store))
    }

    fn store_name(&self) -> Option<[u8; 8]> {
        let broadcasts = self.store.broadcasts();
        let name = broadcasts.version(&Label::new(STORE_NAME)?)?;
        let name = u64::from_str_radix(name.as_str(), 16).ok()?;
        Some(name.to_be_bytes())
    }

    /// Returns the name of the store, which is made if it has none.
    async fn name_store(&self) -> Result<[u8; 8], Error> {
        if let Some(name) = self.store_name() {
            return Ok(name);
        }
        let name = format!("{:016x}", u64::from_be_bytes(random()));
        if let (Some(id), Some(name)) = (Label::new(STORE_NAME), Label::new(&name)) {
            self.set_broadcast(id, Some(name)).await?;
        }
        // A concurrent registration may have set another one since.
        self.store_name().ok_or(Error::Unavailable)
    }
}

/// The subscription by which a registration is stored.
fn stored_as(endpoint: &PushEndpoint, key: PublicKey, token: &str) -> Subscription {
    Subscription {
        uaid: endpoint.uaid,
        channel: endpoint.channel,
        id: endpoint.subscription,
        vapid_key: Some(key),
        registration: Some(token.to_owned()),
    }
}
