//! Pages that push by `fetch` (WS-AS-1).

use crate::support::app_server::{Push, ask};
use crate::support::http::Reply;
use crate::support::http::Version::{Http1, Http2};
use crate::support::kept::Kept;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn ws_as_1_pages_may_push_and_read_the_reply() {
    let server = Server::start().await;
    let endpoint = UserAgent::connect(&server)
        .await
        .register(CHANNEL, None)
        .await;
    let preflight = ask(&server, "OPTIONS", &endpoint).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert_eq!(preflight.header("access-control-max-age"), "3600");
    for name in [
        "TTL",
        "Urgency",
        "Topic",
        "Authorization",
        "Content-Encoding",
        "Crypto-Key",
    ] {
        assert!(
            preflight
                .header("access-control-allow-headers")
                .contains(name),
            "{name}"
        );
    }
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("POST")
    );
    let push = Push::to(&server, &endpoint);
    for reply in [push.send().await, push.without("ttl").send().await] {
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert!(exposes(&reply, "Location"));
    }
}

/// Whether a page of another origin can read this header field of the response.
fn exposes(reply: &Reply, name: &str) -> bool {
    let exposed = reply.header("access-control-expose-headers");
    exposed.split(", ").any(|exposed| exposed == name)
}

#[tokio::test]
async fn ws_as_1_pages_may_read_preference_applied_and_accept_encoding() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let push = Push::to(&server, &made.push);
    let accepted = push.clone().header("prefer", "respond-async").send().await;
    assert_eq!(accepted.header("preference-applied"), "respond-async");
    assert!(exposes(&accepted, "Preference-Applied"));
    assert!(exposes(&accepted, "Link"));
    // RFC 9110 §12.5.3: a 415 names the accepted coding.
    let push = push.text("x").header("content-encoding", "gzip");
    let refused = push.send().await;
    assert_eq!(refused.status, 415);
    assert_eq!(refused.header("accept-encoding"), "aes128gcm");
    assert!(exposes(&refused, "Accept-Encoding"));
}

#[tokio::test]
async fn ws_as_1_pages_may_read_refusals_before_routing() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.address_rate = 1;
        config.limits.address_burst = 4;
    })
    .await;
    let made = Subscription::new(&server).await;
    let host = server.authority();
    let mut kept = Kept::open(host).await;
    kept.write(format!(
        "POST /push/x HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    ))
    .await;
    let answer = kept.answer().await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let push = Push::to(&server, &made.push).ttl(0);
    for version in [Http1, Http2] {
        let mut refused = push.clone().over(version).send().await;
        while refused.status == 201 {
            refused = push.clone().over(version).send().await;
        }
        assert_eq!(refused.status, 429, "{version:?}");
        assert_eq!(refused.header("access-control-allow-origin"), "*");
        assert!(exposes(&refused, "Retry-After"));
    }
}

#[tokio::test]
async fn ws_as_1_pages_may_read_a_refusal_at_a_path_that_is_too_long() {
    let server = Server::start().await;
    let url = format!("{}/push/{}", server.origin(), "x".repeat(300));
    let refused = ask(&server, "POST", &url).await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.header("access-control-allow-origin"), "*");
}
