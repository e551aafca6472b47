//! Terminals in the clean Debian, opened in the folder of the sources.

use std::env;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, wait_until};

const PATIENCE: Duration = Duration::from_secs(60);

/// How long the release build may take, on a slow machine from nothing.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// What the commands of the documents leave in the folder.
const LEFT: &str = "rm -rf bugle-data vapid.pem subscription.json firefox.json \
                    bugle-user-agent.json going-on.log";

/// Where terminals are opened.
pub struct Terminal {
    root: PathBuf,
    /// Of the sources, outside and inside.
    folder: PathBuf,
    /// The network that is not loopback, for apt.
    network: String,
    /// Whether this is no clean Debian, and has what apt would install.
    is_fallback: bool,
}

impl Terminal {
    /// Of the Debian that `tests/newcomer/root` has made.
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

    /// Runs one command to its end and gives what it prints.
    pub fn run(&self, command: &str) -> String {
        let is_apt = command.starts_with("sudo apt ");
        if is_apt && self.is_fallback {
            eprintln!("left out, there is no clean Debian: {command}");
            return String::new();
        }
        let output = self.shell(command, is_apt).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}{errors}");
        said.into_owned()
    }

    /// Starts one command that goes on.
    pub fn start(&self, command: &str) -> Process {
        let log = self.path("going-on.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        // The shell becomes the command, so that it ends with its owner.
        let mut shell = self.shell(&format!("exec {command}"), false);
        shell.stdout(log).stderr(Stdio::inherit());
        Process::start(&mut shell).expect("chroot must be installed")
    }

    /// A login shell, as a new terminal has it.
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

    /// Takes away what an earlier newcomer has made.
    pub fn forget(&self) {
        self.run(LEFT);
    }

    /// Saves a file as an editor would.
    pub fn save(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Waits until there is a file.
    pub fn wait_for_file(&self, name: &str) {
        wait_until(name, PATIENCE, || self.path(name).exists().then_some(()));
    }

    /// Waits until something listens on loopback.
    pub fn wait_for_port(&self, port: u16) {
        wait_until("something to listen", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// Waits until one of what goes on has printed a line with this text.
    pub fn wait_for_line_with(&self, text: &str) {
        self.wait_for_line(text, PATIENCE);
    }

    /// Waits until the service, which is built first, says where its console is.
    pub fn wait_for_service(&self) {
        self.wait_for_line("The console is at", BUILD);
    }

    fn wait_for_line(&self, text: &str, patience: Duration) {
        wait_until(text, patience, || {
            let said = fs::read_to_string(self.path("going-on.log")).ok()?;
            said.lines().any(|line| line.contains(text)).then_some(())
        });
    }

    /// A file of the folder, seen from outside.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap();
        self.root.join(inside).join(name)
    }
}
