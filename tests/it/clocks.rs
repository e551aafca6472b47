//! The wall clock changes while the service runs: messages keep their TTL, and tokens are
//! checked against the current time.

use std::time::Duration;

use crate::support::app_server::{Push, authorization, encrypted, key_pair};
use crate::support::channels::subscribed;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::UserAgent;

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 3600);

#[tokio::test]
async fn messages_accepted_with_a_slow_clock_keep_their_ttl() {
    needs_ours!("its clock");
    let mut server = Server::start().await;
    let (user_agent, endpoint) = subscribed(&server).await;
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    for (ttl, text) in [(60, "short"), (600, "long")] {
        Push::to(&server, &endpoint)
            .ttl(ttl)
            .text(text)
            .accepted()
            .await;
    }
    server.set_clock(server.now() + TWO_DAYS.as_secs());
    server.await_metric("bugle_clock_steps_total", 1.0).await;
    server.counts("bugle_stored_messages", 2.0).await;
    server.restart().await;
    server.counts("bugle_stored_messages", 2.0).await;
    server.advance(Duration::from_secs(61));
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(user_agent.notification().await.data(), encrypted("long"));
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn setting_the_clock_back_extends_no_ttl() {
    needs_ours!("its clock");
    let server = Server::start().await;
    let (user_agent, endpoint) = subscribed(&server).await;
    user_agent.leave(&server).await;
    Push::to(&server, &endpoint)
        .ttl(60)
        .text("x")
        .accepted()
        .await;
    server.set_clock(server.now() - TWO_DAYS.as_secs());
    server.advance(Duration::from_secs(61));
    server.await_metric("bugle_stored_messages", 0.0).await;
    server.counts("bugle_messages_expired_total", 1.0).await;
}

#[tokio::test]
async fn a_token_refused_by_time_gets_the_clock_of_the_service() {
    needs_ours!("its clock");
    let server = Server::start().await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    let now = server.now();
    let by_the_right_time = authorization(&server, &key_pair(1));
    // The clock is first behind, then ahead of the senders.
    for (clock, shown) in [
        (now - TWO_DAYS.as_secs(), "which shows 2025-12-30T00:00:00Z"),
        (now + TWO_DAYS.as_secs(), "which shows 2026-01-03T00:00:00Z"),
    ] {
        server.set_clock(clock);
        let push = Push::to(&server, &endpoint).text("x");
        let push = push.header("authorization", &by_the_right_time);
        let refused = push.send().await;
        assert_eq!((refused.status.as_u16(), refused.errno()), (403, 109));
        assert!(refused.text().contains(shown), "{}", refused.text());
    }
    // Once the clock is correct, tokens are accepted.
    server.set_clock(now);
    let push = Push::to(&server, &endpoint).text("x");
    push.header("authorization", &by_the_right_time)
        .accepted()
        .await;
}

#[test]
fn the_unit_starts_after_time_synchronisation() {
    let unit = include_str!("../../packaging/systemd/bugle.service");
    for key in ["Wants=", "After="] {
        let mut lines = unit.lines().filter_map(|line| line.strip_prefix(key));
        let is_there = lines.any(|line| line.split(' ').any(|word| word == "time-sync.target"));
        assert!(is_there, "{key}");
    }
}
