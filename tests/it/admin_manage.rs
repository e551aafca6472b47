//! The admin API: lookup and removal of user agents, blocks, drain.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::admin::Token;
use crate::support::app_server::{Push, key_pair};
use crate::support::channels::subscribed;
use crate::support::http;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::link;
use crate::support::user_agent::{CHANNEL, UserAgent};

const OTHER: &str = "d9b74644-4f97-46aa-b8fa-9393985cd6cd";

async fn find(server: &Server, subject: &str) -> Value {
    let body = json!({ "subject": subject });
    let reply = server
        .operate_as(Token::Read, "POST", "user-agents/find", &body)
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).unwrap()
}

/// The status of a push to this endpoint.
async fn push_status(server: &Server, endpoint: &str) -> u16 {
    let push = Push::to(server, endpoint).text("x");
    push.send().await.status.as_u16()
}

/// Asserts that a response contains no secret.
fn assert_no_capability(answer: &str, uaid: &str, endpoint: &str) {
    let token = endpoint.rsplit('/').next().unwrap();
    for secret in [uaid, token, "p256dh"] {
        assert!(!answer.contains(secret), "{answer}");
    }
}

#[tokio::test]
async fn a_user_agent_is_found_by_uaid_endpoint_and_message() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let uaid = user_agent.uaid.clone();
    let key = key_pair(1).public_key().to_base64url();
    let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
    let other = user_agent.register(OTHER, None).await;
    let message = Push::to(&server, &other).text("x").accepted().await;
    user_agent.notification().await;
    let found = find(&server, &uaid).await;
    assert_eq!(found["connected"], true);
    assert_eq!(found["waiting"]["messages"], 1);
    assert!(found["waiting"]["bytes"].as_u64() > Some(0));
    let subscriptions = found["subscriptions"].as_array().unwrap();
    let restricted = subscriptions
        .iter()
        .find(|it| it["channel"] == CHANNEL)
        .unwrap();
    assert_eq!((subscriptions.len(), &restricted["key"]), (2, &json!(key)));
    assert_no_capability(&found.to_string(), &uaid, &endpoint);
    for subject in [
        &endpoint,
        &other,
        &message,
        &format!(
            "https://before.example/push/{}",
            endpoint.rsplit('/').next().unwrap()
        ),
    ] {
        assert_eq!(find(&server, subject).await, found, "{subject}");
    }
    let path = "user-agents/find";
    for (subject, status) in [
        ("", 400),
        ("x", 404),
        (&"x".repeat(2000), 400),
        (&"0".repeat(32), 404),
    ] {
        let reply = server
            .operate("POST", path, &json!({ "subject": subject }))
            .await;
        assert_eq!(reply.status, status, "{subject:.20}");
        assert_eq!(reply.errno(), 999);
    }
}

#[tokio::test]
async fn a_dropped_user_agent_gets_a_new_uaid() {
    needs_ours!("its admin listener");
    let server = Server::lenient().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let uaid = user_agent.uaid.clone();
    let (mut bystander, bystanding) = subscribed(&server).await;
    let body = json!({ "subject": uaid });
    let reader = server
        .operate_as(Token::Read, "POST", "user-agents/drop", &body)
        .await;
    assert_eq!(reader.status, 403);
    let dropped = server.operate("POST", "user-agents/drop", &body).await;
    assert_eq!(dropped.status, 200);
    assert_no_capability(&dropped.text(), &uaid, &endpoint);
    assert_eq!(user_agent.closed().await, 1000);
    assert_eq!(push_status(&server, &endpoint).await, 410);
    let again = UserAgent::reconnect(&server, &uaid).await;
    assert_ne!(again.uaid, uaid);
    Push::to(&server, &bystanding).text("x").accepted().await;
    bystander.notification().await;
    let gone = server.operate("POST", "user-agents/drop", &body).await;
    assert_eq!(gone.status, 404);
    let audit = server.look("audit").await;
    assert_eq!(audit["entries"][0]["action"], "dropUserAgent");
    assert_no_capability(&audit.to_string(), &uaid, &endpoint);
}

#[tokio::test]
async fn dropping_a_subscription_keeps_the_others() {
    needs_ours!("its admin listener");
    let server = Server::lenient().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let uaid = user_agent.uaid.clone();
    let other = user_agent.register(OTHER, None).await;
    let path = "subscriptions/drop";
    for (body, status) in [
        (json!({ "subject": uaid }), 400),
        (json!({ "subject": uaid, "channel": "x" }), 400),
        (json!({ "subject": endpoint, "channel": CHANNEL }), 400),
        (json!({ "subject": endpoint }), 200),
        (json!({ "subject": endpoint }), 404),
    ] {
        let reply = server.operate("POST", path, &body).await;
        assert_eq!(reply.status, status, "{body}");
    }
    assert_eq!(push_status(&server, &endpoint).await, 410);
    Push::to(&server, &other).text("x").accepted().await;
    user_agent.notification().await;
    // A new registration of the channel is another subscription.
    let newer = user_agent.register(CHANNEL, None).await;
    let old = server
        .operate("POST", path, &json!({ "subject": endpoint }))
        .await;
    assert_eq!(old.status, 404);
    let body = json!({ "subject": uaid, "channel": CHANNEL });
    assert_eq!(server.operate("POST", path, &body).await.status, 200);
    assert_eq!(push_status(&server, &newer).await, 410);
}

#[tokio::test]
async fn a_drop_by_handle_removes_only_its_subject() {
    needs_ours!("its admin listener");
    let server = Server::lenient().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let uaid = user_agent.uaid.clone();
    let other = user_agent.register(OTHER, None).await;
    let (_bystander, bystanding) = subscribed(&server).await;
    let found = find(&server, &uaid).await;
    let subscriptions = found["subscriptions"].as_array().unwrap();
    let one = subscriptions.iter().find(|it| it["channel"] == CHANNEL);
    let (one, all) = (&one.unwrap()["handle"], &found["handle"]);
    assert_eq!(find(&server, all.as_str().unwrap()).await, found);
    let drop = async |what: &str, handle: &Value| {
        let body = json!({ "subject": handle });
        let path = format!("{what}/drop");
        server.operate("POST", &path, &body).await.status.as_u16()
    };
    let status = async |endpoint: &str| push_status(&server, endpoint).await;
    assert_eq!(drop("subscriptions", all).await, 400);
    assert_eq!(drop("subscriptions", one).await, 200);
    assert_eq!((status(&endpoint).await, status(&other).await), (410, 201));
    assert_eq!(drop("subscriptions", one).await, 404);
    assert_eq!(drop("user-agents", all).await, 200);
    assert_eq!(
        (status(&other).await, status(&bystanding).await),
        (410, 201)
    );
    assert_eq!(drop("user-agents", all).await, 404);
    let strange = json!("0123456789abcdef");
    for what in ["user-agents", "subscriptions", "receipt-subscriptions"] {
        assert_eq!(drop(what, &strange).await, 404, "{what}");
    }
}

#[tokio::test]
async fn dropping_a_sender_removes_only_its_messages() {
    needs_ours!("its admin listener");
    let server = Server::lenient().await;
    let (user_agent, endpoint) = subscribed(&server).await;
    user_agent.leave(&server).await;
    let (bad, good) = (key_pair(1), key_pair(2));
    for _ in 0..100 {
        let push = Push::to(&server, &endpoint).text("x");
        push.signed(&bad).accepted().await;
    }
    let push = Push::to(&server, &endpoint).text("x");
    push.signed(&good).accepted().await;
    let path = "senders/drop";
    let by = |subject: &str| json!({ "subject": subject });
    let key = bad.public_key().to_base64url();
    let dropped = server.operate("POST", path, &by(&key)).await;
    let dropped: Value = serde_json::from_slice(&dropped.body).unwrap();
    assert_eq!(dropped["messages"], 100);
    server.counts("bugle_stored_messages", 1.0).await;
    let handle = dropped["handle"].as_str().unwrap();
    // A handle resolves only while its sender has stored messages.
    let gone = server.operate("POST", path, &by(handle)).await;
    assert_eq!(gone.status, 404);
    let again = Push::to(&server, &endpoint).text("x");
    again.signed(&bad).accepted().await;
    let found = server.operate("POST", path, &by(handle)).await;
    let found: Value = serde_json::from_slice(&found.body).unwrap();
    assert_eq!(found, json!({ "handle": handle, "messages": 1 }));
    server.counts("bugle_stored_messages", 1.0).await;
    let audit = server.look("audit").await;
    assert_eq!(audit["entries"][0]["action"], "dropMessages");
    assert_eq!(audit["entries"][0]["subject"], handle);
}

#[tokio::test]
async fn a_receipt_subscription_is_dropped_by_its_url_and_by_its_handle() {
    needs_ours!("its admin listener");
    let server = Server::lenient().await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    let path = "receipt-subscriptions/drop";
    let mut handles = Vec::new();
    for _ in 0..2 {
        let push = Push::to(&server, &endpoint).text("x");
        let asked = push.header("prefer", "respond-async").send().await;
        let url = link(&asked, "urn:ietf:params:push:receipt").unwrap();
        let body = json!({ "subject": url });
        let dropped = server.operate("POST", path, &body).await;
        assert_eq!(dropped.status, 200, "{}", dropped.text());
        let gone = server.operate("POST", path, &body).await;
        assert_eq!(gone.status, 404);
        let dropped: Value = serde_json::from_slice(&dropped.body).unwrap();
        handles.push(dropped["handle"].clone());
        server.counts("bugle_receipt_subscriptions", 0.0).await;
    }
    assert_ne!(handles[0], handles[1]);
    let gone = json!({ "subject": handles[0] });
    assert_eq!(server.operate("POST", path, &gone).await.status, 404);
    let audit = server.look("audit").await;
    assert_eq!(audit["entries"][0]["action"], "dropReceipts");
}

#[tokio::test]
async fn pushes_signed_by_a_blocked_key_are_refused() {
    needs_ours!("restarts");
    let mut server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let (bad, good) = (key_pair(1), key_pair(2));
    let key = bad.public_key().to_base64url();
    let endpoint = user_agent.register(CHANNEL, None).await;
    let path = format!("blocks/keys/{key}");
    let note = json!({ "note": "a loop" });
    assert_eq!(
        server
            .operate_as(Token::Read, "PUT", &path, &note)
            .await
            .status,
        403
    );
    assert_eq!(server.operate("PUT", &path, &note).await.status, 204);
    for _ in 0..2 {
        let refused = Push::to(&server, &endpoint)
            .text("x")
            .signed(&bad)
            .send()
            .await;
        assert_eq!((refused.status.as_u16(), refused.errno()), (403, 109));
        Push::to(&server, &endpoint)
            .text("x")
            .signed(&good)
            .accepted()
            .await;
        server.restart().await;
    }
    let blocks = server.look("blocks").await;
    let block = json!({ "value": key, "note": "a loop", "since": server.now() * 1000 });
    assert_eq!(
        (&blocks["keys"], &blocks["addresses"]),
        (&json!([block]), &json!([]))
    );
    assert_eq!(
        server.operate("DELETE", &path, &Value::Null).await.status,
        204
    );
    assert_eq!(
        server.operate("DELETE", &path, &Value::Null).await.status,
        404
    );
    Push::to(&server, &endpoint)
        .text("x")
        .signed(&bad)
        .accepted()
        .await;
}

#[tokio::test]
async fn every_request_from_a_blocked_address_is_refused() {
    needs_ours!("its admin listener");
    let server = Server::start_with(|config| config.admin.blocks = 1).await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    let path = "blocks/addresses/127.0.0.0/8";
    assert_eq!(server.operate("PUT", path, &json!({})).await.status, 204);
    let refused = Push::to(&server, &endpoint).text("x").send().await;
    assert_eq!((refused.status.as_u16(), refused.errno()), (403, 999));
    for version in [http::Version::Http1, http::Version::Http2] {
        let reply = http::send(version, server.authority(), "GET", "/health", &[], b"").await;
        assert_eq!(reply.status, 403, "{version:?}");
    }
    let handshake = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let reply = http::http1(server.authority(), "GET", "/", &handshake, b"").await;
    assert_eq!(reply.status, 403);
    for (bad, status) in [
        ("blocks/addresses/192.0.2.1", 429),
        ("blocks/addresses/nobody", 400),
        ("blocks/addresses/192.0.2.1%2F33", 400),
        ("blocks/keys/short", 400),
        ("blocks/friends/192.0.2.1", 404),
    ] {
        let reply = server.operate("PUT", bad, &json!({})).await;
        assert_eq!(reply.status, status, "{bad}");
    }
    // The admin listener accepts blocked addresses; the range may be written differently.
    let again = "blocks/addresses/127.9.9.9%2F8";
    assert_eq!(
        server.operate("DELETE", again, &Value::Null).await.status,
        204
    );
    Push::to(&server, &endpoint).text("x").accepted().await;
}

#[tokio::test]
async fn drain_shuts_down_like_sigterm() {
    needs_ours!("its admin listener");
    let mut server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    user_agent.register(CHANNEL, None).await;
    let nothing = Value::Null;
    assert_eq!(
        server
            .operate_as(Token::Read, "POST", "drain", &nothing)
            .await
            .status,
        403
    );
    assert_eq!(server.operate("POST", "drain", &nothing).await.status, 202);
    assert_eq!(user_agent.closed().await, 1001);
    let ended = tokio::time::timeout(Duration::from_secs(60), server.ended());
    ended.await.unwrap();
}
