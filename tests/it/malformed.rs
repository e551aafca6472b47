//! Malformed input: it is refused with its status, over both versions of HTTP, and changes
//! nothing.

use crate::support::app_server::{Push, ask};
use crate::support::http::Version::{self, Http1, Http2};
use crate::support::http::{Reply, send};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, link};

const SET: &str = "urn:ietf:params:push:set";
const RECEIPT: &str = "urn:ietf:params:push:receipt";
const OPTIONS: &str = "application/webpush-options+json";
const EVENTS: (&str, &str) = ("accept", "text/event-stream");
const NOW: (&str, &str) = ("prefer", "wait=0");

/// A service with state: two user agents, one with a message whose receipt is pending, one with
/// a receipt that waits.
struct Stage {
    server: Server,
    made: Subscription,
    message: String,
    receipts: String,
    other: Subscription,
    others_receipts: String,
    before: [f64; 4],
}

/// Counts of the stored items.
async fn stored(server: &Server) -> [f64; 4] {
    [
        server.metric("bugle_subscriptions").await,
        server.metric("bugle_stored_messages").await,
        server.metric("bugle_receipts").await,
        server.metric("bugle_receipt_subscriptions").await,
    ]
}

impl Stage {
    async fn new() -> Self {
        let server = Server::start().await;
        let made = Subscription::new(&server).await;
        let other = Subscription::new(&server).await;
        let (message, receipts) = asked(&server, &made).await;
        let (acknowledged, others_receipts) = asked(&server, &other).await;
        // Deliver the message once, so that the DELETE is an acknowledgement (A-7).
        let path = other.url.strip_prefix(&server.origin()).unwrap();
        let headers = [EVENTS, NOW];
        let shown = send(Http1, server.authority(), "GET", path, &headers, b"").await;
        assert_eq!(shown.status, 200);
        assert_eq!(ask(&server, "DELETE", &acknowledged).await.status, 204);
        let before = stored(&server).await;
        assert!(before.iter().all(|count| *count > 0.0), "{before:?}");
        Self {
            server,
            made,
            message,
            receipts,
            other,
            others_receipts,
            before,
        }
    }

    /// The resources that accept held GETs.
    fn held(&self) -> [&String; 3] {
        [&self.made.url, &self.made.set, &self.others_receipts]
    }

    async fn send(
        &self,
        version: Version,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let origin = self.server.origin();
        let path = url.strip_prefix(&origin).unwrap_or(url);
        let authority = self.server.authority();
        send(version, authority, method, path, headers, body).await
    }

    async fn refused(
        &self,
        status: u16,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) {
        for version in [Http1, Http2] {
            let reply = self.send(version, method, url, headers, body).await;
            let what = format!("{version:?} {method} {url} {headers:?}");
            assert_eq!(reply.status.as_u16(), status, "{what}");
            if method != "HEAD" {
                // Asserts that the refusal has a JSON body.
                reply.errno();
            }
        }
    }

    async fn assert_unchanged(&self) {
        assert_eq!(stored(&self.server).await, self.before);
    }
}

async fn asked(server: &Server, made: &Subscription) -> (String, String) {
    let push = Push::to(server, &made.push).header("prefer", "respond-async");
    let reply = push.send().await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let receipts = link(&reply, RECEIPT).unwrap();
    (reply.header("location").to_owned(), receipts)
}

#[tokio::test]
async fn subscribing_with_an_invalid_link_creates_nothing() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    let good = format!("<{}>; rel=\"{SET}\"", stage.made.set);
    let others = format!("<{}>; rel=\"{SET}\"", stage.other.set);
    let huge = format!("<{}>; rel=\"{SET}\"", "/a".repeat(3000));
    let many = format!("{}{good}, {others}", "<a>, ".repeat(1000));
    for fields in [
        vec![("link", good.as_str()), ("link", others.as_str())],
        vec![("link", &format!("{good}, {good}"))],
        vec![("link", &good[..good.len() - 1])],
        vec![("link", &good[1..])],
        vec![("link", &good), ("link", "half; valid")],
        vec![("link", &format!("{good} \u{e9}"))],
        vec![("link", &huge)],
        vec![("link", &many)],
        vec![(
            "link",
            &format!("<{}>; rel=\"{SET}\"", stage.others_receipts),
        )],
        vec![("link", &format!("<{}>; rel=\"{SET}\"", stage.made.push))],
    ] {
        stage.refused(400, "POST", "/subscribe", &fields, b"").await;
    }
    stage.assert_unchanged().await;
}

#[tokio::test]
async fn subscribing_with_invalid_options_creates_nothing() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    let deep = "[".repeat(4000);
    let point = format!(r#"{{"vapid":"{}"}}"#, "B".repeat(87));
    let octets = b"{\"vapid\":\"\xff\"}";
    for body in [
        b"".as_slice(),
        b"{",
        b"[]",
        b"null",
        br#"{"vapid":1}"#,
        br#"{"vapid":"","vapid":""}"#,
        br#"{"vapid":""}"#,
        octets,
        deep.as_bytes(),
        point.as_bytes(),
    ] {
        let fields = [("content-type", OPTIONS)];
        stage
            .refused(400, "POST", "/subscribe", &fields, body)
            .await;
    }
    let long = vec![b' '; 4097];
    let fields = [("content-type", OPTIONS)];
    stage
        .refused(413, "POST", "/subscribe", &fields, &long)
        .await;
    stage.assert_unchanged().await;
}

#[tokio::test]
async fn monitoring_refuses_or_ignores_invalid_header_fields() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    for url in stage.held() {
        for urgency in ["", "low, high", "soon", "HIGH;x", "\u{e9}"] {
            for more in [EVENTS, NOW] {
                let fields = [("urgency", urgency), more];
                stage.refused(400, "GET", url, &fields, b"").await;
            }
        }
        let twice = [("urgency", "low"), ("urgency", "low"), EVENTS, NOW];
        stage.refused(400, "GET", url, &twice, b"").await;
    }
    // RFC 7240 §2: an invalid preference is not an error. A body is ignored.
    let long = "x, ".repeat(2000) + "wait=0";
    for prefer in ["wait=0, wait=9", "\"; wait=x, ,=, wait=0;;=", &long] {
        for version in [Http1, Http2] {
            let fields = [("prefer", prefer), ("prefer", "wait=0"), EVENTS];
            for url in [&stage.made.url, &stage.made.set] {
                let reply = stage.send(version, "GET", url, &fields, b"body").await;
                assert_eq!(reply.status, 200, "{version:?} {url} {prefer}");
            }
        }
    }
    stage.assert_unchanged().await;
}

#[tokio::test]
async fn a_resource_refuses_other_methods() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    for method in ["PUT", "PATCH", "POST", "TRACE", "FROB"] {
        for url in stage.held() {
            stage.refused(405, method, url, &[], b"").await;
        }
    }
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        stage.refused(405, method, "/subscribe", &[], b"").await;
    }
    for (url, allow) in [
        ("/subscribe", "POST, OPTIONS"),
        (&stage.made.url, "GET, HEAD, DELETE, OPTIONS"),
        (&stage.made.set, "GET, HEAD, DELETE, OPTIONS"),
        (&stage.receipts, "GET, HEAD, DELETE, OPTIONS"),
        (&stage.message, "GET, HEAD, DELETE, OPTIONS"),
    ] {
        for version in [Http1, Http2] {
            for body in ["", "body"] {
                let reply = stage
                    .send(version, "OPTIONS", url, &[], body.as_bytes())
                    .await;
                assert_eq!((reply.status.as_u16(), reply.header("allow")), (204, allow));
            }
        }
    }
    stage.assert_unchanged().await;
}

/// Variants of the URL with one flipped bit in each character of its token, if the result is
/// valid in a URL.
fn spoilt(url: &str) -> Vec<String> {
    let start = url.rfind('/').unwrap() + 1;
    let mut spoilt = Vec::new();
    for at in start..url.len() {
        let flipped = (0..7).find_map(|bit| {
            let octet = url.as_bytes()[at] ^ (1 << bit);
            let kept = octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
            kept.then_some(octet)
        });
        let mut octets = url.as_bytes().to_vec();
        octets[at] = flipped.expect("letters differ in case by one bit");
        spoilt.push(String::from_utf8(octets).unwrap());
    }
    spoilt
}

#[tokio::test]
async fn one_flipped_bit_invalidates_a_url() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    let held = stage.held();
    for url in held.into_iter().chain([&stage.message]) {
        for spoilt in spoilt(url) {
            for (version, method) in [(Http1, "DELETE"), (Http2, "GET")] {
                let fields = [EVENTS, NOW];
                let reply = stage.send(version, method, &spoilt, &fields, b"").await;
                assert_eq!(reply.status, 404, "{version:?} {method} {spoilt}");
            }
        }
        for cut in [
            &url[..url.len() - 1],
            &format!("{url}A"),
            &format!("{url}/"),
        ] {
            stage.refused(404, "DELETE", cut, &[], b"").await;
            stage.refused(404, "GET", cut, &[EVENTS, NOW], b"").await;
        }
    }
    stage.assert_unchanged().await;
}

#[tokio::test]
async fn a_token_of_one_kind_is_invalid_for_another() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    let token = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    let kinds = [
        ("/push/", token(&stage.made.push)),
        ("/message/", token(&stage.message)),
        ("/subscription/", token(&stage.made.url)),
        ("/subscription-set/", token(&stage.made.set)),
        ("/receipt-subscription/", token(&stage.receipts)),
    ];
    for (at, (path, _)) in kinds.iter().enumerate().skip(1) {
        for (other, (_, token)) in kinds.iter().enumerate() {
            if at != other {
                let url = format!("{path}{token}");
                stage.refused(404, "GET", &url, &[EVENTS, NOW], b"").await;
                stage.refused(404, "DELETE", &url, &[], b"body").await;
            }
        }
    }
    stage.assert_unchanged().await;
}

#[tokio::test]
async fn a_push_with_an_invalid_receipt_link_is_refused() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    let good = format!("<{}>; rel=\"{RECEIPT}\"", stage.receipts);
    let mut links: Vec<_> = spoilt(&stage.receipts)
        .iter()
        .map(|url| format!("<{url}>; rel=\"{RECEIPT}\""))
        .collect();
    for target in [&stage.made.set, &stage.made.url, &stage.message, "x", ""] {
        links.push(format!("<{target}>; rel=\"{RECEIPT}\""));
    }
    links.push(format!("<{}>; rel={RECEIPT}", "/a".repeat(3000)));
    links.extend([format!("{good}, {good}"), good[1..].to_owned()]);
    for link in links {
        for version in [Http1, Http2] {
            let push = Push::to(&stage.server, &stage.made.push).over(version);
            let push = push.header("prefer", "respond-async").header("link", &link);
            let reply = push.send().await;
            assert_eq!(reply.status, 400, "{version:?} {link}");
            reply.errno();
        }
    }
    stage.assert_unchanged().await;
}

#[tokio::test]
async fn a_resource_is_deleted_once_without_side_effects() {
    needs_ours!("its metrics");
    let stage = Stage::new().await;
    for url in [&stage.message, &stage.made.url, &stage.receipts] {
        for (version, status) in [(Http2, 204), (Http1, 404), (Http2, 404)] {
            let reply = stage.send(version, "DELETE", url, &[], b"body").await;
            assert_eq!(reply.status.as_u16(), status, "{version:?} {url}");
        }
        stage.refused(404, "GET", url, &[EVENTS, NOW], b"").await;
    }
    // The set ended with its only subscription.
    stage
        .refused(404, "DELETE", &stage.made.set, &[], b"")
        .await;
    let [subscriptions, _, receipts, receipt_subscriptions] = stored(&stage.server).await;
    assert_eq!(
        [subscriptions, receipts, receipt_subscriptions],
        [1.0, 1.0, 1.0]
    );
    Push::to(&stage.server, &stage.other.push).accepted().await;
}
