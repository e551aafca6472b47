//! Terminals in the clean Debian, in the folder of the sources.

use std::env;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Timeout of a release build from scratch on a slow machine.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// The files that the documents' commands create.
const LEFT: &str = "rm -rf bugle-data vapid.pem subscription.json firefox.json \
                    bugle-user-agent.json going-on.log";

/// A factory of terminals.
pub struct Terminal {
    root: PathBuf,
    /// The path of the sources, both outside and inside.
    folder: PathBuf,
    /// The network namespace with internet access, for apt.
    network: String,
    /// Whether this is not a clean Debian but a system with the packages installed.
    is_fallback: bool,
}

impl Terminal {
    /// Uses the Debian created by `tests/newcomer/root`.
    pub fn new() -> Self {
        let variable = |name| {
            env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ./test newcomer"))
        };
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Self {
            root: variable("NEWCOMER_ROOT").into(),
            folder: top.canonicalize().unwrap(),
            network: variable("NEWCOMER_NETWORK"),
            is_fallback: env::var_os("NEWCOMER_FALLBACK").is_some(),
        }
    }

    /// Runs a command to its end and returns its output.
    pub fn run(&self, command: &str) -> String {
        let is_apt = command.starts_with("sudo apt ");
        if is_apt && self.is_fallback {
            eprintln!("left out, there is no clean Debian: {command}");
            return String::new();
        }
        let output = self.shell(command, is_apt).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{printed}{errors}");
        printed.into_owned()
    }

    /// Starts a command that continues to run.
    pub fn start(&self, command: &str) -> Process {
        let log = self.path("going-on.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        // exec replaces the shell, so that the command ends with its owner.
        let mut shell = self.shell(&format!("exec {command}"), false);
        shell.stdout(log).stderr(Stdio::inherit());
        Process::start(&mut shell).expect("chroot must be installed")
    }

    /// A login shell, as in a new terminal.
    fn shell(&self, command: &str, with_network: bool) -> Command {
        let script = format!("cd '{}'\n{command}", self.folder.display());
        let mut shell = if with_network {
            let mut shell = Command::new("nsenter");
            shell.arg(format!("--net={}", self.network)).arg("chroot");
            shell
        } else {
            Command::new("chroot")
        };
        shell
            .arg(&self.root)
            .args(["/usr/bin/env", "-i", "HOME=/root", "USER=root"])
            .args(["LANG=C.UTF-8", "/bin/bash", "-lec", &script])
            .stdin(Stdio::null());
        shell
    }

    /// Removes the files of an earlier run.
    pub fn forget(&self) {
        self.run(LEFT);
    }

    /// Saves a file as an editor would.
    pub fn save(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Waits until a file exists.
    pub fn wait_for_file(&self, name: &str) {
        wait_until(name, TIMEOUT, || self.path(name).exists().then_some(()));
    }

    /// Waits until a program listens on loopback.
    pub fn wait_for_port(&self, port: u16) {
        wait_until("something to listen", TIMEOUT, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// Waits until a running command has printed a line with this text.
    pub fn wait_for_line_with(&self, text: &str) {
        self.wait_for_line(text, TIMEOUT);
    }

    /// Waits until the service is built and prints the address of its console.
    pub fn wait_for_service(&self) {
        self.wait_for_line("The console is at", BUILD);
    }

    fn wait_for_line(&self, text: &str, limit: Duration) {
        wait_until(text, limit, || {
            let printed = fs::read_to_string(self.path("going-on.log")).ok()?;
            printed
                .lines()
                .any(|line| line.contains(text))
                .then_some(())
        });
    }

    /// The path of a file as seen from outside.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap();
        self.root.join(inside).join(name)
    }
}
