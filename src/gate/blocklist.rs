//! The blocklist: VAPID keys and address ranges that the operator has blocked, stored in
//! `blocks.json` in the data folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bugle_protocol::{PublicKey, UnixTime};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::gate::Refusal;
use crate::gate::serial::SerialExecutor;
use crate::secrets;

/// Maximum length of a note, in characters.
pub const LONGEST_NOTE: usize = 200;

/// Why the blocklist cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// The file exists but cannot be read.
    #[error("the blocks {}: {}", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// The file is not a valid blocklist.
    #[error(
        "the blocks {}: {}; restore the file from a copy, or remove it to block nobody",
        .0.display(), .1
    )]
    Text(PathBuf, String),
}

/// Why the blocklist cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The list already has `admin.blocks` entries.
    #[error("there are as many blocks as admin.blocks allows")]
    Full,
    /// There is no such block.
    #[error("not blocked")]
    NotBlocked,
    /// The file cannot be written.
    #[error("the blocks could not be kept")]
    Unavailable,
}

/// What a block applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// An application server, by its VAPID key.
    Key(PublicKey),
    /// All clients in an address range.
    Addresses(IpNet),
}

/// A block as it is listed and stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// The key in base64url, or the range.
    value: String,
    /// The operator's reason.
    note: String,
    /// When it was added, in milliseconds since the Unix epoch.
    since: u64,
}

/// All blocks as they are listed and stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    keys: Vec<Block>,
    addresses: Vec<Block>,
}

/// The lookup index: a key takes one lookup, an address one for each prefix length in use.
#[derive(Clone, Debug, Default)]
struct Index {
    keys: HashMap<PublicKey, Block>,
    addresses: BTreeMap<IpNet, Block>,
    prefixes: BTreeSet<u8>,
}

/// The blocklist.
pub struct Blocks {
    state: Arc<State>,
    changes: SerialExecutor,
}

/// The blocklist on disk and in memory.
struct State {
    file: PathBuf,
    capacity: usize,
    index: ArcSwap<Index>,
}

impl Blocks {
    /// Reads the file; a missing file means an empty list. The list holds at most `capacity` blocks.
    ///
    /// # Errors
    /// If the file cannot be read or is not a valid blocklist.
    pub fn open(file: PathBuf, capacity: usize) -> Result<Self, BlocksError> {
        let list = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| BlocksError::Text(file.clone(), error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => List::default(),
            Err(error) => return Err(BlocksError::File(file, error)),
        };
        let Some(index) = Index::of(list) else {
            let problem = "it names something that is neither a key nor a range of addresses";
            return Err(BlocksError::Text(file, problem.to_owned()));
        };
        let index = ArcSwap::from_pointee(index);
        Ok(Self {
            state: Arc::new(State {
                file,
                capacity,
                index,
            }),
            changes: SerialExecutor::default(),
        })
    }

    /// Refuses a key that is blocked.
    ///
    /// # Errors
    /// [`Refusal::BlockedKey`].
    pub fn check_key(&self, key: &PublicKey) -> Result<(), Refusal> {
        let index = self.state.index.load();
        // The list is almost always empty; skip hashing the key then.
        if !index.keys.is_empty() && index.keys.contains_key(key) {
            return Err(Refusal::BlockedKey);
        }
        Ok(())
    }

    /// Refuses an address that is blocked.
    ///
    /// # Errors
    /// [`Refusal::BlockedAddress`].
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        let index = self.state.index.load();
        let address = address.to_canonical();
        let blocked = index.prefixes.iter().any(|length| {
            let range = IpNet::new(address, *length);
            range.is_ok_and(|range| index.addresses.contains_key(&range.trunc()))
        });
        if blocked {
            return Err(Refusal::BlockedAddress);
        }
        Ok(())
    }

    /// Blocks `blocked`, then runs `then` as part of the change. When this returns, the block is in
    /// force and on disk. Cancelling the future after its first poll does not cancel the change.
    ///
    /// # Errors
    /// [`ChangeError::Full`] if the list is full, [`ChangeError::Unavailable`] if the file cannot
    /// be written.
    pub async fn block(
        &self,
        blocked: Blocked,
        note: &str,
        now: UnixTime,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), ChangeError> {
        let block = Block {
            value: blocked.to_string(),
            note: note.to_owned(),
            since: now.as_millis(),
        };
        let change = move |index: &mut Index, capacity| {
            index.insert(blocked, block);
            if index.len() > capacity {
                return Err(ChangeError::Full);
            }
            Ok(())
        };
        self.change(change, then).await
    }

    /// Removes a block. As with [`block`](Self::block), cancelling the future after its first poll
    /// does not cancel the change.
    ///
    /// # Errors
    /// [`ChangeError::NotBlocked`] if there is no such block, [`ChangeError::Unavailable`].
    pub async fn unblock(&self, blocked: Blocked) -> Result<(), ChangeError> {
        let change = move |index: &mut Index, _| {
            index
                .remove(blocked)
                .ok_or(ChangeError::NotBlocked)
                .map(drop)
        };
        self.change(change, || ()).await
    }

    /// Returns all blocks.
    pub fn list(&self) -> List {
        self.state.index.load().list()
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Index, usize) -> Result<(), ChangeError> + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), ChangeError> {
        let state = Arc::clone(&self.state);
        let changed = self
            .changes
            .run(move || state.change(change).map(|()| then()));
        changed.await.unwrap_or(Err(ChangeError::Unavailable))
    }
}

impl State {
    /// Writes the changed list to disk, then puts it in force. Blocks on disk I/O.
    ///
    /// # Errors
    /// Those of `change`, and [`ChangeError::Unavailable`] if the file cannot be written; nothing
    /// has changed then.
    fn change(
        &self,
        change: impl FnOnce(&mut Index, usize) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let mut index = Index::clone(&self.index.load());
        change(&mut index, self.capacity)?;
        index.prefixes = index.addresses.keys().map(IpNet::prefix_len).collect();
        let text = serde_json::to_string_pretty(&index.list()).map_err(io::Error::from);
        let written = text.and_then(|text| secrets::replace_private(&self.file, &text));
        if let Err(error) = written {
            let file = self.file.display();
            tracing::error!(%file, %error, "a block could not be kept");
            return Err(ChangeError::Unavailable);
        }
        self.index.store(Arc::new(index));
        Ok(())
    }
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => f.write_str(&key.to_base64url()),
            Self::Addresses(range) => range.fmt(f),
        }
    }
}

/// Parses an address or range into canonical form: no host bits, and IPv4-mapped IPv6 addresses as
/// IPv4. Returns `None` if the text is neither.
pub fn parse_range(text: &str) -> Option<IpNet> {
    let range = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    Some(range.trunc())
}

impl Index {
    /// Returns `None` if a value is not a key or range.
    fn of(list: List) -> Option<Self> {
        let mut index = Self::default();
        for block in list.keys {
            let key = PublicKey::from_base64url(&block.value).ok()?;
            index.insert(Blocked::Key(key), block);
        }
        for block in list.addresses {
            index.insert(Blocked::Addresses(parse_range(&block.value)?), block);
        }
        index.prefixes = index.addresses.keys().map(IpNet::prefix_len).collect();
        Some(index)
    }

    fn insert(&mut self, blocked: Blocked, block: Block) {
        match blocked {
            Blocked::Key(key) => drop(self.keys.insert(key, block)),
            Blocked::Addresses(range) => drop(self.addresses.insert(range, block)),
        }
    }

    fn remove(&mut self, blocked: Blocked) -> Option<Block> {
        match blocked {
            Blocked::Key(key) => self.keys.remove(&key),
            Blocked::Addresses(range) => self.addresses.remove(&range),
        }
    }

    fn len(&self) -> usize {
        self.keys.len() + self.addresses.len()
    }

    fn list(&self) -> List {
        let mut keys: Vec<_> = self.keys.values().cloned().collect();
        keys.sort_by(|a, b| a.value.cmp(&b.value));
        List {
            keys,
            addresses: self.addresses.values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
