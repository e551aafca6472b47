//! Implements [`Store`]: each change takes its permits from the committer, changes the database
//! under its lock, and is then committed.

use bugle_protocol::{ChannelId, MessageId, PushMessage, SubscriptionId, Uaid, UnixTime};

use super::SledStore;
use super::database::Database;
use super::keys::subscriptions_prefix;
use super::record::{PART, encode_message, unavailable};
use super::subscriptions::decoded;
use super::{removal, unused};
use crate::store::days::{Sweep, Unused};
use crate::store::event::{Event, Notice, OnAccepted, Readers};
use crate::store::{
    Batch, BoxFuture, Expired, Filter, NewMessage, Page, Removal, Store, StoreError, Subscription,
};

impl Store for SledStore {
    fn connect(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let Some(found) = database.user_agent(uaid)? else {
                return Ok(false);
            };
            // An error here is ignored, because the next connection writes the note. The failure
            // itself is logged and counted where it occurs.
            let _ = database.note_connected(uaid, &found);
            Ok(true)
        })
    }

    fn subscribe(
        &self,
        new: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Subscription, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let (uaid, channel) = (new.uaid, new.channel);
            let same = |it: &Subscription| it.vapid_key == new.vapid_key;
            let known = database.read_subscription(uaid, channel)?.filter(same);
            if let Some(known) = known
                && database.is_durable((uaid, channel))?
            {
                return Ok(known);
            }
            database.space.admit()?;
            let permit = database.committer.try_wait_permit()?;
            let bytes = database.subscription_permit(uaid, channel).await?;
            let (subscription, notice) = database.apply_put(new, now)?;
            // An existing subscription may still wait for the disk; so does this answer.
            database
                .committer
                .commit(permit, Some(bytes), notice)
                .await?;
            Ok(subscription)
        })
    }

    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            if !database.is_durable((uaid, channel))? {
                return Err(StoreError::Unavailable(
                    "the disk has not confirmed the last change of this subscription".to_owned(),
                ));
            }
            database.read_subscription(uaid, channel)
        })
    }

    fn subscriptions(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move {
            // This scan is for the rare request that concerns all subscriptions.
            self.database()?.reading(|tree| {
                let records = tree.scan_prefix(subscriptions_prefix(uaid));
                let subscriptions = records.map(|item| {
                    let (key, record) = item.map_err(|error| unavailable(&error))?;
                    decoded(&key, &record).map(|(subscription, _)| subscription)
                });
                subscriptions.collect()
            })
        })
    }

    fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let (database, name) = (self.database()?, (uaid, channel));
            let permit = database.committer.try_wait_permit()?;
            let bytes = database.subscription_permit(uaid, channel).await?;
            let notice = database.apply_end(name, life, readers, now)?;
            let was_there = notice.is_some();
            // The subscription may be removed in memory only; until that is durable, its absence
            // must not be reported.
            if was_there || !database.is_durable(name)? {
                let notice = notice.unwrap_or_default();
                database
                    .committer
                    .commit(permit, Some(bytes), notice)
                    .await?;
            }
            Ok(was_there)
        })
    }

    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let days = database.count_days(sweep.now).await?;
            let (mut unused, mut remaining) = (Unused::default(), sweep.limit);
            let Some(unused_days) = sweep.unused_days else {
                return Ok(unused);
            };
            while remaining > 0 && !database.state()?.pass.is_done(days.today) {
                let after = database.state()?.pass.after;
                let mut last = None;
                for (uaid, user_agent) in database.read_user_agents(after, unused::READ_BATCH)? {
                    if remaining == 0 {
                        break;
                    }
                    (remaining, last) = (remaining - 1, Some(uaid));
                    // A damaged record is left for the next start.
                    let Ok(user_agent) = user_agent else { continue };
                    if (sweep.is_connected)(uaid, &[]) {
                        database.note_connected(uaid, &user_agent)?;
                    } else if days.is_unused(user_agent.connected, unused_days) {
                        let ended = database.end_if_unused(uaid, unused_days, &sweep).await?;
                        remaining = remaining.saturating_sub(ended.subscriptions);
                        unused += ended;
                    }
                }
                database.state()?.pass.go_on(last, days.today);
                tokio::task::yield_now().await;
            }
            Ok(unused)
        })
    }

    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
        accepted: Option<OnAccepted>,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>> {
        Box::pin(async move {
            let (database, is_stored) = (self.database()?, message.is_stored());
            let grants = database.grants(&message)?;
            let permit = database.append_permit(is_stored || grants)?;
            let record = is_stored.then(|| encode_message(&message)).transpose()?;
            let record = record.unwrap_or_default();
            let others = usize::from(message.topic.is_some()) + usize::from(grants);
            let keys = record.len().div_ceil(PART) + others;
            let mut bytes = database.committer.byte_permit(keys, record.len()).await?;
            let (id, noted) = loop {
                match database.apply_append(uaid, &message, &record)? {
                    Some(applied) => break applied,
                    None => database.sync(database.committer.try_wait_permit()?).await?,
                }
            };
            let bytes = (keys > 0 || noted.is_some()).then(|| {
                noted.into_iter().for_each(|noted| bytes.merge(noted));
                bytes
            });
            let channel = message.channel;
            let stored = is_stored.then_some(Event::Message { uaid, channel });
            let notice = Notice {
                accepted: accepted.map(|accepted| (id, accepted)),
                events: Vec::from_iter(stored),
            };
            database
                .commit_append(permit, bytes, is_stored, notice)
                .await?;
            Ok(id)
        })
    }

    fn pending(
        &self,
        uaid: Uaid,
        mut after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Page<PushMessage>, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let read_life = |database: &Database| match filter.channel {
                Some(channel) => Ok(database
                    .read_subscription(uaid, channel)?
                    .map(|it| Some(it.id))),
                None => Ok(Some(None)),
            };
            loop {
                let entries = {
                    let (state, life) = database.state_with(uaid, read_life)?;
                    let Some(life) = life else {
                        return Ok(Page::EMPTY);
                    };
                    let filter = (filter.min_urgency, life);
                    let page = state.index.after(uaid, after, filter, batch, now);
                    page.map(|entry| (entry.id, entry.parts))
                };
                let mut items = Vec::with_capacity(entries.items.len());
                for (id, parts) in &entries.items {
                    items.extend(database.read_one(uaid, *id, *parts)?);
                }
                // All of them may have been removed concurrently, which is not the end of the log.
                if !items.is_empty() || !entries.more {
                    let more = entries.more;
                    return Ok(Page { items, more });
                }
                after = entries.items.last().map(|(id, _)| *id);
            }
        })
    }

    fn give_out(&self, id: MessageId) {
        // If this cannot be noted, the database is about to be replaced, and the message counts as
        // before.
        if let Ok(database) = self.database()
            && let Ok(mut state) = database.state()
        {
            state.index.give_out(id);
        }
    }

    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let parts = {
                let state = database.state()?;
                let entry = state.index.get(uaid, id).filter(|e| e.is_live(now));
                entry.map(|entry| entry.parts)
            };
            parts.map_or(Ok(None), |parts| database.read_one(uaid, id, parts))
        })
    }

    fn remove<'s>(
        &'s self,
        uaid: Uaid,
        messages: &'s [(MessageId, Removal)],
        now: UnixTime,
    ) -> BoxFuture<'s, Result<usize, StoreError>> {
        Box::pin(async move {
            let (database, mut removed) = (self.database()?, 0);
            for some in messages.chunks(removal::REMOVAL_BATCH) {
                let keys = {
                    let state = database.state()?;
                    state.keys_of(&state.index.present(uaid, some))
                };
                if keys > 0 {
                    let bytes = database.committer.byte_permit(keys, 0).await?;
                    removed +=
                        database.remove_now(bytes, |index| index.present(uaid, some), now)?;
                }
            }
            Ok(removed)
        })
    }

    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let messages = database.sweep_messages(now, limit).await?;
            let remaining = database.sweep_receipts(now, limit - messages).await?;
            let remaining = database.sweep_receipt_subscriptions(now, remaining).await?;
            let more = remaining == 0;
            Ok(Expired { messages, more })
        })
    }

    fn health(&self) -> Result<(), StoreError> {
        self.database()?.committer.health()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let permit = database.committer.wait_permit().await?;
            database.sync(permit).await
        })
    }
}
