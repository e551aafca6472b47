//! `bugle store` of the real program, on data written by the real program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::app_server::{Push, decrypted};
use crate::support::disk::{Fault, FaultyDisk};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

/// `bugle store` with these arguments.
fn command(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugle"));
    command.arg("store").args(arguments);
    command.arg("--data").arg(data).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], data: &Path) -> Output {
    command(arguments, data).output().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str], data: &Path) -> String {
    let output = run(arguments, data);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the command and asserts that it fails without a panic; returns its error.
#[track_caller]
fn fails(arguments: &[&str], data: &Path) -> String {
    let output = run(arguments, data);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// A data folder with items of each kind.
struct Data {
    folder: tempfile::TempDir,
    uaid: String,
    endpoint: String,
}

impl Data {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let server = Server::start_program(Some(&data)).await;
        let mut user_agent = UserAgent::connect(&server).await;
        let endpoint = user_agent.register(CHANNEL, None).await;
        user_agent.register(CHANNEL_2, None).await;
        let uaid = user_agent.uaid.clone();
        user_agent.leave(&server).await;
        let push = |text: &str| Push::to(&server, &endpoint).text(text);
        push("one").accepted().await;
        push("two").topic("t").accepted().await;
        let asked = push("three").header("prefer", "respond-async").send().await;
        assert_eq!(asked.status, 202);
        let version = json!({ "version": "v1" });
        let set = server.operate("PUT", "broadcasts/b", &version).await;
        assert!(set.status.is_success(), "{set:?}");
        drop(server);
        Self {
            folder,
            uaid,
            endpoint,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Asserts that this folder contains everything in working order.
    async fn is_in(&self, data: &Path) {
        let server = Server::start_program(Some(data)).await;
        let mut user_agent = UserAgent::reconnect(&server, &self.uaid).await;
        assert_eq!(user_agent.uaid, self.uaid);
        for text in ["one", "two", "three"] {
            let notification = user_agent.notification().await;
            assert_eq!(decrypted(&notification.data()), text);
        }
        // The origin changes with the port.
        let (_, path) = self.endpoint.split_once("/push/").unwrap();
        let endpoint = format!("{}/push/{path}", server.origin());
        Push::to(&server, &endpoint).text("new").accepted().await;
        assert_eq!(decrypted(&user_agent.notification().await.data()), "new");
        let broadcasts = server.look("broadcasts").await.to_string();
        assert!(broadcasts.contains("v1"), "{broadcasts}");
        assert_eq!(server.metric("bugle_receipt_subscriptions").await, 1.0);
        drop(server);
    }
}

/// The records of an export without their checksums.
fn records(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().skip(1).map(|line| line[9..].to_owned());
    lines.collect()
}

#[tokio::test]
async fn an_export_restores_everything() {
    needs_ours!("the program");
    let stored = Data::new().await;
    let (data, file, other) = (stored.data(), stored.path("export"), stored.path("other"));
    let name = file.to_str().unwrap();
    succeeds(&["export", name], &data);
    let refused = fails(&["export", name], &data);
    assert!(refused.contains(name), "{refused}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    succeeds(&["import", name], &other);
    let again = stored.path("again");
    succeeds(&["export", again.to_str().unwrap()], &other);
    assert_eq!(records(&file), records(&again));
    stored.is_in(&other).await;

    let refused = fails(&["import", name], &other);
    assert!(refused.contains("is not empty"), "{refused}");
    // Keys other than those of the endpoints.
    let keys = stored.path("third");
    fs::create_dir(&keys).unwrap();
    fs::write(keys.join("endpoint-keys"), "A".repeat(43) + "\n").unwrap();
    let refused = fails(&["import", name], &keys);
    assert!(refused.contains("endpoint-keys"), "{refused}");
    let without = succeeds(&["export", "-", "--without-keys"], &data);
    assert!(!without.contains("endpoint_keys") && without.contains("next_id"));
}

#[tokio::test]
async fn a_damaged_or_truncated_export_is_not_imported() {
    needs_ours!("the program");
    let stored = Data::new().await;
    let whole = succeeds(&["export", "-"], &stored.data());
    let (file, other) = (stored.path("export"), stored.path("other"));
    let name = file.to_str().unwrap();
    let cut = &whole[..whole.len() - 40];
    let changed = whole.replacen("very-low", "very-lov", 1);
    let changed = changed.replacen("\"normal\"", "\"mormal\"", 1);
    for (text, expected) in [
        (cut, "line"),
        (changed.as_str(), "is not what was written"),
        ("", "not an export"),
    ] {
        fs::write(&file, text).unwrap();
        let refused = fails(&["import", name], &other);
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("panicked"), "{refused}");
    }
    // Failed attempts must not obstruct a later one.
    fs::write(&file, whole).unwrap();
    succeeds(&["import", name], &other);
    stored.is_in(&other).await;
}

#[tokio::test]
async fn check_reports_the_contents_and_the_damage() {
    needs_ours!("the program");
    let stored = Data::new().await;
    let data = stored.data();
    let printed = succeeds(&["check"], &data);
    assert!(
        printed.contains("2 subscriptions, 3 messages, 1 receipt subscriptions"),
        "{printed}"
    );
    let missing = fails(&["check"], &stored.path("nowhere"));
    assert!(missing.contains("there is no store in"), "{missing}");

    let server = Server::start_program(Some(&data)).await;
    for arguments in [
        &["check"][..],
        &["export", "-"],
        &["compact"],
        &["import", "/dev/null"],
    ] {
        let refused = fails(arguments, &data);
        let expected = ["in use by another process", "not an export"];
        assert!(
            expected.iter().any(|text| refused.contains(text)),
            "{refused}"
        );
    }
    drop(server);

    // Compact the store, then truncate a message of the log.
    let db = data.join("store/db");
    succeeds(&["compact"], &data);
    let octets = fs::read(&db).unwrap();
    let used = octets.iter().rposition(|octet| *octet != 0).unwrap();
    let mut changed = octets.clone();
    changed[used / 2] ^= 0x20;
    fs::write(&db, changed).unwrap();
    let damaged = fails(&["check"], &data);
    assert!(damaged.contains("damaged"), "{damaged}");
    fs::write(&db, octets).unwrap();
    succeeds(&["check"], &data);
    stored.is_in(&data).await;
}

#[tokio::test]
async fn compact_frees_space_and_survives_an_abort_at_any_step() {
    needs_ours!("the program");
    let stored = Data::new().await;
    let server = Server::start_program(Some(&stored.data())).await;
    let (_, path) = stored.endpoint.split_once("/push/").unwrap();
    let endpoint = format!("{}/push/{path}", server.origin());
    for _ in 0..300 {
        let large = Push::to(&server, &endpoint).text(&"x".repeat(3000));
        large.topic("large").accepted().await;
    }
    drop(server);
    // A folder left by an aborted attempt is no obstacle.
    let left = stored.data().join("store.new");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("db"), "half").unwrap();
    let printed = succeeds(&["compact"], &stored.data());
    assert!(
        printed.contains("bytes before") && !left.exists(),
        "{printed}"
    );

    let disk = FaultyDisk::new();
    for (from, to) in [
        ("data/store", "store"),
        ("data/endpoint-keys", "endpoint-keys"),
    ] {
        fs::create_dir_all(disk.data()).unwrap();
        let from = stored.path(from);
        let copied = Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(disk.data().join(to))
            .status();
        assert!(copied.unwrap().success());
    }
    for (writes, syncs) in [(Fault::Stall, Fault::None), (Fault::None, Fault::Stall)] {
        disk.fails(Fault::None, Fault::None);
        let mut child = command(&["compact"], &disk.data());
        child.envs(disk.environment());
        disk.fails(writes, syncs);
        let mut child = child.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        succeeds(&["check"], &disk.data());
    }
    succeeds(&["compact"], &disk.data());
    succeeds(&["check"], &disk.data());
}
