//! Messages: appending and reading them.

use bugle_protocol::{MessageId, PushMessage, Uaid, UnixTime};

use super::changes::Changes;
use super::commit::{Place, Room};
use super::engine::{Engine, State};
use super::keys::{IDS_KEY, message_key, part_keys, receipt_subscription_key};
use super::record::{PART, decode_message, encode, encode_message, read_message};
use crate::store::event::{Event, News, OnAccepted};
use crate::store::index::Oldest;
use crate::store::{Batch, Filter, Largest, NewMessage, Page, StoreError};

impl Engine {
    pub(super) async fn append_message(
        &self,
        uaid: Uaid,
        message: NewMessage,
        accepted: Option<OnAccepted>,
    ) -> Result<MessageId, StoreError> {
        let is_stored = message.is_stored();
        // An end only grows: what grants nothing now does not do so later. What
        // is refused now may be let in later, and is refused by the append.
        let grants = {
            let state = self.state()?;
            state.receipts.grant(&message, &self.limits) != Ok(None)
        };
        let place = if is_stored || grants {
            self.space.admit()?;
            Some(self.committer.place()?)
        } else {
            None
        };
        let record = is_stored.then(|| encode_message(&message)).transpose()?;
        let record = record.unwrap_or_default();
        let others = usize::from(message.topic.is_some()) + usize::from(grants);
        let keys = record.len().div_ceil(PART) + others;
        let mut room = self.committer.room(keys, record.len()).await?;
        let (id, noted) = loop {
            if let Some(applied) = self.apply_append(uaid, &message, &record)? {
                break applied;
            }
            // Half a block of ids has gone out since the last sync began.
            let sync = self.committer.place()?;
            self.committer.commit(sync, None, News::default()).await?;
        };
        let room = (keys > 0 || noted.is_some()).then(|| {
            noted.into_iter().for_each(|noted| room.merge(noted));
            room
        });
        let mut news = News {
            accepted: accepted.map(|accepted| (id, accepted)),
            events: Vec::new(),
        };
        if is_stored {
            let channel = message.channel;
            news.events.push(Event::Message { uaid, channel });
        }
        self.commit_append(place, room, is_stored, news).await?;
        Ok(id)
    }

    /// Waits until an append is as durable as it has to be, and tells of it.
    async fn commit_append(
        &self,
        place: Option<Place>,
        room: Option<Room>,
        is_stored: bool,
        news: News,
    ) -> Result<(), StoreError> {
        match (place, room) {
            (Some(place), room) if is_stored => {
                return self.committer.commit(place, room, news).await;
            }
            (Some(place), room) => self.committer.commit(place, room, News::default()).await?,
            (None, Some(room)) => drop(self.committer.commit_later(Some(room))),
            (None, None) => {}
        }
        // Nothing waits from here on: whoever offers it is not cancelled.
        self.notifier.tell(news);
        Ok(())
    }

    /// The message's id, and what noting the use of its subscription took, if
    /// that was due. `None` when no id may be given out before the next sync.
    fn apply_append(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        record: &[u8],
    ) -> Result<Option<(MessageId, Option<Room>)>, StoreError> {
        let (mut state, known) = self.state_with(uaid, |engine| {
            engine.read_used_subscription(uaid, message.channel)
        })?;
        let known = known
            .filter(|(found, _)| found.id == message.subscription)
            .ok_or(StoreError::NoSubscription)?;
        let replaced = state.index.admit(uaid, message, &self.limits);
        let replaced = replaced.map_err(StoreError::Full)?;
        let awaited = state.index.awaited_with(replaced);
        let granted = state.receipts.admit(message, awaited, &self.limits)?;
        let Some(id) = self.take_id(&mut state)? else {
            return Ok(None);
        };
        let mut changes = Changes::default();
        let mut parts = 0;
        if message.is_stored() {
            parts = changes.insert_message(message_key(uaid, id), record)?;
        }
        if let Some(replaced) = replaced.and_then(|id| state.index.get(uaid, id)) {
            changes.remove_message(message_key(uaid, replaced.id), replaced.parts);
        }
        if let Some((to, ends_at)) = granted {
            changes.insert(&receipt_subscription_key(to), &encode(&ends_at)?);
        }
        let noted = self.note_received(&state, known, &mut changes)?;
        self.apply(changes)?;
        if let Some((to, ends_at)) = granted {
            let (origin, now) = (&message.origin, message.accepted_at);
            state.receipts.put(to, ends_at, origin, now);
        }
        if let Some(replaced) = replaced {
            state.index.remove(uaid, replaced);
        }
        if message.is_stored() {
            state.index.insert(uaid, id, message, parts);
        }
        Ok(Some((id, noted)))
    }

    fn take_id(&self, state: &mut State) -> Result<Option<MessageId>, StoreError> {
        let due = state.ids.due(|batch| self.committer.is_durable(batch));
        // What is reserved can be given out also while the disk takes nothing.
        if let Some(bound) = due.filter(|_| self.committer.health().is_ok()) {
            let mut changes = Changes::default();
            changes.insert(IDS_KEY, &encode(&bound)?);
            self.apply(changes)?;
            state.ids.reserved(bound, self.committer.commit_later(None));
        }
        Ok(state.ids.take())
    }

    pub(super) fn read_pending(
        &self,
        uaid: Uaid,
        mut after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> Result<Page<PushMessage>, StoreError> {
        loop {
            let page = self.next_entries(uaid, after, filter, batch, now)?;
            let mut items = Vec::with_capacity(page.items.len());
            for (id, parts) in &page.items {
                items.extend(self.read_one(uaid, *id, *parts)?);
            }
            // All of them may have been removed meanwhile: that is not the end
            // of the log.
            if !items.is_empty() || !page.more {
                let more = page.more;
                return Ok(Page { items, more });
            }
            after = page.items.last().map(|(id, _)| *id);
        }
    }

    /// The next entries of a log, each with the number of its parts.
    fn next_entries(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> Result<Page<(MessageId, u16)>, StoreError> {
        let (state, only) = self.state_with(uaid, |engine| {
            let channel = filter.channel;
            channel
                .map(|it| engine.read_subscription(uaid, it))
                .transpose()
        })?;
        let only = match only {
            Some(None) => return Ok(Page::EMPTY),
            only => only.flatten().map(|subscription| subscription.id),
        };
        let filter = (filter.min_urgency, only);
        let page = state.index.after(uaid, after, filter, batch, now);
        let entries = page.items.iter();
        Ok(Page {
            items: entries.map(|entry| (entry.id, entry.parts)).collect(),
            more: page.more,
        })
    }

    /// `None` when the message was removed meanwhile, or is set aside now.
    fn read_one(
        &self,
        uaid: Uaid,
        id: MessageId,
        parts: u16,
    ) -> Result<Option<PushMessage>, StoreError> {
        let key = message_key(uaid, id);
        let decoded = |record: Option<Vec<u8>>| decode_message(&record?).ok();
        let record = self.reading(|tree| read_message(tree, key, parts))?;
        if let Some(message) = decoded(record) {
            return Ok(Some(message.with_id(id)));
        }
        // Under the lock, so that nobody else reads or removes it meanwhile; it
        // is rare, and no more than one message.
        let mut state = self.state()?;
        if state.index.remove(uaid, id).is_some() {
            for key in part_keys(key, parts) {
                self.set_aside(&key, "a message")?;
                state.damaged += 1;
            }
        }
        Ok(None)
    }

    pub(super) fn largest(&self, most: usize) -> Result<Largest, StoreError> {
        let (logs, receipts) = {
            let state = self.state()?;
            let receipts = state.receipts.largest(most, &self.limits);
            (state.index.largest(most), receipts)
        };
        // Not under the lock: these are up to two thousand records.
        logs.read(receipts, |Oldest { uaid, id, parts }| {
            let key = message_key(uaid, id);
            let record = self.reading(|tree| read_message(tree, key, parts))?;
            let message = record.and_then(|record| decode_message(&record).ok());
            Ok(message.map(|it| (it.channel, it.accepted_at)))
        })
    }

    pub(super) fn read_live(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> Result<Option<PushMessage>, StoreError> {
        let parts = {
            let state = self.state()?;
            let entry = state.index.get(uaid, id).filter(|e| e.is_live(now));
            entry.map(|entry| entry.parts)
        };
        parts.map_or(Ok(None), |parts| self.read_one(uaid, id, parts))
    }
}
