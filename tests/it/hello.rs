//! The handshake and `hello`.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::app_server::{Push, encrypted};
use crate::support::frames::websocket;
use crate::support::http;
use crate::support::server::Server;
use crate::support::subject::{authority, needs_ours};
use crate::support::user_agent::{CHANNEL, UserAgent};

/// The first bytes of the response to a handshake with these fields.
async fn handshake(server: &Server, fields: &str) -> String {
    let authority = authority(server.websocket());
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 2048];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..read]).to_lowercase()
}

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

#[tokio::test]
async fn ws_t_1_ws_t_2_the_handshake_accepts_the_subprotocol_or_none() {
    let server = Server::start().await;
    let plain = handshake(&server, &format!("{UPGRADE}\r\nSec-WebSocket-Version: 13")).await;
    assert!(plain.starts_with("http/1.1 101"), "{plain}");
    assert!(plain.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{plain}");
    assert!(!plain.contains("sec-websocket-protocol"), "{plain}");
    let firefox = format!(
        "{UPGRADE}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: push-notification\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: ws://somewhere"
    );
    let firefox = handshake(&server, &firefox).await;
    assert!(
        firefox.contains("sec-websocket-protocol: push-notification"),
        "{firefox}"
    );
    assert!(!firefox.contains("extensions"), "{firefox}");
}

#[tokio::test]
async fn ws_6455_c_another_version_gets_the_supported_version() {
    let server = Server::start().await;
    for version in ["Sec-WebSocket-Version: 8", "X: y"] {
        let answer = handshake(&server, &format!("{UPGRADE}\r\n{version}")).await;
        assert!(answer.starts_with("http/1.1 426"), "{answer}");
        assert!(answer.contains("sec-websocket-version: 13"), "{answer}");
    }
    let bad = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    let answer = handshake(&server, &format!("{bad}\r\nSec-WebSocket-Version: 13")).await;
    assert!(answer.starts_with("http/1.1 400"), "{answer}");
}

#[tokio::test]
async fn ws_t_1_other_paths_do_not_upgrade() {
    let server = Server::start().await;
    let mut request = format!("ws://{}/other", server.authority())
        .into_client_request()
        .unwrap();
    request.headers_mut().insert("x", "y".parse().unwrap());
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    assert!(client_async(request, stream).await.is_err());
    assert_eq!(
        http::http2(server.authority(), "GET", "/other", &[], b"")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn ws_h_4_ws_h_5_ws_h_6_ws_h_7_ws_h_15_ws_h_16_hello_is_answered_with_all_its_fields() {
    let server = Server::start().await;
    for hello in [
        json!({ "messageType": "hello", "broadcasts": {}, "use_webpush": true }),
        json!({ "messageType": "hello", "broadcasts": { "remote-settings/monitor_changes": "\"0\"" } }),
        json!({ "messageType": "hello", "uaid": "", "channelIDs": [], "use_webpush": 1 }),
        json!({ "messageType": "hello", "uaid": null, "unknown": { "deep": [1] } }),
        json!({ "messageType": "hello", "uaid": "00000000000040008000000000000000" }),
    ] {
        let mut user_agent = UserAgent::silent(&server).await;
        user_agent.say(hello).await;
        let mut answer = user_agent.hear().await;
        let uaid = answer["uaid"].take();
        let uaid = uaid.as_str().unwrap();
        assert!(
            uaid.len() == 32 && uaid.chars().all(|c| "0123456789abcdef".contains(c)),
            "{uaid}"
        );
        let expected = json!({
            "messageType": "hello", "uaid": null, "status": 200,
            "use_webpush": true, "broadcasts": {},
        });
        assert_eq!(answer, expected);
    }
}

#[tokio::test]
async fn ws_h_8_a_known_uaid_is_returned_as_issued() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    user_agent.register(CHANNEL, None).await;
    let issued = user_agent.uaid.clone();
    let dashed = format!(
        "{}-{}-{}-{}-{}",
        &issued[..8],
        &issued[8..12],
        &issued[12..16],
        &issued[16..20],
        &issued[20..]
    );
    for form in [
        issued.clone(),
        issued.to_uppercase(),
        dashed.clone(),
        dashed.to_uppercase(),
    ] {
        assert_eq!(
            UserAgent::reconnect(&server, &form).await.uaid,
            issued,
            "{form}"
        );
    }
}

#[tokio::test]
async fn ws_h_9_an_unknown_uaid_is_replaced() {
    let server = Server::start().await;
    for uaid in [
        "nope",
        "00000000000040008000000000000000",
        &"x".repeat(10_000),
    ] {
        assert_ne!(UserAgent::reconnect(&server, uaid).await.uaid, uaid);
    }
}

#[tokio::test]
async fn ws_h_10_a_uaid_is_stored_at_its_first_register() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let uaid = user_agent.uaid.clone();
    assert_ne!(UserAgent::reconnect(&server, &uaid).await.uaid, uaid);
    user_agent.register(CHANNEL, None).await;
    assert_eq!(UserAgent::reconnect(&server, &uaid).await.uaid, uaid);
    server.counts("bugle_subscriptions", 1.0).await;
}

#[tokio::test]
async fn ws_h_12_newest_connection_supersedes_older() {
    let server = Server::start().await;
    let mut older = UserAgent::connect(&server).await;
    let endpoint = older.register(CHANNEL, None).await;
    let mut newer = UserAgent::reconnect(&server, &older.uaid).await;
    assert_eq!(older.closed().await, 1000);
    Push::to(&server, &endpoint).text("once").accepted().await;
    assert_eq!(newer.notification().await.data(), encrypted("once"));
    newer.receives_nothing().await;
}

#[tokio::test]
async fn ws_h_2_ws_h_3_ws_t_3_ws_t_4_ws_t_5_ws_t_6_misuse_closes_with_its_code() {
    let server = Server::start().await;
    let hello = json!({ "messageType": "hello" }).to_string();
    for (said_hello, frame, code) in [
        (false, Message::text("{}"), 1008),
        (
            false,
            Message::text(r#"{"messageType":"register","channelID":"x"}"#),
            1008,
        ),
        (false, Message::text(r#"{"messageType":"urgency"}"#), 1008),
        (false, Message::binary(vec![1]), 1003),
        (true, Message::text(hello.clone()), 1008),
        (true, Message::text("bad-data"), 1008),
        (true, Message::text("[1]"), 1008),
        (true, Message::text(r#"{"messageType":"register"}"#), 1008),
        (true, Message::binary(hello.into_bytes()), 1003),
        (true, Message::text(" ".repeat(256 * 1024)), 1009),
    ] {
        let mut user_agent = match said_hello {
            true => UserAgent::connect(&server).await,
            false => UserAgent::silent(&server).await,
        };
        futures_util::SinkExt::send(&mut user_agent.socket, frame.clone())
            .await
            .unwrap();
        assert_eq!(user_agent.closed().await, code, "{said_hello} {frame:.80}");
    }
}

#[tokio::test]
async fn ws_t_5_ws_t_10_unknown_messages_and_fields_are_ignored() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    user_agent
        .say(json!({ "messageType": "urgencies", "min": "high" }))
        .await;
    user_agent
        .say(json!({ "messageType": "broadcast_subscribe", "broadcasts": { "a": "b" } }))
        .await;
    user_agent
        .say(json!({ "messageType": "nack", "version": "v", "code": 301 }))
        .await;
    user_agent.receives_nothing().await;
    server
        .counts("bugle_websocket_messages_ignored_total", 1.0)
        .await;
    server.counts("bugle_nacks_total", 1.0).await;
}

#[tokio::test]
async fn ws_t_7_hello_must_come_in_time() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.hello_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    assert_eq!(UserAgent::silent(&server).await.closed().await, 1008);
}

#[tokio::test]
async fn ws_t_8_a_peer_that_does_not_answer_pings_is_closed() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.ping_interval = std::time::Duration::from_millis(50);
        config.user_agent.pong_timeout = std::time::Duration::from_millis(50);
    })
    .await;
    // A raw connection, because the library answers pings itself.
    let fields = format!("{UPGRADE}\r\nSec-WebSocket-Version: 13");
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\n{fields}\r\n\r\n",
        server.authority()
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
        .write_all(&websocket(0x81, br#"{"messageType":"hello"}"#))
        .await
        .unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let ping = received.windows(2).position(|octets| octets == [0x89, 0]);
    let close = received
        .windows(4)
        .position(|octets| octets[0] == 0x88 && octets[2..] == [3, 240]);
    assert!(ping.is_some() && ping < close, "a Ping, then Close 1008");
}

#[tokio::test]
async fn ws_6455_a_fragments_with_a_ping_between_are_one_message() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::silent(&server).await;
    let stream = user_agent.socket.get_mut();
    for frame in [
        websocket(0x01, br#"{"messa"#),
        websocket(0x89, b"p"),
        websocket(0x00, br#"geType":"#),
        websocket(0x80, br#""hello"}"#),
    ] {
        stream.write_all(&frame).await.unwrap();
    }
    assert_eq!(user_agent.hear().await["status"], 200);
}

#[tokio::test]
async fn ws_6455_b_broken_frames_close_with_1002() {
    let server = Server::start().await;
    for frame in [
        vec![0x81, 2, b'{', b'}'],
        websocket(0xc1, b"{}"),
        websocket(0x83, b"{}"),
        websocket(0x8b, b"{}"),
        websocket(0x89, &[b'x'; 126]),
        websocket(0x80, b"{}"),
        websocket(0x81, &[0xff, 0xfe]),
    ] {
        let mut user_agent = UserAgent::connect(&server).await;
        user_agent.socket.get_mut().write_all(&frame).await.unwrap();
        assert_eq!(user_agent.closed().await, 1002, "{frame:02x?}");
    }
}
