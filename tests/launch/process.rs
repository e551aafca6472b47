//! Child processes that end with their owner.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{until, wait_for};

/// A child process, killed on drop.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When the program does not exist or cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal. Does nothing if the process has ended, since its id may belong to
    /// another one.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.exit_status().is_some() {
            return Ok(());
        }
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }

    /// Kills the process (SIGKILL) and waits until the system has reaped it.
    pub fn kill(&mut self) {
        // Killing fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// The exit status; `None` while the process runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Blocks the thread until the process has ended, at most for `limit`. `None` if it still
    /// runs.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_for(limit, || self.exit_status())
    }

    /// Like [`wait`](Self::wait), without blocking the thread.
    pub async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        until(limit, || self.exit_status()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
