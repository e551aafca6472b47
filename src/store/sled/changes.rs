//! Batches of changes to the tree.

use sled::{Batch, IVec, Tree};

use super::contents::KeySum;
use super::generations::counter_of;
use super::keys::{
    BROADCAST, MESSAGE, MessageKey, RECEIPT, RECEIPT_SUBSCRIPTION, SUBSCRIPTION, part_keys,
    receipt_key,
};
use super::record::{PART, encode_receipt, parts_of};
use crate::store::StoreError;
use crate::store::receipt_logs::Plan;

/// A batch of changes that the tree applies atomically.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<(Vec<u8>, Option<IVec>)>);

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, key: &[u8], record: &[u8]) {
        self.0.push((key.to_vec(), Some(record.into())));
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.0.push((key.to_vec(), None));
    }

    /// Inserts a message, split into parts, and returns the number of parts.
    pub(super) fn insert_message(
        &mut self,
        key: MessageKey,
        record: &[u8],
    ) -> Result<u16, StoreError> {
        let parts = parts_of(record)?;
        for (key, part) in part_keys(key, parts).zip(record.chunks(PART)) {
            self.0.push((key, Some(part.into())));
        }
        Ok(parts)
    }

    pub(super) fn remove_message(&mut self, key: MessageKey, parts: u16) {
        self.0.extend(part_keys(key, parts).map(|key| (key, None)));
    }

    /// Inserts the receipts of a plan, and removes those that the plan evicts.
    pub(super) fn write_receipts(&mut self, plan: &Plan) -> Result<(), StoreError> {
        for (subscription, id) in &plan.dropped {
            self.remove(&receipt_key(*subscription, *id));
        }
        for (subscription, stored) in &plan.added {
            let key = receipt_key(*subscription, stored.receipt.id);
            self.insert(&key, &encode_receipt(stored)?);
        }
        Ok(())
    }

    /// Returns the generation counters of the user agents whose records change.
    pub(super) fn counters(&self) -> Vec<u8> {
        let counters = self.0.iter().filter_map(|(key, _)| counter_of(key));
        counters.collect()
    }

    /// Returns the sums of the keys that these changes add and remove.
    pub(super) fn difference(&self, tree: &Tree) -> sled::Result<(KeySum, KeySum)> {
        let (mut added, mut removed) = (KeySum::default(), KeySum::default());
        for (key, record) in &self.0 {
            let was_there = match key.first() {
                // Message and receipt keys are never written twice, nor removed when absent. The
                // other kinds are rare, and the lookup reads the page that is written next.
                Some(&(MESSAGE | RECEIPT)) => record.is_none(),
                Some(&(SUBSCRIPTION | BROADCAST | RECEIPT_SUBSCRIPTION)) => {
                    tree.contains_key(key)?
                }
                _ => continue,
            };
            match (record, was_there) {
                (Some(_), false) => added.add(key),
                (None, true) => removed.add(key),
                _ => {}
            }
        }
        Ok((added, removed))
    }

    /// Applies the changes. A single change is applied without a batch, because a batch starts a
    /// new buffer and costs the engine an extra write.
    pub(super) fn apply(self, tree: &Tree) -> sled::Result<()> {
        let mut changes = self.0;
        let single = if changes.len() == 1 {
            changes.pop()
        } else {
            None
        };
        match single {
            Some((key, Some(record))) => tree.insert(key, record).map(drop),
            Some((key, None)) => tree.remove(key).map(drop),
            None if changes.is_empty() => Ok(()),
            None => tree.apply_batch(batch(changes)),
        }
    }
}

fn batch(changes: Vec<(Vec<u8>, Option<IVec>)>) -> Batch {
    let mut batch = Batch::default();
    for (key, record) in changes {
        match record {
            Some(record) => batch.insert(key, record),
            None => batch.remove(key),
        }
    }
    batch
}
