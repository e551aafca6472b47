//! Broadcasts: set on the admin listener, sent to subscribers.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::app_server::{Push, decrypted};
use crate::support::http::Reply;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

const MONITOR: &str = "remote-settings/monitor_changes";

async fn put(server: &Server, id: &str, version: &str) -> Reply {
    let body = json!({ "version": version });
    server
        .operate("PUT", &format!("broadcasts/{id}"), &body)
        .await
}

async fn set(server: &Server, id: &str, version: &str) {
    let reply = put(server, id, version).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
}

async fn remove(server: &Server, id: &str) -> StatusCode {
    let path = format!("broadcasts/{id}");
    server.operate("DELETE", &path, &Value::Null).await.status
}

async fn all(server: &Server) -> Value {
    server.look("broadcasts").await["broadcasts"].take()
}

/// A user agent that says hello with these versions, and the broadcasts in the response.
async fn hello(server: &Server, broadcasts: Value) -> (UserAgent, Value) {
    let mut user_agent = UserAgent::silent(server).await;
    let hello = json!({ "messageType": "hello", "broadcasts": broadcasts, "use_webpush": true });
    user_agent.say(hello).await;
    let mut answer = user_agent.hear().await;
    assert_eq!(answer["status"], 200, "{answer}");
    (user_agent, answer["broadcasts"].take())
}

async fn subscribe(user_agent: &mut UserAgent, broadcasts: Value) {
    let message = json!({ "messageType": "broadcast_subscribe", "broadcasts": broadcasts });
    user_agent.say(message).await;
}

async fn next_broadcast(user_agent: &mut UserAgent) -> Value {
    let mut message = user_agent.hear().await;
    assert_eq!(message["messageType"], "broadcast", "{message}");
    assert_eq!(message.as_object().unwrap().len(), 2, "{message}");
    message["broadcasts"].take()
}

#[tokio::test]
async fn broadcasts_are_set_shown_and_removed_on_the_admin_listener() {
    needs_ours!("restarts");
    let mut server = Server::start().await;
    assert_eq!(all(&server).await, json!({}));
    set(&server, MONITOR, "\"1\"").await;
    set(&server, "with%20space%25", "v").await;
    set(&server, MONITOR, "\"2\"").await;
    let expected = json!({ MONITOR: "\"2\"", "with space%": "v" });
    assert_eq!(all(&server).await, expected);
    server.restart().await;
    assert_eq!(all(&server).await, expected);
    assert_eq!(remove(&server, MONITOR).await, 204);
    assert_eq!(remove(&server, MONITOR).await, 404);
    server.restart().await;
    assert_eq!(all(&server).await, json!({ "with space%": "v" }));
}

#[tokio::test]
async fn invalid_broadcasts_are_refused() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.broadcasts = 1).await;
    let long = "x".repeat(129);
    for (method, path, body, status) in [
        ("PUT", "broadcasts/", "v", 400),
        ("PUT", "broadcasts/a%0A", "v", 400),
        ("PUT", "broadcasts/%ff", "v", 400),
        ("PUT", &*format!("broadcasts/{long}"), "v", 400),
        ("DELETE", &*format!("broadcasts/{long}"), "", 400),
        ("PUT", "broadcasts/a", "", 400),
        ("PUT", "broadcasts/a", "v\n", 400),
        ("PUT", "broadcasts/a", "é", 400),
        ("PUT", "broadcasts/a", &*long, 400),
        ("PUT", "broadcasts/a", &*"x".repeat(5000), 413),
        ("DELETE", "broadcasts/a", "", 404),
        ("POST", "broadcasts/a", "v", 405),
        ("GET", "broadcasts/a", "", 405),
        ("PUT", "broadcasts", "v", 405),
    ] {
        let body = json!({ "version": body });
        let reply = server.operate(method, path, &body).await;
        assert_eq!(reply.status, status, "{method} {path:.20}");
        assert!(reply.errno() > 0, "{method} {path:.20}");
    }
    assert_eq!(all(&server).await, json!({}));
    set(&server, "a", &long[1..]).await;
    assert_eq!(put(&server, "b", "v").await.status, 429);
    set(&server, "a", "v").await;
    assert_eq!(all(&server).await, json!({ "a": "v" }));
    // The public listener does not expose broadcasts.
    for path in ["/admin/v1/broadcasts", "/admin/v1/broadcasts/a"] {
        assert_eq!(server.get(path).await.status, 404);
    }
}

#[tokio::test]
async fn ws_b_1_ws_b_2_ws_b_3_hello_returns_only_changed_broadcasts() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let (_user_agent, changed) = hello(&server, json!({ MONITOR: "\"0\"", "a": "1" })).await;
    assert_eq!(changed, json!({}));
    set(&server, MONITOR, "\"5\"").await;
    set(&server, "a", "1").await;
    set(&server, "b", "1").await;
    for (has, lacks) in [
        (
            json!({ MONITOR: "\"0\"", "a": "1", "nobody/knows": "7" }),
            json!({ MONITOR: "\"5\"" }),
        ),
        (json!({ MONITOR: "\"5\"" }), json!({})),
        (json!({}), json!({})),
        (json!(null), json!({})),
        (json!([7]), json!({})),
    ] {
        let (mut user_agent, changed) = hello(&server, has).await;
        assert_eq!(changed, lacks);
        user_agent.receives_nothing().await;
    }
}

#[tokio::test]
async fn ws_b_2_subscribers_receive_a_new_version_within_a_second() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let (mut by_hello, _) = hello(&server, json!({ MONITOR: "\"0\"", "later": "0" })).await;
    let mut by_message = UserAgent::connect(&server).await;
    let mut neither = UserAgent::connect(&server).await;
    subscribe(&mut by_message, json!({ MONITOR: "\"0\"" })).await;
    by_message.receives_nothing().await;
    let version = json!({ MONITOR: "\"1\"" });
    let within_a_second = tokio::time::timeout(std::time::Duration::from_secs(1), async {
        set(&server, MONITOR, "\"1\"").await;
        assert_eq!(next_broadcast(&mut by_hello).await, version);
        assert_eq!(next_broadcast(&mut by_message).await, version);
    });
    within_a_second.await.unwrap();
    // A broadcast that did not exist when it was subscribed to.
    set(&server, "later", "1").await;
    assert_eq!(next_broadcast(&mut by_hello).await, json!({ "later": "1" }));
    // Setting the same version again or removing a broadcast sends nothing.
    set(&server, MONITOR, "\"1\"").await;
    assert_eq!(remove(&server, MONITOR).await, 204);
    for user_agent in [&mut by_hello, &mut by_message, &mut neither] {
        user_agent.receives_nothing().await;
    }
}

#[tokio::test]
async fn ws_b_1_ws_b_3_broadcast_subscribe_returns_only_changed_broadcasts() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    set(&server, "a", "1").await;
    let mut user_agent = UserAgent::connect(&server).await;
    subscribe(&mut user_agent, json!({ "a": "1", "nobody/knows": "0" })).await;
    subscribe(&mut user_agent, json!({})).await;
    user_agent.receives_nothing().await;
    subscribe(&mut user_agent, json!({ "a": "0" })).await;
    assert_eq!(next_broadcast(&mut user_agent).await, json!({ "a": "1" }));
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_connection_subscribes_to_at_most_64_broadcasts() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let many = |range: std::ops::Range<u32>| -> Value {
        range.map(|i| (format!("x{i:03}"), json!("0"))).collect()
    };
    subscribe(&mut user_agent, many(0..60)).await;
    subscribe(&mut user_agent, many(60..1000)).await;
    user_agent.receives_nothing().await;
    set(&server, "x064", "1").await;
    user_agent.receives_nothing().await;
    set(&server, "x063", "1").await;
    assert_eq!(
        next_broadcast(&mut user_agent).await,
        json!({ "x063": "1" })
    );
}

#[tokio::test]
async fn broadcasts_and_messages_do_not_block_each_other() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let (mut user_agent, _) = hello(&server, json!({ "a": "0" })).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for i in 0..5 {
        Push::to(&server, &endpoint).text("x").accepted().await;
        set(&server, "a", &format!("v{i}")).await;
    }
    let (mut messages, mut last) = (0, Value::Null);
    while messages < 5 || last != "v4" {
        let message = user_agent.hear().await;
        if message["messageType"] == "broadcast" {
            last = message["broadcasts"]["a"].clone();
        } else {
            let notification = crate::support::user_agent::Notification(message);
            assert_eq!(decrypted(&notification.data()), "x");
            messages += 1;
        }
    }
    user_agent.receives_nothing().await;
}
