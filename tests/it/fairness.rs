//! A sender with many requests gets free capacity only, never the share of others.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app_server::{Push, authorization, encrypted, key_pair};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, TIMEOUT, UserAgent};

/// Starts a push over HTTP/1.1 without sending its body.
async fn begin(server: &Server, endpoint: &str, signed: Option<&str>) -> TcpStream {
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let length = encrypted("x").len();
    let signed = signed.map_or_else(String::new, |it| format!("Authorization: {it}\r\n"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nTTL: 60\r\n{signed}\
         Content-Encoding: aes128gcm\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Sends the body and returns the response.
async fn end(mut stream: TcpStream) -> String {
    // The service may have closed a refused connection.
    let _ = stream.write_all(&encrypted("x")).await;
    let mut answer = vec![0; 4096];
    let read = timeout(TIMEOUT, stream.read(&mut answer)).await;
    let length = read.expect("a response").unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_sender_with_half_of_the_slots_is_refused_and_others_are_served() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.bodies = 12;
        config.limits.body_timeout = Duration::from_secs(60);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let (hog, other) = (key_pair(1), key_pair(2));
    let to_hog = user_agent.register(CHANNEL, None).await;
    let to_other = user_agent.register(CHANNEL_2, None).await;
    let signed = authorization(&server, &hog);
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(begin(&server, &to_hog, Some(&signed)).await);
        server.await_metric("bugle_bodies", held.len() as f64).await;
    }
    let push = Push::to(&server, &to_hog).text("x");
    let refused = push.clone().signed(&hog).send().await;
    assert_eq!((refused.status.as_u16(), refused.errno()), (429, 201));
    assert_eq!(refused.header("retry-after"), "1");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["setting"], "limits.bodies", "{body}");
    let message = body["message"].as_str().unwrap();
    assert!(
        message.starts_with("this application server key holds its share"),
        "{body}"
    );
    // However often the sender repeats, others are served, signed or not.
    for _ in 0..20 {
        assert_eq!(push.clone().signed(&hog).send().await.status, 429);
        let push = Push::to(&server, &to_other).text("x");
        push.clone().signed(&other).accepted().await;
        push.accepted().await;
    }
    for stream in held {
        assert!(end(stream).await.starts_with("HTTP/1.1 201"));
    }
    push.signed(&hog).accepted().await;
}

#[tokio::test]
async fn unsigned_senders_are_distinguished_by_address() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.bodies = 4;
        config.limits.body_timeout = Duration::from_secs(60);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let one = begin(&server, &endpoint, None).await;
    server.await_metric("bugle_bodies", 1.0).await;
    let two = begin(&server, &endpoint, None).await;
    server.await_metric("bugle_bodies", 2.0).await;
    let push = Push::to(&server, &endpoint).text("x");
    assert_eq!(push.send().await.status, 429);
    push.clone().signed(&key_pair(1)).accepted().await;
    assert!(end(one).await.starts_with("HTTP/1.1 201"));
    assert!(end(two).await.starts_with("HTTP/1.1 201"));
    push.accepted().await;
}
