//! A store that no service has open, for the commands that inspect, export or rebuild it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bugle_protocol::{MessageId, Uaid};
use sled::{Db, IVec, Tree};

use super::changes::Changes;
use super::contents::{self, Contents, KeySum};
use super::keys::{
    BROADCAST, DAYS_KEY, IDS_KEY, RECEIPT, RECEIPT_SUBSCRIPTION, SUBSCRIPTION, broadcast_key,
    message_key, receipt_key, receipt_subscription_key, subscription_key, user_agent_key,
};
use super::open::{self, OpenError};
use super::record::{
    Damaged, UserAgent, decode, decode_receipt, decode_receipt_subscription, decode_subscription,
    decode_user_agent, encode, encode_message, encode_receipt, encode_subscription,
    encode_user_agent,
};
use super::recover::{self, subscription_of};
use super::{broadcasts, scan};
use crate::store::days::Day;
use crate::store::export::Record;
use crate::store::receipt_logs::StoredReceipt;
use crate::store::{NewMessage, StoreError};

/// Bytes that may be written between two syncs; see `Committer`.
const UNSYNCED_BYTES: usize = 2 << 20;
/// What a key costs in addition to its record, in bytes.
const KEY_COST: usize = 512;

/// A store that is open for a command.
pub struct Offline {
    path: PathBuf,
    db: Db,
    tree: Tree,
    damaged: Tree,
    file: File,
    unsynced: usize,
}

/// An entry of the tree.
#[expect(
    clippy::large_enum_variant,
    reason = "one is read at a time, and none is kept"
)]
pub enum Found {
    /// A record.
    Good(Record),
    /// A damaged record of this kind, and its number of parts.
    Damaged(&'static str, u64),
}

/// Why a record cannot be inserted.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// It contradicts the records before it.
    #[error("{0}")]
    Refused(&'static str),
    /// The store cannot be read or written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be encoded, or is too large.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Offline {
    /// Opens the existing store in the folder `path`.
    ///
    /// # Errors
    /// Fails when there is no store, or it cannot be opened.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        Self::must_exist(path)?;
        Self::create(path, cache_bytes)
    }

    /// Checks that there is a store in the folder `path`.
    ///
    /// # Errors
    /// `Missing` if there is none.
    pub fn must_exist(path: &Path) -> Result<(), OpenError> {
        if path.join("db").exists() {
            return Ok(());
        }
        Err(OpenError::Missing {
            path: path.to_owned(),
        })
    }

    /// Opens the store in the folder `path`, or creates one.
    ///
    /// # Errors
    /// Fails when the store cannot be opened or created.
    pub fn create(path: &Path, cache_bytes: u64) -> Result<Self, OpenError> {
        let (db, tree, damaged) = open::open_trees(path, cache_bytes)?;
        let file = File::open(path.join("db"));
        Ok(Self {
            file: file.map_err(|source| open::folder(path, source))?,
            path: path.to_owned(),
            db,
            tree,
            damaged,
            unsynced: 0,
        })
    }

    /// Returns the number of keys.
    pub fn keys(&self) -> u64 {
        self.tree.len() as u64
    }

    /// Returns the number of damaged records that were set aside.
    pub fn set_aside(&self) -> u64 {
        self.damaged.len() as u64
    }

    /// Returns what differs from the keys that the store was closed with, if anything does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn missing(&self) -> Result<Option<String>, OpenError> {
        let before = contents::read(&self.path);
        let before = before.map_err(|source| open::folder(&self.path, source))?;
        let now = KeySum::of(&self.tree).map_err(|error| self.failed(error))?;
        Ok(contents::difference(before, now).map(|(_, what)| what))
    }

    /// Returns the size of its files in bytes.
    ///
    /// # Errors
    /// Fails when the size cannot be determined.
    pub fn disk_bytes(&self) -> Result<u64, OpenError> {
        self.db.size_on_disk().map_err(|error| self.failed(error))
    }

    /// Returns whether the store holds nothing that a user agent or an application server knows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_empty(&self) -> Result<bool, OpenError> {
        for item in self.tree.iter().keys() {
            let key = item.map_err(|error| self.failed(error))?;
            if ![IDS_KEY, DAYS_KEY].contains(&&*key) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns all records, in the order of an export.
    pub fn records(&self) -> impl Iterator<Item = Result<Found, OpenError>> {
        let next_id = [self.next_id()].into_iter();
        let days = self.days().transpose().into_iter();
        let of = |kind: u8| self.tree.scan_prefix([kind]);
        let subscriptions = of(SUBSCRIPTION).map(|item| {
            read(item, "subscriptions", |key, record| {
                let (subscription, used) = decode_subscription(key, record)?;
                let used = used.max(self.connected(subscription.uaid));
                Ok(Record::Subscription(subscription, used))
            })
        });
        let receipt_subscriptions = of(RECEIPT_SUBSCRIPTION).map(|item| {
            read(item, "receipt subscriptions", |key, record| {
                let (id, ends_at) = decode_receipt_subscription(key, record)?;
                Ok(Record::ReceiptSubscription(id, ends_at))
            })
        });
        let broadcasts = of(BROADCAST).map(|item| {
            read(item, "broadcasts", |key, record| {
                let (id, version) = broadcasts::read(key, record)?;
                Ok(Record::Broadcast(id, version))
            })
        });
        let messages = scan::messages(&self.tree).map(|parts| {
            let parts = parts?;
            let pieces = parts.len() as u64;
            Ok(match recover::read(&parts) {
                Ok((uaid, id, message, _))
                    if subscription_of(&self.tree, uaid, &message)?.is_some() =>
                {
                    Found::Good(Record::Message(uaid, id, message))
                }
                Ok(_) => Found::Damaged("messages without a subscription", pieces),
                Err(Damaged) => Found::Damaged("messages", pieces),
            })
        });
        let receipts = of(RECEIPT).map(|item| {
            read(item, "receipts", |key, record| {
                let (subscription, stored) = decode_receipt(key, record)?;
                // The service removes such a receipt at its next start.
                let of = receipt_subscription_key(subscription);
                self.tree
                    .contains_key(of)
                    .ok()
                    .filter(|there| *there)
                    .ok_or(Damaged)?;
                Ok(Record::Receipt(
                    subscription,
                    stored.receipt,
                    stored.expires_at,
                ))
            })
        });
        next_id
            .chain(days)
            .chain(subscriptions)
            .chain(receipt_subscriptions)
            .chain(broadcasts)
            .chain(messages)
            .chain(receipts)
            .map(|found| found.map_err(|error| self.failed(error)))
    }

    fn next_id(&self) -> sled::Result<Found> {
        // A store that has given out no id may lack the record.
        let record = self.tree.get(IDS_KEY)?;
        Ok(match record.map_or(Ok(0), |record| decode(&record)) {
            Ok(next) => Found::Good(Record::NextId(MessageId::new(next))),
            Err(Damaged) => Found::Damaged("records of ids", 1),
        })
    }

    fn days(&self) -> sled::Result<Option<Found>> {
        let record = self.tree.get(DAYS_KEY)?;
        Ok(record.map(|record| match decode(&record) {
            Ok(days) => Found::Good(Record::Days(days)),
            Err(Damaged) => Found::Damaged("counts of days", 1),
        }))
    }

    /// Returns when a user agent was last connected. An export notes it with each subscription,
    /// because all of them end together.
    fn connected(&self, uaid: Uaid) -> Option<Day> {
        let record = self.tree.get(user_agent_key(uaid)).ok()??;
        decode_user_agent(&record).ok()?.connected
    }

    /// Writes a record that belongs with those before it.
    ///
    /// # Errors
    /// `Refused` when it does not belong with them; otherwise when it cannot be written.
    pub fn insert(&mut self, record: &Record) -> Result<(), InsertError> {
        let mut changes = Changes::default();
        let (key, value) = match record {
            Record::EndpointKeys(_) => return Ok(()),
            Record::NextId(id) => (IDS_KEY.to_vec(), encode(&id.get())?),
            Record::Days(days) => (DAYS_KEY.to_vec(), encode(days)?),
            Record::Subscription(subscription, used) => {
                let count_key = user_agent_key(subscription.uaid);
                let counted = self.get(&count_key)?;
                let counted = counted.and_then(|record| decode_user_agent(&record).ok());
                let count = counted.map_or(0, |counted| counted.subscriptions);
                let user_agent = UserAgent {
                    subscriptions: count.saturating_add(1),
                    connected: None,
                };
                changes.insert(&count_key, &encode_user_agent(&user_agent)?);
                let key = subscription_key(subscription.uaid, subscription.channel);
                (key.to_vec(), encode_subscription(subscription, *used)?)
            }
            Record::ReceiptSubscription(id, ends_at) => {
                (receipt_subscription_key(*id).to_vec(), encode(ends_at)?)
            }
            Record::Broadcast(id, version) => (broadcast_key(id), encode(&version.as_str())?),
            Record::Message(uaid, id, message) => {
                return self.insert_message(*uaid, *id, message);
            }
            Record::Receipt(subscription, receipt, expires_at) => {
                self.must_have(&receipt_subscription_key(*subscription))?;
                let stored = StoredReceipt {
                    receipt: *receipt,
                    expires_at: *expires_at,
                };
                let key = receipt_key(*subscription, receipt.id);
                (key.to_vec(), encode_receipt(&stored)?)
            }
        };
        if !matches!(record, Record::NextId(_) | Record::Days(_)) {
            self.must_be_new(&key)?;
        }
        changes.insert(&key, &value);
        self.write(changes, 2, value.len())
    }

    fn insert_message(
        &mut self,
        uaid: Uaid,
        id: MessageId,
        message: &NewMessage,
    ) -> Result<(), InsertError> {
        let key = subscription_key(uaid, message.channel);
        let subscription = self.get(&key)?;
        let subscription = subscription.and_then(|record| decode_subscription(&key, &record).ok());
        if subscription.is_none_or(|(found, _)| found.id != message.subscription) {
            return Err(InsertError::Refused("its subscription is not there"));
        }
        let next = self.get(IDS_KEY)?;
        let next = next.and_then(|record| decode::<u64>(&record).ok());
        if next.is_none_or(|next| id.get() >= next) {
            return Err(InsertError::Refused("its id is not below next_id"));
        }
        let key = message_key(uaid, id);
        self.must_be_new(&key)?;
        let mut changes = Changes::default();
        let record = encode_message(message)?;
        let parts = changes.insert_message(key, &record)?;
        self.write(changes, parts.into(), record.len())
    }

    fn must_have(&self, key: &[u8]) -> Result<(), InsertError> {
        match self.get(key)? {
            Some(_) => Ok(()),
            None => Err(InsertError::Refused("what it belongs to is not there")),
        }
    }

    fn must_be_new(&self, key: &[u8]) -> Result<(), InsertError> {
        match self.get(key)? {
            Some(_) => Err(InsertError::Refused("it is there already")),
            None => Ok(()),
        }
    }

    /// Copies all records, even damaged ones, and calls `done` after each key.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy_from(&mut self, old: &Self, done: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
        for (from, to) in [(&old.damaged, &self.damaged), (&old.tree, &self.tree)] {
            for item in from.iter() {
                let (key, record) = item.map_err(|error| old.failed(error))?;
                self.unsynced += key.len() + record.len() + KEY_COST;
                to.insert(key, record).map_err(|error| self.failed(error))?;
                if self.unsynced > UNSYNCED_BYTES {
                    self.unsynced = 0;
                    self.sync()?;
                }
                done(1);
            }
        }
        self.finish()
    }

    fn write(&mut self, changes: Changes, keys: usize, octets: usize) -> Result<(), InsertError> {
        let applied = changes.apply(&self.tree);
        applied.map_err(|error| self.failed(error))?;
        self.unsynced += keys * KEY_COST + octets;
        if self.unsynced > UNSYNCED_BYTES {
            self.unsynced = 0;
            self.sync()?;
        }
        Ok(())
    }

    /// Syncs the files and their directory entries.
    ///
    /// # Errors
    /// Fails when the disk does not accept it.
    pub fn finish(&mut self) -> Result<(), OpenError> {
        self.sync()?;
        let keys = KeySum::of(&self.tree).map_err(|error| self.failed(error))?;
        open::sync_all(&self.path)
            .and_then(|()| contents::write(&self.path, Contents::Closed(keys)))
            .map_err(|source| open::folder(&self.path, source))
    }

    fn sync(&self) -> Result<(), OpenError> {
        self.db.flush().map_err(|error| self.failed(error))?;
        let synced: io::Result<()> = self.file.sync_data();
        synced.map_err(|source| open::folder(&self.path, source))
    }

    fn get(&self, key: &[u8]) -> Result<Option<IVec>, OpenError> {
        self.tree.get(key).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: sled::Error) -> OpenError {
        open::engine_error(&self.path, error)
    }
}

fn read(
    item: sled::Result<(IVec, IVec)>,
    kind: &'static str,
    decode: impl FnOnce(&[u8], &[u8]) -> Result<Record, Damaged>,
) -> sled::Result<Found> {
    let (key, record) = item?;
    Ok(match decode(&key, &record) {
        Ok(record) => Found::Good(record),
        Err(Damaged) => Found::Damaged(kind, 1),
    })
}
