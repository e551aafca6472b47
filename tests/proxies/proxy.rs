//! A proxy with a configuration of `packaging/proxies`, in which the run's values replace the
//! placeholders.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use bugle_launch::{Process, wait_until};

use crate::service::{Service, TIMEOUT};

const NEEDS: &str = "nginx with libnginx-mod-stream, caddy and haproxy must be installed";

/// The program and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    NginxStream,
    Caddy,
    Haproxy,
    HaproxyTcp,
}

/// A running proxy in front of a service. If the test has failed, its log is printed.
pub(crate) struct Proxy {
    log: PathBuf,
    _process: Process,
}

impl Kind {
    fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::NginxStream => "nginx-stream.conf",
            Self::Caddy => "Caddyfile",
            Self::Haproxy => "haproxy.cfg",
            Self::HaproxyTcp => "haproxy-tcp.cfg",
        }
    }

    /// Starts the proxy in front of a service on the port of its public URL, with additional
    /// `changes` to the configuration.
    pub(crate) fn start(self, service: &Service, changes: &[(&str, &str)]) -> Proxy {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/proxies");
        let mut text = fs::read_to_string(path.join(self.file())).unwrap();
        // `changes` may already set another address.
        let is_moved = |from: &str| from.starts_with("127.0.0.1:") && !changes.is_empty();
        let mut change = |from: &str, to: &str| {
            if is_moved(from) && !text.contains(from) {
                return;
            }
            assert!(text.contains(from), "{}: no {from:?}", self.file());
            text = text.replace(from, to);
        };
        for (from, to) in changes {
            change(from, to);
        }
        let folder = service.folder();
        for (from, to) in self.changes_of_run(service) {
            change(from, &to);
        }
        let file = folder.join(self.file());
        fs::write(&file, text).unwrap();
        let log = folder.join("proxy.log");
        let output = File::create(&log).unwrap();
        let mut command = self.command(&file);
        command
            // Caddy's folder for certificates.
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let mut process = Process::start(&mut command).expect(NEEDS);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, service.public_port));
        wait_until(&format!("{self:?} to listen"), TIMEOUT, || {
            let printed = || fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(process.exit_status(), None, "{}", printed());
            TcpStream::connect(address).ok()
        });
        Proxy {
            log,
            _process: process,
        }
    }

    fn command(self, file: &Path) -> Command {
        let mut command = match self {
            Self::Nginx | Self::NginxStream => {
                let mut command = Command::new("nginx");
                // The default path belongs to root.
                let pid = file.with_extension("pid");
                // Without a master, no worker survives when the process is killed.
                let globals = format!("daemon off; master_process off; pid {};", pid.display());
                command.args(["-e", "stderr", "-g", &globals, "-c"]);
                command
            }
            Self::Caddy => {
                let mut command = Command::new("caddy");
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command
            }
            Self::Haproxy | Self::HaproxyTcp => {
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f"]);
                command
            }
        };
        command.arg(file);
        command
    }

    /// Replaces ports, files, and settings that require other users.
    fn changes_of_run(self, service: &Service) -> Vec<(&'static str, String)> {
        let (port, upstream) = (service.public_port, service.port());
        let certificate = service.authority.certificate().display().to_string();
        let key = service.authority.key().display().to_string();
        let folder = service.folder().display();
        match self {
            Self::Nginx => vec![
                ("worker_processes auto;", "worker_processes 1;".to_owned()),
                ("listen 443 ssl", format!("listen 127.0.0.1:{port} ssl")),
                ("127.0.0.1:8080", format!("127.0.0.1:{upstream}")),
                ("/etc/ssl/push.example.org/fullchain.pem", certificate),
                ("/etc/ssl/push.example.org/privkey.pem", key),
                (
                    "http {",
                    format!(
                        "user root root;\nhttp {{\n{}",
                        temporary(&folder.to_string())
                    ),
                ),
            ],
            Self::NginxStream => vec![
                (
                    "worker_processes auto;",
                    "worker_processes 1;\nuser root root;".to_owned(),
                ),
                ("listen 443;", format!("listen 127.0.0.1:{port};")),
                ("127.0.0.1:8443", format!("127.0.0.1:{upstream}")),
            ],
            Self::Caddy => vec![
                (
                    "push.example.org {",
                    format!(
                        "{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n\nlocalhost:{port} \
                         {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}"
                    ),
                ),
                ("127.0.0.1:8080", format!("127.0.0.1:{upstream}")),
            ],
            Self::Haproxy => {
                let both = service.folder().join("both.pem");
                let parts = [&certificate, &key].map(|file| fs::read_to_string(file).unwrap());
                fs::write(&both, parts.concat()).unwrap();
                vec![
                    ("maxconn 32768", "maxconn 100".to_owned()),
                    ("bind :443", format!("bind 127.0.0.1:{port}")),
                    ("127.0.0.1:8080", format!("127.0.0.1:{upstream}")),
                    (
                        "/etc/haproxy/push.example.org.pem",
                        both.display().to_string(),
                    ),
                ]
            }
            Self::HaproxyTcp => vec![
                ("maxconn 32768", "maxconn 100".to_owned()),
                ("bind :443", format!("bind 127.0.0.1:{port}")),
                ("127.0.0.1:8443", format!("127.0.0.1:{upstream}")),
            ],
        }
    }
}

/// Replaces the default folders, which belong to root.
fn temporary(folder: &str) -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- what the proxy printed ---\n{log}--- end ---");
        }
    }
}
