//! The service under test in its own process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bugle_launch::{Launcher, free_port};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::secrets;

/// A `bugle` that keeps its address and data across restarts.
pub(crate) struct Service {
    launcher: Launcher,
    running: Option<bugle_launch::Service>,
    authority: Option<Authority>,
    // Declared after the running service, so that it is dropped last.
    directory: TempDir,
}

impl Service {
    /// Starts the service without TLS.
    pub(crate) fn start() -> Self {
        Self::start_guarded(&[])
    }

    /// Starts the service without TLS and with settings of `[admission]`.
    pub(crate) fn start_guarded(admission: &[(&str, &str)]) -> Self {
        let admit = |launcher: Launcher, (name, value): &(&str, &str)| launcher.env(name, value);
        Self::start_with(None, |launcher| admission.iter().fold(launcher, admit))
    }

    /// Starts the service with a certificate of this authority.
    pub(crate) fn start_with_tls(authority: Authority) -> Self {
        Self::start_with_tls_and(authority, &[])
    }

    /// Starts the service with a certificate of this authority and these settings.
    pub(crate) fn start_with_tls_and(authority: Authority, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let files = [authority.certificate(), authority.key()];
        let set = |launcher: Launcher, (name, value): &(&str, &str)| launcher.env(name, value);
        Self::start_with(Some(authority), |launcher| {
            let launcher = launcher
                .at_port(port)
                .args(["--public-url", &format!("https://localhost:{port}")])
                .args(["--tls-cert".as_ref(), files[0].as_os_str()])
                .args(["--tls-key".as_ref(), files[1].as_os_str()]);
            settings.iter().fold(launcher, set)
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

    /// The URL for `dom.push.serverURL`.
    pub(crate) fn push_server_url(&self) -> String {
        let scheme = if self.authority.is_some() {
            "wss"
        } else {
            "ws"
        };
        format!("{scheme}://localhost:{}/", self.port())
    }

    /// The URL of the admin listener.
    pub(crate) fn admin_url(&self) -> String {
        let admin = self.launcher.listening().admin.as_deref();
        format!("http://{}", admin.unwrap())
    }

    /// The full token of the admin API.
    pub(crate) fn admin_token(&self) -> String {
        self.token("admin-token")
    }

    /// A folder that is removed with the service.
    pub(crate) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// The port of the listener.
    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.launcher.listening().public.rsplit_once(':').unwrap();
        port.parse().unwrap()
    }

    /// The URL of the page for people.
    pub(crate) fn page_url(&self) -> String {
        self.push_server_url().replacen("ws", "http", 1)
    }

    /// The origin of the URLs that the service issues.
    pub(crate) fn origin(&self) -> String {
        match self.authority {
            None => format!("http://127.0.0.1:{}", self.port()),
            Some(_) => format!("https://localhost:{}", self.port()),
        }
    }

    /// The URL of the console.
    pub(crate) fn console_url(&self) -> String {
        format!("{}/", self.admin_url())
    }

    /// The token in this file of the data folder.
    pub(crate) fn token(&self, file: &str) -> String {
        let path = self.launcher.data().join(file);
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The certificate that clients of this service must trust.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(Authority::root)
    }

    /// The SHA-256 of the public key of its certificate, in base64, by which a Chromium can be told
    /// to trust it.
    pub(crate) fn public_key_pin(&self) -> String {
        let certificate = self.authority.as_ref().unwrap().certificate();
        let command = "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der \
                       | openssl dgst -sha256 -binary | base64";
        let output = Command::new("sh")
            .args(["-euc", command])
            .arg(certificate)
            .output();
        let pin = String::from_utf8(output.unwrap().stdout).unwrap();
        pin.trim().to_owned()
    }

    /// Stops the service (SIGTERM), waits for its end, and starts it again.
    pub(crate) fn terminate_and_restart(&mut self) {
        let running = self.running.as_mut().expect("the service runs");
        running
            .stop_and_wait()
            .unwrap_or_else(|error| panic!("{error}"));
        self.run();
    }

    /// Kills the service (SIGKILL) and starts it again.
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
        // Stop the service first, so that the log is complete.
        self.running = None;
        secrets::keep_log(&fs::read(self.launcher.log_file()).unwrap_or_default());
        let keys = fs::read_to_string(self.launcher.data().join("endpoint-keys"));
        secrets::see(&keys.unwrap_or_default());
    }
}
