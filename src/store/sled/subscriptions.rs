//! Subscriptions: reading, storing and removing them, with their messages.

use bugle_protocol::{ChannelId, SubscriptionId, Uaid};
use sled::Tree;

use super::changes::Changes;
use super::commit::Room;
use super::record::{
    Damaged, decode, decode_subscription, encode, encode_subscription, message_key,
    subscription_key, unavailable, user_agent_key,
};
use super::{SledStore, State};
use crate::store::{Limit, StoreError, Subscription};

impl SledStore {
    pub(super) fn read_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<Option<Subscription>, StoreError> {
        let key = subscription_key(uaid, channel);
        let Some(record) = self.tree.get(key).map_err(|e| unavailable(&e))? else {
            return Ok(None);
        };
        match decode_subscription(&key, &record) {
            Ok(subscription) => Ok(Some(subscription)),
            Err(Damaged) => Err(StoreError::Unavailable(
                "the record of a subscription is damaged; a restart sets it aside".to_owned(),
            )),
        }
    }

    pub(super) fn subscription_count(&self, uaid: Uaid) -> Result<u32, StoreError> {
        let record = self.tree.get(user_agent_key(uaid));
        let record = record.map_err(|e| unavailable(&e))?;
        let count = record.and_then(|record| decode(&record).ok());
        Ok(count.unwrap_or(0))
    }

    pub(super) async fn put(&self, subscription: Subscription) -> Result<(), StoreError> {
        let place = self.committer.place()?;
        let room = self.room(subscription.uaid, subscription.channel).await?;
        self.apply_put(&subscription)?;
        self.committer.commit(place, Some(room)).await
    }

    /// Leave to change a subscription, its count, and what is in its log.
    async fn room(&self, uaid: Uaid, channel: ChannelId) -> Result<Room, StoreError> {
        let old = self.read_subscription(uaid, channel)?;
        let parts = old.map_or(Ok(0), |old| -> Result<usize, StoreError> {
            let state = self.state()?;
            let entries = state.index.of_subscription(uaid, old.id);
            Ok(entries.map(|entry| entry.parts as usize).sum())
        })?;
        self.committer.room(2 + parts, 0).await
    }

    fn apply_put(&self, subscription: &Subscription) -> Result<(), StoreError> {
        let (uaid, channel) = (subscription.uaid, subscription.channel);
        let mut changes = Changes::default();
        let record = encode_subscription(subscription)?;
        changes.insert(&subscription_key(uaid, channel), &record);
        let mut state = self.state()?;
        if let Some(old) = self.read_subscription(uaid, channel)? {
            return state.remove_messages(uaid, old.id, changes, &self.tree);
        }
        let count = self.subscription_count(uaid)?;
        if count >= self.limits.subscriptions_per_user_agent {
            return Err(StoreError::Full(Limit::SubscriptionsPerUserAgent));
        }
        if state.subscriptions >= self.limits.subscriptions {
            return Err(StoreError::Full(Limit::Subscriptions));
        }
        changes.insert(&user_agent_key(uaid), &encode(&(count + 1), &[])?);
        changes.apply(&self.tree)?;
        state.subscriptions += 1;
        Ok(())
    }

    pub(super) async fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<bool, StoreError> {
        let place = self.committer.place()?;
        let room = self.room(uaid, channel).await?;
        let removed = self.apply_unsubscribe(uaid, channel)?;
        if removed {
            self.committer.commit(place, Some(room)).await?;
        }
        Ok(removed)
    }

    fn apply_unsubscribe(&self, uaid: Uaid, channel: ChannelId) -> Result<bool, StoreError> {
        let mut state = self.state()?;
        let Some(old) = self.read_subscription(uaid, channel)? else {
            return Ok(false);
        };
        let mut changes = Changes::default();
        changes.remove(&subscription_key(uaid, channel));
        match self.subscription_count(uaid)?.saturating_sub(1) {
            0 => changes.remove(&user_agent_key(uaid)),
            count => changes.insert(&user_agent_key(uaid), &encode(&count, &[])?),
        }
        state.remove_messages(uaid, old.id, changes, &self.tree)?;
        state.subscriptions -= 1;
        Ok(true)
    }
}

impl State {
    /// Applies `changes` and the removal of a subscription's messages, in one
    /// step.
    fn remove_messages(
        &mut self,
        uaid: Uaid,
        subscription: SubscriptionId,
        mut changes: Changes,
        tree: &Tree,
    ) -> Result<(), StoreError> {
        let entries = self.index.of_subscription(uaid, subscription);
        let ids: Vec<_> = entries.map(|entry| (entry.id, entry.parts)).collect();
        for (id, parts) in &ids {
            changes.remove_message(message_key(uaid, *id), *parts);
        }
        changes.apply(tree)?;
        for (id, _) in ids {
            self.index.remove(uaid, id);
        }
        Ok(())
    }
}
