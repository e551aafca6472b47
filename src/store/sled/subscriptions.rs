//! Subscriptions: reading, storing and removing them, with their messages.

use bugle_protocol::{ChannelId, MessageId, Uaid, UnixTime};

use super::changes::Changes;
use super::commit::Room;
use super::engine::{Engine, State};
use super::keys::{subscription_key, subscriptions_prefix, user_agent_key};
use super::record::{
    Damaged, UserAgent, decode_subscription, decode_user_agent, encode_subscription,
    encode_user_agent, unavailable,
};
use crate::store::days::Day;
use crate::store::{Limit, Removal, Removed, StoreError, Subscription};

impl Engine {
    /// A subscription as the disk knows it.
    ///
    /// # Errors
    /// `Unavailable` while the disk does not know of its last change.
    pub(super) fn durable_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<Option<Subscription>, StoreError> {
        let state = self.state()?;
        let is_durable = |batch| self.committer.is_durable(batch);
        if state.unsynced.holds((uaid, channel), is_durable) {
            return Err(StoreError::Unavailable(
                "the disk has not confirmed the last change of this subscription".to_owned(),
            ));
        }
        drop(state);
        self.read_subscription(uaid, channel)
    }

    /// Notes that a subscription was changed, under the lock of the change.
    pub(super) fn changed(&self, state: &mut State, uaid: Uaid, channel: ChannelId) {
        let is_durable = |batch| self.committer.is_durable(batch);
        let batch = self.committer.batch();
        state.unsynced.note((uaid, channel), batch, is_durable);
    }

    pub(super) fn read_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<Option<Subscription>, StoreError> {
        let read = self.read_used_subscription(uaid, channel);
        read.map(|found| found.map(|(subscription, _)| subscription))
    }

    /// A subscription, and when a message for it was last noted.
    pub(super) fn read_used_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<Option<(Subscription, Option<Day>)>, StoreError> {
        let key = subscription_key(uaid, channel);
        let Some(record) = self.get(key)? else {
            return Ok(None);
        };
        match decode_subscription(&key, &record) {
            Ok(found) => Ok(Some(found)),
            Err(Damaged) => Err(StoreError::Unavailable(
                "the record of a subscription is damaged; a restart sets it aside".to_owned(),
            )),
        }
    }

    /// A scan: for the rare request that ends them all.
    pub(super) fn read_channels(&self, uaid: Uaid) -> Result<Vec<ChannelId>, StoreError> {
        let prefix = subscriptions_prefix(uaid);
        let keys = self.tree.scan_prefix(prefix).keys();
        keys.map(|key| {
            let key = key.map_err(|e| unavailable(&e))?;
            let channel = key
                .get(prefix.len()..)
                .and_then(|rest| rest.try_into().ok());
            let damaged = || StoreError::Unavailable("a key of the store is damaged".to_owned());
            channel.map(ChannelId::from_bytes).ok_or_else(damaged)
        })
        .collect()
    }

    /// What is kept of a user agent; `None` when it has no subscription.
    ///
    /// # Errors
    /// `Unavailable` also when its record is damaged: it is not to look unknown.
    pub(super) fn user_agent(&self, uaid: Uaid) -> Result<Option<UserAgent>, StoreError> {
        let Some(record) = self.get(user_agent_key(uaid))? else {
            return Ok(None);
        };
        match decode_user_agent(&record) {
            Ok(found) => Ok((found.subscriptions > 0).then_some(found)),
            Err(Damaged) => Err(StoreError::Unavailable(
                "the record of a user agent is damaged; a restart mends it".to_owned(),
            )),
        }
    }

    pub(super) async fn put(
        &self,
        subscription: Subscription,
        now: UnixTime,
    ) -> Result<Removed, StoreError> {
        self.space.admit()?;
        let place = self.committer.place()?;
        let room = self.room(subscription.uaid, subscription.channel).await?;
        let removed = self.apply_put(&subscription, now)?;
        self.committer.commit(place, Some(room)).await?;
        Ok(removed)
    }

    /// Leave to change a subscription, its count, and what is in its log.
    async fn room(&self, uaid: Uaid, channel: ChannelId) -> Result<Room, StoreError> {
        let old = self.read_subscription(uaid, channel)?;
        let keys = old.map_or(Ok(0), |old| -> Result<usize, StoreError> {
            let state = self.state()?;
            Ok(state.keys_of(&state.messages_of(&old)))
        })?;
        self.committer.room(2 + keys, 0).await
    }

    fn apply_put(&self, subscription: &Subscription, now: UnixTime) -> Result<Removed, StoreError> {
        let (uaid, channel) = (subscription.uaid, subscription.channel);
        let mut changes = Changes::default();
        let mut state = self.state()?;
        let today = state.days.map(|days| days.today);
        let record = encode_subscription(subscription, today)?;
        changes.insert(&subscription_key(uaid, channel), &record);
        if let Some(old) = self.read_subscription(uaid, channel)? {
            let messages = state.messages_of(&old);
            let removed =
                self.apply_removal(&mut state, &messages, Removal::GivenUp, now, changes)?;
            self.changed(&mut state, uaid, channel);
            return Ok(removed);
        }
        let known = self.user_agent(uaid)?;
        let count = known.map_or(0, |known| known.subscriptions);
        if count >= self.limits.subscriptions_per_user_agent {
            return Err(StoreError::Full(Limit::SubscriptionsPerUserAgent.into()));
        }
        if state.subscriptions >= self.limits.subscriptions {
            return Err(StoreError::Full(Limit::Subscriptions.into()));
        }
        let user_agent = UserAgent {
            subscriptions: count + 1,
            connected: today,
        };
        changes.insert(&user_agent_key(uaid), &encode_user_agent(&user_agent)?);
        self.apply(changes)?;
        self.changed(&mut state, uaid, channel);
        state.subscriptions += 1;
        Ok(Removed::default())
    }

    pub(super) async fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        now: UnixTime,
    ) -> Result<Option<Removed>, StoreError> {
        let place = self.committer.place()?;
        let room = self.room(uaid, channel).await?;
        let removed = self.apply_unsubscribe(uaid, channel, now)?;
        if removed.is_some() {
            self.committer.commit(place, Some(room)).await?;
        }
        Ok(removed)
    }

    fn apply_unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        now: UnixTime,
    ) -> Result<Option<Removed>, StoreError> {
        let mut state = self.state()?;
        let Some(old) = self.read_subscription(uaid, channel)? else {
            return Ok(None);
        };
        let mut changes = Changes::default();
        changes.remove(&subscription_key(uaid, channel));
        match self.user_agent(uaid)? {
            Some(mut left) if left.subscriptions > 1 => {
                left.subscriptions -= 1;
                changes.insert(&user_agent_key(uaid), &encode_user_agent(&left)?);
            }
            _ => changes.remove(&user_agent_key(uaid)),
        }
        let messages = state.messages_of(&old);
        let removed = self.apply_removal(&mut state, &messages, Removal::GivenUp, now, changes)?;
        self.changed(&mut state, uaid, channel);
        state.subscriptions -= 1;
        Ok(Some(removed))
    }
}

impl State {
    pub(super) fn messages_of(&self, subscription: &Subscription) -> Vec<(Uaid, MessageId)> {
        let uaid = subscription.uaid;
        let entries = self.index.of_subscription(uaid, subscription.id);
        entries.map(|entry| (uaid, entry.id)).collect()
    }
}
