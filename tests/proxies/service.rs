//! The service under test in its own process, with settings of docs/proxies.md.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bugle_launch::{Launcher, free_port, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::client;
use crate::secrets;

/// Timeout of every wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(40);

const PAGE: &str = include_str!("../../docs/proxies.md");

/// The only block of settings on the page that contains this text.
pub(crate) fn settings_with(text: &str) -> &'static str {
    let blocks = PAGE.split("\n```toml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("\n```").expect("the block has an end").0);
    let mut blocks = blocks.filter(|block| block.contains(text));
    let block = blocks.next();
    assert_eq!(blocks.next(), None, "docs/proxies.md sets {text:?} twice");
    block.unwrap_or_else(|| panic!("docs/proxies.md does not set {text:?}"))
}

/// A running `bugle`.
pub(crate) struct Service {
    pub(crate) authority: Authority,
    running: Option<bugle_launch::Service>,
    launcher: Launcher,
    /// The public port.
    pub(crate) public_port: u16,
    // Declared after the running service, so that it is dropped last.
    folder: TempDir,
}

impl Service {
    /// Starts a service with these settings, overridden by the run's ports and files and by
    /// `more`, named like environment variables. The port of its public URL is free.
    pub(crate) fn start(settings: &str, more: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let launcher = Launcher::new(env!("CARGO_BIN_EXE_bugle"), folder.path());
        let mut service = Self {
            authority: Authority::new(),
            running: None,
            launcher,
            public_port: free_port(),
            folder,
        };
        service.run(settings, more);
        service
    }

    fn run(&mut self, settings: &str, more: &[(&str, &str)]) {
        let mut launcher = self.launcher.clone();
        launcher.configure(settings).unwrap();
        launcher = launcher
            .args(["--public-url", &self.origin()])
            // Tests read the pushed bodies, so they are not encrypted.
            .env("BUGLE_COMPAT__ALLOW_UNENCRYPTED", "true")
            .env("BUGLE_LOG__FILTER", "trace");
        if settings.contains("cert_file") {
            launcher = launcher
                .env("BUGLE_TLS__CERT_FILE", self.authority.certificate())
                .env("BUGLE_TLS__KEY_FILE", self.authority.key());
        }
        if settings.contains("\nsocket = ") {
            launcher = launcher.env("BUGLE_SERVER__SOCKET", self.socket());
        }
        for (name, value) in more {
            launcher = launcher.env(format!("BUGLE_{name}"), value);
        }
        let started = launcher.start_and_wait();
        self.running = Some(started.unwrap_or_else(|error| panic!("{error}")));
        self.launcher = launcher;
    }

    /// The port of the listener.
    pub(crate) fn port(&self) -> u16 {
        port(&self.launcher.listening().public)
    }

    /// The origin of endpoints.
    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.public_port)
    }

    /// The unix socket, if one is set.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("push.sock")
    }

    /// A folder that is removed with the service.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.launcher.log_file()).unwrap_or_default()
    }

    /// Waits for a warning with this text.
    pub(crate) fn wait_for_warning(&self, printed: &str) {
        wait_until(&format!("a warning with {printed:?}"), TIMEOUT, || {
            let log = self.log();
            let mut lines = log.lines();
            let found = lines.any(|line| line.contains(" WARN ") && line.contains(printed));
            found.then_some(())
        });
    }

    /// Waits until a metric has this value.
    pub(crate) async fn wait_for_metric(&self, name: &str, value: &str) {
        let line = format!("{name} {value}");
        let found = async {
            loop {
                let stream = client::connect(self.admin(), "127.0.0.1").await;
                let reply = client::http1(Box::new(stream), "GET", "/metrics", &[], b"").await;
                if reply.text().lines().any(|found| found == line) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(TIMEOUT, found).await;
        assert!(found.is_ok(), "waited for {line}");
    }

    /// Blocks an address.
    pub(crate) async fn block(&self, address: &str) {
        let token = fs::read_to_string(self.launcher.data().join("admin-token")).unwrap();
        let token = format!("Bearer {}", token.trim());
        let fields = [
            ("authorization", &*token),
            ("content-type", "application/json"),
        ];
        let path = format!("/admin/v1/blocks/addresses/{address}");
        let stream = client::connect(self.admin(), "127.0.0.1").await;
        let body = Value::from_iter([("note", "")]).to_string();
        let reply = client::http1(Box::new(stream), "PUT", &path, &fields, body.as_bytes()).await;
        assert!(reply.status.is_success(), "{}", reply.text());
    }

    fn admin(&self) -> SocketAddr {
        let admin = self.launcher.listening().admin.as_deref();
        (Ipv4Addr::LOCALHOST, port(admin.unwrap())).into()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Stop the service first, so that the log is complete.
        self.running = None;
        secrets::keep_log(self.log().as_bytes());
        let keys = fs::read_to_string(self.launcher.data().join("endpoint-keys"));
        secrets::see(&keys.unwrap_or_default());
    }
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}
