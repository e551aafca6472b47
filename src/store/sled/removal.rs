//! Taking messages out, with the receipts that they leave, and the sweep of
//! all that has expired.

use bugle_protocol::{MessageId, PublicKey, ReceiptSubscriptionId, Uaid, UnixTime};

use super::changes::Changes;
use super::engine::{Engine, State};
use super::keys::{message_key, receipt_key};
use crate::store::{Expired, Holder, Removal, Removed, StoreError};

/// How much is removed under one hold of the lock.
const EXPIRED_AT_ONCE: usize = 64;

impl State {
    /// How many keys the removal of these messages changes.
    pub(super) fn keys_of(&self, messages: &[(Uaid, MessageId)]) -> usize {
        let keys = |(uaid, id): &(Uaid, MessageId)| {
            // A receipt is written, and may push another one out.
            let receipt = if self.index.is_awaited(*id) { 2 } else { 0 };
            let entry = self.index.get(*uaid, *id)?;
            Some(usize::from(entry.parts) + receipt)
        };
        messages.iter().filter_map(keys).sum()
    }
}

impl Engine {
    /// Removes those of the messages that are there, in one step.
    pub(super) async fn remove_all(
        &self,
        messages: &[(Uaid, MessageId)],
        why: Removal,
        now: UnixTime,
    ) -> Result<Removed, StoreError> {
        let keys = self.state()?.keys_of(messages);
        if keys == 0 {
            return Ok(Removed::default());
        }
        let room = self.committer.room(keys, 0).await?;
        let mut state = self.state()?;
        let removed = self.apply_removal(&mut state, messages, why, now, Changes::default())?;
        drop(state);
        self.committer.commit_later(Some(room));
        Ok(removed)
    }

    /// Applies `changes`, the removal of those of the messages that are there,
    /// and their receipts, in one step.
    pub(super) fn apply_removal(
        &self,
        state: &mut State,
        messages: &[(Uaid, MessageId)],
        why: Removal,
        now: UnixTime,
        mut changes: Changes,
    ) -> Result<Removed, StoreError> {
        for (uaid, id) in messages {
            if let Some(entry) = state.index.get(*uaid, *id) {
                changes.remove_message(message_key(*uaid, *id), entry.parts);
            }
        }
        let settled = messages
            .iter()
            .filter_map(|(uaid, id)| state.index.settle(*uaid, *id, why));
        let plan = state.receipts.plan(settled, now, &self.limits);
        changes.write_receipts(&plan)?;
        self.apply(changes)?;
        let removed = messages
            .iter()
            .filter(|(uaid, id)| state.index.remove(*uaid, *id).is_some());
        Ok(Removed {
            messages: removed.count(),
            wake: state.receipts.commit(plan),
        })
    }

    /// Removes what a key has signed among the next messages behind `after`.
    pub(super) async fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<(UnixTime, MessageId)>,
        now: UnixTime,
    ) -> Result<(Removed, Option<(UnixTime, MessageId)>), StoreError> {
        let holder = Holder::Key(key);
        let (signed, last) = {
            let state = self.state()?;
            state.index.charged_to(holder, after, EXPIRED_AT_ONCE)
        };
        let removed = self.remove_all(&signed, Removal::GivenUp, now).await?;
        Ok((removed, last))
    }

    pub(super) async fn sweep(&self, now: UnixTime, limit: usize) -> Result<Expired, StoreError> {
        let mut swept = Expired::default();
        while swept.messages < limit {
            let at_once = EXPIRED_AT_ONCE.min(limit - swept.messages);
            let expired = self.state()?.index.expired(now, at_once);
            if expired.is_empty() {
                break;
            }
            let removed = self.remove_all(&expired, Removal::GivenUp, now).await?;
            swept.messages += removed.messages;
            swept.wake.extend(removed.wake);
        }
        let left = self.sweep_receipts(now, limit - swept.messages).await?;
        let (left, ended) = self.sweep_receipt_subscriptions(now, left).await?;
        swept.wake.extend(ended);
        swept.wake.sort_unstable();
        swept.wake.dedup();
        swept.more = left == 0;
        Ok(swept)
    }

    /// Removes up to `limit` expired receipts, and says how much of that is
    /// left.
    async fn sweep_receipts(&self, now: UnixTime, limit: usize) -> Result<usize, StoreError> {
        let mut left = limit;
        while left > 0 {
            let at_once = EXPIRED_AT_ONCE.min(left);
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

    /// Removes receipt subscriptions that have ended, while anything is left of
    /// `limit`; says what is left of it, and which they were.
    async fn sweep_receipt_subscriptions(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Result<(usize, Vec<ReceiptSubscriptionId>), StoreError> {
        let (mut left, mut ended) = (limit, Vec::new());
        while left > 0 {
            let Some(id) = self.state()?.receipts.ended(now) else {
                break;
            };
            let room = self.receipts_room(id).await?;
            let removed = self.apply_remove_receipts(id)?;
            self.committer.commit_later(Some(room));
            if let Some(keys) = removed {
                left = left.saturating_sub(keys);
                ended.push(id);
            }
        }
        Ok((left, ended))
    }
}
