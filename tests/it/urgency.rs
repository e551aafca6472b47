//! Urgency (RFC 8030 §5.3) for user agents on a WebSocket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app_server::{Push, ask, decrypted};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

const URGENCIES: [&str; 4] = ["very-low", "low", "normal", "high"];

/// Sets the minimum urgency of messages.
async fn filter(user_agent: &mut UserAgent, min: &str) {
    assert_eq!(try_filter(user_agent, json!(min)).await, 200);
}

async fn try_filter(user_agent: &mut UserAgent, min: Value) -> u64 {
    user_agent
        .say(json!({ "messageType": "urgency", "min": min }))
        .await;
    let answer = user_agent.hear().await;
    assert_eq!(answer["messageType"], "urgency", "{answer}");
    assert_eq!(answer.as_object().unwrap().len(), 2, "{answer}");
    answer["status"].as_u64().unwrap()
}

/// Pushes a message with its urgency as the text.
async fn push(server: &Server, endpoint: &str, urgency: &str) -> String {
    let push = Push::to(server, endpoint).header("urgency", urgency);
    push.text(urgency).accepted().await
}

/// Asserts that these texts arrive in this order, and nothing else.
async fn assert_receives(user_agent: &mut UserAgent, texts: &[&str]) {
    for text in texts {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), *text, "of {texts:?}");
        assert!(notification.0.get("urgency").is_none());
    }
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn rfc8030_5_3_e_rfc8030_5_3_b_each_urgency_passes_the_filters_up_to_it() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for (at, min) in URGENCIES.into_iter().enumerate() {
        let mut user_agent = UserAgent::reconnect(&server, &user_agent.uaid).await;
        filter(&mut user_agent, min).await;
        for urgency in URGENCIES {
            push(&server, &endpoint, urgency).await;
        }
        // Messages that pass the filter arrive live and in order.
        for urgency in &URGENCIES[at..] {
            let notification = user_agent.notification().await;
            assert_eq!(decrypted(&notification.data()), *urgency, "from {min}");
            user_agent.ack(&notification).await;
        }
        user_agent.receives_nothing().await;
        // The other messages were held back, not dropped.
        filter(&mut user_agent, "very-low").await;
        for urgency in &URGENCIES[..at] {
            let notification = user_agent.notification().await;
            assert_eq!(decrypted(&notification.data()), *urgency, "below {min}");
            user_agent.ack(&notification).await;
        }
        user_agent.receives_nothing().await;
    }
    assert_eq!(server.metric("bugle_stored_messages").await, 0.0);
}

#[tokio::test]
async fn rfc8030_5_3_f_without_a_filter_everything_is_delivered() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for urgency in URGENCIES {
        push(&server, &endpoint, urgency).await;
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), urgency);
    }
}

#[tokio::test]
async fn rfc8030_5_3_c_a_message_without_urgency_is_normal() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    filter(&mut user_agent, "high").await;
    Push::to(&server, &endpoint).text("plain").accepted().await;
    user_agent.receives_nothing().await;
    filter(&mut user_agent, "normal").await;
    let notification = user_agent.notification().await;
    assert_eq!(decrypted(&notification.data()), "plain");
}

#[tokio::test]
async fn a_19_up_10_held_back_messages_arrive_in_order_and_once() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    // All messages stay unacknowledged, so they stay in the log.
    push(&server, &endpoint, "low").await;
    assert_receives(&mut user_agent, &["low"]).await;
    filter(&mut user_agent, "high").await;
    for urgency in ["low", "high", "normal", "very-low", "high"] {
        push(&server, &endpoint, urgency).await;
    }
    assert_receives(&mut user_agent, &["high", "high"]).await;
    filter(&mut user_agent, "normal").await;
    assert_receives(&mut user_agent, &["normal"]).await;
    filter(&mut user_agent, "high").await;
    filter(&mut user_agent, "low").await;
    push(&server, &endpoint, "normal").await;
    assert_receives(&mut user_agent, &["low", "normal"]).await;
    filter(&mut user_agent, "very-low").await;
    assert_receives(&mut user_agent, &["very-low"]).await;
    filter(&mut user_agent, "low").await;
    filter(&mut user_agent, "very-low").await;
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_19_a_long_log_is_released_through_the_window() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.window_messages = 5;
        config.user_agent.window_patience = Duration::from_millis(20);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    filter(&mut user_agent, "high").await;
    let (mut high, mut low) = (Vec::new(), Vec::new());
    for i in 0..100 {
        let (urgency, texts) = match i % 3 {
            0 => ("high", &mut high),
            _ => ("low", &mut low),
        };
        let text = i.to_string();
        let push = Push::to(&server, &endpoint).header("urgency", urgency);
        push.text(&text).accepted().await;
        texts.push(text);
    }
    for expected in &high {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), *expected);
    }
    filter(&mut user_agent, "very-low").await;
    for expected in &low {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), *expected);
    }
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_19_a_filter_ends_with_its_connection_and_extends_no_ttl() {
    needs_ours!("its clock and restarts");
    let mut server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let uaid = user_agent.uaid.clone();
    filter(&mut user_agent, "high").await;
    for (text, ttl) in [("short", 10), ("long", 60)] {
        let push = Push::to(&server, &endpoint).header("urgency", "low");
        push.ttl(ttl).text(text).accepted().await;
    }
    user_agent.receives_nothing().await;
    let mut again = UserAgent::reconnect(&server, &uaid).await;
    assert_receives(&mut again, &["short", "long"]).await;
    filter(&mut again, "high").await;
    drop(again);
    server.restart().await;
    let mut again = UserAgent::reconnect(&server, &uaid).await;
    assert_receives(&mut again, &["short", "long"]).await;
    filter(&mut again, "normal").await;
    let push = Push::to(&server, &endpoint).header("urgency", "very-low");
    let held_back = push.ttl(5).text("gone by then").accepted().await;
    server.advance(Duration::from_secs(10));
    filter(&mut again, "very-low").await;
    again.receives_nothing().await;
    assert_eq!(ask(&server, "GET", &held_back).await.status, 404);
    let mut again = UserAgent::reconnect(&server, &uaid).await;
    assert_receives(&mut again, &["long"]).await;
}

#[tokio::test]
async fn rfc8030_5_2_j_ttl_0_below_the_filter_is_dropped() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    filter(&mut user_agent, "normal").await;
    for urgency in URGENCIES {
        let push = Push::to(&server, &endpoint).header("urgency", urgency);
        push.ttl(0).text(urgency).accepted().await;
    }
    for expected in ["normal", "high"] {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), expected);
    }
    server
        .await_metric("bugle_messages_dropped_total", 2.0)
        .await;
    filter(&mut user_agent, "very-low").await;
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_replacement_is_filtered_by_its_own_urgency() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    filter(&mut user_agent, "normal").await;
    for (urgency, text) in [("low", "held back"), ("high", "instead of it")] {
        let push = Push::to(&server, &endpoint).header("urgency", urgency);
        push.topic("t").text(text).accepted().await;
    }
    let notification = user_agent.notification().await;
    assert_eq!(decrypted(&notification.data()), "instead of it");
    filter(&mut user_agent, "very-low").await;
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_19_a_bad_urgency_is_status_400_and_changes_nothing() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    filter(&mut user_agent, "normal").await;
    for bad in [json!("urgent"), json!(""), json!(null), json!(3), json!({})] {
        assert_eq!(try_filter(&mut user_agent, bad).await, 400);
    }
    push(&server, &endpoint, "low").await;
    push(&server, &endpoint, "normal").await;
    assert_receives(&mut user_agent, &["normal"]).await;
}
