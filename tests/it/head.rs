//! HEAD gets the same response as GET, without a body (RFC 9110 §9.3.2).

use crate::support::admin::Token;
use crate::support::app_server::Push;
use crate::support::http::Version::{Http1, Http2};
use crate::support::http::{Reply, send};
use crate::support::kept::Kept;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;

const EVENTS: (&str, &str) = ("accept", "text/event-stream");

/// Asserts equal responses to HEAD and GET; returns that to HEAD.
async fn assert_head_like_get(authority: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
    let mut last = None;
    for version in [Http1, Http2] {
        let get = send(version, authority, "GET", path, fields, b"").await;
        let head = send(version, authority, "HEAD", path, fields, b"").await;
        assert_eq!(head.status, get.status, "{version:?} {path}");
        assert_eq!(head.body.len(), 0, "{version:?} {path}");
        for name in ["content-type", "allow", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{version:?} {path}");
        }
        last = Some(head);
    }
    last.unwrap()
}

#[tokio::test]
async fn pages_and_resources_answer_head_like_get() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let message = Push::to(&server, &made.push).accepted().await;
    let path = |url: &str| url.strip_prefix(&server.origin()).unwrap().to_owned();
    let host = server.authority();
    for page in ["/", "/errors", "/health", "/ready", "/version", "/none"] {
        assert_head_like_get(host, page, &[]).await;
    }
    for resource in [&made.push, &message] {
        assert_eq!(
            assert_head_like_get(host, &path(resource), &[])
                .await
                .status,
            200
        );
    }
    let over = send(Http1, host, "POST", "/health", &[], b"").await;
    assert_eq!(
        (over.status.as_u16(), over.header("allow")),
        (405, "GET, HEAD")
    );
}

#[tokio::test]
async fn the_admin_listener_answers_head() {
    needs_ours!("its admin API");
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token(Token::Read));
    let fields = [("authorization", &*bearer)];
    for path in [
        "/",
        "/console/api.js",
        "/health",
        "/metrics",
        "/admin/v1/openapi.yaml",
        "/admin/v1/session",
        "/admin/v1/overview",
        "/admin/v1/history",
        "/admin/v1/audit",
        "/admin/v1/blocks",
        "/admin/v1/broadcasts",
        "/admin/v1/log",
    ] {
        assert_eq!(
            assert_head_like_get(server.admin(), path, &fields)
                .await
                .status,
            200,
            "{path}"
        );
    }
    let stream = "/admin/v1/overview/stream";
    for version in [Http1, Http2] {
        let head = send(version, server.admin(), "HEAD", stream, &fields, b"").await;
        assert_eq!(head.header("content-type"), "text/event-stream");
    }
}

#[tokio::test]
async fn head_of_a_resource_that_can_be_held_supersedes_no_get() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let host = server.authority();
    let path = made.url.strip_prefix(&server.origin()).unwrap();
    let mut held = Kept::open(host).await;
    let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
    held.write(get).await;
    held.read_to(b"retry: ").await;
    for (version, fields, status) in [
        (Http1, &[EVENTS][..], 200),
        (Http2, &[EVENTS], 200),
        (Http1, &[], 400),
        (Http2, &[], 204),
    ] {
        let head = send(version, host, "HEAD", path, fields, b"").await;
        assert_eq!(head.status.as_u16(), status, "{version:?} {fields:?}");
        assert_eq!(head.body.len(), 0, "{version:?} {fields:?}");
        let gone = send(version, host, "HEAD", "/subscription/x", fields, b"").await;
        assert_eq!(gone.status, 404, "{version:?} {fields:?}");
    }
    // HEAD did not supersede the held GET.
    Push::to(&server, &made.push).ttl(0).accepted().await;
    held.read_to(b"event: message").await;
}

#[tokio::test]
async fn event_streams_tell_proxies_not_to_buffer_them() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let host = server.authority();
    let path = made.url.strip_prefix(&server.origin()).unwrap();
    let mut held = Kept::open(host).await;
    let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
    held.write(get).await;
    let answer = held.answer().await;
    assert_eq!(answer.header("x-accel-buffering"), "no");
    // A page may read the events (WS-AS-1), and the first one arrives at once.
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    held.read_to(b"retry: ").await;
}
