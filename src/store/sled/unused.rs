//! Records when user agents and subscriptions are used, and ends user agents that are unused.
//!
//! A user agent is in use while it connects, or while messages are accepted for any of its
//! subscriptions. It ends as a whole: if only some of its subscriptions ended, the service would
//! still know it at its next hello, and it would not subscribe again.

use std::ops::Bound::{Excluded, Included};
use std::sync::MutexGuard;

use bugle_protocol::{Uaid, UnixTime};
use sled::Tree;

use super::changes::Changes;
use super::commit::BytePermit;
use super::database::{Database, State};
use super::keys::{
    DAYS_KEY, USER_AGENT, parse_user_agent_key, subscription_key, subscriptions_prefix,
    user_agent_key,
};
use super::record::{
    Damaged, UserAgent, decode_subscription, decode_user_agent, encode, encode_subscription,
    encode_user_agent, unavailable,
};
use crate::store::days::{Day, Days, Sweep, Unused};
use crate::store::event::Notice;
use crate::store::index::ToRemove;
use crate::store::receipt::Removed;
use crate::store::{StoreError, Subscription};

/// A user agent, and its record as read.
pub(super) type ReadUserAgent = (Uaid, Result<UserAgent, Damaged>);

/// The day on which a connection of a user agent was last recorded, and its subscriptions, each
/// with the day on which a message for it was last recorded.
type Uses = (Option<Day>, Vec<(Subscription, Option<Day>)>);

/// How many user agents are read before the task yields.
pub(super) const READ_BATCH: usize = 64;

impl Database {
    pub(super) fn note_connected(&self, uaid: Uaid, found: &UserAgent) -> Result<(), StoreError> {
        let due = |state: &State, found: &UserAgent| {
            let is_due = |days: &Days| days.is_due(found.connected);
            state.days.filter(is_due)
        };
        if due(&*self.state()?, found).is_none() {
            return Ok(());
        }
        self.committer.health()?;
        let (state, found) = self.state_with(uaid, |database| database.user_agent(uaid))?;
        let Some(mut found) = found else {
            return Ok(());
        };
        let Some(days) = due(&state, &found) else {
            return Ok(());
        };
        let Some(bytes) = self.committer.try_byte_permit(1) else {
            return Ok(());
        };
        found.connected = Some(days.today);
        let mut changes = Changes::default();
        changes.insert(&user_agent_key(uaid), &encode_user_agent(&found)?);
        self.apply(changes)?;
        drop(state);
        self.committer.commit_later(Some(bytes));
        Ok(())
    }

    /// Adds the use of the subscription to the changes of an append, if recording it is due and a
    /// permit is free.
    pub(super) fn note_received(
        &self,
        state: &State,
        (subscription, used): (Subscription, Option<Day>),
        changes: &mut Changes,
    ) -> Result<Option<BytePermit>, StoreError> {
        let due = state.days.filter(|days| days.is_due(used));
        // A message with TTL 0 is accepted even while the disk fails.
        let Some(days) = due.filter(|_| self.committer.health().is_ok()) else {
            return Ok(None);
        };
        let bytes = self.committer.try_byte_permit(1);
        if bytes.is_some() {
            let key = subscription_key(subscription.uaid, subscription.channel);
            let record = encode_subscription(&subscription, Some(days.today))?;
            changes.insert(&key, &record);
        }
        Ok(bytes)
    }

    /// Returns the count of days of service at `now`, and writes it if it changed.
    pub(super) async fn count_days(&self, now: UnixTime) -> Result<Days, StoreError> {
        let before = self.state()?.days;
        if let Some(days) = before
            && days.at(now).is_none()
        {
            return Ok(days);
        }
        let bytes = self.committer.byte_permit(1, 0).await?;
        let days = before.map_or(Days::begin(now), |days| days.at(now).unwrap_or(days));
        let mut changes = Changes::default();
        changes.insert(DAYS_KEY, &encode(&days)?);
        let mut state = self.state()?;
        self.apply(changes)?;
        state.days = Some(days);
        drop(state);
        self.committer.commit_later(Some(bytes));
        Ok(days)
    }

    /// Ends a user agent whose last connection was too long ago, unless messages were accepted for
    /// it since then, or a connection reads one of its channels.
    pub(super) async fn end_if_unused(
        &self,
        uaid: Uaid,
        unused_days: u32,
        sweep: &Sweep<'_>,
    ) -> Result<Unused, StoreError> {
        let keys = {
            let (state, used) = self.unused(uaid, unused_days)?;
            let Some(used) = used else {
                return Ok(Unused::default());
            };
            let channels: Vec<_> = used.iter().map(|it| it.channel).collect();
            if (sweep.is_connected)(uaid, &channels) {
                return Ok(Unused::default());
            }
            1 + used.len() + state.keys_of(&state.messages_of_all(&used))
        };
        let bytes = self.committer.byte_permit(keys, 0).await?;
        let Some((ended, removed)) = self.apply_end_unused(uaid, unused_days, sweep.now)? else {
            return Ok(Unused::default());
        };
        self.committer.commit_later(Some(bytes));
        let channels: Vec<_> = ended.iter().map(|it| it.channel).collect();
        let notice = Notice::ended_with(uaid, &channels);
        self.notifier.notify(notice.receipts(removed.receipts));
        Ok(Unused {
            user_agents: 1,
            subscriptions: channels.len(),
        })
    }

    fn apply_end_unused(
        &self,
        uaid: Uaid,
        unused_days: u32,
        now: UnixTime,
    ) -> Result<Option<(Vec<Subscription>, Removed)>, StoreError> {
        // It may have been used since the check. A connecting user agent is recorded under this
        // lock, and reads its log only after that.
        let (mut state, ended) = self.unused(uaid, unused_days)?;
        let Some(ended) = ended else {
            return Ok(None);
        };
        let mut changes = Changes::default();
        changes.remove(&user_agent_key(uaid));
        for it in &ended {
            changes.remove(&subscription_key(uaid, it.channel));
        }
        let messages = state.messages_of_all(&ended);
        let removed = self.apply_removal(&mut state, &messages, now, changes)?;
        for it in &ended {
            self.changed(&mut state, uaid, it.channel);
        }
        state.subscriptions -= ended.len() as u64;
        Ok(Some((ended, removed)))
    }

    /// Returns all subscriptions of a user agent that is unused, with the lock under which that
    /// holds. Returns `None` when it is in use, or when a damaged record leaves that unknown.
    fn unused(
        &self,
        uaid: Uaid,
        unused_days: u32,
    ) -> Result<(MutexGuard<'_, State>, Option<Vec<Subscription>>), StoreError> {
        let (state, found) = self.state_with(uaid, |database| database.uses(uaid))?;
        let Some((connected, used)) = found else {
            return Ok((state, None));
        };
        let received = used.iter().filter_map(|(_, used)| *used).max();
        let last = received.max(connected);
        let is_unused = state
            .days
            .is_some_and(|days| days.is_unused(last, unused_days));
        let unused = is_unused.then(|| used.into_iter().map(|(it, _)| it).collect());
        Ok((state, unused))
    }

    /// Returns when a user agent last connected, and all its subscriptions with their last uses;
    /// `None` when it does not exist or a record is damaged.
    fn uses(&self, uaid: Uaid) -> Result<Option<Uses>, StoreError> {
        let Some(user_agent) = self.user_agent(uaid)? else {
            return Ok(None);
        };
        let used: Result<Vec<_>, Damaged> = self.scan(|tree| {
            let items = tree.scan_prefix(subscriptions_prefix(uaid));
            items
                .map(|item| item.map(|(key, record)| decode_subscription(&key, &record)))
                .collect()
        })?;
        Ok(used.ok().map(|used| (user_agent.connected, used)))
    }

    /// Returns up to `limit` user agents after `after`, in the order of their keys.
    pub(super) fn read_user_agents(
        &self,
        after: Option<Uaid>,
        limit: usize,
    ) -> Result<Vec<ReadUserAgent>, StoreError> {
        let from = after.map_or(Included(vec![USER_AGENT]), |after| {
            Excluded(user_agent_key(after).to_vec())
        });
        let range = (from, Excluded(vec![USER_AGENT + 1]));
        self.scan(|tree| {
            let items = tree.range(range).take(limit);
            let found = items.filter_map(|item| match item {
                Ok((key, record)) => {
                    let uaid = parse_user_agent_key(&key).ok()?;
                    Some(Ok((uaid, decode_user_agent(&record))))
                }
                Err(error) => Some(Err(error)),
            });
            found.collect()
        })
    }

    /// Reads several records of the tree.
    pub(super) fn scan<T>(
        &self,
        read: impl FnOnce(&Tree) -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        self.reading(|tree| read(tree).map_err(|error| unavailable(&error)))
    }
}

impl State {
    fn messages_of_all(&self, subscriptions: &[Subscription]) -> Vec<ToRemove> {
        let each = subscriptions.iter();
        each.flat_map(|it| self.index.of_subscription(it.uaid, it.id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::path::Path;

    use bugle_protocol::{ChannelId, SubscriptionId};

    use super::*;
    use crate::store::sled::SledStore;
    use crate::store::sled::open::open_trees;
    use crate::store::{Inspect, Store};

    const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
    const DAY: u64 = 24 * 3600;

    const fn uaid(n: u8) -> Uaid {
        Uaid::from_bytes([n; 16])
    }

    /// Opens a store with what the version before days of service wrote: user agents with one
    /// subscription each, and the format.
    fn old_store(folder: &Path) -> SledStore {
        let (db, tree, _) = open_trees(folder, 1 << 20).unwrap();
        db.insert(b"format", encode(&2_u32).unwrap()).unwrap();
        for n in 1..=2 {
            let life = SubscriptionId::from_bytes([n; 16]);
            let record = encode(&(life, None::<Vec<u8>>)).unwrap();
            let key = subscription_key(uaid(n), CHANNEL);
            tree.insert(key, record).unwrap();
            let count = encode(&1_u32).unwrap();
            tree.insert(user_agent_key(uaid(n)), count).unwrap();
        }
        db.flush().unwrap();
        drop((db, tree));
        SledStore::open_default(folder).unwrap()
    }

    async fn end_unused_on(store: &SledStore, day: u64) -> Unused {
        let sweep = Sweep {
            now: UnixTime::from_secs((20_000 + day) * DAY),
            unused_days: Some(30),
            limit: 10,
            is_connected: &|_, _| false,
        };
        store.end_unused(sweep).await.unwrap()
    }

    #[tokio::test]
    async fn records_of_an_older_version_count_as_used_when_first_opened() {
        let folder = tempfile::tempdir().unwrap();
        let store = old_store(folder.path());
        assert_eq!(store.usage().subscriptions, 2);
        let mut ended = Vec::new();
        for day in 0..60 {
            if day == 10 {
                assert_eq!(store.connect(uaid(1)).await, Ok(true));
            }
            if end_unused_on(&store, day).await != Unused::default() {
                store.flush().await.unwrap();
                let mut known = Vec::new();
                for ua in [uaid(1), uaid(2)] {
                    known.push(!store.subscriptions(ua).await.unwrap().is_empty());
                }
                ended.push((day, known));
            }
        }
        // Recorded before the last of those days was counted.
        let expected = [(37, vec![true, false]), (46, vec![false, false])];
        assert_eq!(ended, expected);
    }

    #[tokio::test]
    async fn a_user_agent_with_a_damaged_record_is_neither_unknown_nor_ended() {
        let folder = tempfile::tempdir().unwrap();
        let store = old_store(folder.path());
        let tree = store.database().unwrap().tree.clone();
        let key = subscription_key(uaid(1), CHANNEL);
        tree.insert(key, b"not what it was").unwrap();
        tree.insert(user_agent_key(uaid(2)), b"not what it was")
            .unwrap();
        for day in 0..60 {
            assert_eq!(end_unused_on(&store, day).await, Unused::default());
        }
        let unknown = store.connect(uaid(2)).await;
        assert!(matches!(unknown, Err(StoreError::Unavailable(_))));
    }
}
