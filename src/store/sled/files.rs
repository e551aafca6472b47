//! Files beside those of the engine.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Creates a file that only its owner can access, and opens it for writing. A file of this name
/// that an earlier process left is removed first. Symbolic links are not followed, not even one
/// that is created concurrently.
///
/// # Errors
/// `AlreadyExists` when a file of this name is created concurrently; otherwise the system's error.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::sled::contents::{self, Contents};
    use crate::store::sled::space::Space;

    #[test]
    fn the_files_of_a_store_are_not_written_through_links() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let precious = other.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        for name in ["contents.new", "probe"] {
            symlink(&precious, folder.path().join(name)).unwrap();
        }
        contents::write(folder.path(), Contents::Open).unwrap();
        Space::of(folder.path(), 0).probe().unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(
            contents::read(folder.path()).unwrap(),
            Some(Ok(Contents::Open))
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
