//! Errors that prevent a fault run. Misbehaviour of the service is a
//! [`Violation`](super::Violation) instead.

use std::io;
use std::path::PathBuf;

use bugle_client::ClientError;
use bugle_launch::LaunchError;

/// Why a fault run could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The command of the service is incomplete.
    #[error(
        "the command of the service {0}; such as: -- bugle --listen {{listen}} --data {{data}}"
    )]
    Command(&'static str),
    /// The process of the service cannot be started or stopped.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The service ended or never responded before the first fault.
    #[error("the service does not answer at {url}: {problem}\nits last lines, from {}:\n{tail}", log.display())]
    NotServing {
        /// Where the service should respond.
        url: String,
        /// The error.
        problem: String,
        /// The file with the output of the service.
        log: PathBuf,
        /// The end of that output.
        tail: String,
    },
    /// A command for the file system failed.
    #[error("{command} failed: {problem}\n{NEEDED}")]
    Disk {
        /// The command line.
        command: String,
        /// Its standard error and status.
        problem: String,
    },
    /// A file operation failed.
    #[error("{what}: {error}")]
    File {
        /// The operation.
        what: String,
        /// The cause.
        error: io::Error,
    },
    /// A client failed before the first fault.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Ctrl-C was pressed.
    #[error("interrupted")]
    Interrupted,
}

/// The requirements of `faults power`.
const NEEDED: &str = "The loss of power is played on a file system of its own: that needs root, a \
    free loop device (/dev/loop-control), mkfs.ext4, mount and python3. Where they cannot be had, \
    only `faults kill` can run.";
