//! Detects missing records by a file beside the engine's.
//!
//! The engine silently skips parts of its log that it cannot read. A checksum protects each record;
//! this file shows whether records are missing. It holds a sum of all keys, written when the store
//! is closed and compared when it is opened. While the store is open the file only says so; after a
//! crash, only the loss of all records is detected.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sled::Tree;

use super::files;
use super::keys::{BROADCAST, MESSAGE, RECEIPT, RECEIPT_SUBSCRIPTION, SUBSCRIPTION};
use super::record::{Damaged, decode, encode};

pub(super) const FILE: &str = "contents";

/// The number of records, and an order-independent hash of their keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeySum {
    pub(super) count: u64,
    sum: u64,
}

/// The content of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Contents {
    /// The store is open, or was when the process or the power ended.
    Open,
    /// The store was closed with these keys.
    Closed(KeySum),
}

impl KeySum {
    /// Computes the sum of all keys in a tree.
    pub(super) fn of(tree: &Tree) -> sled::Result<Self> {
        let mut sum = Self::default();
        for key in tree.iter().keys() {
            sum.add(&key?);
        }
        Ok(sum)
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        if is_counted(key) {
            self.count += 1;
            self.sum = self.sum.wrapping_add(hash(key));
        }
    }

    /// Returns this sum with keys added and others removed.
    pub(super) fn changed(self, (added, removed): (Self, Self)) -> Self {
        Self {
            count: self
                .count
                .saturating_add(added.count)
                .saturating_sub(removed.count),
            sum: self.sum.wrapping_add(added.sum).wrapping_sub(removed.sum),
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        if is_counted(key) {
            self.count = self.count.saturating_sub(1);
            self.sum = self.sum.wrapping_sub(hash(key));
        }
    }
}

/// Other kinds are not counted: a missing count of subscriptions or bound of ids is rebuilt.
fn is_counted(key: &[u8]) -> bool {
    const COUNTED: [u8; 5] = [
        SUBSCRIPTION,
        MESSAGE,
        BROADCAST,
        RECEIPT_SUBSCRIPTION,
        RECEIPT,
    ];
    key.first().is_some_and(|kind| COUNTED.contains(kind))
}

/// FNV-1a, which must stay the same in every version.
fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Reads the file in the folder of a store; `None` when there is no file.
pub(super) fn read(folder: &Path) -> io::Result<Option<Result<Contents, Damaged>>> {
    match fs::read(folder.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(Some(decode(&read?))),
    }
}

/// Writes the file, which is durable on return.
pub(super) fn write(folder: &Path, contents: Contents) -> io::Result<()> {
    let record = encode(&contents).map_err(io::Error::other)?;
    let (path, new) = (folder.join(FILE), folder.join("contents.new"));
    let mut file = files::create(&new)?;
    file.write_all(&record)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(folder)?.sync_all()
}

/// Compares a store that was closed with `before` with the keys `now`. Returns what differs, and a
/// lower bound of the number of missing records.
pub(super) fn difference(
    before: Option<Result<Contents, Damaged>>,
    now: KeySum,
) -> Option<(u64, String)> {
    match before? {
        Ok(Contents::Open) => None,
        Ok(Contents::Closed(before)) if before == now => None,
        Ok(Contents::Closed(before)) => {
            let missing = before.count.saturating_sub(now.count).max(1);
            let text = format!(
                "{} records were there when the store was closed, and now there are {}, or others",
                before.count, now.count
            );
            Some((missing, text))
        }
        Err(Damaged) => Some((
            1,
            format!("the file {FILE} in the store's folder is damaged"),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_sum_identifies_a_set_of_keys() {
        let mut sum = KeySum::default();
        sum.add(b"m1");
        let one = sum;
        sum.add(b"m2");
        sum.add(b"ucount");
        assert_eq!(sum.count, 2);
        sum.remove(b"m2");
        assert_eq!(sum, one);
        let mut other = KeySum::default();
        other.add(b"m3");
        assert_ne!(other, one);
    }

    #[test]
    fn a_difference_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let mut sum = KeySum::default();
        for key in [b"m1", b"m2", b"m3"] {
            sum.add(key);
        }
        let read = || read(folder.path()).unwrap();
        assert_eq!(difference(read(), sum), None);
        write(folder.path(), Contents::Closed(sum)).unwrap();
        assert_eq!(difference(read(), sum), None);
        let missing = |now| difference(read(), now).map(|(missing, _)| missing);
        assert_eq!(missing(KeySum::default()), Some(3));
        write(folder.path(), Contents::Open).unwrap();
        assert_eq!(missing(KeySum::default()), None);
        fs::write(folder.path().join(FILE), b"nothing").unwrap();
        assert_eq!(missing(sum), Some(1));
    }
}
