//! Why a fault run could not be made; what the service did wrong is a
//! [`Violation`](super::Violation) instead.

use std::io;
use std::path::PathBuf;

use bugle_client::ClientError;
use bugle_launch::LaunchError;

/// What keeps a fault run from being made.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The command of the service lacks something.
    #[error(
        "the command of the service {0}; such as: -- bugle --listen {{listen}} --data {{data}}"
    )]
    Command(&'static str),
    /// The service cannot be started at all, or not be ended.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It ended, or never answered. The run cannot begin so.
    #[error("the service does not answer at {url}: {problem}\nits last lines, from {}:\n{tail}", log.display())]
    NotServing {
        /// Where it should.
        url: String,
        /// What came instead.
        problem: String,
        /// What the service printed.
        log: PathBuf,
        /// The end of that.
        tail: String,
    },
    /// A command for the disk failed.
    #[error("{command} failed: {problem}\n{NEEDED}")]
    Disk {
        /// The whole command.
        command: String,
        /// What it said.
        problem: String,
    },
    /// Something with files.
    #[error("{what}: {error}")]
    File {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
    /// A client failed before any fault.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What the loss of power needs.
const NEEDED: &str = "The loss of power is played on a file system of its own: that needs root, a \
    free loop device (/dev/loop-control), mkfs.ext4, mount and python3. Where they cannot be had, \
    only `faults kill` can run.";
