//! The commands as users run them.

use std::path::Path;
use std::process::{Output, Stdio};

use bugle::Config;
use bugle_launch::{Launcher, Signal};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::app_server::{Push, key_pair};
use crate::support::secrets;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, TIMEOUT, UserAgent};

/// A command with its own folder and environment.
pub fn bugle(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugle"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a command to its end.
pub async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = bugle(folder, arguments).output();
    timeout(TIMEOUT, output)
        .await
        .expect("the command ends")
        .unwrap()
}

pub fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

pub fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// Reads the next line as JSON.
pub async fn json(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = timeout(TIMEOUT, lines.next_line())
        .await
        .expect("a line arrives");
    serde_json::from_str(&line.unwrap().expect("the command continues")).unwrap()
}

#[tokio::test]
async fn listen_receives_a_push_from_send_and_both_keep_their_identity() {
    needs_ours!("the program");
    let server = Server::start_with(|_| ()).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("ws://{}/", server.authority());
    let listen = [
        "listen",
        "--server",
        &url,
        "--json",
        "--subscription",
        "s.json",
    ];

    let mut listener = bugle(folder.path(), &listen).spawn().unwrap();
    let mut printed = lines(&mut listener);
    let subscription = json(&mut printed).await;
    assert_eq!(subscription["type"], "subscription");
    assert!(
        subscription["endpoint"]
            .as_str()
            .unwrap()
            .starts_with(&server.origin())
    );

    let sent = run(folder.path(), &["send", "s.json", "grüße", "--ttl", "30"]).await;
    let printed = text(&sent.stdout);
    // The service uses the test's clock, so the token's time is wrong.
    assert!(
        !sent.status.success() && text(&sent.stderr).contains("exp"),
        "{sent:?}"
    );
    assert!(printed.contains("403"), "{printed}");
    listener.kill().await.unwrap();

    let mut again = bugle(folder.path(), &listen).spawn().unwrap();
    let same = json(&mut lines(&mut again)).await;
    assert_eq!(same, subscription, "the identity was kept");
}

#[tokio::test]
async fn listen_reads_a_url_with_a_password_from_a_file_and_hides_it() {
    needs_ours!("its settings");
    const PASSWORD: &str = "a-password-nobody-sees";
    let settings = [(
        "BUGLE_ADMISSION__BASIC".into(),
        format!("user:{PASSWORD}").into(),
    )];
    let admission = Config::load(None, settings, &[]).unwrap().admission;
    let server = Server::start_with(|config| config.admission = admission).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("ws://user:{PASSWORD}@{}/", server.authority());
    std::fs::write(folder.path().join("url"), format!("{url}\n")).unwrap();
    for (argument, is_warned) in [("@url", false), (&*url, true)] {
        let listen = ["listen", "--server", argument, "--json"];
        let mut listener = bugle(folder.path(), &listen).spawn().unwrap();
        assert_eq!(
            json(&mut lines(&mut listener)).await["type"],
            "subscription"
        );
        let arguments = format!("/proc/{}/cmdline", listener.id().unwrap());
        let arguments = std::fs::read(arguments).unwrap();
        let arguments = String::from_utf8(arguments).unwrap();
        assert_eq!(arguments.contains(PASSWORD), is_warned, "{arguments}");
        let mut remarks = BufReader::new(listener.stderr.take().unwrap()).lines();
        let connected = async {
            let mut printed = String::new();
            while !printed.contains("Connected to") {
                printed += &remarks.next_line().await.unwrap().unwrap();
            }
            printed
        };
        let printed = timeout(TIMEOUT, connected).await.expect("it connects");
        assert!(!printed.contains(PASSWORD), "{printed}");
        assert_eq!(printed.contains("(ps)"), is_warned, "{printed}");
        listener.kill().await.unwrap();
    }
}

#[tokio::test]
async fn the_real_program_delivers_a_push_from_send_to_listen() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("ws://{}/", server.authority());
    let made = run(folder.path(), &["vapid", "keys.pem", "--json"]).await;
    let keys: Value = serde_json::from_slice(&made.stdout).unwrap();
    let public = keys["publicKey"].as_str().unwrap();

    let arguments = [
        "listen",
        "--server",
        &url,
        "--vapid-key",
        public,
        "--json",
        "--subscription",
        "s.json",
        "--count",
        "2",
    ];
    let mut listener = bugle(folder.path(), &arguments).spawn().unwrap();
    let mut printed = lines(&mut listener);
    json(&mut printed).await;
    for word in ["eins", "zwei"] {
        let arguments = [
            "send",
            "s.json",
            word,
            "--vapid",
            "keys.pem",
            "--ttl",
            "99999999",
            "--urgency",
            "high",
            "--topic",
            word,
            "--json",
        ];
        let sent = run(folder.path(), &arguments).await;
        assert!(sent.status.success(), "{sent:?}");
        let answer: Value = serde_json::from_slice(&sent.stdout).unwrap();
        assert_eq!(
            (&answer["status"], &answer["ttl"]),
            (&201.into(), &2_592_000.into())
        );
        assert!(answer["location"].as_str().unwrap().contains("/message/"));
        let push = json(&mut printed).await;
        assert_eq!(
            (&push["type"], &push["text"]),
            (&"push".into(), &word.into()),
            "{push}"
        );
    }
    assert!(
        timeout(TIMEOUT, listener.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );

    let refused = run(
        folder.path(),
        &["send", "s.json", "x", "--vapid", "other.pem"],
    )
    .await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("another application server key"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn check_config_prints_the_settings_or_the_error_with_its_position() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let good = run(folder.path(), &["check-config", "--listen", "127.0.0.1:9"]).await;
    assert!(
        good.status.success() && text(&good.stdout).contains("127.0.0.1:9"),
        "{good:?}"
    );
    // The strict profile overrides every tolerance.
    let strict = "[compat]\nprofile = \"strict\"\nmissing_ttl = \"4h\"\naesgcm = true\n";
    std::fs::write(folder.path().join("strict.toml"), strict).unwrap();
    let strict = run(folder.path(), &["check-config", "--config", "strict.toml"]).await;
    let printed = text(&strict.stdout);
    for line in [
        "profile = \"strict\"",
        "gone_status = 404",
        "aud_without_port = false",
        "legacy_vapid = false",
        "loose_vapid = false",
        "missing_ttl = \"\"",
        "aesgcm = false",
        "wrong_record_size = false",
        "allow_unencrypted = false",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{printed}");
    }
    std::fs::write(folder.path().join("bad.toml"), "[limits]\nbody_bites = 1\n").unwrap();
    let bad = run(folder.path(), &["check-config", "--config", "bad.toml"]).await;
    let printed = text(&bad.stderr);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        ["bad.toml", ":2:", "body_bites"]
            .iter()
            .all(|part| printed.contains(part)),
        "{printed}"
    );
}

#[tokio::test]
async fn serve_reports_each_error_in_one_sentence() {
    needs_ours!("the program");
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let taken = [
        "--listen",
        server.authority(),
        "--admin-listen",
        "",
        "--data",
        "d",
    ];
    let tls = [
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        "no.pem",
        "--tls-key",
        "no.pem",
    ];
    for (arguments, part) in [(&taken[..], "server.listen"), (&tls[..], "no.pem")] {
        let output = run(folder.path(), arguments).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(
            printed.contains(part) && printed.trim().lines().count() == 1,
            "{printed}"
        );
    }
}

pub fn terminate(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn rfc8030_8_5_a_logs_hold_no_capability_and_sigterm_ends_with_0() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_bugle"), folder.path());
    let mut launcher = launcher.args(["--log", "trace"]);
    let mut service = launcher.start().await.unwrap();
    let server = Server::at(&launcher.listening().public);
    let keys = key_pair(1);
    let mut user_agent = UserAgent::connect(&server).await;
    let key = keys.public_key().to_base64url();
    let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
    let push = Push::to(&server, &endpoint).text("secret").signed(&keys);
    let message = push.accepted().await;
    let signature = push.authorization().to_owned();
    push.clone().without("ttl").send().await;
    push.over(crate::support::http::Version::Http2)
        .accepted()
        .await;
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    user_agent.notification().await;
    let uaid = user_agent.uaid.clone();

    service.process().signal(Signal::TERM).unwrap();
    assert_eq!(user_agent.closed().await, 1001);
    let ended = service.process().ended(TIMEOUT).await;
    assert_eq!(ended.expect("the program ends").code(), Some(0));
    let log = service.log();
    secrets::keep_log(log.as_bytes());
    assert!(log.contains("refused"), "there is a log: {log}");
    let dashless = CHANNEL.replace('-', "");
    let token = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    for secret in [
        uaid.as_str(),
        CHANNEL,
        &dashless,
        &token(&endpoint),
        &token(&message),
        notification.version(),
        &key,
        &signature[8..60],
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
