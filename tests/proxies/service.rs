//! The service under test, as its own process, with settings of docs/proxies.md.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use std::{process, thread};

use serde_json::Value;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::client;
use crate::process::{Process, wait_until};
use crate::secrets;

/// For how long anything may take that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

const PAGE: &str = include_str!("../../docs/proxies.md");

/// The one block of settings in the page with this text in it.
pub(crate) fn settings_with(text: &str) -> &'static str {
    let blocks = PAGE.split("\n```toml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("\n```").expect("the block ends").0);
    let mut blocks = blocks.filter(|block| block.contains(text));
    let block = blocks.next();
    assert_eq!(blocks.next(), None, "docs/proxies.md sets {text:?} twice");
    block.unwrap_or_else(|| panic!("docs/proxies.md does not set {text:?}"))
}

/// A `bugle`. When a test has failed, its log is printed.
pub(crate) struct Service {
    pub(crate) authority: Authority,
    folder: TempDir,
    /// Where it listens.
    pub(crate) port: u16,
    /// The port that clients reach.
    pub(crate) public_port: u16,
    admin_port: u16,
    process: Option<Process>,
}

impl Service {
    /// A service with these settings, and over them, for its ports and files,
    /// those that depend on the run and `more`, named as in the environment. The
    /// port of its public URL is free.
    pub(crate) fn start(settings: &str, more: &[(&str, &str)]) -> Self {
        let mut service = Self {
            authority: Authority::new(),
            folder: TempDir::new().unwrap(),
            port: free_port(),
            public_port: free_port(),
            admin_port: free_port(),
            process: None,
        };
        service.run(settings, more);
        service
    }

    fn run(&mut self, settings: &str, more: &[(&str, &str)]) {
        let file = self.folder.path().join("bugle.toml");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bugle"));
        command
            .arg("--config")
            .arg(&file)
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--admin-listen", &format!("127.0.0.1:{}", self.admin_port)])
            .args(["--public-url", &self.origin()])
            // What is pushed here is for a test to read.
            .env("BUGLE_COMPAT__ALLOW_UNENCRYPTED", "true")
            .env("BUGLE_LOG__FILTER", "trace")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log_file()).unwrap());
        if settings.contains("cert_file") {
            command
                .env("BUGLE_TLS__CERT_FILE", self.authority.certificate())
                .env("BUGLE_TLS__KEY_FILE", self.authority.key());
        }
        if settings.contains("\nsocket = ") {
            command.env("BUGLE_SERVER__SOCKET", self.socket());
        }
        for (name, value) in more {
            command.env(format!("BUGLE_{name}"), value);
        }
        self.process = Some(Process::start(&mut command, "bugle must be built"));
        // Only then does it accept: a look at the public port could be a mistake.
        wait_until("the service to be healthy", PATIENCE, || {
            let process = self.process.as_mut().unwrap();
            assert_eq!(process.exit_status(), None, "{}", self.log());
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin_port)).ok()
        });
    }

    /// What endpoints begin with.
    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.public_port)
    }

    /// The unix socket, where one is set.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("push.sock")
    }

    /// A folder that goes when the service does.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits for a warning that says this.
    pub(crate) fn wait_for_warning(&self, said: &str) {
        wait_until(&format!("a warning with {said:?}"), PATIENCE, || {
            let log = self.log();
            let mut lines = log.lines();
            let found = lines.any(|line| line.contains(" WARN ") && line.contains(said));
            found.then_some(())
        });
    }

    /// Waits until a metric has a value.
    pub(crate) async fn wait_for_metric(&self, name: &str, value: &str) {
        let line = format!("{name} {value}");
        let found = async {
            loop {
                let stream = client::connect(self.admin(), "127.0.0.1").await;
                let reply = client::http1(stream, "GET", "/metrics", &[], b"").await;
                if reply.text().lines().any(|found| found == line) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "waited for {line}");
    }

    /// Blocks an address.
    pub(crate) async fn block(&self, address: &str) {
        let token = fs::read_to_string(self.folder.path().join("data/admin-token")).unwrap();
        let token = format!("Bearer {}", token.trim());
        let fields = [
            ("authorization", &*token),
            ("content-type", "application/json"),
        ];
        let path = format!("/admin/v1/blocks/addresses/{address}");
        let stream = client::connect(self.admin(), "127.0.0.1").await;
        let body = Value::from_iter([("note", "")]).to_string();
        let reply = client::http1(stream, "PUT", &path, &fields, body.as_bytes()).await;
        assert!(reply.status.is_success(), "{}", reply.text());
    }

    fn admin(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin_port).into()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ended, so that the log is whole.
        self.process = None;
        secrets::keep_log(self.log().as_bytes());
        let keys = fs::read_to_string(self.folder.path().join("data/endpoint-keys"));
        secrets::see(&keys.unwrap_or_default());
        if thread::panicking() {
            eprintln!("--- the service's log ---\n{}--- end ---", self.log());
        }
    }
}

/// A port that was free a moment ago, under those that the system gives to
/// outgoing connections, and another for each call and process.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const RANGE: u16 = 20_000;
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let begin = process::id() % u32::from(RANGE);
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let offset = (begin * 40 + u32::from(call)) % u32::from(RANGE);
        let port = FIRST + u16::try_from(offset).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
