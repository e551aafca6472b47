//! Removes messages, creates the receipts of their removal, and sweeps everything that has expired.

use bugle_protocol::UnixTime;

use super::changes::Changes;
use super::commit::Room;
use super::database::{Database, State};
use super::keys::{message_key, receipt_key};
use crate::store::StoreError;
use crate::store::event::{Event, News};
use crate::store::index::{Index, Leaving};
use crate::store::receipt::Removed;

/// How many messages or receipts are removed under one hold of the lock.
pub(super) const AT_ONCE: usize = 64;

impl State {
    /// Returns how many keys the removal of these messages changes.
    pub(super) fn keys_of(&self, messages: &[Leaving]) -> usize {
        let keys = |(uaid, id, _): &Leaving| {
            // The removal writes a receipt, which may evict another one.
            let receipt = if self.index.is_awaited(*id) { 2 } else { 0 };
            let entry = self.index.get(*uaid, *id)?;
            Some(usize::from(entry.parts) + receipt)
        };
        messages.iter().filter_map(keys).sum()
    }
}

impl Database {
    /// Removes the messages that `find` returns, in one step, and returns their number.
    pub(super) fn remove_now(
        &self,
        room: Room,
        find: impl FnOnce(&Index) -> Vec<Leaving>,
        now: UnixTime,
    ) -> Result<usize, StoreError> {
        let mut state = self.state()?;
        let messages = find(&state.index);
        let removed = self.apply_removal(&mut state, &messages, now, Changes::default())?;
        drop(state);
        self.committer.commit_later(Some(room));
        self.notifier
            .tell(News::default().receipts(removed.receipts));
        Ok(removed.messages)
    }

    /// Applies `changes`, the removal of those messages that exist, and their receipts, in one
    /// step.
    pub(super) fn apply_removal(
        &self,
        state: &mut State,
        messages: &[Leaving],
        now: UnixTime,
        mut changes: Changes,
    ) -> Result<Removed, StoreError> {
        for (uaid, id, _) in messages {
            if let Some(entry) = state.index.get(*uaid, *id) {
                changes.remove_message(message_key(*uaid, *id), entry.parts);
            }
        }
        let settled = messages
            .iter()
            .filter_map(|(uaid, id, why)| state.index.settle(*uaid, *id, *why));
        let plan = state.receipts.plan(settled, now, &self.limits);
        changes.write_receipts(&plan)?;
        self.apply(changes)?;
        let removed = messages
            .iter()
            .filter(|(uaid, id, _)| state.index.remove(*uaid, *id).is_some());
        Ok(Removed {
            messages: removed.count(),
            receipts: state.receipts.commit(plan),
        })
    }

    /// Removes up to `limit` expired messages, and returns their number.
    pub(super) async fn sweep_messages(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut removed = 0;
        while removed < limit {
            let at_once = AT_ONCE.min(limit - removed);
            let keys = {
                let state = self.state()?;
                state.keys_of(&state.index.expired(now, at_once))
            };
            if keys == 0 {
                break;
            }
            let room = self.committer.room(keys, 0).await?;
            removed += self.remove_now(room, |index| index.expired(now, at_once), now)?;
        }
        Ok(removed)
    }

    /// Removes up to `limit` expired receipts, and returns what remains of `limit`.
    pub(super) async fn sweep_receipts(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut left = limit;
        while left > 0 {
            let at_once = AT_ONCE.min(left);
            let room = self.committer.room(at_once, 0).await?;
            let mut state = self.state()?;
            let expired = state.receipts.expired(now, at_once);
            if expired.is_empty() {
                break;
            }
            let mut changes = Changes::default();
            for (subscription, id) in &expired {
                changes.remove(&receipt_key(*subscription, *id));
            }
            self.apply(changes)?;
            for (subscription, id) in &expired {
                state.receipts.remove_receipt(*subscription, *id);
            }
            drop(state);
            self.committer.commit_later(Some(room));
            left -= expired.len();
        }
        Ok(left)
    }

    /// Removes ended receipt subscriptions until `limit` keys are removed, and returns what remains
    /// of `limit`.
    pub(super) async fn sweep_receipt_subscriptions(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut left = limit;
        while left > 0 {
            let Some(id) = self.state()?.receipts.ended(now) else {
                break;
            };
            let room = self.receipts_room(id).await?;
            let removed = self.apply_remove_receipts(id)?;
            self.committer.commit_later(Some(room));
            if let Some(keys) = removed {
                left = left.saturating_sub(keys);
                self.notifier.tell(Event::Receipts(id).into());
            }
        }
        Ok(left)
    }
}
