//! Executes the commands and preferences of README.md, with free ports in place of those in the
//! text.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, free_port, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::service::Service;
use crate::stage::Stage;

const README: &str = include_str!("../../README.md");
const TIMEOUT: Duration = Duration::from_secs(40);

/// The only block of shell commands that contains this text.
fn commands(text: &str) -> &'static str {
    let blocks = README.split("\n```sh\n").skip(1);
    let blocks = blocks.map(|rest| rest.split_once("\n```").expect("the block has an end").0);
    let mut blocks = blocks.filter(|block| block.contains(text));
    let block = blocks
        .next()
        .unwrap_or_else(|| panic!("README.md has no command with {text:?}"));
    assert_eq!(
        blocks.next(),
        None,
        "README.md has two commands of {text:?}"
    );
    block
}

/// The preferences in the table, in order, for a service on this port.
fn preferences(port: u16) -> Vec<(String, Value)> {
    let rows = README.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('`');
        let (name, value) = (cells.next()?, cells.nth(1)?);
        let value = match value {
            "true" => true.into(),
            text => text.replace(":8080", &format!(":{port}")).into(),
        };
        Some((name.to_owned(), value))
    });
    rows.collect()
}

/// A shell in its own folder, in which `bugle` is the program under test.
struct Terminal {
    directory: TempDir,
}

impl Terminal {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::os::unix::fs::symlink(root.join("docs"), directory.path().join("docs")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn shell(&self, commands: &str) -> Command {
        let folder = Path::new(env!("CARGO_BIN_EXE_bugle")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", commands])
            .env("PATH", format!("{}:{path}", folder.display()))
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        shell
    }

    /// Runs commands to their end and returns their output.
    fn run(&self, commands: &str) -> String {
        let output = self.shell(commands).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a command that continues to run, with its output in a file.
    fn start(&self, command: &str, output: &str) -> Process {
        let output = fs::File::create(self.path(output)).unwrap();
        // exec replaces the shell, so that the command ends with its owner.
        let mut shell = self.shell(&format!("exec {command}"));
        let shell = shell.stdout(output).stderr(Stdio::null());
        Process::start(shell).expect("sh must be installed")
    }

    /// Serves the README's page with its command; returns the URL.
    fn serve_page(&self) -> (Process, String) {
        let port = free_port();
        let command = commands("http.server").replace("8000", &port.to_string());
        let server = self.start(&command, "page.log");
        wait_until("the page to be served", TIMEOUT, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        assert!(README.contains("<http://localhost:8000/>"));
        (server, format!("http://localhost:{port}/"))
    }
}

/// Subscribes with the page's button and sends with the README's command plus these flags.
fn push_to_the_page(mut stage: Stage, flags: &str) {
    let terminal = Terminal::new();
    let (_server, url) = terminal.serve_page();
    let firefox = stage.firefox();
    firefox.open(&url);
    firefox.click("#subscribe");
    let subscription = wait_until("the page to be subscribed", TIMEOUT, || {
        let state = firefox.text("#state");
        assert!(!state.contains("Error"), "{state}");
        Some(firefox.text("#subscription")).filter(|text| !text.is_empty())
    });
    assert!(subscription.contains(&format!(":{}/push/", stage.service.port())));
    fs::write(terminal.path("firefox.json"), subscription).unwrap();

    let send = commands("bugle send firefox.json");
    let text = send.split('"').nth(1).expect("the text is in quotes");
    let printed = terminal.run(&format!("{send} {flags}"));
    assert!(printed.contains("201 Created"), "{printed}");
    let firefox = stage.firefox();
    wait_until("the page to show the push", TIMEOUT, || {
        firefox.text("#pushes").contains(text).then_some(())
    });
    wait_until("the notification", TIMEOUT, || {
        let shown = firefox.notifications();
        shown.as_array()?.contains(&text.into()).then_some(())
    });
    firefox.click("#unsubscribe");
    wait_until("the subscription to end", TIMEOUT, || {
        firefox.text("#subscription").is_empty().then_some(())
    });
}

#[test]
fn the_first_push_goes_from_send_to_listen() {
    let (service, terminal) = (Service::start(), Terminal::new());
    let listen = commands("bugle listen");
    let server = format!("{listen} --server {}", service.push_server_url());
    let _listener = terminal.start(&server, "listen.log");
    wait_until("the subscription", TIMEOUT, || {
        terminal.path("subscription.json").exists().then_some(())
    });
    let printed = terminal.run(commands("send subscription.json"));
    assert!(printed.contains("201 Created"), "{printed}");
    wait_until("listen to print the push", TIMEOUT, || {
        let printed = fs::read_to_string(terminal.path("listen.log")).unwrap();
        printed.lines().any(|line| line == "hello").then_some(())
    });
}

#[test]
fn the_page_shows_a_push_once_the_preferences_are_set() {
    let mut stage = Stage::plain();
    let preferences = preferences(stage.service.port());
    assert_eq!(preferences.len(), 2, "{preferences:?}");
    for (name, _) in &preferences {
        stage.firefox().set_preference(name, &Value::Null);
    }
    for (name, value) in &preferences {
        stage.firefox().set_preference(name, value);
    }
    push_to_the_page(stage, "");
}

#[test]
fn the_page_shows_a_push_over_wss_with_an_authority_from_bugle() {
    let stage = Stage::tls_by(Authority::from_commands(commands("tls init")));
    let root = stage.service.root().unwrap();
    push_to_the_page(stage, &format!("--ca '{}'", root.display()));
}

#[test]
fn the_commands_to_serve_are_valid() {
    for text in ["--listen 0.0.0.0:443", "--listen 127.0.0.1:8443"] {
        let check = commands(text).replacen("bugle", "bugle check-config", 1);
        Terminal::new().run(&check);
    }
}
