//! The commands of `docs/operations.md`, executed in order on a service with one stored message
//! that must survive all of them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::subject::needs_ours;

const PAGE: &str = include_str!("../../docs/operations.md");
const BUGLE: &str = env!("CARGO_BIN_EXE_bugle");

/// Commands that require a second machine, the package or the journal.
const NOT_RUN: &[&str] = &[
    "sudo rsync ",
    "sudo apt ",
    "journalctl ",
    "bugle doctor ",
    "sudo sysctl ",
    "sudo systemctl enable ",
];

/// Replaces sudo: runs the command as the current user.
const SUDO: &str = r#"#!/bin/bash
[[ $1 != -u ]] || shift 2
exec "$@"
"#;

/// Replaces install: the files belong to the user who runs the test.
const INSTALL: &str = r#"#!/bin/bash
words=()
while (($#)); do
    case $1 in
    -o | -g) shift ;;
    *) words+=("$1") ;;
    esac
    shift
done
exec /usr/bin/install "${words[@]}"
"#;

/// Replaces systemctl: controls the service without its socket.
const SYSTEMCTL: &str = r#"#!/bin/bash
set -eu
stop() {
    kill "$(cat "$MACHINE/pid")"
    while kill -0 "$(cat "$MACHINE/pid")" 2>/dev/null; do sleep 0.05; done
}
start() {
    bugle --config "$MACHINE/etc/bugle/config.toml" >>"$MACHINE/log" 2>&1 </dev/null &
    echo $! >"$MACHINE/pid"
    for _ in {1..600}; do
        ! bugle health --ready --config "$MACHINE/etc/bugle/config.toml" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    cat "$MACHINE/log" >&2
    return 1
}
[[ " $* " == *" bugle.service "* ]]
case $1 in
stop) stop ;;
start) start ;;
restart) stop && start ;;
esac
"#;

/// A folder that serves as the root of a machine, with a running service.
struct Machine {
    folder: tempfile::TempDir,
    server: String,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["bin", "etc/bugle", "var/lib/bugle", "var/backups"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let stand_ins = [
            ("sudo", SUDO),
            ("install", INSTALL),
            ("systemctl", SYSTEMCTL),
        ];
        for (name, script) in stand_ins {
            let file = folder.path().join("bin").join(name);
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Hold both ports until both are known, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [public, admin] = free.map(|listener| listener.local_addr().unwrap());
        let machine = Self {
            server: format!("ws://{public}/"),
            folder,
        };
        let configuration = format!(
            "[server]\nlisten = \"{public}\"\ndata = {:?}\nclose_window = \"0s\"\n\
             [admin]\nlisten = \"{admin}\"\n",
            machine.path("var/lib/bugle")
        );
        fs::write(machine.path("etc/bugle/config.toml"), configuration).unwrap();
        machine.succeeds("systemctl start bugle.service");
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Runs commands with this folder in place of `/`.
    fn shell(&self, commands: &str) -> Output {
        let root = self.folder.path().display();
        let commands = ["/var/", "/etc/"]
            .iter()
            .fold(commands.to_owned(), |text, top| {
                text.replace(&format!(" {top}"), &format!(" {root}{top}"))
            });
        let programs = Path::new(BUGLE).parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &commands])
            .env("MACHINE", self.folder.path())
            .env("PATH", format!("{root}/bin:{programs}:{path}"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        bash.output().unwrap()
    }

    fn succeeds(&self, commands: &str) -> String {
        let output = self.shell(commands);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for the next message of the user agent with this identity.
    fn receives(&self, identity: &str) -> String {
        let server = &self.server;
        self.succeeds(&format!(
            "timeout 60 bugle listen --server {server} --identity {identity} --count 1 \
             --subscription {identity}.subscription"
        ))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.shell("systemctl stop bugle.service");
    }
}

/// The blocks of shell commands, each with the text before it.
fn blocks() -> impl Iterator<Item = &'static str> {
    let rest = PAGE.split("\n```sh\n").skip(1);
    rest.map(|rest| rest.split_once("\n```").expect("each block has an end").0)
}

#[test]
fn a_stored_message_survives_all_commands_of_the_operations_page() {
    needs_ours!("commands of its operator");
    let machine = Machine::new();
    let subscribe = format!(
        "bugle listen --server {} --identity waiting --subscription waiting.subscription & \
         until [[ -s waiting.subscription ]]; do sleep 0.05; done; kill %1; wait %1 || true",
        machine.server
    );
    machine.succeeds(&subscribe);
    machine.succeeds("bugle send waiting.subscription 'before it all'");
    let mut run = 0;
    for block in blocks() {
        let lines = block.lines();
        let ours: Vec<&str> = lines
            .filter(|line| !NOT_RUN.iter().any(|begin| line.starts_with(begin)))
            .collect();
        machine.succeeds(&ours.join("\n"));
        // Commands after a move run on the other machine.
        if ours.iter().any(|line| line.contains("stop")) && !block.contains("start") {
            machine.succeeds("systemctl start bugle.service");
        }
        run += ours.len();
    }
    assert!(run > 30, "only {run} commands were run");
    let received = machine.receives("waiting");
    assert_eq!(received.lines().last(), Some("before it all"));
}
