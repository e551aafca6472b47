//! Child processes that do not outlive their owner.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{until, wait_for};

/// A child process. Dropped, it is killed.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.spawn().map(Self)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal. A process that has ended gets none: its number may be that
    /// of another one by now.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.exit_status().is_some() {
            return Ok(());
        }
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }

    /// Ends it at once (SIGKILL), and waits until the system has taken it away.
    pub fn kill(&mut self) {
        // A process that has ended already needs no signal.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until it has ended, for at most `limit`, and blocks the thread
    /// meanwhile. `None` when it still runs.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_for(limit, || self.exit_status())
    }

    /// Waits as [`wait`](Self::wait) does, and lets other tasks go on.
    pub async fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        until(limit, || self.exit_status()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
