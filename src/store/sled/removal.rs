//! Removes messages, creates the receipts of their removal, and sweeps everything that has expired.

use bugle_protocol::UnixTime;

use super::changes::Changes;
use super::commit::BytePermit;
use super::database::{Database, State};
use super::keys::{message_key, receipt_key};
use crate::store::StoreError;
use crate::store::event::{Event, Notice};
use crate::store::index::{Index, ToRemove};
use crate::store::receipt::Removed;

/// How many messages or receipts are removed under one hold of the lock.
pub(super) const REMOVAL_BATCH: usize = 64;

impl State {
    /// Returns how many keys the removal of these messages changes.
    pub(super) fn keys_of(&self, messages: &[ToRemove]) -> usize {
        let keys = |(uaid, id, _): &ToRemove| {
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
        bytes: BytePermit,
        find: impl FnOnce(&Index) -> Vec<ToRemove>,
        now: UnixTime,
    ) -> Result<usize, StoreError> {
        let mut state = self.state()?;
        let messages = find(&state.index);
        let removed = self.apply_removal(&mut state, &messages, now, Changes::default())?;
        drop(state);
        self.committer.commit_later(Some(bytes));
        self.notifier
            .notify(Notice::default().receipts(removed.receipts));
        Ok(removed.messages)
    }

    /// Applies `changes`, the removal of those messages that exist, and their receipts, in one
    /// step.
    pub(super) fn apply_removal(
        &self,
        state: &mut State,
        messages: &[ToRemove],
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
            let at_once = REMOVAL_BATCH.min(limit - removed);
            let keys = {
                let state = self.state()?;
                state.keys_of(&state.index.expired(now, at_once))
            };
            if keys == 0 {
                break;
            }
            let bytes = self.committer.byte_permit(keys, 0).await?;
            removed += self.remove_now(bytes, |index| index.expired(now, at_once), now)?;
        }
        Ok(removed)
    }

    /// Removes up to `limit` expired receipts, and returns what remains of `limit`.
    pub(super) async fn sweep_receipts(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut remaining = limit;
        while remaining > 0 {
            let at_once = REMOVAL_BATCH.min(remaining);
            let bytes = self.committer.byte_permit(at_once, 0).await?;
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
            self.committer.commit_later(Some(bytes));
            remaining -= expired.len();
        }
        Ok(remaining)
    }

    /// Removes ended receipt subscriptions until `limit` keys are removed, and returns what remains
    /// of `limit`.
    pub(super) async fn sweep_receipt_subscriptions(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let mut remaining = limit;
        while remaining > 0 {
            let Some(id) = self.state()?.receipts.ended(now) else {
                break;
            };
            let bytes = self.receipts_permit(id).await?;
            let removed = self.apply_remove_receipts(id)?;
            self.committer.commit_later(Some(bytes));
            if let Some(keys) = removed {
                remaining = remaining.saturating_sub(keys);
                self.notifier.notify(Event::Receipts(id).into());
            }
        }
        Ok(remaining)
    }
}
