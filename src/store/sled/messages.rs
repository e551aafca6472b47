//! Appending and reading messages.

use bugle_protocol::{MessageId, PushMessage, Uaid};

use super::changes::Changes;
use super::commit::{BytePermit, WaitPermit};
use super::database::{Database, State};
use super::keys::{IDS_KEY, message_key, part_keys, receipt_subscription_key};
use super::record::{decode_message, encode, read_message};
use crate::store::event::Notice;
use crate::store::{NewMessage, StoreError};

impl Database {
    /// Returns whether a message creates or extends its receipt subscription.
    ///
    /// Receipt subscriptions are only extended, so a message that grants nothing now grants nothing
    /// later. A message that is refused here may still be admitted by the append, which checks
    /// again.
    pub(super) fn grants(&self, message: &NewMessage) -> Result<bool, StoreError> {
        Ok(self.state()?.receipts.grant(message, &self.limits) != Ok(None))
    }

    /// Takes a permit to wait for the disk, if the append waits for it.
    pub(super) fn append_permit(&self, waits: bool) -> Result<Option<WaitPermit>, StoreError> {
        if !waits {
            return Ok(None);
        }
        self.space.admit()?;
        self.committer.try_wait_permit().map(Some)
    }

    /// Waits until everything that was applied before the call is durable.
    pub(super) async fn sync(&self, permit: WaitPermit) -> Result<(), StoreError> {
        self.committer.commit(permit, None, Notice::default()).await
    }

    /// Waits until an append is as durable as it has to be, and notifies the listener.
    pub(super) async fn commit_append(
        &self,
        permit: Option<WaitPermit>,
        bytes: Option<BytePermit>,
        is_stored: bool,
        notice: Notice,
    ) -> Result<(), StoreError> {
        match (permit, bytes) {
            (Some(permit), bytes) if is_stored => {
                return self.committer.commit(permit, bytes, notice).await;
            }
            (Some(permit), bytes) => {
                let nothing = Notice::default();
                self.committer.commit(permit, bytes, nothing).await?;
            }
            (None, Some(bytes)) => drop(self.committer.commit_later(Some(bytes))),
            (None, None) => {}
        }
        // There is no await from here on, so the caller cannot be cancelled before the listener is
        // notified.
        self.notifier.notify(notice);
        Ok(())
    }

    /// Applies an append. Returns the id of the message, and the permit for recording the use of
    /// its subscription, if that was due. `None` when no id may be given out before the next sync:
    /// half a block of ids was given out since the last sync started.
    pub(super) fn apply_append(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        record: &[u8],
    ) -> Result<Option<(MessageId, Option<BytePermit>)>, StoreError> {
        let (mut state, known) = self.state_with(uaid, |database| {
            database.read_used_subscription(uaid, message.channel)
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
        // Ids that are already reserved are given out even while the disk fails.
        if let Some(bound) = due.filter(|_| self.committer.health().is_ok()) {
            let mut changes = Changes::default();
            changes.insert(IDS_KEY, &encode(&bound)?);
            self.apply(changes)?;
            state.ids.reserved(bound, self.committer.commit_later(None));
        }
        Ok(state.ids.take())
    }

    /// Reads a message. Returns `None` if it was removed concurrently, or if it is damaged, in
    /// which case it is set aside.
    pub(super) fn read_one(
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
        // Under the lock, so that no other call reads or removes it concurrently. This is rare, and
        // concerns a single message.
        let mut state = self.state()?;
        if state.index.remove(uaid, id).is_some() {
            for key in part_keys(key, parts) {
                self.set_aside(&key, "a message")?;
                state.damaged += 1;
            }
        }
        Ok(None)
    }
}
