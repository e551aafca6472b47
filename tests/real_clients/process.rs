//! Other processes, and waiting for what they do, never longer than a limit.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes live by the real clock"
)]

use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(50);

/// Tries until there is a value; panics with `what` when the time is over.
pub(crate) fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(INTERVAL);
    }
}

/// A child process that does not outlive its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program; panics with `needs` when it cannot be started.
    pub(crate) fn start(command: &mut Command, needs: &str) -> Self {
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{error}: {needs}")),
        )
    }

    /// Sends a signal, named as `kill` takes it.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// How the process ended; `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits until the process has ended by itself, with success.
    pub(crate) fn wait_for_success(&mut self, what: &str, limit: Duration) {
        let status = wait_until(&format!("{what} to end"), limit, || self.exit_status());
        assert!(status.success(), "{what} ended with {status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL; a process that has ended already needs none.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
