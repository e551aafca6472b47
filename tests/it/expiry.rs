//! The expiry of messages (RFC 8030 §5.2).

use std::time::Duration;

use crate::support::app_server::{Push, ask, encrypted};
use crate::support::channels::subscribed;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::UserAgent;

#[tokio::test]
async fn rfc8030_5_2_i_a_17_no_message_is_delivered_after_its_ttl_even_after_a_restart() {
    needs_ours!("its clock");
    let mut server = Server::start().await;
    let (user_agent, endpoint) = subscribed(&server).await;
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    let short = Push::to(&server, &endpoint)
        .ttl(10)
        .text("short")
        .accepted()
        .await;
    Push::to(&server, &endpoint)
        .ttl(20)
        .text("long")
        .accepted()
        .await;
    server.advance(Duration::from_secs(9));
    assert_eq!(ask(&server, "GET", &short).await.status, 200);
    server.restart().await;
    server.advance(Duration::from_secs(1));
    assert_eq!(ask(&server, "GET", &short).await.status, 404);
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(user_agent.notification().await.data(), encrypted("long"));
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn expired_messages_leave_the_store() {
    needs_ours!("its settings and clock");
    let server = Server::start_with(|config| config.limits.expire_batch = 3).await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    for ttl in [5, 5, 5, 5, 5, 5, 5, 500] {
        Push::to(&server, &endpoint)
            .ttl(ttl)
            .text("x")
            .accepted()
            .await;
    }
    server.counts("bugle_stored_messages", 8.0).await;
    server.advance(Duration::from_secs(6));
    server.await_metric("bugle_stored_messages", 1.0).await;
    server.counts("bugle_messages_expired_total", 7.0).await;
}

#[tokio::test]
async fn rfc8030_5_4_f_a_replacement_has_its_own_ttl() {
    needs_ours!("its clock");
    let server = Server::start().await;
    let (user_agent, endpoint) = subscribed(&server).await;
    let uaid = user_agent.uaid.clone();
    drop(user_agent);
    Push::to(&server, &endpoint)
        .ttl(1)
        .topic("t")
        .text("old")
        .accepted()
        .await;
    Push::to(&server, &endpoint)
        .ttl(600)
        .topic("t")
        .text("new")
        .accepted()
        .await;
    server.advance(Duration::from_secs(2));
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    let mut last = user_agent.notification().await;
    while last.data() == encrypted("old") {
        last = user_agent.notification().await;
    }
    assert_eq!(last.data(), encrypted("new"));
}
