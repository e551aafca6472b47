//! Stands in for systemd, which tests cannot run as their first process: holds the listening
//! sockets, starts the real program with them, and receives its notifications
//! (sd_listen_fds(3), sd_notify(3)).

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bugle::Config;
use bugle_launch::{Service, Signal, TIMEOUT};
use command_fds::{CommandFdExt, FdMapping};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::http::{self, Reply};
use super::secrets;

/// A unit: its sockets, its data, and the notifications of its process.
pub struct ServiceManager {
    public: TcpListener,
    admin: TcpListener,
    printed: mpsc::UnboundedReceiver<String>,
    service: Option<Service>,
    /// Declared after `service`, so that it is dropped last.
    folder: TempDir,
}

impl ServiceManager {
    /// Creates a unit with sockets and no process.
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (public, admin) = (listen(), listen());
        let mut config = Config::default();
        // Other addresses than those of the sockets, which take precedence.
        config.server.listen = "127.0.0.1:1".parse().unwrap();
        config.admin.listen = None;
        config.server.data = folder.path().join("data");
        config.user_agent.min_ping_interval = Duration::ZERO;
        change(&mut config);
        if secrets::are_kept() {
            config.log.filter = "trace".to_owned();
            config.log.repeat_limit = 0;
        }
        std::fs::write(folder.path().join("bugle.toml"), config.to_toml()).unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        let (hears, printed) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut message = [0; 4096];
            while let Ok(length) = notify.recv(&mut message).await {
                let _ = hears.send(String::from_utf8_lossy(&message[..length]).into_owned());
            }
        });
        Self {
            public,
            admin,
            printed,
            service: None,
            folder,
        }
    }

    /// Starts the program and waits until it reports that it is ready.
    pub async fn start(&mut self) {
        let mut command = Command::new("sh");
        command
            // The shell's pid stays the same across exec, as after a manager's fork.
            .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_bugle"))
            .arg("--config")
            .arg(self.folder.path().join("bugle.toml"))
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "public:admin")
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            // Short, so that tests need not wait.
            .env("WATCHDOG_USEC", "200000");
        let pass = |socket: &TcpListener, child_fd| FdMapping {
            parent_fd: OwnedFd::from(socket.try_clone().unwrap()),
            child_fd,
        };
        command
            .fd_mappings(vec![pass(&self.public, 3), pass(&self.admin, 4)])
            .unwrap();
        self.service = Some(Service::start(&mut command, &self.log_file()).unwrap());
        self.hears("READY=1").await;
    }

    /// Waits until the process sends this line.
    pub async fn hears(&mut self, wanted: &str) {
        let hear = async {
            while let Some(printed) = self.printed.recv().await {
                if printed.lines().any(|line| line == wanted) {
                    return;
                }
            }
        };
        let received = timeout(TIMEOUT, hear).await;
        assert!(received.is_ok(), "the process does not send {wanted}");
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        let service = self.service.as_mut().expect("the process runs");
        service.process().signal(Signal::TERM).unwrap();
    }

    /// Waits for the end of the process and asserts success.
    pub async fn ended(&mut self) {
        let mut service = self.service.take().expect("the process runs");
        let status = service
            .process()
            .ended(TIMEOUT)
            .await
            .expect("the process ends");
        assert!(status.success(), "{status}: {}", service.log());
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }

    /// Host and port of the public socket.
    pub fn authority(&self) -> String {
        self.public.local_addr().unwrap().to_string()
    }

    /// Sends a GET to the admin socket.
    pub async fn admin(&self, path: &str) -> Reply {
        let admin = self.admin.local_addr().unwrap().to_string();
        http::http1(&admin, "GET", path, &[], b"").await
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        // Stop the process first, so that the log is complete.
        self.service = None;
        secrets::keep_log(&std::fs::read(self.log_file()).unwrap_or_default());
    }
}
