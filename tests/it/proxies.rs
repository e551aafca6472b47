//! Behind a proxy: which forwarded addresses are trusted, and what uses them.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::admin::Token;
use crate::support::http::{self, Version};
use crate::support::proxied::{handshake, mistakes, server, subscribe};
use crate::support::subject::needs_ours;

#[tokio::test]
async fn admission_uses_the_address_from_a_trusted_proxy() {
    needs_ours!("its settings");
    for (header, field, inside, outside) in [
        (
            "x-forwarded-for",
            "x-forwarded-for",
            "192.0.2.7",
            "192.0.2.7, 203.0.113.1",
        ),
        (
            "forwarded",
            "forwarded",
            "for=\"[2001:db8::7]:80\"",
            "for=192.0.2.7, for=203.0.113.1",
        ),
    ] {
        let server = server(&[
            ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
            ("SERVER__FORWARDED_HEADER", header),
            ("ADMISSION__ADDRESSES", "192.0.2.0/24, 2001:db8::/32"),
        ])
        .await;
        let inside = [(field, inside)];
        let outside = [(field, outside)];
        handshake(&server, &inside).await.unwrap();
        assert_eq!(handshake(&server, &outside).await.unwrap_err(), 403);
        assert_eq!(handshake(&server, &[]).await.unwrap_err(), 403);
        for version in [Version::Http1, Version::Http2] {
            assert_eq!(subscribe(&server, version, &inside).await.status, 201);
            assert_eq!(subscribe(&server, version, &outside).await.status, 403);
        }
        assert_eq!(mistakes(&server, "no_address").await, 1.0);
        assert_eq!(mistakes(&server, "not_trusted").await, 0.0);
    }
}

#[tokio::test]
async fn forwarded_addresses_from_untrusted_peers_are_ignored() {
    needs_ours!("its settings");
    // By default no peer is trusted, and a trusted proxy's other header field is ignored.
    for settings in [
        &[("ADMISSION__ADDRESSES", "192.0.2.0/24")][..],
        &[
            ("ADMISSION__ADDRESSES", "192.0.2.0/24"),
            ("SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.2"),
        ],
    ] {
        let server = server(settings).await;
        for forged in [
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7"),
        ] {
            assert_eq!(handshake(&server, &[forged]).await.unwrap_err(), 403);
            let refused = subscribe(&server, Version::of_run(), &[forged]).await;
            assert_eq!(refused.status, 403);
        }
        assert_eq!(mistakes(&server, "not_trusted").await, 4.0);
    }
}

#[tokio::test]
async fn a_block_applies_to_the_client_not_to_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let path = "blocks/addresses/192.0.2.0%2F24";
    let blocked = server.operate("PUT", path, &json!({ "note": "" })).await;
    assert!(blocked.status.is_success(), "{}", blocked.text());
    for version in [Version::Http1, Version::Http2] {
        let theirs = subscribe(&server, version, &[("x-forwarded-for", "192.0.2.7")]).await;
        assert_eq!((theirs.status.as_u16(), theirs.errno()), (403, 999));
        let other = subscribe(&server, version, &[("x-forwarded-for", "192.0.3.7")]).await;
        assert_eq!(other.status, 201);
    }
}

#[tokio::test]
async fn a_rate_limit_applies_to_the_client_not_to_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("LIMITS__ADDRESS_RATE", "1"),
        ("LIMITS__ADDRESS_BURST", "2"),
    ])
    .await;
    for client in ["192.0.2.7", "192.0.2.8", "2001:db8::1"] {
        // An address that the client itself adds has no effect.
        let asked = async |made_up: &str| {
            let field = format!("{made_up}, {client}");
            let field = [("x-forwarded-for", &*field)];
            subscribe(&server, Version::of_run(), &field)
                .await
                .status
                .as_u16()
        };
        let statuses = [
            asked("1.1.1.1").await,
            asked("1.1.1.2").await,
            asked("::1").await,
        ];
        assert_eq!(statuses, [201, 201, 429], "{client}");
    }
}

#[tokio::test]
async fn connection_limits_apply_to_each_client_behind_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
    ])
    .await;
    let one = [("x-forwarded-for", "192.0.2.7")];
    let other = [("x-forwarded-for", "192.0.2.8")];
    let made = subscribe(&server, Version::of_run(), &one).await;
    assert_eq!(made.status, 201);
    // A WebSocket counts for its client only.
    let first = handshake(&server, &one).await.unwrap();
    assert_eq!(handshake(&server, &one).await.unwrap_err(), 429);
    for version in [Version::Http1, Version::Http2] {
        let refused = subscribe(&server, version, &one).await;
        assert_eq!(refused.status, 429);
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(body["setting"], "limits.connections_per_address");
        assert_eq!(subscribe(&server, version, &other).await.status, 201);
    }
    handshake(&server, &other).await.unwrap();
    // Closing it frees the slot.
    first.leave(&server).await;
    let set = made
        .header("location")
        .split_once("/subscription")
        .unwrap()
        .1;
    let path = format!("/subscription{set}");
    let held = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nX-Forwarded-For: \
         192.0.2.7\r\n\r\n"
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(held.as_bytes()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    // A held GET counts in the same way.
    assert_eq!(handshake(&server, &one).await.unwrap_err(), 429);
    drop(stream);
    server.await_metric("bugle_monitors", 0.0).await;
    handshake(&server, &one).await.unwrap();
}

#[tokio::test]
async fn the_audit_log_contains_the_address_of_an_operator_behind_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let bearer = format!("Bearer {}", server.admin_token(Token::Full));
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("x-forwarded-for", "203.0.113.9, 192.0.2.7"),
    ];
    let path = "/admin/v1/blocks/addresses/198.51.100.1";
    let version = Version::of_run();
    let changed = http::send(
        version,
        server.admin(),
        "PUT",
        path,
        &fields,
        b"{\"note\":\"\"}",
    )
    .await;
    assert!(changed.status.is_success(), "{}", changed.text());
    let audit = server.look("audit").await;
    let peer = "127.0.0.1 (forwarded for 192.0.2.7)";
    assert_eq!(audit["entries"][0]["peer"], peer);
    // Missing forwarded addresses of admin requests are not counted as mistakes.
    assert_eq!(mistakes(&server, "no_address").await, 0.0);
}

#[tokio::test]
async fn the_audit_log_contains_the_peer_and_the_forwarded_address() {
    needs_ours!("its admin listener");
    let server = server(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let bearer = format!("Bearer {}", server.admin_token(Token::Full));
    let body = br#"{"version":"1"}"#;
    let path = "/admin/v1/broadcasts/a";
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("x-forwarded-for", "203.0.113.7"),
    ];
    for fields in [&fields[..], &fields[..2]] {
        let reply = http::http1(server.admin(), "PUT", path, fields, body).await;
        assert!(reply.status.is_success(), "{}", reply.text());
    }
    let entries = server.look("audit").await["entries"].clone();
    assert_eq!(entries[0]["peer"], "127.0.0.1");
    assert_eq!(entries[1]["peer"], "127.0.0.1 (forwarded for 203.0.113.7)");
}
