//! Clients that close their write side before they have read the response (RFC 9112 §9.6), as
//! `nc -N` and some small libraries do, and clients that disconnect.

use crate::support::app_server::encrypted;
use crate::support::channels::{push_path, subscribed};
use crate::support::kept::Kept;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;

#[tokio::test]
async fn a_half_closing_client_gets_its_response() {
    let server = Server::start().await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let (host, body) = (server.authority(), encrypted("stored"));
    let post = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nTTL: 60\r\nContent-Encoding: aes128gcm\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
    };
    // The first request waits for the disk, where the service once noticed the half-close.
    for (path, status) in [(path, 201), ("/push/none", 404)] {
        let mut kept = Kept::open(host).await;
        kept.write([post(path).as_bytes(), &body].concat()).await;
        kept.half_close().await;
        assert_eq!(kept.answer().await.status, status, "{path}");
        kept.ends().await;
    }
    let notification = user_agent.notification().await;
    assert_eq!(notification.data(), body);
    user_agent.ack(&notification).await;
}

#[tokio::test]
async fn all_pipelined_requests_of_a_half_closing_client_are_answered() {
    let server = Server::start().await;
    let host = server.authority();
    let mut kept = Kept::open(host).await;
    let get = format!("GET /errors HTTP/1.1\r\nHost: {host}\r\n\r\n");
    kept.write(get.repeat(50)).await;
    kept.half_close().await;
    for nth in 0..50 {
        assert_eq!(kept.answer().await.status, 200, "{nth}");
    }
    kept.ends().await;
}

#[tokio::test]
async fn a_truncated_body_is_refused() {
    let server = Server::start().await;
    let path = &*push_path(&server).await;
    let host = server.authority();
    for (path, status) in [(path, 400), ("/push/none", 404)] {
        let mut kept = Kept::open(host).await;
        kept.write(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nTTL: 60\r\n\
             Content-Encoding: aes128gcm\r\nContent-Length: 100\r\n\r\nhalf"
        ))
        .await;
        kept.half_close().await;
        let answer = kept.answer().await;
        assert_eq!((answer.status, answer.closes()), (status, true), "{path}");
        kept.ends().await;
    }
}

#[tokio::test]
async fn an_event_stream_ends_when_its_client_hangs_up() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let path = made.url.strip_prefix(&server.origin()).unwrap();
    let host = server.authority();
    let get = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
    // With and without an earlier request on the connection.
    for before in ["", &format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")] {
        let mut kept = Kept::open(host).await;
        kept.write(before).await;
        if !before.is_empty() {
            assert_eq!(kept.answer().await.status, 200);
        }
        kept.write(&get).await;
        kept.read_to(b"retry: ").await;
        server.await_metric("bugle_monitors", 1.0).await;
        drop(kept);
        server.await_metric("bugle_monitors", 0.0).await;
    }
}
