//! Broadcasts: set on the admin listener.

use serde_json::{Value, json};

use crate::support::http::{self, Reply, Version};
use crate::support::server::Server;

const MONITOR: &str = "remote-settings/monitor_changes";

async fn ask(server: &Server, method: &str, path: &str, body: &str) -> Reply {
    http::http1(server.admin(), method, path, &[], body.as_bytes()).await
}

async fn set(server: &Server, id: &str, version: &str) {
    let reply = ask(server, "PUT", &format!("/broadcasts/{id}"), version).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0));
}

async fn all(server: &Server) -> Value {
    let reply = ask(server, "GET", "/broadcasts", "").await;
    assert_eq!(reply.header("content-type"), "application/json");
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn broadcasts_are_set_shown_and_removed_on_the_admin_listener() {
    let mut server = Server::start().await;
    assert_eq!(all(&server).await, json!({}));
    set(&server, MONITOR, "\"1\"").await;
    set(&server, "with%20space%25", "v").await;
    set(&server, MONITOR, "\"2\"").await;
    let expected = json!({ MONITOR: "\"2\"", "with space%": "v" });
    assert_eq!(all(&server).await, expected);
    server.restart().await;
    assert_eq!(all(&server).await, expected);
    let path = format!("/broadcasts/{MONITOR}");
    assert_eq!(ask(&server, "DELETE", &path, "").await.status, 204);
    assert_eq!(ask(&server, "DELETE", &path, "").await.status, 404);
    server.restart().await;
    assert_eq!(all(&server).await, json!({ "with space%": "v" }));
}

#[tokio::test]
async fn what_is_no_broadcast_is_refused() {
    let server = Server::start_with(|config| config.limits.broadcasts = 1).await;
    let long = "x".repeat(129);
    for (method, path, body, status) in [
        ("PUT", "/broadcasts/", "v", 400),
        ("PUT", "/broadcasts/a%0A", "v", 400),
        ("PUT", "/broadcasts/%ff", "v", 400),
        ("PUT", &*format!("/broadcasts/{long}"), "v", 400),
        ("DELETE", &*format!("/broadcasts/{long}"), "", 400),
        ("PUT", "/broadcasts/a", "", 400),
        ("PUT", "/broadcasts/a", "v\n", 400),
        ("PUT", "/broadcasts/a", "é", 400),
        ("PUT", "/broadcasts/a", &*long, 400),
        ("PUT", "/broadcasts/a", &*"x".repeat(5000), 413),
        ("DELETE", "/broadcasts/a", "", 404),
        ("POST", "/broadcasts/a", "v", 405),
        ("GET", "/broadcasts/a", "", 405),
        ("PUT", "/broadcasts", "v", 405),
    ] {
        for version in [Version::Http1, Version::Http2] {
            let body = body.as_bytes();
            let reply = http::send(version, server.admin(), method, path, &[], body).await;
            assert_eq!(reply.status, status, "{method} {path:.20} {version:?}");
            assert!(reply.errno() > 0, "{method} {path:.20}");
        }
    }
    assert_eq!(all(&server).await, json!({}));
    set(&server, "a", &long[1..]).await;
    assert_eq!(ask(&server, "PUT", "/broadcasts/b", "v").await.status, 429);
    set(&server, "a", "v").await;
    assert_eq!(all(&server).await, json!({ "a": "v" }));
    // The public listener has no such thing.
    for path in ["/broadcasts", "/broadcasts/a"] {
        assert_eq!(server.get(path).await.status, 404);
    }
}
