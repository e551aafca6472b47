//! A 201 is a promise: accepted messages survive `kill -9` of the real program and the loss of
//! power, and a run that loses one reports it.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// The service that cargo built beside the load tester.
fn bugle() -> PathBuf {
    let bugle = PathBuf::from(env!("CARGO_BIN_EXE_bugle-load")).with_file_name("bugle");
    assert!(
        bugle.exists(),
        "{} is not there: test the whole workspace, or `cargo build -p bugle` first",
        bugle.display()
    );
    bugle
}

/// Runs `bugle-load faults`; returns its output and result.
fn faults(fault: &str, rounds: u32, service: &[&str]) -> (Output, Value) {
    let out = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bugle-load"))
        .args(["faults", fault, "--rounds", &rounds.to_string(), "--out"])
        .arg(out.path())
        .arg("--")
        .arg(bugle())
        .args(["--listen", "{listen}", "--admin-listen", ""])
        .args(["--data", "{data}"])
        .args(service)
        .output()
        .unwrap();
    let result = std::fs::read_to_string(out.path()).unwrap();
    let result = serde_json::from_str(&result);
    (
        output.clone(),
        result.unwrap_or_else(|_| panic!("{output:#?}")),
    )
}

/// Asserts that the run accounted for every message, of which there were some.
fn assert_kept(output: &Output, result: &Value, rounds: usize) {
    assert!(output.status.success(), "{output:#?}");
    assert_eq!(result["kept"], true);
    let each = result["rounds"].as_array().unwrap();
    assert_eq!(each.len(), rounds);
    let accepted: Vec<_> = each.iter().map(|round| &round["accepted"]).collect();
    assert!(accepted.iter().all(|count| **count != 0), "{accepted:?}");
    let fates = result["fates"].as_object().unwrap();
    let sum: u64 = fates
        .iter()
        .filter(|(name, _)| *name != "accepted")
        .map(|(_, count)| count.as_u64().unwrap())
        .sum();
    assert_eq!(fates["accepted"], sum);
}

#[test]
fn accepted_messages_survive_kill_9() {
    let (output, result) = faults("kill", 5, &[]);
    assert_kept(&output, &result, 5);
}

#[test]
fn accepted_messages_survive_the_loss_of_power() {
    let (output, result) = faults("power", 3, &[]);
    assert_kept(&output, &result, 3);
}

#[test]
fn the_loss_of_power_detects_a_service_that_does_not_sync() {
    let (output, result) = faults("power", 3, &["--test-without-sync"]);
    assert_eq!(output.status.code(), Some(1), "{output:#?}");
    assert_eq!(result["kept"], false);
    let counts = result["violations"]["counts"].as_object().unwrap();
    let lost = ["missing", "forgotten", "not_serving"];
    assert!(
        lost.iter().any(|kind| counts.contains_key(*kind)),
        "{result:#}"
    );
}

#[test]
fn a_run_that_cannot_start_reports_why() {
    let refused = |service: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bugle-load"))
            .args(["faults", "kill", "--"])
            .args(service)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:#?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["bugle"]).contains("does not say {data}"));
    assert!(refused(&["bugle", "{data}"]).contains("needs {listen}"));
    let missing = refused(&["/no/such/program", "{data}", "{listen}"]);
    assert!(
        missing.contains("cannot start /no/such/program"),
        "{missing}"
    );
    let ended = refused(&[
        "sh",
        "-c",
        "echo no licence >&2; exit 3",
        "{data}",
        "{listen}",
    ]);
    assert!(ended.contains("it ended (exit status: 3)"), "{ended}");
    assert!(ended.contains("no licence"), "{ended}");
}
