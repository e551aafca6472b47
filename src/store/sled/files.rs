//! Files beside those of the engine.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a file that only its owner can read, and opens it to be written. What
/// an earlier process has left under its name is removed. A symbolic link there
/// is not followed, nor is one that somebody makes meanwhile.
///
/// # Errors
/// `AlreadyExists` when something is made there meanwhile; otherwise what the
/// system says.
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
