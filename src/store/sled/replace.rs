//! Puts a new store in the place of an old one, in one step: whenever the
//! power goes, one of the two is there, whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::offline::Offline;
use super::open::{OpenError, folder, guarded};

/// Where the new store grows, beside the old one. What stands there before is
/// what an earlier attempt has left, or the old store after its replacement.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    path.with_file_name(name)
}

/// Replaces the store in the folder `path` by what `fill` makes of it. The old
/// one is held open, so that nobody else uses it meanwhile.
///
/// # Errors
/// What `fill` says, and when a store cannot be opened or put in its place. The
/// old one is untouched then.
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
                // What is left is removed by the next attempt.
                let _ = remove(&new_path);
                Err(error)
            }
        }
    })
}

/// As [`guarded`], for other errors.
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
