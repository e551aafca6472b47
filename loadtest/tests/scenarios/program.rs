//! The program: its exit codes and its result file.

use std::path::Path;
use std::process::Output;

use bugle_load::outcome::Outcome;
use tokio::process::Command;

use crate::support::proxy::{Fault, Proxy};
use crate::support::service::Service;

async fn program(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bugle-load"));
    program.args(arguments).output().await.unwrap()
}

fn read(file: &Path) -> Outcome {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[tokio::test]
async fn a_passed_run_exits_with_0_and_writes_its_result() {
    let service = Service::start().await;
    let file = service.folder.path().join("result.json");
    let out = file.to_str().unwrap();
    let fanout = ["fanout", "--user-agents", "3", "--seed", "7", "--out", out];
    let output = program(&[&fanout[..], &[&service.url]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("fanout passed after "), "{printed}");
    let outcome = read(&file);
    assert!(outcome.passed);
    assert_eq!(outcome.messages.delivered, 3);
    assert_eq!(outcome.config["seed"], 7);
    assert_eq!(outcome.config["user_agents"], 3);
    assert_eq!(outcome.generator.unwrap().name, "bugle-load");
}

#[tokio::test]
async fn a_failed_run_exits_with_1_and_reports_why() {
    let proxy = Proxy::start(Fault::Lose).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().to_str().unwrap();
    let fanout = ["fanout", "-n", "5", "--settle", "1s", "--out", out];
    let output = program(&[&fanout[..], &[&proxy.url]].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("1 messages missing"), "{printed}");
    assert_eq!(read(file.path()).messages.missing, 1);
}

#[tokio::test]
async fn a_siege_causes_no_refusals_of_honest_clients() {
    let service = Service::start().await;
    let file = service.folder.path().join("sieges.json");
    let out = file.to_str().unwrap();
    let siege = [
        "siege",
        "--kind",
        "subscribes",
        "--duration",
        "2s",
        "-n",
        "5",
    ];
    let honest = ["--rate", "20", "--senders", "4", "--prepared", "--quiet"];
    let output = program(&[&siege[..], &honest, &["--out", out, &service.url]].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in ["none ", "subscribes "] {
        let line = printed.lines().find(|printed| printed.starts_with(line));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        assert_eq!(words[1..4], ["40", "0", "passed"], "{printed}");
    }
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["sieges"]["subscribes"]["messages"]["delivered"], 40);
}

#[tokio::test]
async fn a_siege_of_storage_causes_refusals_of_the_hostile_client_only() {
    let service = Service::start_with(|config| {
        config.limits.stored_bytes = 4 << 20;
        config.limits.receipt_subscriptions = 100;
        config.limits.live_receipts = 100;
        // More than twice as many as the hostile client needs to store messages.
        config.limits.subscriptions = 1000;
    })
    .await;
    let file = service.folder.path().join("sieges.json");
    let out = file.to_str().unwrap();
    let siege = "siege --kind stored --kind receipts --kind subscriptions --duration 2s -n 5";
    let honest = "--rate 20 --senders 4 --prepared --retries 0 --quiet --out";
    let arguments = format!("{siege} {honest} {out} {}", service.url);
    let output = program(&arguments.split(' ').collect::<Vec<_>>()).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for line in ["none ", "stored ", "receipts ", "subscriptions "] {
        let line = printed.lines().find(|printed| printed.starts_with(line));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        assert_eq!(words[1..4], ["40", "0", "passed"], "{printed}");
    }
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for (siege, bound) in [
        ("stored", "limits.stored_bytes"),
        ("receipts", "limits.receipt_subscriptions"),
        ("subscriptions", "limits.subscriptions"),
    ] {
        let strangers = &written["strangers"][siege];
        let refused = &strangers["refused"][&format!("429 {bound} (address)")];
        assert!(refused.as_u64() > Some(0), "{printed}");
        assert!(strangers["accepted"].as_u64() > Some(0), "{printed}");
    }
    assert!(
        written["receipts"]["delivered"].as_u64() > Some(0),
        "{printed}"
    );
}

#[tokio::test]
async fn a_run_that_cannot_start_exits_with_2() {
    for arguments in [
        &["connect", "ws://127.0.0.1:1/", "--ca", "/nowhere"][..],
        &["push", "ws://127.0.0.1:1/", "--rate", "0"],
        &["connect", "ws://127.0.0.1:1/", "--user-agents", "1000001"],
        &["connect", "ws://127.0.0.1:1/", "--time-limit", "13h"],
        &["connect", "ws://127.0.0.1:1/", "--pid", "4294967295"],
        &["mixed", "ws://127.0.0.1:1/", "--file", "/nowhere"],
        &["connect", "ws://127.0.0.1:1/"],
    ] {
        let output = program(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn an_unreachable_service_is_reported_once_before_all_connect() {
    let service = Service::start_tls().await;
    let begun = ["connect", "-n", "1000", "--time-limit", "10m", &service.url];
    let output = program(&begun).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("is not trusted (UnknownIssuer)"),
        "{printed}"
    );
    assert!(printed.contains("by --ca FILE"), "{printed}");
}
