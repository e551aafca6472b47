//! Secrets kept in files, made at the first start: the keys that seal endpoints,
//! needed for as long as an endpoint is to work, and the tokens of the admin API.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::Keyring;

use crate::random::random;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file can be neither read nor made.
    #[error(
        "cannot read or make the endpoint keys {}: {}; let the user that the service runs as \
         read and write there", .0.display(), .1
    )]
    File(PathBuf, #[source] io::Error),
    /// A line is not a key.
    #[error(
        "the endpoint keys {}, line {}: not 32 octets in base64url; restore the file from a copy \
         (with other keys, all endpoints that were handed out stop working)", .0.display(), .1
    )]
    Line(PathBuf, usize),
    /// The file is there and empty.
    #[error(
        "the endpoint keys {} hold no key; restore the file from a copy, or remove it if no \
         endpoint was ever handed out", .0.display()
    )]
    Empty(PathBuf),
    /// Keys that are to be added are others.
    #[error(
        "the endpoint keys {} lack some that are to be imported: add them as further lines, or \
         import where no such file is yet", .0.display()
    )]
    Other(PathBuf),
}

/// Makes a folder that only its owner can look into, unless it is there.
///
/// # Errors
/// When it can neither be found nor made.
pub fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Reads the keys, one in each line, the sealing one first. A file that is not
/// there is made, with a new key, readable by its owner alone.
///
/// # Errors
/// When the file can be neither read nor made, or does not hold keys.
pub fn load_or_make(file: &Path) -> Result<Keyring, KeysError> {
    let failed = |error| KeysError::File(file.to_owned(), error);
    parse(file, &read_or_make(file).map_err(failed)?)
}

/// Reads keys out of the text of their file.
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

/// Reads a file of secrets. One that is not there is made, with 32 random
/// octets in base64url, readable by its owner alone.
///
/// # Errors
/// When it can be neither read nor made.
pub fn read_or_make(file: &Path) -> io::Result<String> {
    match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(file),
        read => read,
    }
}

/// The keys of a file, in base64url, the sealing one first.
///
/// # Errors
/// When the file cannot be read, or does not hold keys.
pub fn lines(file: &Path) -> Result<Vec<String>, KeysError> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| KeysError::File(file.to_owned(), error))?;
    parse(file, &text)?;
    let keys = text.lines().map(str::trim);
    let keys = keys.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(keys.map(str::to_owned).collect())
}

/// Makes the file with these keys, unless it is there and has them all.
///
/// # Errors
/// When they are not keys, when the file lacks one, or cannot be written.
pub fn install(file: &Path, keys: &[String]) -> Result<(), KeysError> {
    let text = keys.join("\n") + "\n";
    parse(file, &text)?;
    if !file.exists() {
        return replace_private(file, &text)
            .map_err(|error| KeysError::File(file.to_owned(), error));
    }
    let there = lines(file)?;
    if keys.iter().all(|key| there.contains(key)) {
        return Ok(());
    }
    Err(KeysError::Other(file.to_owned()))
}

/// The key must be on disk before the first endpoint is handed out: the file
/// appears whole under its name, and its folder is synced.
fn make(file: &Path) -> io::Result<String> {
    let text = URL_SAFE_NO_PAD.encode(random::<32>()) + "\n";
    replace_private(file, &text)?;
    Ok(text)
}

/// Writes a file in one step, readable by its owner alone: whoever reads it,
/// also after a loss of power, sees the old text or the new. When this returns,
/// the new one is on disk.
///
/// # Errors
/// When it cannot be written.
pub fn replace_private(file: &Path, text: &str) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    let mut new = OpenOptions::new();
    let mut new = new
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
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
    fn what_is_no_key_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoint-keys");
        let good = URL_SAFE_NO_PAD.encode([7; 32]);
        std::fs::write(&file, format!("# rotated\n{good}\nshort\n")).unwrap();
        assert!(matches!(load_or_make(&file), Err(KeysError::Line(_, 3))));
        std::fs::write(&file, "").unwrap();
        assert!(matches!(load_or_make(&file), Err(KeysError::Empty(_))));
        std::fs::write(&file, format!("{good}\n")).unwrap();
        assert!(load_or_make(&file).is_ok());
    }
}
