//! What a process has used and holds, from /proc.
//!
//! Memory is the proportional set size (PSS): the pages that the process holds
//! alone, and its share of those that it shares. So several processes of one
//! program, summed, count what they share once, where the resident set size
//! would count it for each. It needs the rights of the process's user.

use std::io;

use procfs::process::Process;
use procfs::{ProcError, ticks_per_second};

use crate::outcome::Sample;

/// A process that is observed.
#[derive(Debug)]
pub struct Observed {
    process: Process,
    /// Its name, at most 15 characters.
    pub name: String,
    /// Its number.
    pub pid: u32,
}

/// Why a process cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is none of this number.
    #[error("there is no process {0}: --pid takes the number that `pidof bugle` prints")]
    Absent(u32),
    /// Its numbers are for its user alone.
    #[error("process {0} is another user's: run this as its user, or as root")]
    Foreign(u32),
    /// The kernel has no /proc, or not the file that is needed.
    #[error("cannot read what process {pid} uses: {error}")]
    Unreadable {
        /// Which process.
        pid: u32,
        /// Why not.
        error: ProcError,
    },
}

impl Observed {
    /// The process of this number, which must be there and readable.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(pid: u32) -> Result<Self, ProcessError> {
        let number = i32::try_from(pid).map_err(|_| ProcessError::Absent(pid))?;
        let process = Process::new(number).map_err(|error| failed(pid, error))?;
        let stat = process.stat().map_err(|error| failed(pid, error))?;
        let observed = Self {
            process,
            name: stat.comm,
            pid,
        };
        observed.sample()?;
        Ok(observed)
    }

    /// This process.
    ///
    /// # Errors
    /// When the system has no /proc.
    pub fn this() -> Result<Self, ProcessError> {
        Self::new(std::process::id())
    }

    /// What it has used and holds now; `at` and what the run knows are left 0.
    ///
    /// # Errors
    /// When it has ended.
    pub fn sample(&self) -> Result<Sample, ProcessError> {
        let read = || {
            let stat = self.process.stat()?;
            let memory = self.process.smaps_rollup()?.memory_map_rollup;
            let octets = memory.iter().filter_map(|map| map.extension.map.get("Pss"));
            Ok(Sample {
                cpu_seconds: (stat.utime + stat.stime) as f64 / ticks_per_second() as f64,
                memory: octets.sum(),
                files: self.process.fd_count()? as u64,
                threads: u64::try_from(stat.num_threads).unwrap_or_default(),
                ..Sample::default()
            })
        };
        read().map_err(|error| failed(self.pid, error))
    }
}

fn failed(pid: u32, error: ProcError) -> ProcessError {
    match error {
        ProcError::NotFound(_) => ProcessError::Absent(pid),
        ProcError::PermissionDenied(_) => ProcessError::Foreign(pid),
        // What a process that ends while it is read gives.
        ProcError::Io(error, _) if error.kind() == io::ErrorKind::NotFound => {
            ProcessError::Absent(pid)
        }
        error => ProcessError::Unreadable { pid, error },
    }
}
