//! A service in its own process.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use rustix::process::Signal;

use crate::process::Process;
use crate::wait::{TIMEOUT, until, wait_for};

/// Maximum length of the log in an error, in bytes.
const TAIL: usize = 2000;

/// Why a service cannot be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A file of the service cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        error: io::Error,
    },
    /// The service ended before it listened, or with an unsuccessful status.
    #[error("the service ended ({status}); the last that it wrote:\n{tail}")]
    Ended {
        /// The exit status.
        status: ExitStatus,
        /// The end of its log.
        tail: String,
    },
    /// The service neither listens nor ends within [`TIMEOUT`].
    #[error("the service does not {what} within {wait} s; the last that it wrote:\n{tail}", wait = TIMEOUT.as_secs())]
    Late {
        /// The expected action.
        what: &'static str,
        /// The end of its log.
        tail: String,
    },
    /// The service cannot be signalled.
    #[error("cannot signal the service: {0}")]
    Signal(#[from] io::Error),
}

/// The addresses of the listeners, as the service prints them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Address and port of the public listener.
    pub public: String,
    /// Address and port of the admin listener, if there is one.
    pub admin: Option<String>,
}

impl Listening {
    /// Parses the output of `bugle serve`; `None` until it is complete.
    fn find(printed: &str) -> Option<Self> {
        // The output always continues with these lines.
        let (ready, _) = printed.split_once("\nFirefox, in about:config:")?;
        let between = |begin: &str, end: &str| {
            let (_, rest) = ready.split_once(begin)?;
            Some(rest.split_once(end)?.0.to_owned())
        };
        Some(Self {
            public: between(" listens on ", "; its data")?,
            admin: between("The console is at http://", "/ and takes"),
        })
    }
}

/// A running service with its output in a file. It is killed on drop; if the test has failed,
/// its log is printed.
#[derive(Debug)]
pub struct Service {
    process: Process,
    log: PathBuf,
    /// The position of this process's output in the log, in bytes.
    begin: u64,
}

impl Service {
    /// Starts `command` without input; its output is appended to `log`.
    ///
    /// # Errors
    /// [`LaunchError::Write`] and [`LaunchError::Start`].
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, LaunchError> {
        let failed = |error| LaunchError::Write {
            path: log.to_owned(),
            error,
        };
        let options = OpenOptions::new().create(true).append(true).clone();
        let output = options.open(log).map_err(failed)?;
        let begin = output.metadata().map_err(failed)?.len();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        let process = Process::start(command).map_err(|error| LaunchError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            error,
        })?;
        Ok(Self {
            process,
            log: log.to_owned(),
            begin,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Blocks the thread until `bugle` prints where it listens.
    ///
    /// # Errors
    /// When the service ends or does not print that within [`TIMEOUT`].
    pub fn wait_until_listening(&mut self) -> Result<Listening, LaunchError> {
        let found = wait_for(TIMEOUT, || self.is_listening());
        found.unwrap_or_else(|| Err(self.late("listen")))
    }

    /// Like `wait_until_listening`, without blocking the thread.
    ///
    /// # Errors
    /// As for [`wait_until_listening`](Self::wait_until_listening).
    pub async fn listening(&mut self) -> Result<Listening, LaunchError> {
        let found = until(TIMEOUT, || self.is_listening()).await;
        found.unwrap_or_else(|| Err(self.late("listen")))
    }

    fn is_listening(&mut self) -> Option<Result<Listening, LaunchError>> {
        // Check for the end first: the log is then complete.
        let ended = self.process.exit_status();
        if let Some(listening) = Listening::find(&self.log()) {
            return Some(Ok(listening));
        }
        let tail = self.tail();
        ended.map(|status| Err(LaunchError::Ended { status, tail }))
    }

    /// Kills the service (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// When the system refuses, or the end takes longer than [`TIMEOUT`].
    pub async fn kill(&mut self) -> Result<(), LaunchError> {
        self.process.signal(Signal::KILL)?;
        let ended = self.process.ended(TIMEOUT).await;
        ended.map(drop).ok_or_else(|| self.late("end"))
    }

    /// Stops the service as a service manager does (SIGTERM) and blocks the thread until it has
    /// ended.
    ///
    /// # Errors
    /// When it does not end within [`TIMEOUT`], or without success.
    pub fn stop_and_wait(&mut self) -> Result<(), LaunchError> {
        self.process.signal(Signal::TERM)?;
        let ended = self.process.wait(TIMEOUT);
        self.stopped(ended)
    }

    /// Like `stop_and_wait`, without blocking the thread.
    ///
    /// # Errors
    /// As for [`stop_and_wait`](Self::stop_and_wait).
    pub async fn stop(&mut self) -> Result<(), LaunchError> {
        self.process.signal(Signal::TERM)?;
        let ended = self.process.ended(TIMEOUT).await;
        self.stopped(ended)
    }

    fn stopped(&self, ended: Option<ExitStatus>) -> Result<(), LaunchError> {
        let status = ended.ok_or_else(|| self.late("end"))?;
        match status.success() {
            true => Ok(()),
            false => Err(LaunchError::Ended {
                status,
                tail: self.tail(),
            }),
        }
    }

    fn late(&self, what: &'static str) -> LaunchError {
        let tail = self.tail();
        LaunchError::Late { what, tail }
    }

    /// The output of this process so far.
    pub fn log(&self) -> String {
        let mut written = Vec::new();
        // A removed log counts as empty.
        let _ = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.begin))?;
            log.read_to_end(&mut written)
        });
        String::from_utf8_lossy(&written).into_owned()
    }

    /// The end of the output of this process.
    pub fn tail(&self) -> String {
        let log = self.log();
        let begin = log.ceil_char_boundary(log.len().saturating_sub(TAIL));
        log[begin..].to_owned()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Kill the process first, so that the log is complete.
        self.process.kill();
        if thread::panicking() {
            eprintln!("--- the service's log ---\n{}--- its end ---", self.log());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    /// A shell that replaces the service, and its log.
    fn shell(name: &str, script: &str) -> Service {
        let log = std::env::temp_dir().join(format!("bugle-launch-{name}-{}", std::process::id()));
        let service = Service::start(Command::new("sh").args(["-c", script]), &log);
        let mut service = service.unwrap();
        // Its first output shows that the trap is set.
        let is_up = wait_for(TIMEOUT, || {
            let is_up = !service.log().is_empty() || service.process.exit_status().is_some();
            is_up.then_some(())
        });
        is_up.unwrap();
        std::fs::remove_file(log).unwrap();
        service
    }

    #[test]
    fn addresses_are_read_once_the_output_is_complete() {
        let ready = "Bugle 0.1.0 listens on 127.0.0.1:1; its data is in d\n\
                     The console is at http://127.0.0.1:2/ and takes the token in t\n";
        assert_eq!(Listening::find(ready), None);
        let all = format!("{ready}\nFirefox, in about:config:\n");
        let found = Listening::find(&all).unwrap();
        assert_eq!(found.public, "127.0.0.1:1");
        assert_eq!(found.admin.as_deref(), Some("127.0.0.1:2"));
    }

    #[test]
    fn a_service_that_ends_does_not_listen() {
        let mut service = shell("ends", "exit 3");
        let error = service.wait_until_listening().unwrap_err();
        assert!(matches!(error, LaunchError::Ended { status, .. } if status.code() == Some(3)));
    }

    #[test]
    fn a_stop_is_a_sigterm_that_must_end_with_success() {
        let mut obeys = shell(
            "obeys",
            "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done",
        );
        obeys.stop_and_wait().unwrap();
        let mut fails = shell(
            "fails",
            "trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done",
        );
        let error = fails.stop_and_wait().unwrap_err();
        assert!(matches!(error, LaunchError::Ended { status, .. } if status.code() == Some(4)));
    }
}
