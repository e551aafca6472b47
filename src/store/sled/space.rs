//! Tracks the free space of the store's file system.
//!
//! An engine must be reopened after a failed write. The store therefore refuses changes that make
//! it grow while there is still room for all others.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::files;
use super::open::SEGMENT_BYTES;
use crate::store::{Limit, StoreError};

/// The name of a file that is written to test the disk, and removed again.
const PROBE: &str = "probe";

/// The free space of the disk, as last checked.
#[derive(Debug)]
pub(super) struct Space {
    folder: PathBuf,
    /// Bytes that are kept free (`store.min_free`).
    reserve: u64,
    free: AtomicU64,
}

impl Space {
    pub(super) fn of(folder: &Path, reserve: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve,
            free: AtomicU64::new(u64::MAX),
        }
    }

    /// Checks how much is free now.
    pub(super) fn measure(&self) {
        // If this fails, the last value stays; a broken disk shows in its writes.
        if let Ok(found) = rustix::fs::statvfs(&self.folder) {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let before = self.free.swap(free, Ordering::Relaxed);
            match (before < self.reserve, free < self.reserve) {
                (false, true) => tracing::error!(
                    free,
                    "the disk has less free space than store.min_free: nothing new is stored"
                ),
                (true, false) => tracing::info!(free, "the disk has room again"),
                _ => {}
            }
        }
    }

    /// Returns the bytes that were free at the last check.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Admits a change that makes the store grow.
    ///
    /// # Errors
    /// `Full` when less than the reserve is free.
    pub(super) fn admit(&self) -> Result<(), StoreError> {
        if self.free() < self.reserve {
            return Err(StoreError::Full(Limit::FreeSpace.into()));
        }
        Ok(())
    }

    /// Writes and syncs as much as the engine's file grows by at a time, and removes it again.
    ///
    /// # Errors
    /// The system's error, which the engine would meet too.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.folder.join(PROBE);
        let written = files::create(&path).and_then(|mut file| {
            let zeros = vec![0; 1 << 20];
            for _ in 0..SEGMENT_BYTES / zeros.len() {
                file.write_all(&zeros)?;
            }
            file.sync_all()
        });
        // The file may exist even if the write failed.
        let removed = fs::remove_file(&path);
        written.and(removed)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn less_than_the_reserve_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let roomy = Space::of(folder.path(), 1);
        roomy.measure();
        assert_eq!(roomy.admit(), Ok(()));
        let cramped = Space::of(folder.path(), u64::MAX);
        cramped.measure();
        assert_eq!(
            cramped.admit(),
            Err(StoreError::Full(Limit::FreeSpace.into()))
        );
    }

    #[test]
    fn a_probe_leaves_no_file_and_reports_errors() {
        let folder = tempfile::tempdir().unwrap();
        Space::of(folder.path(), 0).probe().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let gone = Space::of(&folder.path().join("gone"), 0).probe();
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
