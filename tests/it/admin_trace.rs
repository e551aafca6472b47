//! The admin API: the trace of messages.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::Token;
use crate::support::app_server::{Push, ask, key_pair};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

async fn trace(server: &Server, subject: &str) -> Value {
    let body = json!({ "subject": subject });
    let reply = server.operate_as(Token::Read, "POST", "trace", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

/// The state and events of the newest message to an endpoint.
async fn newest(server: &Server, endpoint: &str) -> (String, Vec<String>) {
    let trace = trace(server, endpoint).await;
    let message = &trace["messages"][0];
    let events = message["events"].as_array().unwrap().iter();
    let events = events.map(|event| match &event["code"] {
        Value::Null => event["event"].as_str().unwrap().to_owned(),
        code => format!("{} {code}", event["event"].as_str().unwrap()),
    });
    (
        message["state"].as_str().unwrap().to_owned(),
        events.collect(),
    )
}

fn journey(state: &str, events: &[&str]) -> (String, Vec<String>) {
    (
        state.to_owned(),
        events.iter().map(|event| (*event).to_owned()).collect(),
    )
}

#[tokio::test]
async fn a_message_is_traced_from_acceptance_to_acknowledgement() {
    needs_ours!("its clock");
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let uaid = user_agent.uaid.clone();
    let endpoint = user_agent.register(CHANNEL, None).await;
    user_agent.leave(&server).await;
    let url = Push::to(&server, &endpoint)
        .header("urgency", "high")
        .text("x")
        .accepted()
        .await;
    assert_eq!(
        newest(&server, &endpoint).await,
        journey("waiting", &["accepted", "stored"])
    );
    server.advance(Duration::from_secs(5));
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    let notification = user_agent.notification().await;
    let sent = ["accepted", "stored", "delivered"];
    assert_eq!(newest(&server, &endpoint).await, journey("sent", &sent));
    user_agent
        .ack_with(&notification, json!({ "code": 102 }))
        .await;
    user_agent.receives_nothing().await;
    let all = ["accepted", "stored", "delivered", "acknowledged 102"];
    assert_eq!(
        newest(&server, &endpoint).await,
        journey("acknowledged", &all)
    );

    let by_message = trace(&server, &url).await;
    assert_eq!(by_message["kind"], "message");
    assert_eq!(
        by_message["messages"],
        trace(&server, &endpoint).await["messages"]
    );
    let message = &by_message["messages"][0];
    assert_eq!(
        (&message["urgency"], &message["signed"]),
        (&json!("high"), &json!(false))
    );
    let at = |event: usize| message["events"][event]["at"].as_u64().unwrap();
    assert_eq!(
        (at(0), at(2)),
        ((server.now() - 5) * 1000, server.now() * 1000)
    );
    for secret in [
        &uaid,
        endpoint.rsplit('/').next().unwrap(),
        url.rsplit('/').next().unwrap(),
    ] {
        assert!(!by_message.to_string().contains(secret));
    }
}

#[tokio::test]
async fn the_trace_shows_every_end_of_a_message() {
    needs_ours!("its clock");
    let server = Server::lenient().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    user_agent.leave(&server).await;
    let push = |ttl| Push::to(&server, &endpoint).ttl(ttl).text("x");

    push(0).accepted().await;
    let dropped = journey("dropped", &["accepted", "dropped"]);
    assert_eq!(newest(&server, &endpoint).await, dropped);

    let url = push(60).accepted().await;
    assert_eq!(ask(&server, "DELETE", &url).await.status, 204);
    let withdrawn = journey("withdrawn", &["accepted", "stored", "withdrawn"]);
    assert_eq!(newest(&server, &endpoint).await, withdrawn);

    let replaced = push(60).topic("t").accepted().await;
    push(60).topic("t").accepted().await;
    let traced = trace(&server, &replaced).await;
    assert_eq!(traced["messages"][0]["state"], "replaced");

    server.advance(Duration::from_secs(61));
    let expired = journey("expired", &["accepted", "stored", "expired"]);
    assert_eq!(newest(&server, &endpoint).await, expired);

    push(60).accepted().await;
    let body = json!({ "subject": endpoint });
    server.operate("POST", "subscriptions/drop", &body).await;
    let removed = journey("removed", &["accepted", "stored"]);
    assert_eq!(newest(&server, &endpoint).await, removed);
}

#[tokio::test]
async fn the_trace_of_a_key_respects_the_limits() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.trace.messages = 3).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let (one, two) = (key_pair(1), key_pair(2));
    for keys in [&one, &one, &two, &one] {
        Push::to(&server, &endpoint)
            .signed(keys)
            .text("x")
            .accepted()
            .await;
    }
    let key = |keys: &bugle_protocol::KeyPair| keys.public_key().to_base64url();
    let of_one = trace(&server, &key(&one)).await;
    assert_eq!(
        (&of_one["kind"], &of_one["messages"][0]["signed"]),
        (&json!("key"), &json!(true))
    );
    assert_eq!(of_one["messages"].as_array().unwrap().len(), 2);
    assert_eq!(
        trace(&server, &key(&two)).await["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        trace(&server, &key(&key_pair(3))).await["messages"],
        json!([])
    );
    let body = json!({ "subject": key(&one), "limit": 1 });
    let reply = server.operate("POST", "trace", &body).await;
    let limited: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(limited["messages"], json!([of_one["messages"][0]]));
    for (body, status) in [
        (json!({ "subject": key(&one), "limit": 3.0 }), 200),
        (json!({ "subject": key(&one), "limit": 1.5 }), 400),
        (json!({ "subject": key(&one), "limit": 0 }), 400),
        (json!({ "subject": key(&one), "limit": 1001 }), 400),
        (json!({ "subject": key(&one), "more": 1 }), 400),
        (json!({ "subject": user_agent.uaid }), 404),
        (json!({ "subject": "https://push.example/push/x" }), 404),
        (json!([]), 400),
    ] {
        let reply = server.operate("POST", "trace", &body).await;
        assert_eq!(reply.status, status, "{body}");
    }
}

#[tokio::test]
async fn trace_messages_0_turns_the_trace_off() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.trace.messages = 0).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let body = json!({ "subject": endpoint });
    let reply = server.operate("POST", "trace", &body).await;
    assert_eq!(reply.status, 409);
    assert!(reply.text().contains("trace.messages"), "{}", reply.text());
    assert_eq!(server.look("overview").await["trace_messages"], 0);
}
