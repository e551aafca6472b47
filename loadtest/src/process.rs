//! Resource usage of a process, from /proc.
//!
//! Memory is the proportional set size (PSS): the private pages of a process and its share
//! of the shared pages. The sum over several processes of one program therefore counts shared
//! pages once; the resident set size would count them for each process. Reading it requires the
//! rights of the process's user.

use std::io;

use procfs::process::Process;
use procfs::{ProcError, ticks_per_second};

use crate::outcome::Sample;

/// An observed process.
#[derive(Debug)]
pub struct Observed {
    process: Process,
    /// Its name, at most 15 characters.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

/// Why a process cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such process.
    #[error("there is no process {0}: --pid takes the number that `pidof bugle` prints")]
    Absent(u32),
    /// The process belongs to another user.
    #[error("process {0} is another user's: run this as its user, or as root")]
    Foreign(u32),
    /// /proc or the required file in it is missing.
    #[error("cannot read what process {pid} uses: {error}")]
    Unreadable {
        /// The process id.
        pid: u32,
        /// The cause.
        error: ProcError,
    },
}

impl Observed {
    /// Starts to observe a process.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
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

    /// Observes this process.
    ///
    /// # Errors
    /// When there is no /proc.
    pub fn this() -> Result<Self, ProcessError> {
        Self::new(std::process::id())
    }

    /// The current usage; `at` and the fields about the run stay 0.
    ///
    /// # Errors
    /// When the process has ended.
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
        // A process that ends during the read gives this error.
        ProcError::Io(error, _) if error.kind() == io::ErrorKind::NotFound => {
            ProcessError::Absent(pid)
        }
        error => ProcessError::Unreadable { pid, error },
    }
}
