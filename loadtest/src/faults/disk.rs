//! A file system of its own that can lose power: everything not yet written to the disk is
//! lost.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::FaultError;

/// Size of the file system in bytes. The image is sparse and grows with what is written.
const SIZE: u64 = 2 << 30;

/// Calls `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, after which nothing is
/// written, not even the journal. The call takes a pointer to the flags, which safe Rust cannot
/// pass.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// An ext4 file system in a file on a loop device; unmounted on drop.
#[derive(Debug)]
pub(super) struct Disk {
    image: PathBuf,
    root: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Creates the file system in `folder` and mounts it there.
    ///
    /// # Errors
    /// When a command fails: it needs root, a loop device, and the programs.
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

    /// The mount point.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Cuts the power: from now on nothing reaches the disk.
    ///
    /// # Errors
    /// When the ioctl fails.
    pub(super) fn cut_power(&self) -> Result<(), FaultError> {
        run(Command::new("python3")
            .args(["-c", SHUT_DOWN])
            .arg(&self.root))
    }

    /// Restores the power with only what reached the disk. No process may have a file open
    /// on it.
    ///
    /// # Errors
    /// When unmounting or mounting fails.
    pub(super) fn power_on(&mut self) -> Result<(), FaultError> {
        run(Command::new("umount").arg(&self.root))?;
        self.is_mounted = false;
        // Mount a copy: if another mount namespace keeps the old mount, mounting the same
        // image would return the same file system, still without power.
        let copy = self.image.with_extension("copy");
        run(Command::new("cp")
            .arg("--sparse=always")
            .args([&self.image, &copy]))?;
        run(Command::new("mv").args([&copy, &self.image]))?;
        self.mount()
    }

    fn mount(&mut self) -> Result<(), FaultError> {
        let mut mount = Command::new("mount");
        // Data that nobody syncs may stay in memory for 300 s; the usual 5 s would hide a
        // service that never syncs.
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
            // A failure leaves it mounted; there is no better fallback.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ({})", stderr.trim(), output.status)))
}
