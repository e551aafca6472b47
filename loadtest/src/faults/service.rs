//! The service under test: a process that is started and killed repeatedly.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bugle_client::{ClientError, Dialer, UserAgent};
use bugle_launch::free_port;
use tokio::time::{Instant, sleep};
use url::Url;

use super::FaultError;

/// Timeout of a start; recovery time grows with the stored data.
const START: Duration = Duration::from_secs(60);

/// Interval between attempts to say hello.
const TRY_EVERY: Duration = Duration::from_millis(10);

/// Placeholder for the data folder in the command.
const DATA: &str = "{data}";

/// Placeholder for a free address and port in the command.
const LISTEN: &str = "{listen}";

/// The command that runs the service, and its current process.
#[derive(Debug)]
pub(super) struct Service {
    command: Vec<String>,
    url: Url,
    log: PathBuf,
    running: Option<bugle_launch::Service>,
}

impl Service {
    /// `command` is the program and its arguments. `{data}` is replaced by `data`, and
    /// `{listen}` by a free address and port. `url` is where user agents connect, if not at
    /// `{listen}`.
    ///
    /// # Errors
    /// When the command lacks `{data}`, or there is neither `{listen}` nor `url`.
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
        let listen = format!("127.0.0.1:{}", free_port());
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
            running: None,
        })
    }

    /// Where user agents connect.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Starts the process and waits until the service responds to `hello`. Returns the
    /// elapsed time.
    ///
    /// # Errors
    /// When the process cannot be started, ends, or does not respond within 60 s.
    pub(super) async fn start(&mut self, dialer: &Dialer) -> Result<Duration, FaultError> {
        let begun = Instant::now();
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or(FaultError::Command("is empty"))?;
        let mut command = Command::new(program);
        command.args(arguments);
        let mut running = bugle_launch::Service::start(&mut command, &self.log)?;
        let problem = loop {
            let answer = match self.hello(dialer).await {
                Ok(()) => {
                    self.running = Some(running);
                    return Ok(begun.elapsed());
                }
                Err(error) => error.to_string(),
            };
            if let Some(status) = running.process().exit_status() {
                break format!("it ended ({status})");
            }
            if begun.elapsed() > START {
                break answer;
            }
            sleep(TRY_EVERY).await;
        };
        Err(FaultError::NotServing {
            url: self.url.to_string(),
            problem,
            log: self.log.clone(),
            tail: running.tail(),
        })
    }

    /// Sends `SIGKILL` and waits until the process has ended. Does nothing if it is not
    /// running.
    ///
    /// # Errors
    /// When the process does not end.
    pub(super) async fn kill(&mut self) -> Result<(), FaultError> {
        if let Some(mut running) = self.running.take() {
            running.kill().await?;
        }
        Ok(())
    }

    async fn hello(&self, dialer: &Dialer) -> Result<(), ClientError> {
        let mut user_agent = UserAgent::connect(dialer, &self.url).await?;
        user_agent.hello(None).await?;
        Ok(())
    }
}
