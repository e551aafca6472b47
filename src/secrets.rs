//! Secrets in files, made at the first start: the endpoint keys, without which no endpoint works,
//! and the tokens of the admin API.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::Keyring;

use crate::random::random;

/// Why the endpoint keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file can be neither read nor made.
    #[error(
        "cannot read or make the endpoint keys {}: {}; let the user that the service runs as \
         read and write there", .0.display(), .1
    )]
    File(PathBuf, #[source] io::Error),
    /// A line, counted from 1, is not a key.
    #[error(
        "the endpoint keys {}, line {}: not 32 octets in base64url; restore the file from a copy \
         (with other keys, all endpoints that were handed out stop working)", .0.display(), .1
    )]
    Line(PathBuf, usize),
    /// The file holds no key.
    #[error(
        "the endpoint keys {} hold no key; restore the file from a copy, or remove it if no \
         endpoint was ever handed out", .0.display()
    )]
    Empty(PathBuf),
    /// The file exists and lacks some of the keys to install.
    #[error(
        "the endpoint keys {} lack some that are to be imported: add them as further lines, or \
         import where no such file is yet", .0.display()
    )]
    Other(PathBuf),
}

/// Makes a folder that only its owner may enter, if there is none. Warns if other users may enter
/// an existing one.
///
/// # Errors
/// If the folder cannot be made.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    warn_if_open(folder, 0o700);
    Ok(())
}

/// Warns in the log if other users may enter a folder or read a file of secrets, with the command
/// that restricts it to `mode`. Does not change the mode: the folder may be shared on purpose, or
/// belong to something else too, such as a mounted volume.
fn warn_if_open(path: &Path, mode: u32) {
    let Ok(found) = fs::metadata(path) else {
        return;
    };
    let open = found.mode() & 0o777 & !mode;
    let path = path.display();
    if open & 0o022 != 0 {
        tracing::error!(
            "other users may write to {path} (mode {:o}), so they can read and replace the \
             service's keys and tokens: chmod {mode:o} {path}",
            found.mode() & 0o777
        );
    } else if open & 0o055 != 0 {
        tracing::warn!(
            "other users may read {path} (mode {:o}): chmod {mode:o} {path}",
            found.mode() & 0o777
        );
    }
}

/// Reads the endpoint keys, one per line; the first seals new endpoints. Makes a missing file, with
/// a new key, readable by its owner alone.
///
/// # Errors
/// If the file can be neither read nor made, or does not hold valid keys.
pub fn load_or_make(file: &Path) -> Result<Keyring, KeysError> {
    let failed = |error| KeysError::File(file.to_owned(), error);
    parse(file, &read_or_make(file).map_err(failed)?)
}

/// Parses the text of a key file.
fn parse(file: &Path, text: &str) -> Result<Keyring, KeysError> {
    let mut keys = Vec::new();
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = URL_SAFE_NO_PAD
            .decode(line)
            .ok()
            .and_then(|key| key.try_into().ok());
        keys.push(key.ok_or_else(|| KeysError::Line(file.to_owned(), at + 1))?);
    }
    Keyring::new(&keys).map_err(|_| KeysError::Empty(file.to_owned()))
}

/// Reads a file of secrets. Makes a missing file, with 32 random bytes in base64url, readable by
/// its owner alone. Warns if other users may read it.
///
/// # Errors
/// If the file can be neither read nor made.
pub fn read_or_make(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(file),
        read => {
            warn_if_open(file, 0o600);
            read
        }
    }
}

/// The endpoint keys of a file, in base64url; the first seals new endpoints.
///
/// # Errors
/// If the file cannot be read, or does not hold valid keys.
pub fn lines(file: &Path) -> Result<Vec<String>, KeysError> {
    let text = fs::read_to_string(file);
    let text = text.map_err(|error| KeysError::File(file.to_owned(), error))?;
    parse(file, &text)?;
    let keys = text.lines().map(str::trim);
    let keys = keys.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

/// Makes the file with these keys. Does nothing if the file exists and has them all.
///
/// # Errors
/// If the keys are invalid, or if the file exists and lacks one, or cannot be read or written.
pub fn install(file: &Path, keys: &[String]) -> Result<(), KeysError> {
    let text = keys.join("\n") + "\n";
    parse(file, &text)?;
    if !file.exists() {
        return replace_private(file, &text)
            .map_err(|error| KeysError::File(file.to_owned(), error));
    }
    let existing = lines(file)?;
    if keys.iter().all(|key| existing.contains(key)) {
        return Ok(());
    }
    Err(KeysError::Other(file.to_owned()))
}

/// Makes a file of secrets. The key must be on disk before the first endpoint is handed out, so the
/// file appears complete under its name, and its folder is synced.
fn make(file: &Path) -> io::Result<String> {
    let text = URL_SAFE_NO_PAD.encode(random::<32>()) + "\n";
    replace_private(file, &text)?;
    Ok(text)
}

/// Replaces a file atomically, readable by its owner alone: a reader sees the old text or the new
/// one, even after a power loss. When this returns, the new text is on disk.
///
/// Symbolic links are not followed: the text is written to a new file with an unpredictable name,
/// which is then renamed to `file`.
///
/// # Errors
/// If the file cannot be written. The temporary file is removed then.
pub fn replace_private(file: &Path, text: &str) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}.new", URL_SAFE_NO_PAD.encode(random::<12>())));
    let unfinished = file.with_file_name(name);
    let written = create_private(&unfinished, text).and_then(|()| fs::rename(&unfinished, file));
    if written.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    File::open(folder_of(file))?.sync_all()
}

/// Writes a new file, readable by its owner alone. When this returns, its text is on disk.
///
/// # Errors
/// `AlreadyExists` if the name exists, even as a dangling symbolic link; otherwise the error of the
/// system.
pub fn create_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut new = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// The folder of a file; for a bare name, the current folder.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bugle_protocol::{MessageId, MessageUrl, Uaid};

    use super::*;

    const MESSAGE: MessageUrl = MessageUrl {
        uaid: Uaid::from_bytes([1; 16]),
        id: MessageId::new(1),
    };

    #[test]
    fn keys_are_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoint-keys");
        let token = MESSAGE.seal(&load_or_make(&file).unwrap());
        assert_eq!(MESSAGE.seal(&load_or_make(&file).unwrap()), token);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoint-keys");
        fs::create_dir(&file).unwrap();
        assert!(replace_private(&file, "text").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(folder_of(Path::new("keys")), Path::new("."));
        assert_eq!(folder_of(Path::new("/etc/keys")), Path::new("/etc"));
    }

    #[test]
    fn an_invalid_key_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoint-keys");
        let good = URL_SAFE_NO_PAD.encode([7; 32]);
        fs::write(&file, format!("# rotated\n{good}\nshort\n")).unwrap();
        assert!(matches!(load_or_make(&file), Err(KeysError::Line(_, 3))));
        fs::write(&file, "").unwrap();
        assert!(matches!(load_or_make(&file), Err(KeysError::Empty(_))));
        fs::write(&file, format!("{good}\n")).unwrap();
        assert!(load_or_make(&file).is_ok());
    }
}
