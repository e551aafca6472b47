//! Opening a data folder: starts the engine, checks the format, and reads every record once.

use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sled::{Db, Tree};

use super::contents::{self, Contents};
use super::ids::BLOCK;
use super::keys::IDS_KEY;
use super::record::{decode, encode};
use super::recover::{Recovered, recover};

/// The folder format that this version reads and writes.
const FORMAT: u32 = 3;
/// Format 1 has no receipts, and format 2 no days of service. Their records are read unchanged.
const OLDER_FORMATS: RangeInclusive<u32> = 1..=2;
/// The key of the format in the engine's default tree, which exists in every format.
const FORMAT_KEY: &[u8] = b"format";
const TREE: &str = "bugle.v1";
const DAMAGED_TREE: &str = "damaged.v1";

/// The unit in which the engine's file grows and is reused, in bytes; fixed when the file is
/// created. This is the largest that the engine supports, because the bytes written between two
/// syncs must stay well below it (see `Committer`).
pub(super) const SEGMENT_BYTES: usize = 16 << 20;

/// Opening retries because another store of this process may still be releasing the lock.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Why a data folder could not be opened. Each text names the folder and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be created, read or written.
    #[error(
        "cannot use the data folder {path}: {source}; make it a folder that this user may read \
         and write"
    )]
    Folder {
        /// The data folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no store in the folder.
    #[error(
        "there is no store in {path}: name the data folder by --data or server.data; a first \
         `bugle serve` makes one"
    )]
    Missing {
        /// The folder of the store.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error(
        "the data folder {path} is in use by another process; stop that one, or set another folder"
    )]
    InUse {
        /// The data folder.
        path: PathBuf,
    },
    /// A newer version wrote the folder.
    #[error(
        "the data folder {path} has format {found}, and this version knows up to {known}; start \
         the version that wrote it, or set another folder"
    )]
    Newer {
        /// The data folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that can be read.
        known: u32,
    },
    /// The engine cannot read its files.
    #[error(
        "the data folder {path} is damaged ({detail}); nothing in it was repaired or removed. \
         Put back a copy of it, or move it away to begin with an empty one: all subscriptions \
         are lost then, and browsers subscribe again"
    )]
    Damaged {
        /// The data folder.
        path: PathBuf,
        /// The engine's error.
        detail: String,
    },
}

/// An open folder, with everything that was read from it.
pub(super) struct Opened {
    pub(super) db: Db,
    pub(super) tree: Tree,
    /// Holds damaged records that were set aside.
    pub(super) damaged: Tree,
    /// A second descriptor of the file that holds the data.
    pub(super) file: File,
    pub(super) recovered: Recovered,
}

/// Opens or creates the folder, reads every record, and reserves ids. All of it is durable on
/// return.
pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    guarded(path, || open_engine(path, cache_bytes))
}

/// Runs code that reads the files of `path`, and catches the panics of an engine that cannot read
/// them.
///
/// # Errors
/// The error of `run`, and `Damaged` when it panics.
pub fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(damaged(path, text.unwrap_or("the engine panicked")))
    })
}

/// Opens or creates the folder without reading records. Returns the engine, the tree of all
/// records, and the tree of those that were set aside.
pub(super) fn open_trees(path: &Path, cache_bytes: u64) -> Result<(Db, Tree, Tree), OpenError> {
    let failed = |error| engine_error(path, error);
    create_private(path).map_err(|source| folder(path, source))?;
    let db = lock(path, cache_bytes)?;
    check_format(path, &db)?;
    let tree = db.open_tree(TREE).map_err(failed)?;
    let set_aside = db.open_tree(DAMAGED_TREE).map_err(failed)?;
    Ok((db, tree, set_aside))
}

fn open_engine(path: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    let failed = |error| engine_error(path, error);
    let (db, tree, set_aside) = open_trees(path, cache_bytes)?;
    let before = contents::read(path).map_err(|source| folder(path, source))?;
    let mut recovered = recover(&tree, &set_aside).map_err(failed)?;
    if let Some((missing, what)) = contents::difference(before, recovered.seen) {
        tracing::error!("records are missing in the store: {what}");
        recovered.damaged += missing;
    }
    reserve_ids(path, &tree, &mut recovered)?;
    db.flush().map_err(failed)?;
    let file = File::open(path.join("db"));
    let file = file.map_err(|source| folder(path, source))?;
    sync_all(path).map_err(|source| folder(path, source))?;
    contents::write(path, Contents::Open).map_err(|source| folder(path, source))?;
    Ok(Opened {
        db,
        tree,
        damaged: set_aside,
        file,
        recovered,
    })
}

/// Opens the engine, which locks the folder.
fn lock(path: &Path, cache_bytes: u64) -> Result<Db, OpenError> {
    // Every commit flushes; a timer would only add writes.
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(None);
    for _ in 0..LOCK_ATTEMPTS {
        match config.open() {
            Err(sled::Error::Io(error)) if is_lock_error(&error) => thread::sleep(LOCK_PAUSE),
            opened => return opened.map_err(|error| engine_error(path, error)),
        }
    }
    Err(OpenError::InUse {
        path: path.to_owned(),
    })
}

/// The engine reports a held lock only by its error text.
fn is_lock_error(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Writes the format into a new folder, and checks or upgrades that of an existing one.
fn check_format(path: &Path, db: &Db) -> Result<(), OpenError> {
    let failed = |error| engine_error(path, error);
    let is_new = !db.tree_names().iter().any(|name| name == TREE.as_bytes());
    match db.get(FORMAT_KEY).map_err(failed)? {
        Some(record) => match decode::<u32>(&record) {
            Ok(FORMAT) => Ok(()),
            Ok(older) if OLDER_FORMATS.contains(&older) => write_format(path, db),
            Ok(found) => Err(OpenError::Newer {
                path: path.to_owned(),
                found,
                known: FORMAT,
            }),
            Err(_) => Err(damaged(path, "the record of its format cannot be read")),
        },
        None if is_new && path.join(contents::FILE).exists() => {
            Err(damaged(path, "its records are gone"))
        }
        None if is_new => write_format(path, db),
        None => Err(damaged(path, "the record of its format is not there")),
    }
}

fn write_format(path: &Path, db: &Db) -> Result<(), OpenError> {
    let record = encode(&FORMAT).map_err(|error| damaged(path, &error.to_string()))?;
    let written = db.insert(FORMAT_KEY, record);
    written.map(drop).map_err(|error| engine_error(path, error))
}

/// Sets the next id above every id that may have been given out, and reserves a block.
fn reserve_ids(path: &Path, tree: &Tree, recovered: &mut Recovered) -> Result<(), OpenError> {
    let failed = |error| engine_error(path, error);
    if let Some(record) = tree.get(IDS_KEY).map_err(failed)? {
        let reserved = decode::<u64>(&record)
            .map_err(|_| damaged(path, "the record of the ids given out cannot be read"))?;
        recovered.next_id = recovered.next_id.max(reserved);
    }
    let record = encode(&recovered.next_id.saturating_add(BLOCK));
    let record = record.map_err(|error| damaged(path, &error.to_string()))?;
    tree.insert(IDS_KEY, record).map(drop).map_err(failed)
}

fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Syncs the files, and the folders that contain their names.
pub(super) fn sync_all(path: &Path) -> io::Result<()> {
    for file in ["db", "conf"] {
        File::open(path.join(file))?.sync_all()?;
    }
    #[cfg(unix)]
    for folder in path.canonicalize()?.ancestors().take(2) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

pub(super) fn folder(path: &Path, source: io::Error) -> OpenError {
    OpenError::Folder {
        path: path.to_owned(),
        source,
    }
}

fn damaged(path: &Path, detail: &str) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        detail: detail.to_owned(),
    }
}

pub(super) fn engine_error(path: &Path, error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(source) => folder(path, source),
        other => damaged(path, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]
    use super::*;

    const CACHE: u64 = 1 << 20;

    fn open_error(path: &Path) -> OpenError {
        match open(path, CACHE) {
            Err(error) => error,
            Ok(_) => panic!("the folder was opened"),
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_new_folder_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        open(&path, CACHE).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _held = open(folder.path(), CACHE).unwrap();
        assert!(matches!(open_error(folder.path()), OpenError::InUse { .. }));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path(), CACHE).unwrap().db;
        db.insert(FORMAT_KEY, encode(&(FORMAT + 1)).unwrap())
            .unwrap();
        db.flush().unwrap();
        drop(db);
        let error = open_error(folder.path());
        assert!(matches!(
            error,
            OpenError::Newer {
                found: 4,
                known: 3,
                ..
            }
        ));
        assert!(
            error
                .to_string()
                .contains(&*folder.path().to_string_lossy())
        );
    }

    #[test]
    fn a_folder_of_an_older_format_is_upgraded() {
        for older in OLDER_FORMATS {
            let folder = tempfile::tempdir().unwrap();
            let db = open(folder.path(), CACHE).unwrap().db;
            db.insert(FORMAT_KEY, encode(&older).unwrap()).unwrap();
            db.flush().unwrap();
            drop(db);
            let db = open(folder.path(), CACHE).unwrap().db;
            let format = db.get(FORMAT_KEY).unwrap().unwrap();
            assert_eq!(decode::<u32>(&format), Ok(FORMAT));
        }
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("conf"), b"not what it was at all").unwrap();
        let error = open_error(folder.path()).to_string();
        assert!(error.contains(&*folder.path().to_string_lossy()), "{error}");
        assert!(error.contains("move it away"), "{error}");
    }

    #[test]
    fn a_path_to_a_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(open_error(file.path()), OpenError::Folder { .. }));
    }
}
