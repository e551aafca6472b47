//! Replaces a store by a new one atomically: after a power loss, one of the two is there, complete.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::offline::Offline;
use super::open::{OpenError, folder, guarded};

/// Returns the path where the new store is built, beside the old one. Anything there before is left
/// from an earlier attempt, or is the old store after its replacement.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    path.with_file_name(name)
}

/// Replaces the store in the folder `path` by the one that `fill` builds. The old one stays locked
/// meanwhile.
///
/// # Errors
/// The error of `fill`, and when a store cannot be opened or replaced. The old one is untouched
/// then.
pub fn replace<T, E: From<OpenError>>(
    path: &Path,
    cache_bytes: u64,
    fill: impl FnOnce(&Offline, &mut Offline) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |source| folder(path, source);
    let new_path = beside(path);
    guarded_in(path, || {
        let old = Offline::create(path, cache_bytes)?;
        remove(&new_path).map_err(failed)?;
        let mut new = Offline::create(&new_path, cache_bytes)?;
        let filled = fill(&old, &mut new).and_then(|filled| Ok(new.finish().map(|()| filled)?));
        drop(new);
        match filled {
            Ok(filled) => {
                exchange(&new_path, path).map_err(failed)?;
                drop(old);
                remove(&new_path).map_err(failed)?;
                Ok(filled)
            }
            Err(error) => {
                // The next attempt removes what remains.
                let _ = remove(&new_path);
                Err(error)
            }
        }
    })
}

/// Like [`guarded`], for other error types.
fn guarded_in<T, E: From<OpenError>>(
    path: &Path,
    run: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    guarded(path, || Ok(run()))?
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    sync_parent(one)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_parent(path)),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
