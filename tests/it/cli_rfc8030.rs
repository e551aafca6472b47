//! The commands over HTTP/2 server push, as users run them.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::cli::{bugle, json, lines, run, text};
use crate::support::app_server::{Push, ask};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

/// A running `bugle listen --rfc8030` and its subscription.
struct Listener {
    child: Child,
    printed: Lines<BufReader<ChildStdout>>,
    endpoint: String,
}

impl Listener {
    async fn start(folder: &Path, server: &str, arguments: &[&str]) -> Self {
        let common = ["listen", "--rfc8030", "--json", "--subscription", "s.json"];
        let arguments = [&common[..], &["--server", server], arguments].concat();
        let mut command = bugle(folder, &arguments);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut printed = lines(&mut child);
        let subscription = json(&mut printed).await;
        assert_eq!(subscription["type"], "subscription");
        let endpoint = subscription["endpoint"].as_str().unwrap().to_owned();
        Self {
            child,
            printed,
            endpoint,
        }
    }

    async fn push(&mut self) -> Value {
        let push = json(&mut self.printed).await;
        assert_eq!(push["type"], "push", "{push}");
        push
    }

    /// Waits until it exits after `--count` messages.
    async fn done(mut self) {
        let ended = timeout(TIMEOUT, self.child.wait()).await;
        assert!(ended.unwrap().unwrap().success());
    }
}

/// The subscription in the identity file.
fn subscription_url(folder: &Path) -> String {
    let kept = std::fs::read(folder.join("bugle-rfc8030.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    kept["subscription"]["url"].as_str().unwrap().to_owned()
}

/// Runs `bugle send --json` and asserts success.
async fn send(folder: &Path, arguments: &[&str]) -> Value {
    let arguments = [&["send", "s.json", "--json"], arguments].concat();
    let sent = run(folder, &arguments).await;
    assert!(sent.status.success(), "{sent:?}");
    serde_json::from_slice(&sent.stdout).unwrap()
}

#[tokio::test]
async fn pushes_are_printed_and_acknowledged_and_the_identity_is_kept() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = run(folder, &["vapid", "vapid.pem", "--json"]).await;
    let keys: Value = serde_json::from_slice(&made.stdout).unwrap();
    let restricted = ["--vapid-key", keys["publicKey"].as_str().unwrap()];
    let websocket = format!("ws://{}", server.authority());
    let arguments = [&restricted[..], &["--count", "2"]].concat();
    let mut listener = Listener::start(folder, &websocket, &arguments).await;
    let endpoint = listener.endpoint.clone();
    assert!(endpoint.starts_with(&server.origin()));
    for word in ["eins", "zwei"] {
        let sent = send(folder, &[word]).await;
        let push = listener.push().await;
        assert_eq!(push["text"], word);
        assert_eq!(push["version"], sent["location"]);
    }
    listener.done().await;

    let refused = run(folder, &["send", "s.json", "x", "--vapid", "other.pem"]).await;
    assert!(!refused.status.success(), "{refused:?}");
    send(folder, &["drei"]).await;
    let mut again = Listener::start(folder, &server.origin(), &["--count", "1"]).await;
    assert_eq!(again.endpoint, endpoint);
    assert_eq!(again.push().await["text"], "drei");
    again.done().await;
}

#[tokio::test]
async fn less_urgent_messages_stay_with_the_service() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let urgent = ["--urgency", "high", "--count", "1"];
    let mut listener = Listener::start(folder, &server.origin(), &urgent).await;
    send(folder, &["later", "--urgency", "low"]).await;
    send(folder, &["now", "--urgency", "high"]).await;
    assert_eq!(listener.push().await["text"], "now");
    listener.done().await;
    let mut listener = Listener::start(folder, &server.origin(), &["--count", "1"]).await;
    assert_eq!(listener.push().await["text"], "later");
    listener.done().await;
}

#[tokio::test]
async fn an_undecryptable_push_is_acknowledged() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let mut listener = Listener::start(folder.path(), &server.origin(), &["--count", "1"]).await;
    // Encrypted for other keys.
    let push = Push::to(&server, &listener.endpoint).text("secret");
    let message = push.accepted().await;
    let printed = listener.push().await;
    assert!(printed["error"].is_string(), "{printed}");
    listener.done().await;
    assert_eq!(ask(&server, "GET", &message).await.status, 404);
}

#[tokio::test]
async fn an_ended_subscription_is_replaced() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let mut listener = Listener::start(folder.path(), &server.origin(), &["--count", "1"]).await;
    let subscription = subscription_url(folder.path());
    assert_eq!(ask(&server, "DELETE", &subscription).await.status, 204);
    let new = json(&mut listener.printed).await;
    assert_eq!(new["type"], "subscription");
    assert_ne!(new["endpoint"], listener.endpoint);
    send(folder.path(), &["hello"]).await;
    assert_eq!(listener.push().await["text"], "hello");
    listener.done().await;
}

#[tokio::test]
async fn http2_is_negotiated_on_tls() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::start_with(|config| {
        config.tls.cert_file = Some(certificate);
        config.tls.key_file = Some(key);
    })
    .await;
    let url = format!("wss://{}", server.authority());
    let listener = Listener::start(folder, &url, &["--ca", "cert.pem"]).await;
    let origin = format!("https://{}/", server.authority());
    assert!(listener.endpoint.starts_with(&origin), "{origin}");
}

#[tokio::test]
async fn send_waits_for_the_receipt() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut listener = Listener::start(folder, &server.origin(), &["--count", "2"]).await;
    let sent = run(folder, &["send", "s.json", "eins", "--receipt"]).await;
    let printed = text(&sent.stdout);
    assert!(sent.status.success(), "{sent:?}");
    let receipts = printed.split("Receipt subscription: ").nth(1).unwrap();
    let receipts = receipts.lines().next().unwrap();
    assert!(
        printed.contains("202") && printed.contains("\nDelivered"),
        "{printed}"
    );
    assert_eq!(listener.push().await["text"], "eins");

    // From a file, since every user of a machine can read arguments.
    std::fs::write(folder.join("receipts"), format!("{receipts}\n")).unwrap();
    let again = ["send", "s.json", "zwei", "--json", "--receipt=20"];
    let again = [&again[..], &["--receipt-subscription", "@receipts"]].concat();
    let sent = run(folder, &again).await;
    let printed = text(&sent.stdout);
    let mut printed = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (answer, receipt) = (printed.next().unwrap(), printed.next().unwrap());
    assert_eq!(answer["receiptSubscription"], receipts);
    assert_eq!(
        (&receipt["type"], &receipt["status"]),
        (&"receipt".into(), &204.into())
    );
    assert_eq!(receipt["message"], answer["location"]);
    listener.done().await;
}

#[tokio::test]
async fn send_warns_of_a_receipt_subscription_in_its_arguments() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let send = ["send", "none.json", "--receipt", "--receipt-subscription"];
    let with = |url| [&send[..], &[url]].concat();
    let url = "http://127.0.0.1:1/receipt-subscription/secret";
    let shown = run(folder.path(), &with(url)).await;
    let printed = text(&shown.stderr);
    assert!(
        printed.contains("can see (ps): give it as @FILE"),
        "{printed}"
    );
    let twice = ["send", "-", "--receipt", "--receipt-subscription", "-"];
    let twice = run(folder.path(), &twice).await;
    let printed = text(&twice.stderr);
    assert_eq!(twice.status.code(), Some(1), "{printed}");
    assert!(printed.contains("give one of them as a file"), "{printed}");
}

#[tokio::test]
async fn send_reports_a_message_that_was_not_delivered() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    drop(Listener::start(folder, &server.origin(), &[]).await);
    let late = run(folder, &["send", "s.json", "eins", "--receipt=1"]).await;
    let printed = text(&late.stderr);
    assert_eq!(late.status.code(), Some(1));
    assert!(printed.contains("no receipt within 1 s"), "{printed}");

    let arguments = ["send", "s.json", "zwei", "--json", "--receipt"];
    let mut sender = bugle(folder, &arguments).spawn().unwrap();
    let mut printed = lines(&mut sender);
    let answer = json(&mut printed).await;
    let subscription = subscription_url(folder);
    assert_eq!(ask(&server, "DELETE", &subscription).await.status, 204);
    let receipt = json(&mut printed).await;
    assert_eq!(receipt["message"], answer["location"]);
    assert_eq!(receipt["status"], 410);
    let ended = timeout(TIMEOUT, sender.wait()).await.unwrap();
    assert_eq!(ended.unwrap().code(), Some(1));
}
