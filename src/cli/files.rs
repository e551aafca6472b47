//! Small files of the client commands. They hold secrets, so only their owner may read them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::secrets;

/// Maximum size of a file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a text file, or standard input for `-`.
///
/// # Errors
/// If it cannot be read, is not UTF-8, or is larger than 1 MiB.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let text = if path == Path::new("-") {
        read_bounded(io::stdin().lock())
    } else {
        File::open(path).and_then(read_bounded)
    };
    text.map_err(|error| with_path("cannot read", path, &error))
}

fn read_bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(text)
}

/// Creates a file.
///
/// # Errors
/// If it exists, or cannot be written.
pub(super) fn create_private(path: &Path, text: &str) -> io::Result<()> {
    secrets::create_private(path, text).map_err(|error| with_path("cannot write", path, &error))
}

/// Replaces a file atomically: readers see the old text or the new.
///
/// # Errors
/// If it cannot be written.
pub(super) fn replace_private(path: &Path, text: &str) -> io::Result<()> {
    secrets::replace_private(path, text).map_err(|error| with_path("cannot write", path, &error))
}

fn with_path(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", name(path)))
}

/// The name of the file in messages.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_private_and_not_overwritten_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        create_private(&path, "one").unwrap();
        assert_eq!((read(&path).unwrap().as_str(), mode()), ("one", 0o600));
        let error = create_private(&path, "two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), "one");
        replace_private(&path, "three").unwrap();
        assert_eq!((read(&path).unwrap().as_str(), mode()), ("three", 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_name_the_file() {
        let error = read(Path::new("/does/not/exist")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read /does/not/exist: "),
            "{error}"
        );
    }
}
