//! The service under test, as its own process.

use std::fs;
use std::path::{Path, PathBuf};

use bugle_launch::{Launcher, free_port};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::secrets;

/// A `bugle` that keeps its address and data across restarts.
pub(crate) struct Service {
    launcher: Launcher,
    running: Option<bugle_launch::Service>,
    authority: Option<Authority>,
    // After what runs in it.
    directory: TempDir,
}

impl Service {
    /// Starts the service in the clear.
    pub(crate) fn start() -> Self {
        Self::start_guarded(&[])
    }

    /// Starts the service in the clear, with settings of `[admission]`.
    pub(crate) fn start_guarded(admission: &[(&str, &str)]) -> Self {
        let admit = |launcher: Launcher, (name, value): &(&str, &str)| launcher.env(name, value);
        Self::start_with(None, |launcher| admission.iter().fold(launcher, admit))
    }

    /// Starts the service with a certificate of this authority.
    pub(crate) fn start_with_tls(authority: Authority) -> Self {
        let port = free_port();
        let files = [authority.certificate(), authority.key()];
        Self::start_with(Some(authority), |launcher| {
            launcher
                .at_port(port)
                .args(["--public-url", &format!("https://localhost:{port}")])
                .args(["--tls-cert".as_ref(), files[0].as_os_str()])
                .args(["--tls-key".as_ref(), files[1].as_os_str()])
        })
    }

    fn start_with(authority: Option<Authority>, change: impl FnOnce(Launcher) -> Launcher) -> Self {
        let directory = TempDir::new().unwrap();
        let launcher = Launcher::new(env!("CARGO_BIN_EXE_bugle"), directory.path());
        let mut service = Self {
            launcher: change(launcher.env("BUGLE_LOG__FILTER", "trace")),
            running: None,
            authority,
            directory,
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
        format!("{scheme}://localhost:{}/", self.port())
    }

    /// Where its admin listener is.
    pub(crate) fn admin_url(&self) -> String {
        let admin = self.launcher.listening().admin.as_deref();
        format!("http://{}", admin.unwrap())
    }

    /// The token that may do everything over its admin API.
    pub(crate) fn admin_token(&self) -> String {
        self.token("admin-token")
    }

    /// A folder that goes when the service does.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.launcher.listening().public.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// The page that a person opens in the browser.
    pub(crate) fn page_url(&self) -> String {
        self.push_server_url().replacen("ws", "http", 1)
    }

    /// What the URLs that it hands out begin with.
    pub(crate) fn origin(&self) -> String {
        match self.authority {
            None => format!("http://127.0.0.1:{}", self.port()),
            Some(_) => format!("https://localhost:{}", self.port()),
        }
    }

    /// Where its admin listener is.
    pub(crate) fn console_url(&self) -> String {
        format!("{}/", self.admin_url())
    }

    /// What is in this file of its data folder, a token.
    pub(crate) fn token(&self, file: &str) -> String {
        let path = self.launcher.data().join(file);
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The certificate that clients of this service must trust.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::root)
    }

    /// Asks the process to end (SIGTERM), waits for it, and starts it again.
    pub(crate) fn terminate_and_restart(&mut self) {
        let running = self.running.as_mut().expect("the service runs");
        running
            .stop_and_wait()
            .unwrap_or_else(|error| panic!("{error}"));
        self.run();
    }

    /// Ends the process without warning (SIGKILL) and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.running = None;
        self.run();
    }

    fn run(&mut self) {
        let started = self.launcher.start_and_wait();
        self.running = Some(started.unwrap_or_else(|error| panic!("{error}")));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ended, so that the log is whole.
        self.running = None;
        secrets::keep_log(&fs::read(self.launcher.log_file()).unwrap_or_default());
        let keys = fs::read_to_string(self.launcher.data().join("endpoint-keys"));
        secrets::see(&keys.unwrap_or_default());
    }
}
