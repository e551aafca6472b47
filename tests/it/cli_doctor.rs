//! `bugle doctor` against the real program.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bugle::Config;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tempfile::tempdir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::{bugle, lines, run, text};
use crate::support::server::Server;
use crate::support::stand_in::StandIn;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, TIMEOUT, UserAgent};

const ALL: [&str; 16] = [
    "dns",
    "connect",
    "certificate",
    "http",
    "version",
    "clock",
    "websocket",
    "endpoint",
    "push",
    "push-ttl-0",
    "idle",
    "file-handles",
    "disk",
    "data",
    "space",
    "wall-clock",
];

/// A parsed report of `doctor --json`.
pub struct Report {
    pub code: Option<i32>,
    pub json: Value,
    pub stderr: String,
}

impl Report {
    fn of(output: &Output) -> Self {
        let printed = text(&output.stdout);
        Self {
            code: output.status.code(),
            json: serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{output:?}")),
            stderr: text(&output.stderr),
        }
    }

    pub fn check(&self, name: &str) -> &Value {
        let checks = self.json["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("no {name}: {}", self.json))
    }

    pub fn status(&self, name: &str) -> &str {
        self.check(name)["status"].as_str().unwrap()
    }

    /// Asserts that a check failed with these words in its message and remedy.
    #[track_caller]
    pub fn fails(&self, name: &str, says: &str, mend: &str) {
        self.is(name, "fail", says, mend);
        assert_eq!((self.code, &self.json["status"]), (Some(1), &"fail".into()));
        assert_eq!(self.stderr, "", "what is wrong is printed once");
    }

    /// Asserts the status, message and remedy of a check.
    #[track_caller]
    pub fn is(&self, name: &str, status: &str, says: &str, mend: &str) {
        let check = self.check(name);
        assert_eq!(check["status"], status, "{:#}", self.json);
        let has = |key: &str, part| check[key].as_str().unwrap_or_default().contains(part);
        assert!(has("message", says), "{says}: {check:#}");
        assert!(has("mend", mend), "{mend}: {check:#}");
        let message = check["message"].as_str().unwrap();
        assert!(!message.contains('\n'), "one line: {message}");
    }
}

/// Runs `doctor --json` in a folder, with long timeouts.
pub async fn doctor_in(folder: &Path, arguments: &[&str]) -> Report {
    let mut all = vec!["doctor", "--json", "--timeout", "20s"];
    all.extend(arguments);
    // A slow machine may need the full timeout for every step.
    let ended = timeout(TIMEOUT * 4, bugle(folder, &all).output()).await;
    Report::of(&ended.expect("the doctor ends").unwrap())
}

/// Runs `doctor --json` without the check for idle connections.
pub async fn doctor(arguments: &[&str]) -> Report {
    let folder = tempdir().unwrap();
    doctor_in(folder.path(), &[&["--idle", "0s"], arguments].concat()).await
}

/// The real program with few connections, within the file descriptor limit of any shell.
pub async fn program(change: impl FnOnce(&mut Config)) -> (Server, String) {
    let server = Server::start_program_with(None, |config| {
        config.limits.connections = 64;
        config.limits.user_agents = 32;
        change(config);
    })
    .await;
    let file = server.config().to_toml();
    (server, file)
}

#[tokio::test]
async fn doctor_passes_a_sound_installation_and_cleans_up() {
    needs_ours!("the program");
    let (server, config) = program(|config| {
        config.user_agent.ping_interval = Duration::from_millis(200);
    })
    .await;
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("bugle.toml"), config).unwrap();
    let mut other = UserAgent::connect(&server).await;
    other.register(CHANNEL, None).await;
    let found = doctor_in(folder.path(), &["--config", "bugle.toml", "--idle", "1s"]).await;
    assert_eq!(
        (found.code, found.stderr.as_str()),
        (Some(0), ""),
        "{:#}",
        found.json
    );
    assert_eq!(found.json["url"], server.origin());
    assert_eq!(found.json["version"], env!("CARGO_PKG_VERSION"));
    let checks = found.json["checks"].as_array().unwrap();
    let names: Vec<_> = checks
        .iter()
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ALL);
    for name in ALL {
        // The disk or the machine may be slow or nearly full.
        let may_warn = ["push", "push-ttl-0", "disk", "space"].contains(&name);
        let status = found.status(name);
        assert!(
            status == "ok" || may_warn && status == "warn",
            "{name}: {:#}",
            found.json
        );
    }
    let values: BTreeMap<_, _> = checks
        .iter()
        .map(|check| (check["name"].as_str().unwrap(), &check["values"]))
        .collect();
    assert!(values["push"]["arrived_ms"].as_f64().unwrap() > 0.0);
    assert!(values["push-ttl-0"]["accepted_ms"].as_f64().unwrap() > 0.0);
    assert!(values["idle"]["service_pings"].as_u64().unwrap() > 0);
    assert!(values["disk"]["sync_ms"].is_number());
    assert!(values["file-handles"]["handles"].as_u64() > Some(64));
    assert_eq!(values["version"]["version"], env!("CARGO_PKG_VERSION"));
    // Only the connection and subscription of the test remain.
    server.await_metric("bugle_user_agents", 1.0).await;
    assert_eq!(server.metric("bugle_subscriptions").await, 1.0);
    assert_eq!(server.metric("bugle_stored_messages").await, 0.0);
}

#[tokio::test]
async fn doctor_prints_a_line_per_check_and_a_summary() {
    needs_ours!("the program");
    let (server, _) = program(|_| ()).await;
    let folder = tempdir().unwrap();
    let printed = run(folder.path(), &["doctor", &server.origin(), "--idle", "0s"]).await;
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    let printed = text(&printed.stdout);
    assert!(
        !printed.contains('\u{1b}'),
        "no colours but on a terminal: {printed}"
    );
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some(server.origin().as_str()));
    for name in &ALL[..10] {
        let line = format!("ok    {name} ");
        assert!(
            printed.lines().any(|printed| printed.starts_with(&line)),
            "{name}: {printed}"
        );
    }
    // Checks of the machine are skipped for a remote service.
    let skipped = "skip  file-handles, disk, data, space, wall-clock: `bugle doctor` without a URL";
    assert!(
        printed.lines().any(|line| line.starts_with(skipped)),
        "{printed}"
    );
    assert_eq!(
        printed.lines().last(),
        Some("10 ok, 0 warn, 0 fail, 6 skip")
    );
}

#[tokio::test]
async fn doctor_checks_the_machine_even_without_a_service() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let nobody = ["--listen", "127.0.0.1:1", "--data", "data"];
    let found = doctor_in(folder.path(), &nobody).await;
    found.fails(
        "connect",
        "no connection to 127.0.0.1:1",
        "start the service",
    );
    found.fails(
        "data",
        "there is no folder data",
        "start the service, which makes it",
    );
    assert_eq!(found.status("disk"), "skip");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let config = "[limits]\nconnections = 4000000000\n[store]\nmin_free = \"512TiB\"\n";
    std::fs::write(folder.path().join("bugle.toml"), config).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    let found = doctor_in(
        folder.path(),
        &[&nobody[..], &["--config", "bugle.toml"]].concat(),
    )
    .await;
    found.fails("file-handles", "and needs 4000000064", "LimitNOFILE=");
    found.fails("space", "store.min_free", "make room");
    found.is("data", "warn", "no endpoint keys yet", "put them back");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);
}

#[tokio::test]
async fn doctor_passes_admission_like_a_user_agent() {
    needs_ours!("the program");
    let (server, config) = program(|config| {
        let settings = [
            ("BUGLE_ADMISSION__PATH", "0123456789abcdef"),
            ("BUGLE_ADMISSION__TOKEN", "fedcba9876543210"),
            ("BUGLE_ADMISSION__BASIC", "user:pass"),
        ];
        let settings = settings.map(|(name, value)| (name.into(), value.into()));
        config.admission = Config::load(None, settings, &[]).unwrap().admission;
    })
    .await;
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("bugle.toml"), config).unwrap();
    let found = doctor_in(folder.path(), &["--config", "bugle.toml", "--idle", "0s"]).await;
    assert_eq!(found.code, Some(0), "{:#}", found.json);
    let authority = server.authority();
    let whole = format!("ws://user:pass@{authority}/0123456789abcdef?token=fedcba9876543210");
    let found = doctor(&[&whole]).await;
    assert_eq!(
        (found.code, found.status("push")),
        (Some(0), "ok"),
        "{:#}",
        found.json
    );
    assert!(
        !found.json.to_string().contains("fedcba"),
        "secrets are not shown"
    );
    for (url, setting) in [
        (
            format!("ws://user:pass@{authority}/0123456789abcdef"),
            "admission.token",
        ),
        (
            format!("ws://{authority}/0123456789abcdef?token=fedcba9876543210"),
            "admission.basic",
        ),
    ] {
        // `ps` shows arguments but not the contents of this file.
        std::fs::write(folder.path().join("url"), url).unwrap();
        doctor_in(folder.path(), &["--idle", "0s", "@url"])
            .await
            .fails("websocket", "the service answers", setting);
    }
    // Without the secret path, the service responds with a page.
    let found = doctor(&[&server.origin()]).await;
    assert_eq!(found.status("websocket"), "fail", "{:#}", found.json);
}

#[tokio::test]
async fn doctor_trusts_a_private_authority_only_when_given() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let init = ["tls", "init", "--host", "127.0.0.1", "--host", "push.test"];
    assert!(run(folder.path(), &init).await.status.success());
    let file = |name| Some(folder.path().join(name));
    let (server, _) = program(|config| {
        config.tls.cert_file = file("cert.pem");
        config.tls.key_file = file("key.pem");
    })
    .await;
    let url = format!("https://{}", server.authority());
    let found = doctor_in(folder.path(), &[&url, "--ca", "ca.pem", "--idle", "0s"]).await;
    assert_eq!(found.code, Some(0), "{:#}", found.json);
    found.is(
        "certificate",
        "ok",
        "for 127.0.0.1, push.test, by Bugle private authority",
        "",
    );
    assert_eq!(found.check("certificate")["values"]["expires_in_days"], 396);
    found.is("http", "ok", "HTTP/1.1 and HTTP/2", "");
    let found = doctor(&[&url]).await;
    found.fails(
        "certificate",
        "nobody here knows \"Bugle private authority\"",
        "--ca ca.pem",
    );
    assert_eq!(found.status("push"), "skip");
    let found = doctor(&[&format!("http://{}", server.authority())]).await;
    found.fails("http", "no HTTP is answered", "https://");
}

#[tokio::test]
async fn an_interrupted_doctor_cleans_up() {
    needs_ours!("the program");
    let endpoints = StandIn::unfinished().await;
    let url = format!("http://{}", endpoints.address);
    let (server, _) = program(|config| config.server.public_url = url.parse().ok()).await;
    let folder = tempdir().unwrap();
    let asked = format!("http://{}", server.authority());
    // The doctor waits for the response to its push.
    let arguments = ["doctor", &asked, "--timeout", "20s"];
    let mut child = bugle(folder.path(), &arguments).spawn().unwrap();
    let mut printed = lines(&mut child);
    let subscribed = async {
        while let Some(line) = printed.next_line().await.unwrap() {
            if line.contains("  endpoint ") {
                return;
            }
        }
        panic!("it ended too early");
    };
    timeout(TIMEOUT, subscribed)
        .await
        .expect("the doctor sends its push");
    server.await_metric("bugle_subscriptions", 1.0).await;
    let id = child.id().unwrap().to_string();
    let killed = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(killed.unwrap().success());
    let ended = timeout(TIMEOUT, child.wait_with_output())
        .await
        .expect("the doctor ends")
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        text(&ended.stderr),
        "bugle: interrupted: not everything was looked at\n"
    );
    server.await_metric("bugle_user_agents", 0.0).await;
    assert_eq!(server.metric("bugle_subscriptions").await, 0.0);
}

#[tokio::test]
async fn doctor_requires_a_url_or_a_configuration() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let ca = "no.pem";
    for (arguments, code, part) in [
        (&["doctor", "ftp://a.test"][..], 2, "https, wss, http, ws"),
        (&["doctor", "push.example.org"], 2, "URL"),
        (&["doctor", "http://a.test", "--data", "d"], 2, "--data"),
        (&["doctor", "--timeout", "1h"], 2, "from 100ms to 20s"),
        (&["doctor", "--idle", "25h"], 2, "from 0s to 24h"),
        (&["doctor", "--config", "no.toml"], 1, "no.toml"),
        (
            &["doctor", "--listen", "127.0.0.1:0"],
            1,
            "server.public_url",
        ),
        (&["doctor", "--ca", ca], 1, ca),
    ] {
        let printed = run(folder.path(), arguments).await;
        assert_eq!(printed.status.code(), Some(code), "{printed:?}");
        assert!(text(&printed.stderr).contains(part), "{printed:?}");
        assert_eq!(text(&printed.stdout), "");
    }
    // One of the system's certificate files is invalid.
    let CertifiedKey { signing_key, .. } = generate_simple_self_signed(["a".to_owned()]).unwrap();
    std::fs::write(folder.path().join(ca), signing_key.serialize_pem()).unwrap();
    let printed = run(folder.path(), &["doctor", "http://127.0.0.1:1", "--ca", ca]).await;
    assert!(
        text(&printed.stderr).contains("it holds no certificate"),
        "{printed:?}"
    );
}
