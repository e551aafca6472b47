//! A file system of its own, whose power can be cut: what the system has not
//! written to the disk by then is gone, as when the plug is pulled.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::FaultError;

/// Octets of the file system. Sparse: it takes what is written to it.
const SIZE: u64 = 2 << 30;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on nothing
/// is written, not even the journal. The call needs a pointer to the flags,
/// which no safe function here can pass.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// An ext4 in a file, on a loop device. Dropped, it is unmounted.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    root: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Makes the file system in `folder` and mounts it there.
    ///
    /// # Errors
    /// When a command fails, for want of rights, a loop device or the command.
    pub(super) fn new(folder: &Path) -> Result<Self, FaultError> {
        let mut disk = Self {
            image: folder.join("image"),
            root: folder.join("root"),
            is_mounted: false,
        };
        let made = std::fs::create_dir(&disk.root)
            .and_then(|()| std::fs::File::create(&disk.image))
            .and_then(|image| image.set_len(SIZE));
        made.map_err(|error| FaultError::File {
            what: format!("cannot make {}", disk.image.display()),
            error,
        })?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// From now on nothing reaches the disk.
    ///
    /// # Errors
    /// When the system does not do that.
    pub(super) fn cut_power(&self) -> Result<(), FaultError> {
        run(Command::new("python3")
            .args(["-c", SHUT_DOWN])
            .arg(&self.root))
    }

    /// The power is back: what is on the disk is all there is. Nobody may have
    /// a file open on it.
    ///
    /// # Errors
    /// When it cannot be unmounted or mounted.
    pub(super) fn power_on(&mut self) -> Result<(), FaultError> {
        run(Command::new("umount").arg(&self.root))?;
        self.is_mounted = false;
        // A copy: while another mount namespace keeps the old mount, the same
        // image would be the same file system again, still without power.
        let copy = self.image.with_extension("copy");
        run(Command::new("cp")
            .arg("--sparse=always")
            .args([&self.image, &copy]))?;
        run(Command::new("mv").args([&copy, &self.image]))?;
        self.mount()
    }

    fn mount(&mut self) -> Result<(), FaultError> {
        let mut mount = Command::new("mount");
        // The system may keep what nobody asked it to sync for as long as it
        // likes; the usual 5 s would hide a service that never asks.
        mount
            .args(["-o", "loop,commit=300"])
            .arg(&self.image)
            .arg(&self.root);
        run(&mut mount)?;
        self.is_mounted = true;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Nothing better can be done than to leave it mounted.
            let _ = run(Command::new("umount").arg(&self.root));
        }
    }
}

fn run(command: &mut Command) -> Result<(), FaultError> {
    let text = format!("{command:?}");
    let failed = |problem: String| FaultError::Disk {
        command: text,
        problem,
    };
    let output = match command.output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => output,
        Err(error) => return Err(failed(error.to_string())),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ({})", said.trim(), output.status)))
}
