//! Pages for people and monitoring.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::http::{self, http2};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{TIMEOUT, UserAgent};

#[tokio::test]
async fn health_readiness_and_version_exist_under_both_names() {
    let server = Server::start().await;
    for path in [
        "/health",
        "/__lbheartbeat__",
        "/ready",
        "/__heartbeat__",
        "/version",
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
        assert_eq!(
            http2(server.authority(), "GET", path, &[], b"")
                .await
                .status,
            200,
            "{path}"
        );
    }
    assert!(
        server
            .get("/__version__")
            .await
            .text()
            .contains(env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn the_page_lists_the_preferences_for_firefox() {
    let server = Server::start().await;
    let reply = server.get("/").await;
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
    assert!(
        reply
            .header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    let page = reply.text();
    assert!(
        page.contains(&format!("ws://{}/", server.authority())),
        "{page}"
    );
    assert!(page.contains("dom.push.testing.allowInsecureServerURL"));
    assert!(!page.contains('{') || !page.contains("{websocket_url}"));
}

#[tokio::test]
async fn ws_as_2_refusals_link_to_the_page_that_explains_them() {
    let server = Server::start().await;
    let reply = server.get("/push-me").await;
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let more_info = body["more_info"].as_str().unwrap();
    let page = server
        .get(more_info.strip_prefix(&server.origin()).unwrap())
        .await;
    assert!(page.status == 200 && page.text().contains("errno"));
}

#[tokio::test]
async fn metrics_are_on_the_admin_listener_only() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    assert_eq!(server.get("/metrics").await.status, 404);
    let metrics = http::http1(server.admin(), "GET", "/metrics", &[], b"").await;
    assert!(
        metrics
            .text()
            .contains("# HELP bugle_messages_accepted_total ")
    );
    assert_eq!(
        http::http1(server.admin(), "GET", "/health", &[], b"")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn readiness_reports_values_near_their_limits_and_can_fail_by_them() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.user_agents = 2).await;
    let ready = async |path| {
        let reply = server.get(path).await;
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        (reply.status.as_u16(), body)
    };
    let body = json!({ "status": "ok", "store": "ok", "draining": false, "overloaded": [] });
    assert_eq!(ready("/ready?overloaded=fail").await, (200, body));
    let gauge = "bugle_overloaded{bound=\"limits.user_agents\"}";
    assert_eq!(server.metric(gauge).await, 0.0);
    let _one = UserAgent::connect(&server).await;
    let _two = UserAgent::connect(&server).await;
    let near = async {
        while ready("/ready").await.1["overloaded"] != json!(["limits.user_agents"]) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(TIMEOUT, near).await.expect("readiness reports it");
    assert_eq!(ready("/ready").await.0, 200);
    let (status, body) = ready("/ready?overloaded=fail").await;
    assert_eq!((status, &body["status"]), (503, &json!("error")));
    assert_eq!(server.metric(gauge).await, 1.0);
}

#[tokio::test]
async fn rfc9110_replies_carry_a_date_and_head_has_no_body() {
    let server = Server::start().await;
    for version in [http::Version::Http1, http::Version::Http2] {
        let reply = http::send(version, server.authority(), "HEAD", "/health", &[], b"").await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.len()),
            (200, 0),
            "{version:?}"
        );
        assert!(reply.headers.contains_key("date"), "{version:?}");
    }
}
