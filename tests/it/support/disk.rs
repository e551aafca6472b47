//! Failing disks: a separate file system that can be filled, and a folder whose writes and
//! syncs fail or stall. `bugle-load faults` simulates the loss of power.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A separate file system that can be filled.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Creates a file system of this size in MiB. Needs root to mount it.
    pub fn new(mebibytes: u64) -> Self {
        let disk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let image = disk.image();
        let file = File::create(&image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        fs::create_dir(disk.root()).unwrap();
        // Reserve no blocks for root, so that root can fill it completely.
        let image = image.to_str().unwrap();
        assert!(
            run("mkfs.ext4", &["-q", "-m", "0", image]) && disk.mount(),
            "this test needs mkfs.ext4 and a loop mount, which takes root: run ./test as root"
        );
        disk
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn mount(&self) -> bool {
        let (image, root) = (self.image(), self.root());
        let paths = [image.to_str().unwrap(), root.to_str().unwrap()];
        run("mount", &["-o", "loop", paths[0], paths[1]])
    }

    fn unmount(&self) -> bool {
        run("umount", &[self.root().to_str().unwrap()])
    }

    /// Fills the disk except for `leave` bytes. Removing the returned file frees the space.
    pub fn fill(&self, leave: u64) -> PathBuf {
        let path = self.root().join("filler");
        let mut file = File::create(&path).unwrap();
        let octets = vec![7; 64 << 10];
        let mut size = 0;
        while file.write_all(&octets).is_ok() {
            size += octets.len() as u64;
        }
        file.set_len(size.saturating_sub(leave)).unwrap();
        file.sync_all().unwrap();
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).status();
    status.is_ok_and(|status| status.success())
}

/// The behaviour of writes or syncs.
#[derive(Clone, Copy)]
pub enum Fault {
    /// They succeed.
    None,
    /// They fail with this errno.
    Errno(i32),
    /// They block until the fault changes.
    Stall,
}

impl Fault {
    pub const IO: Self = Self::Errno(5);
    pub const NO_SPACE: Self = Self::Errno(28);
    pub const READ_ONLY: Self = Self::Errno(30);
}

/// A folder on a disk with injected faults, for a program started with its
/// [`environment`](Self::environment).
pub struct FaultyDisk {
    folder: TempDir,
}

impl FaultyDisk {
    pub fn new() -> Self {
        let disk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/faulty_disk.c");
        let (source, library) = (source.to_str().unwrap(), disk.path("library.so"));
        let arguments = ["-shared", "-fPIC", "-o", library.to_str().unwrap(), source];
        assert!(
            run("cc", &[&arguments[..], &["-ldl"]].concat()),
            "this test needs a C compiler as cc (Debian: gcc libc6-dev)"
        );
        disk.fails(Fault::None, Fault::None);
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// The data folder of the program.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.path("library.so").into()),
            ("FAULTY_DISK_CONTROL", self.path("control").into()),
            ("FAULTY_DISK_FOLDER", self.data().into()),
        ]
    }

    /// Sets the behaviour of later writes and syncs.
    pub fn fails(&self, writes: Fault, syncs: Fault) {
        let word = |fault| match fault {
            Fault::None => 0,
            Fault::Errno(errno) => errno,
            Fault::Stall => -1,
        };
        let new = self.path("control.new");
        fs::write(&new, format!("{} {}", word(writes), word(syncs))).unwrap();
        fs::rename(new, self.path("control")).unwrap();
    }
}
