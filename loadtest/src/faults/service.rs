//! The service under test: a process that is started, killed and started again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bugle_client::{Dialer, UserAgent};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use url::Url;

use super::FaultError;

/// How long a start may take. It grows with what is stored.
const START: Duration = Duration::from_secs(60);

/// How often to try whether it answers.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// How much of what the service printed is shown, in octets.
const TAIL: usize = 2000;

/// What stands for the folder of the store in the command.
const DATA: &str = "{data}";

/// What stands for a free address and port in the command.
const LISTEN: &str = "{listen}";

/// A command that runs the service, and the process that it is now.
#[derive(Debug)]
pub(super) struct Service {
    command: Vec<String>,
    url: Url,
    log: PathBuf,
    child: Option<Child>,
}

impl Service {
    /// `command` is the program and its arguments; in it `{data}` stands for
    /// `data`, and `{listen}` for an address and port that is free now. `url` is
    /// where user agents connect, if that is not at `{listen}`.
    ///
    /// # Errors
    /// When the command has no `{data}`, or neither it nor `url` says where the
    /// service is.
    pub(super) fn new(
        command: &[String],
        url: Option<&Url>,
        data: &Path,
        log: &Path,
    ) -> Result<Self, FaultError> {
        let names = |what| command.iter().any(|part| part.contains(what));
        if !names(DATA) {
            return Err(FaultError::Command(
                "does not say {data} where its folder goes",
            ));
        }
        let listen = free_address()?;
        let url = match url {
            Some(url) => url.clone(),
            None if names(LISTEN) => format!("ws://{listen}/")
                .parse()
                .map_err(|_| FaultError::Command("has no address to listen at"))?,
            None => return Err(FaultError::Command("needs {listen}, or --url beside it")),
        };
        let data = data.to_string_lossy();
        let fill = |part: &String| part.replace(DATA, &data).replace(LISTEN, &listen);
        Ok(Self {
            command: command.iter().map(fill).collect(),
            url,
            log: log.to_owned(),
            child: None,
        })
    }

    /// Where user agents connect.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Starts the process and waits until a user agent gets its hello answered.
    /// Returns how long that took.
    ///
    /// # Errors
    /// When the process cannot be started, ends, or does not answer in a minute.
    pub(super) async fn start(&mut self, dialer: &Dialer) -> Result<Duration, FaultError> {
        let begun = Instant::now();
        self.child = Some(self.spawn()?);
        loop {
            let answer = match self.hello(dialer).await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.has_ended() {
                return Err(self.not_serving(format!("it ended ({status})")));
            }
            if begun.elapsed() > START {
                return Err(self.not_serving(answer));
            }
            sleep(TRY_EVERY).await;
        }
    }

    /// `SIGKILL`, and waits until the process is gone. One that is not running
    /// stays so.
    pub(super) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It fails only if the process has ended already.
            let _ = child.kill().await;
        }
    }

    fn spawn(&self) -> Result<Child, FaultError> {
        let printed = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|error| FaultError::File {
                what: format!("cannot write {}", self.log.display()),
                error,
            })?;
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or(FaultError::Command("is empty"))?;
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(printed)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| FaultError::Spawn {
                program: program.clone(),
                error,
            })
    }

    async fn hello(&self, dialer: &Dialer) -> Result<(), bugle_client::ClientError> {
        let mut visitor = UserAgent::connect(dialer, &self.url).await?;
        visitor.hello(None).await?;
        Ok(())
    }

    fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    fn not_serving(&self, problem: String) -> FaultError {
        let printed = std::fs::read(&self.log).unwrap_or_default();
        let end = &printed[printed.len().saturating_sub(TAIL)..];
        FaultError::NotServing {
            url: self.url.to_string(),
            problem,
            log: self.log.clone(),
            tail: String::from_utf8_lossy(end).into_owned(),
        }
    }
}

/// An address and port where nobody listens now.
fn free_address() -> Result<String, FaultError> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.map_err(|error| FaultError::File {
        what: "cannot find a free port".to_owned(),
        error,
    })?;
    Ok(address.to_string())
}
