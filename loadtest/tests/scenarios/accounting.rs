//! A service that breaks a promise fails the run with the right count.

use std::time::Duration;

use bugle_load::ledger::Counts;
use bugle_load::outcome::Outcome;

use crate::support::play;
use crate::support::proxy::{Fault, Proxy};

/// Sends ten messages sequentially to one user agent.
async fn ten(fault: Fault, flags: &str) -> Outcome {
    let proxy = Proxy::start(fault).await;
    let scenario = "fanout --user-agents 1 --rounds 10 --senders 1";
    play(&format!("{scenario} {flags} {}", proxy.url)).await
}

/// Asserts exactly these faults and their description.
fn assert_faults(outcome: &Outcome, expected: Counts, fault: &str) {
    let found = &outcome.messages;
    let faults = Counts {
        missing: found.missing,
        duplicate: found.duplicate,
        out_of_order: found.out_of_order,
        late: found.late,
        corrupted: found.corrupted,
        foreign: found.foreign,
        rejected: found.rejected,
        ..Counts::default()
    };
    assert_eq!(faults, expected, "{}", outcome.summary());
    assert_eq!(outcome.faults, [fault]);
    assert!(!outcome.passed);
    assert_eq!(found.accepted, 10);
}

#[tokio::test]
async fn a_lost_message_is_missing() {
    let missing = Counts {
        missing: 1,
        ..Counts::default()
    };
    assert_faults(
        &ten(Fault::Lose, "--settle 1s").await,
        missing,
        "1 messages missing",
    );
}

#[tokio::test]
async fn a_message_delivered_twice_is_a_duplicate() {
    let duplicate = Counts {
        duplicate: 1,
        ..Counts::default()
    };
    let outcome = ten(Fault::Duplicate, "").await;
    assert_faults(&outcome, duplicate, "1 messages delivered twice");
}

#[tokio::test]
async fn a_message_after_a_later_one_is_out_of_order() {
    let out_of_order = Counts {
        out_of_order: 1,
        ..Counts::default()
    };
    let outcome = ten(Fault::Reorder, "").await;
    assert_faults(&outcome, out_of_order, "1 messages out of order");
}

#[tokio::test]
async fn messages_after_their_ttl_are_late() {
    let late = Counts {
        late: 10,
        ..Counts::default()
    };
    let proxy = Proxy::start(Fault::Delay(Duration::from_secs(70))).await;
    let offline = "offline --user-agents 1 --messages 10 --ttl 60 --settle 5m";
    let outcome = play(&format!("{offline} {}", proxy.url)).await;
    let fault = "10 messages delivered after their TTL";
    assert_faults(&outcome, late, fault);
}

#[tokio::test]
async fn a_changed_message_is_corrupted_and_the_original_missing() {
    for bodies in ["--settle 1s", "--settle 1s --prepared"] {
        let both = Counts {
            corrupted: 1,
            missing: 1,
            ..Counts::default()
        };
        let outcome = ten(Fault::Corrupt, bodies).await;
        assert_eq!(
            outcome.faults,
            ["1 messages missing", "1 messages corrupted"]
        );
        assert_eq!(outcome.messages.corrupted, both.corrupted);
    }
}

#[tokio::test]
async fn a_broken_connection_is_reported_and_survived() {
    let outcome = ten(Fault::Break, "").await;
    assert!(outcome.passed, "{}", outcome.summary());
    assert_eq!(outcome.messages.delivered, 10);
    assert_eq!(outcome.connections.broken, 1);
    assert_eq!(outcome.connections.established, 2);
    let reasons: Vec<_> = outcome.connections.reasons.into_iter().collect();
    let closed = "the service closed the connection (without saying why)";
    assert_eq!(reasons, [(closed.to_owned(), 1)]);
}

#[tokio::test]
async fn rejected_pushes_are_a_fault() {
    let outcome = ten(Fault::Mislead, "").await;
    assert_eq!(outcome.faults, ["10 messages rejected (see `answers`)"]);
    assert_eq!((outcome.messages.rejected, outcome.answers[&404]), (10, 10));
}
