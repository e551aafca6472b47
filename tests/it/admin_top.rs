//! The largest holders in the admin API and in `bugle admin top`.

use serde_json::{Value, json};

use super::cli::{run, text};
use crate::support::admin::Token;
use crate::support::app_server::{Push, key_pair};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, link};
use crate::support::user_agent::{CHANNEL, UserAgent};

/// A user agent with three signed messages, and an HTTP user agent with a message whose receipt
/// is pending.
struct Stage {
    server: Server,
    user_agent: UserAgent,
    endpoint: String,
    other: Subscription,
    receipts: String,
}

impl Stage {
    async fn new() -> Self {
        // A limit makes the service distinguish addresses.
        let server = Server::start_with(|config| config.limits.connections_per_address = 100).await;
        let keys = key_pair(1);
        let mut user_agent = UserAgent::connect(&server).await;
        let key = keys.public_key().to_base64url();
        let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
        let signed = Push::to(&server, &endpoint).text("x").signed(&keys);
        for _ in 0..3 {
            signed.accepted().await;
        }
        let other = Subscription::new(&server).await;
        let push = Push::to(&server, &other.push).header("prefer", "respond-async");
        let receipts = link(&push.send().await, "urn:ietf:params:push:receipt").unwrap();
        Self {
            server,
            user_agent,
            endpoint,
            other,
            receipts,
        }
    }

    async fn find(&self, subject: &str) -> Value {
        let body = json!({ "subject": subject });
        let reply = self.server.operate("POST", "user-agents/find", &body).await;
        serde_json::from_slice(&reply.body).unwrap()
    }
}

#[tokio::test]
async fn top_lists_the_largest_first_by_handle() {
    needs_ours!("its admin API");
    let stage = Stage::new().await;
    let top = stage.server.look("top").await;
    let (first, second) = (
        stage.find(&stage.endpoint).await,
        stage.find(&stage.other.push).await,
    );
    let handles = |of: &Value| -> Vec<Value> {
        let held = of.as_array().unwrap().iter();
        held.map(|held| held["handle"].clone()).collect()
    };
    let expected = [first["handle"].clone(), second["handle"].clone()];
    assert_eq!(handles(&top["user_agents"]), expected);
    let expected = [&first, &second].map(|found| found["subscriptions"][0]["handle"].clone());
    assert_eq!(handles(&top["subscriptions"]), expected);
    assert_eq!(top["subscriptions"][0]["user_agent"], first["handle"]);
    let sender = &top["senders"][0];
    assert_eq!(sender["key"], key_pair(1).public_key().to_base64url());
    assert_eq!(
        (&sender["messages"], &first["waiting"]["bytes"]),
        (&json!(3), &sender["bytes"])
    );
    assert_eq!(top["addresses"][0]["address"], "127.0.0.1");
    assert_eq!(top["addresses"][0]["messages"], 4);
    let holders = top["receipt_holders"].as_array().unwrap();
    let here = holders.iter().find(|held| held["address"] == "127.0.0.1");
    assert_eq!(here.unwrap()["subscriptions"], 1);
    for held in [&top["user_agents"][0], sender, &top["addresses"][0]] {
        assert_eq!(held["since"].as_u64().unwrap() / 1000, stage.server.now());
    }
    // The response contains no capability.
    let shown = top.to_string();
    for secret in [
        &stage.endpoint,
        &stage.other.url,
        &stage.other.set,
        &stage.receipts,
    ] {
        let token = secret.rsplit('/').next().unwrap();
        assert!(!shown.contains(token), "{secret}");
    }
    assert!(!shown.contains(&stage.user_agent.uaid));
}

#[tokio::test]
async fn top_accepts_limits_from_1_to_100() {
    needs_ours!("its admin API");
    let stage = Stage::new().await;
    let server = &stage.server;
    let reply = server
        .operate_as(Token::Read, "GET", "top?limit=1", &Value::Null)
        .await;
    assert_eq!(reply.status, 200);
    let top: Value = serde_json::from_slice(&reply.body).unwrap();
    for kind in ["user_agents", "subscriptions", "senders", "addresses"] {
        assert_eq!(top[kind].as_array().unwrap().len(), 1, "{kind}");
    }
    for limit in ["0", "101", "", "x", "-1"] {
        let path = format!("top?limit={limit}");
        let reply = server.operate("GET", &path, &Value::Null).await;
        assert_eq!(
            (reply.status.as_u16(), reply.errno()),
            (400, 999),
            "{limit}"
        );
        assert!(reply.text().contains("from 1 to 100"), "{}", reply.text());
    }
    let reply = server.operate("POST", "top", &json!({})).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("allow")),
        (405, "GET, HEAD")
    );
}

#[tokio::test]
async fn bugle_admin_top_prints_the_lists() {
    needs_ours!("its data folder");
    let stage = Stage::new().await;
    let (server, url) = (&stage.server, format!("http://{}", stage.server.admin()));
    let data = server.data().to_str().unwrap();
    let arguments = [
        "admin", "--url", &url, "--data", data, "top", "--limit", "1",
    ];
    let output = run(server.data(), &arguments).await;
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let handle = stage.find(&stage.endpoint).await["handle"].clone();
    let line = format!("  {}    3 messages  ", handle.as_str().unwrap());
    assert!(shown.contains(&line), "{shown}");
    let key = key_pair(1).public_key().to_base64url();
    for part in ["User agents, by", "Addresses, by", "127.0.0.1", &key] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[tokio::test]
async fn top_lists_connections_and_user_agents_by_address() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.connections_per_address = 100).await;
    let _user_agent = UserAgent::connect(&server).await;
    let top = server.look("top").await;
    let connections = &top["connections"][0];
    assert_eq!(connections["address"], "127.0.0.1");
    assert!(connections["connections"].as_u64().unwrap() >= 1, "{top}");
    let connected = json!([{ "address": "127.0.0.1", "user_agents": 1 }]);
    assert_eq!(top["connected"], connected);
}
