//! Behind a proxy that sends the client address in a PROXY header.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::proxied::{exchange, mistakes, request, server, websocket};
use crate::support::subject::needs_ours;

const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\x01\xbb";

#[tokio::test]
async fn the_proxy_protocol_sets_the_client_address() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("SERVER__PROXY_PROTOCOL", "true"),
        ("ADMISSION__ADDRESSES", "192.0.2.0/24"),
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
    ])
    .await;
    let connect = async || TcpStream::connect(server.authority()).await.unwrap();
    let ask = request("POST", "/subscribe");
    let inside = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";
    let outside = b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n";
    for (header, status) in [
        (&inside[..], "201"),
        (VERSION_2, "201"),
        (outside, "403"),
        // UNKNOWN: the address is that of the proxy.
        (b"PROXY UNKNOWN\r\n", "403"),
    ] {
        let answer = exchange(connect().await, &[header, ask.as_bytes()]).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    // A client is not a trusted proxy, so its claim is ignored.
    let forged = ask.replace("Host", "X-Forwarded-For: 192.0.2.7\r\nHost");
    let answer = exchange(connect().await, &[outside, forged.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // The connection counts for its client.
    let mut stream = connect().await;
    stream.write_all(VERSION_2).await.unwrap();
    let first = websocket(stream, &[]).await.unwrap();
    let answer = exchange(connect().await, &[inside, ask.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.contains("limits.connections_per_address"),
        "{answer}"
    );
    drop(first);
    server.await_metric("bugle_user_agents", 0.0).await;
    // HTTP/2 by prior knowledge.
    let mut stream = connect().await;
    stream.write_all(inside).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let post = ::http::Request::post("http://push.example/subscribe");
    let (response, _) = client.send_request(post.body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_connection_without_its_proxy_header_is_closed() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("SERVER__PROXY_PROTOCOL", "true"),
        ("LIMITS__HANDSHAKE_TIMEOUT", "1s"),
    ])
    .await;
    let ask = request("GET", "/health");
    for (octets, kind) in [
        (&b""[..], "no_header"),
        (b"PROXY TCP4 192.0.2.7\r\n", "bad_header"),
        (
            b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\nPROXY UNKNOWN\r\n",
            "unexpected_header",
        ),
    ] {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        assert_eq!(exchange(stream, &[octets, ask.as_bytes()]).await, "");
        assert_eq!(mistakes(&server, kind).await, 1.0, "{kind}");
    }
    // A PROXY header that never ends closes the connection too.
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    assert_eq!(exchange(stream, &[b"PROXY TCP4 19"]).await, "");
    let cut = "bugle_connections_cut_total{reason=\"limits.handshake_timeout\"}";
    assert_eq!(server.metric(cut).await, 1.0);
    server.await_metric("bugle_connections", 1.0).await;
}

#[tokio::test]
async fn a_proxy_header_is_accepted_only_if_enabled_and_from_trusted_peers() {
    needs_ours!("its settings");
    for settings in [
        &[("SERVER__TRUSTED_PROXIES", "127.0.0.1")][..],
        &[
            ("SERVER__TRUSTED_PROXIES", "127.0.0.2"),
            ("SERVER__PROXY_PROTOCOL", "true"),
        ],
    ] {
        let server = server(settings).await;
        let ask = request("GET", "/health");
        for header in [&b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n"[..], VERSION_2] {
            let stream = TcpStream::connect(server.authority()).await.unwrap();
            assert_eq!(exchange(stream, &[header, ask.as_bytes()]).await, "");
        }
        assert_eq!(mistakes(&server, "unexpected_header").await, 2.0);
        assert_eq!(server.get("/health").await.status, 200);
    }
}
