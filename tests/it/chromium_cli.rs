//! The commands for Chromium, as users run them.

use std::path::Path;
use std::process::Stdio;

use bugle::Config;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::Value;
use tempfile::tempdir;
use tokio::time::timeout;

use crate::cli::{bugle, json, lines, run, text};
use crate::cli_doctor::{Report, doctor_in};
use crate::support::device::{SITE, chromium};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

/// Listens until this many pushes have arrived. Returns the subscription and the pushes.
async fn listen(folder: &Path, arguments: &[&str], texts: &[&str]) -> (Value, Vec<Value>) {
    let common = ["listen", "--mcs", "--json", "--subscription", "s.json"];
    let count = texts.len().max(1).to_string();
    let arguments = [&common[..], &["--site", SITE, "--count", &count], arguments].concat();
    let mut command = bugle(folder, &arguments);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut printed = lines(&mut child);
    let subscription = json(&mut printed).await;
    let mut pushes = Vec::new();
    for text in texts {
        let sent = run(folder, &["send", "s.json", text]).await;
        assert!(sent.status.success(), "{sent:?}");
    }
    for _ in 0..texts.len().max(1) {
        pushes.push(json(&mut printed).await);
    }
    let ended = timeout(TIMEOUT, child.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    (subscription, pushes)
}

#[tokio::test]
async fn listen_receives_as_a_chromium_and_keeps_its_identity() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, chromium).await;
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let made = run(folder, &["vapid", "vapid.pem", "--json"]).await;
    let keys: Value = serde_json::from_slice(&made.stdout).unwrap();
    let origin = server.origin();
    let restricted = [
        "--server",
        &origin,
        "--vapid-key",
        keys["publicKey"].as_str().unwrap(),
    ];
    let (first, pushes) = listen(folder, &restricted, &["eins", "zwei"]).await;
    let texts: Vec<_> = pushes
        .iter()
        .map(|push| push["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["eins", "zwei"]);
    assert_eq!(pushes[0]["encoding"], "aes128gcm");
    // What waits meanwhile comes at the next start, to the same endpoint.
    let sent = run(folder, &["send", "s.json", "drei"]).await;
    assert!(sent.status.success(), "{sent:?}");
    let (again, pushes) = listen(folder, &[], &[]).await;
    assert_eq!(again["endpoint"], first["endpoint"]);
    assert_eq!(pushes[0]["text"], "drei");
}

#[tokio::test]
async fn listen_says_what_a_chromium_needs() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, chromium).await;
    let folder = tempdir().unwrap();
    let origin = server.origin();
    let arguments = ["listen", "--mcs", "--server", &origin, "--site", SITE];
    let failed = run(folder.path(), &arguments).await;
    assert!(!failed.status.success());
    assert!(text(&failed.stderr).contains("--vapid-key"), "{failed:?}");
}

#[tokio::test]
async fn the_policy_is_printed_for_a_service_that_serves_chromium() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let made = run(folder, &["tls", "init", "--host", "push.example"]).await;
    assert!(made.status.success());
    let off = "[server]\npublic_url = \"https://push.example\"\n";
    std::fs::write(folder.join("bugle.toml"), off).unwrap();
    let policy = [
        "chromium",
        "policy",
        "--config",
        "bugle.toml",
        "--ca",
        "ca.pem",
    ];
    let refused = run(folder, &policy).await;
    assert!(
        text(&refused.stderr).contains("set chromium.enabled"),
        "{refused:?}"
    );
    let on = format!("{off}[chromium]\nenabled = true\norigins = \"{SITE}\"\n");
    std::fs::write(folder.join("bugle.toml"), on).unwrap();
    let printed = run(folder, &policy).await;
    assert!(printed.status.success(), "{printed:?}");
    let policy: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(policy["NotificationsAllowedForUrls"][0], SITE);
    let remark = text(&printed.stderr);
    let switch = "--gcm-checkin-url=https://push.example:443/checkin";
    assert!(remark.contains(switch), "{remark}");
}

/// Runs the doctor against a service with a certificate for these names.
async fn doctor(names: &[&str], change: impl FnOnce(&mut Config)) -> Report {
    let folder = tempdir().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(file("cert.pem"), cert.pem()).unwrap();
    let server = Server::start_program_with(None, |config| {
        chromium(config);
        config.limits.connections = 64;
        config.limits.user_agents = 32;
        config.tls.cert_file = Some(file("cert.pem"));
        config.tls.key_file = Some(file("key.pem"));
        change(config);
    });
    let server = server.await;
    std::fs::write(file("bugle.toml"), server.config().to_toml()).unwrap();
    let arguments = ["--config", "bugle.toml", "--idle", "0s", "--ca", "cert.pem"];
    let report = doctor_in(folder.path(), &arguments).await;
    server.await_metric("bugle_mcs_connections", 0.0).await;
    server.counts("bugle_subscriptions", 0.0).await;
    report
}

#[tokio::test]
async fn doctor_goes_the_way_of_a_chromium() {
    needs_ours!("the program");
    let all = [
        "127.0.0.1",
        "android.clients.google.com",
        "mtalk.google.com",
    ];
    let found = doctor(&all, |_| ()).await;
    found.is("chromium", "ok", "received a push", "");
    let found = doctor(&all[..1], |_| ()).await;
    let why = "a managed policy does not suffice";
    found.is("chromium", "warn", why, "mtalk.google.com");
    let none = |config: &mut Config| config.chromium.origins = Config::default().chromium.origins;
    let found = doctor(&all, none).await;
    found.fails("chromium", "no site may subscribe", "chromium.origins");
}
