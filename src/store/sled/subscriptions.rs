//! Reading, storing and removing subscriptions, with their messages.

use bugle_protocol::{ChannelId, SubscriptionId, Uaid, UnixTime};

use super::changes::Changes;
use super::commit::BytePermit;
use super::database::{Database, State};
use super::keys::{subscription_key, user_agent_key};
use super::record::{
    Damaged, UserAgent, decode_subscription, decode_user_agent, encode_subscription,
    encode_user_agent,
};
use crate::store::days::Day;
use crate::store::event::{Notice, Readers};
use crate::store::{StoreError, Subscription};

impl Database {
    /// Returns whether the last change of a subscription is durable.
    pub(super) fn is_durable(&self, name: (Uaid, ChannelId)) -> Result<bool, StoreError> {
        let is_durable = |batch| self.committer.is_durable(batch);
        Ok(!self.state()?.unsynced.holds(name, is_durable))
    }

    /// Records that a subscription has changed, under the lock of the change.
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

    /// Returns a subscription, and the day on which a message for it was last recorded.
    pub(super) fn read_used_subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<Option<(Subscription, Option<Day>)>, StoreError> {
        let key = subscription_key(uaid, channel);
        let record = self.get(key)?;
        record.map(|record| decoded(&key, &record)).transpose()
    }

    /// Returns the record of a user agent; `None` when it has no subscription.
    ///
    /// # Errors
    /// `Unavailable` also when its record is damaged, because it must not look unknown.
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

    /// Takes a permit to change a subscription, its user agent's record, and the messages that
    /// would be removed with it.
    pub(super) async fn subscription_permit(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> Result<BytePermit, StoreError> {
        let old = self.read_subscription(uaid, channel)?;
        let keys = old.map_or(Ok(0), |old| -> Result<usize, StoreError> {
            let state = self.state()?;
            let messages = state.index.of_subscription(uaid, old.id);
            Ok(state.keys_of(&messages))
        })?;
        self.committer.byte_permit(2 + keys, 0).await
    }

    /// Returns the subscription that exists after the change.
    pub(super) fn apply_put(
        &self,
        new: Subscription,
        now: UnixTime,
    ) -> Result<(Subscription, Notice), StoreError> {
        let (uaid, channel) = (new.uaid, new.channel);
        let mut changes = Changes::default();
        let (mut state, (old, user_agent)) = self.state_with(uaid, |database| {
            Ok(match database.read_subscription(uaid, channel)? {
                None => (None, database.user_agent(uaid)?),
                old => (old, None),
            })
        })?;
        let today = state.days.map(|days| days.today);
        let record = encode_subscription(&new, today)?;
        changes.insert(&subscription_key(uaid, channel), &record);
        let mut notice = Notice::default();
        match old {
            Some(old) if old.vapid_key == new.vapid_key => return Ok((old, notice)),
            Some(old) => {
                let messages = state.index.of_subscription(uaid, old.id);
                let removed = self.apply_removal(&mut state, &messages, now, changes)?;
                notice = notice.receipts(removed.receipts);
            }
            None => {
                let count = user_agent.map_or(0, |known| known.subscriptions);
                self.limits
                    .admit_subscription(count as usize, state.subscriptions)?;
                let user_agent = UserAgent {
                    subscriptions: count + 1,
                    connected: today,
                };
                changes.insert(&user_agent_key(uaid), &encode_user_agent(&user_agent)?);
                self.apply(changes)?;
                state.subscriptions += 1;
            }
        }
        self.changed(&mut state, uaid, channel);
        Ok((new, notice))
    }

    /// Returns `None` when the subscription does not exist, or is in another life.
    pub(super) fn apply_end(
        &self,
        (uaid, channel): (Uaid, ChannelId),
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> Result<Option<Notice>, StoreError> {
        let (mut state, there) = self.state_with(uaid, |database| {
            let there = database.read_subscription(uaid, channel)?;
            let there = there.filter(|it| life.is_none_or(|life| life == it.id));
            there
                .map(|it| Ok((it, database.user_agent(uaid)?)))
                .transpose()
        })?;
        let Some((old, known)) = there else {
            return Ok(None);
        };
        let mut changes = Changes::default();
        changes.remove(&subscription_key(uaid, channel));
        let known = known.filter(|it| it.subscriptions > 1);
        let is_last = known.is_none();
        match known {
            Some(mut user_agent) => {
                user_agent.subscriptions -= 1;
                changes.insert(&user_agent_key(uaid), &encode_user_agent(&user_agent)?);
            }
            None => changes.remove(&user_agent_key(uaid)),
        }
        let messages = state.index.of_subscription(uaid, old.id);
        let removed = self.apply_removal(&mut state, &messages, now, changes)?;
        self.changed(&mut state, uaid, channel);
        state.subscriptions -= 1;
        let notice = Notice::ended(uaid, channel, is_last, readers);
        Ok(Some(notice.receipts(removed.receipts)))
    }
}

pub(super) fn decoded(
    key: &[u8],
    record: &[u8],
) -> Result<(Subscription, Option<Day>), StoreError> {
    decode_subscription(key, record).map_err(|Damaged| {
        StoreError::Unavailable(
            "the record of a subscription is damaged; a restart sets it aside".to_owned(),
        )
    })
}
