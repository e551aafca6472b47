//! Each scenario, small, against the real service.

use bugle_load::ledger::Counts;

use crate::support::service::Service;
use crate::support::{passes, play};

/// Counts in which all messages arrived and were acknowledged, and nothing else happened.
fn all_delivered(count: u64) -> Counts {
    Counts {
        sent: count,
        accepted: count,
        delivered: count,
        acknowledged: count,
        ..Counts::default()
    }
}

#[tokio::test]
async fn connect_opens_user_agents_and_holds_them() {
    let service = Service::start().await;
    let outcome = passes(&format!("connect -n 20 --hold 0s {}", service.url)).await;
    let connections = &outcome.connections;
    assert_eq!((connections.established, connections.peak), (20, 20));
    assert_eq!((connections.failed, connections.broken), (0, 0));
    assert_eq!(outcome.latency["hello"].count, 20);
    assert_eq!(outcome.latency["register"].count, 20);
    let phases: Vec<_> = outcome.phases.iter().map(|phase| &phase.name).collect();
    assert_eq!(phases, ["connect", "hold", "leave"]);
}

#[tokio::test]
async fn user_agents_can_disconnect_and_reconnect() {
    let service = Service::start().await;
    let rounds = "connect -n 5 --hold 0s --rest 10ms --rounds 2";
    let outcome = passes(&format!("{rounds} {}", service.url)).await;
    let connections = &outcome.connections;
    assert_eq!((connections.established, connections.peak), (10, 5));
    assert_eq!(connections.forgotten, 0);
    assert_eq!(outcome.latency["hello"].count, 10);
    assert_eq!(outcome.latency["register"].count, 5, "once is enough");
    let phases: Vec<_> = outcome.phases.iter().map(|phase| &phase.name).collect();
    let come_and_go = |come| [come, "hold", "leave", "rest"];
    assert_eq!(
        phases,
        [come_and_go("connect"), come_and_go("return")].concat()
    );
}

#[tokio::test]
async fn push_keeps_its_rate_and_measures_each_message() {
    let service = Service::start().await;
    let rate = "push -n 5 --rate 100 --duration 500ms";
    let outcome = passes(&format!("{rate} {}", service.url)).await;
    assert_eq!(outcome.messages, all_delivered(50));
    assert_eq!(outcome.latency["delivery"].count, 50);
    assert_eq!(outcome.latency["acceptance"].count, 50);
    assert_eq!(outcome.answers[&201], 50);
    let sent: u64 = outcome.series.iter().map(|second| second.sent).sum();
    assert_eq!(sent, 50);
    let generator = outcome.generator.unwrap();
    assert!(generator.samples.len() >= 4, "one for each phase");
}

#[tokio::test]
async fn every_kind_of_push_is_accepted() {
    let service = Service::start().await;
    for way in [
        "--http2 --senders 2 --streams 3",
        "--prepared --size 4096",
        "--fresh-tokens --urgency high",
        "--unsigned --ttl 0",
        "--size 123",
    ] {
        let outcome = passes(&format!("fanout -n 6 {way} {}", service.url)).await;
        assert_eq!(outcome.messages, all_delivered(6), "{way}");
    }
}

#[tokio::test]
async fn fresh_tokens_are_signed_before_the_pushes_begin() {
    let service = Service::start().await;
    let push = "push -n 5 --rate 100 --duration 500ms --fresh-tokens";
    let outcome = passes(&format!("{push} {}", service.url)).await;
    assert_eq!(outcome.messages, all_delivered(50));
    let phases: Vec<_> = outcome.phases.iter().map(|phase| &phase.name).collect();
    assert_eq!(phases, ["connect", "sign", "push", "settle", "leave"]);
}

#[tokio::test]
async fn fanout_sends_one_message_to_each() {
    let service = Service::start().await;
    let outcome = passes(&format!("fanout -n 20 --rounds 2 {}", service.url)).await;
    assert_eq!(outcome.messages, all_delivered(40));
}

#[tokio::test]
async fn offline_stores_and_then_delivers() {
    let service = Service::start().await;
    let outcome = passes(&format!("offline -n 5 --messages 4 {}", service.url)).await;
    assert_eq!(outcome.messages, all_delivered(20));
    assert_eq!(outcome.connections.established, 10);
    assert_eq!(outcome.connections.forgotten, 0);
}

#[tokio::test]
async fn storm_reconnects_all_at_once() {
    let service = Service::start().await;
    let storm = "storm -n 20 --messages 2 --rounds 2 --prepared";
    let outcome = passes(&format!("{storm} {}", service.url)).await;
    assert_eq!(outcome.messages, all_delivered(80));
    assert_eq!(outcome.connections.established, 60);
    assert_eq!(outcome.connections.peak, 20);
}

#[tokio::test]
async fn churn_accounts_for_every_message() {
    let service = Service::start().await;
    let churn = "churn -n 10 --rate 100 --duration 2s --stay 200ms --away 200ms --resubscribe 30";
    let outcome = passes(&format!("{churn} --prepared {}", service.url)).await;
    let m = &outcome.messages;
    assert_eq!(m.accepted + m.refused + m.unanswered, m.sent);
    assert_eq!(m.delivered + m.abandoned, m.accepted);
    assert!(outcome.connections.established > 20);
    assert!(
        outcome.latency["register"].count > 10,
        "some subscribe again"
    );
}

#[tokio::test]
async fn mixed_plays_its_file() {
    let service = Service::start().await;
    let file = service.folder.path().join("mixed.toml");
    let text = include_str!("../../mixed.toml");
    std::fs::write(&file, text.replace("\"10s\"", "\"1s\"")).unwrap();
    let mixed = format!("mixed -n 5 --file {} {}", file.display(), service.url);
    let outcome = passes(&mixed).await;
    let m = &outcome.messages;
    assert_eq!(m.sent, 60);
    let settled = m.delivered + m.replaced + m.withdrawn + m.not_stored + m.abandoned;
    assert_eq!(settled, m.accepted);
}

#[tokio::test]
async fn tls_works_for_user_agents_and_senders() {
    let service = Service::start_tls().await;
    let ca = service.folder.path().join("cert.pem");
    for version in ["", "--http2"] {
        let fanout = format!("fanout -n 5 {version} --ca {}", ca.display());
        let outcome = passes(&format!("{fanout} {}", service.url)).await;
        assert_eq!(outcome.messages, all_delivered(5), "{version}");
    }
}

#[tokio::test]
async fn user_agents_come_from_many_addresses() {
    let service = Service::start_with(|config| config.limits.connections_per_address = 2).await;
    let connect = format!("connect -n 6 --hold 0s {}", service.url);
    passes(&format!("{connect} --sources 3")).await;
    let outcome = play(&format!(
        "{connect} --sources 1 --time-limit 1s --settle 1s"
    ))
    .await;
    assert!(!outcome.passed);
    assert!(outcome.connections.peak <= 2);
}

#[tokio::test]
async fn refusals_of_a_full_service_are_reported_and_no_fault() {
    let service = Service::start_with(|config| config.limits.messages_per_user_agent = 3).await;
    let offline = "offline -n 3 --messages 4 --retries 0";
    let outcome = passes(&format!("{offline} {}", service.url)).await;
    assert_eq!(
        (outcome.messages.accepted, outcome.messages.refused),
        (6, 6)
    );
    assert_eq!(outcome.answers[&429], 6);
}

#[tokio::test]
async fn retry_after_is_respected() {
    let one_a_second = |config: &mut bugle::Config| {
        config.limits.subscription_rate = 1;
        config.limits.subscription_burst = 2;
    };
    let service = Service::start_with(one_a_second).await;
    // The third push waits for the time in Retry-After.
    let offline = "offline -n 1 --messages 3 --senders 1 --retries 2";
    let outcome = passes(&format!("{offline} {}", service.url)).await;
    assert_eq!(outcome.messages, all_delivered(3));
    assert_eq!((outcome.answers[&201], outcome.answers[&429]), (3, 1));
}
