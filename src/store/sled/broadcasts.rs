//! Implements [`BroadcastStore`]: each broadcast is one small record.

use std::sync::Arc;

use sled::Tree;

use super::SledStore;
use super::changes::Changes;
use super::database::Database;
use super::keys::{BROADCAST, broadcast_key, parse_broadcast_key};
use super::record::{Damaged, decode, encode};
use super::recover::set_aside;
use crate::store::broadcasts::{Broadcasts, Label};
use crate::store::event::Event;
use crate::store::{BoxFuture, BroadcastStore, Limit, StoreError};

impl BroadcastStore for SledStore {
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            if version.is_some() {
                database.space.admit()?;
            }
            let permit = database.committer.try_wait_permit()?;
            let octets = version.as_ref().map_or(0, |version| version.as_str().len());
            let bytes = database.committer.byte_permit(1, octets).await?;
            let had = database.apply_broadcast(id, version)?;
            let notice = Event::Broadcasts.into();
            database
                .committer
                .commit(permit, Some(bytes), notice)
                .await?;
            Ok(had)
        })
    }

    fn broadcasts(&self) -> Arc<Broadcasts> {
        self.broadcasts.load_full()
    }
}

impl Database {
    fn apply_broadcast(&self, id: Label, version: Option<Label>) -> Result<bool, StoreError> {
        let _changing = self.state()?;
        let current = self.broadcasts.load();
        let had = current.has(&id);
        if version.is_some() && !had && current.len() >= self.limits.broadcasts {
            return Err(StoreError::Full(Limit::Broadcasts.into()));
        }
        let mut changes = Changes::default();
        let key = broadcast_key(&id);
        match &version {
            Some(version) => changes.insert(&key, &encode(&version.as_str())?),
            None => changes.remove(&key),
        }
        self.apply(changes)?;
        self.broadcasts.store(current.with(id, version).into());
        Ok(had)
    }
}

/// Reads all broadcasts. Damaged records are set aside and counted.
pub(super) fn read_all(tree: &Tree, damaged: &Tree) -> sled::Result<(Broadcasts, u64)> {
    let (mut found, mut bad) = (Broadcasts::default(), 0);
    for item in tree.scan_prefix([BROADCAST]) {
        let (key, record) = item?;
        match read(&key, &record) {
            Ok((id, version)) => found.insert(id, version),
            Err(Damaged) => {
                set_aside(tree, damaged, &key, "a broadcast")?;
                bad += 1;
            }
        }
    }
    Ok((found, bad))
}

/// Decodes the id and the version of a broadcast.
pub(super) fn read(key: &[u8], record: &[u8]) -> Result<(Label, Label), Damaged> {
    let version: String = decode(record)?;
    let version = Label::new(&version).ok_or(Damaged)?;
    Ok((parse_broadcast_key(key)?, version))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_broadcast_that_cannot_be_read_is_set_aside() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let (tree, damaged) = (db.open_tree("t").unwrap(), db.open_tree("d").unwrap());
        let label = |text| Label::new(text).unwrap();
        let good = encode(&"1").unwrap();
        tree.insert(broadcast_key(&label("good")), &*good).unwrap();
        tree.insert(broadcast_key(&label("bad")), b"nothing")
            .unwrap();
        tree.insert(b"b\xff", &*good).unwrap();
        let (found, bad) = read_all(&tree, &damaged).unwrap();
        assert_eq!(Vec::from_iter(found.versions()), [("good", "1")]);
        assert_eq!((bad, damaged.len(), tree.len()), (2, 2, 1));
    }
}
