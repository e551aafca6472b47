//! `ack` and `nack`.

use std::time::Duration;

use bugle::config::StoreEngine;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app_server::Push;
use crate::support::channels::subscribed;
use crate::support::frames::websocket;
use crate::support::server::Server;
use crate::support::siege::{drain, upgrade};
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, Notification, TIMEOUT, UserAgent};

/// Asserts that a new connection of the same user agent receives nothing.
async fn assert_nothing_left(server: &Server, of: &UserAgent) {
    let mut again = UserAgent::reconnect(server, &of.uaid).await;
    again.receives_nothing().await;
}

#[tokio::test]
async fn ws_n_8_ws_n_9_papi_13_an_ack_with_any_code_or_none_ends_the_delivery() {
    let server = Server::start().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    for update in [
        json!({ "code": 100 }),
        json!({ "code": 101 }),
        json!({ "code": 102 }),
        json!({}),
        json!({ "code": 7 }),
        json!({ "code": "x" }),
        json!({ "code": null, "extra": [] }),
    ] {
        Push::to(&server, &endpoint).text("x").accepted().await;
        let notification = user_agent.notification().await;
        user_agent.ack_with(&notification, update).await;
        user_agent.receives_nothing().await;
        server.counts("bugle_stored_messages", 0.0).await;
    }
    assert_nothing_left(&server, &user_agent).await;
}

#[tokio::test]
async fn ws_n_9_acks_of_unknown_versions_are_ignored() {
    let server = Server::start().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    user_agent.notification().await;
    for version in [
        json!("unknown"),
        json!(7),
        json!(null),
        json!("x".repeat(1000)),
    ] {
        let update = json!({ "channelID": CHANNEL, "version": version, "code": 100 });
        user_agent
            .say(json!({ "messageType": "ack", "updates": [update, {}] }))
            .await;
    }
    user_agent.receives_nothing().await;
    server.counts("bugle_stored_messages", 1.0).await;
}

#[tokio::test]
async fn ws_n_12_an_ack_touches_only_the_messages_of_its_user_agent() {
    let server = Server::start().await;
    let (mut owner, endpoint) = subscribed(&server).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let notification = owner.notification().await;
    let mut stranger = UserAgent::connect(&server).await;
    stranger.ack(&notification).await;
    stranger.receives_nothing().await;
    server.counts("bugle_stored_messages", 1.0).await;
    // An acknowledgement counts on any connection of the owner.
    let mut again = UserAgent::reconnect(&server, &owner.uaid).await;
    assert_eq!(again.notification().await, notification);
    again.ack(&notification).await;
    again.receives_nothing().await;
    server.counts("bugle_stored_messages", 0.0).await;
    assert_nothing_left(&server, &owner).await;
}

#[tokio::test]
async fn ws_n_16_a_nack_changes_nothing() {
    let server = Server::start().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    let version = notification.version();
    user_agent
        .say(json!({ "messageType": "nack", "version": version, "code": 302 }))
        .await;
    user_agent.receives_nothing().await;
    assert_nothing_left(&server, &user_agent).await;
}

/// The acknowledgement of all notifications in one frame.
fn acknowledgement(notifications: &[Notification]) -> Value {
    let updates = notifications.iter().map(|notification| {
        let mut ack = notification.acknowledged(json!({ "code": 100 }));
        ack["updates"][0].take()
    });
    json!({ "messageType": "ack", "updates": updates.collect::<Vec<_>>() })
}

/// autopush-manager collects acknowledgements for 30 s.
#[tokio::test]
async fn ws_n_8_ws_n_13_one_frame_acknowledges_900_messages() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.store.engine = StoreEngine::Memory;
        config.user_agent.window_patience = Duration::from_millis(10);
    })
    .await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    push(&server, &endpoint, 900).await;
    let mut received = Vec::new();
    for _ in 0..900 {
        received.push(user_agent.notification().await);
    }
    let ack = acknowledgement(&received);
    assert!(ack.to_string().len() > 110_000);
    user_agent.say(ack).await;
    user_agent.receives_nothing().await;
    server.counts("bugle_stored_messages", 0.0).await;
    assert_nothing_left(&server, &user_agent).await;
}

/// A service that accepts frames of 4096 bytes, which hold 25 acknowledgements; it must not
/// send more messages than fit.
async fn small_frames(window_messages: usize, ack_patience: Duration) -> Server {
    Server::start_with(|config| {
        config.limits.frame_bytes = 4096;
        config.user_agent.window_messages = window_messages;
        config.user_agent.window_patience = Duration::from_millis(10);
        config.user_agent.ack_patience = ack_patience;
    })
    .await
}

/// Pushes this many messages.
async fn push(server: &Server, endpoint: &str, times: usize) {
    for _ in 0..times {
        Push::to(server, endpoint).text("x").accepted().await;
    }
}

/// Receives notifications until none arrives for 300 ms.
async fn collect(user_agent: &mut UserAgent, into: &mut Vec<Notification>) {
    let pause = Duration::from_millis(300);
    while let Ok(notification) = timeout(pause, user_agent.notification()).await {
        into.push(notification);
    }
}

#[tokio::test]
async fn ws_n_13_messages_sent_before_the_first_ack_fit_one_ack_frame() {
    needs_ours!("its settings");
    let server = small_frames(10, Duration::from_secs(3600)).await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    push(&server, &endpoint, 60).await;
    let (mut received, mut rounds) = (0, 0);
    while received < 60 {
        let mut collected = Vec::new();
        collect(&mut user_agent, &mut collected).await;
        received += collected.len();
        let ack = acknowledgement(&collected);
        assert!(ack.to_string().len() <= 4096, "{} fit", collected.len());
        user_agent.say(ack).await;
        rounds += 1;
        assert!(rounds < 60, "no further messages arrive");
    }
    user_agent.receives_nothing().await;
    server.counts("bugle_stored_messages", 0.0).await;
}

#[tokio::test]
async fn ws_n_18_delivery_continues_after_ack_patience_without_acks() {
    needs_ours!("its settings");
    let server = small_frames(10, Duration::from_millis(100)).await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    push(&server, &endpoint, 60).await;
    for _ in 0..60 {
        user_agent.notification().await;
    }
    server.counts("bugle_stored_messages", 60.0).await;
}

#[tokio::test]
async fn ws_n_15_a_ttl_0_message_that_exceeds_the_ack_frame_is_dropped() {
    needs_ours!("its settings");
    let server = small_frames(25, Duration::from_secs(3600)).await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let live = || Push::to(&server, &endpoint).ttl(0).text("x");
    let mut received = Vec::new();
    for _ in 0..25 {
        live().accepted().await;
        received.push(user_agent.notification().await);
    }
    live().accepted().await;
    server
        .await_metric("bugle_messages_dropped_total", 1.0)
        .await;
    user_agent.say(acknowledgement(&received)).await;
    user_agent.receives_nothing().await;
    live().accepted().await;
    user_agent.notification().await;
}

#[tokio::test]
async fn an_ack_received_during_a_shutdown_counts() {
    needs_ours!("a stop");
    let mut server = Server::start().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let version = user_agent.notification().await.version().to_owned();
    let hello = json!({ "messageType": "hello", "uaid": user_agent.uaid });
    let (mut stream, _) = upgrade(&server, "").await;
    let text = |message: Value| websocket(0x81, message.to_string().as_bytes());
    stream.write_all(&text(hello)).await.unwrap();
    hear(&mut stream, version.as_bytes()).await;
    server.begin_stop();
    hear(&mut stream, b"going away").await;
    let update = json!({ "version": version, "code": 100 });
    let ack = json!({ "messageType": "ack", "updates": [update] });
    stream.write_all(&text(ack)).await.unwrap();
    stream.shutdown().await.unwrap();
    drain(&mut stream).await;
    server.restart().await;
    assert_nothing_left(&server, &user_agent).await;
    server.counts("bugle_stored_messages", 0.0).await;
}

/// Reads until these bytes have arrived.
async fn hear(stream: &mut TcpStream, bytes: &[u8]) {
    let mut received = Vec::new();
    while !received.ends_with(bytes) {
        let byte = timeout(TIMEOUT, stream.read_u8()).await;
        received.push(byte.expect("the bytes arrive").unwrap());
    }
}
