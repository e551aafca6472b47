//! The service under test, as its own process.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::authority::Authority;
use crate::process::{Process, wait_until};
use crate::secrets;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A `bugle` that keeps its address and data across restarts. When a test
/// has failed, its log is printed.
pub(crate) struct Service {
    directory: TempDir,
    port: u16,
    admin_port: u16,
    authority: Option<Authority>,
    admission: Vec<(&'static str, &'static str)>,
    process: Option<Process>,
}

impl Service {
    /// Starts the service in the clear.
    pub(crate) fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// Starts the service in the clear, with settings of `[admission]`.
    pub(crate) fn start_guarded(admission: &[(&'static str, &'static str)]) -> Self {
        Self::start_with(None, admission)
    }

    /// Starts the service with a certificate of this authority.
    pub(crate) fn start_with_tls(authority: Authority) -> Self {
        Self::start_with(Some(authority), &[])
    }

    fn start_with(
        authority: Option<Authority>,
        admission: &[(&'static str, &'static str)],
    ) -> Self {
        let mut service = Self {
            directory: TempDir::new().unwrap(),
            port: free_port(),
            admin_port: free_port(),
            authority,
            admission: admission.to_vec(),
            process: None,
        };
        service.run();
        service
    }

    /// What a user sets as `dom.push.serverURL`.
    pub(crate) fn push_server_url(&self) -> String {
        let scheme = if self.authority.is_some() {
            "wss"
        } else {
            "ws"
        };
        format!("{scheme}://localhost:{}/", self.port)
    }

    /// Where its admin listener is.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// The token that may do everything over its admin API.
    pub(crate) fn admin_token(&self) -> String {
        let file = self.directory.path().join("data/admin-token");
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    /// A folder that goes when the service does.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The page that a person opens in the browser.
    pub(crate) fn page_url(&self) -> String {
        self.push_server_url().replacen("ws", "http", 1)
    }

    /// What the URLs that it hands out begin with.
    pub(crate) fn origin(&self) -> String {
        match self.authority {
            None => format!("http://127.0.0.1:{}", self.port),
            Some(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// Where its admin listener is.
    pub(crate) fn console_url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.admin_port)
    }

    /// What is in this file of its data folder, a token.
    pub(crate) fn token(&self, file: &str) -> String {
        let path = self.directory.path().join("data").join(file);
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The certificate that clients of this service must trust.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::root)
    }

    /// Asks the process to end (SIGTERM), waits for it, and starts it again.
    pub(crate) fn terminate_and_restart(&mut self) {
        let process = self.process.as_mut().expect("the service runs");
        process.signal("-TERM");
        process.wait_for_success("the service", STOP_TIMEOUT);
        self.run();
    }

    /// Ends the process without warning (SIGKILL) and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process = None;
        self.run();
    }

    fn run(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugle"));
        command
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--admin-listen", &format!("127.0.0.1:{}", self.admin_port)])
            .arg("--data")
            .arg(self.directory.path().join("data"))
            .envs(self.admission.iter().copied())
            .env("BUGLE_LOG__FILTER", "trace")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(authority) = &self.authority {
            command
                .args(["--public-url", &self.origin()])
                .arg("--tls-cert")
                .arg(authority.certificate())
                .arg("--tls-key")
                .arg(authority.key());
        }
        self.process = Some(Process::start(&mut command, "bugle must be built"));
        wait_until("the service to answer /health", START_TIMEOUT, || {
            self.is_healthy()
        });
    }

    fn is_healthy(&mut self) -> Option<()> {
        let process = self.process.as_mut().expect("the service runs");
        if let Some(status) = process.exit_status() {
            panic!("the service ended with {status} instead of listening");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(START_TIMEOUT)).unwrap();
        let status_line = match &self.authority {
            None => ask_health(&mut stream),
            Some(authority) => {
                ask_health(&mut rustls::StreamOwned::new(authority.client(), stream))
            }
        };
        status_line.ok()?.starts_with(b"HTTP/1.1 200").then_some(())
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("service.log")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ended, so that the log is whole.
        self.process = None;
        secrets::keep_log(&fs::read(self.log()).unwrap_or_default());
        let keys = fs::read_to_string(self.directory.path().join("data/endpoint-keys"));
        secrets::see(&keys.unwrap_or_default());
        if thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("--- the service's log ---\n{log}--- end of the service's log ---");
        }
    }
}

fn ask_health(stream: &mut (impl Read + Write)) -> std::io::Result<[u8; 12]> {
    stream.write_all(HEALTH)?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line)?;
    Ok(status_line)
}

/// A port that was free a moment ago; a restarted service needs the same again.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
