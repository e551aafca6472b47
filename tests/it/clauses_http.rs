//! Requirements of RFC 9110, 9112, 9113 and 6585 on every HTTP server.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app_server::{Push, decrypted};
use crate::support::http::Version::{Http1, Http2};
use crate::support::http::raw;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

async fn subscribed() -> (Server, UserAgent, String) {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    (server, user_agent, endpoint)
}

/// Asserts that nothing arrived before this push.
async fn assert_next_push_arrives(server: &Server, endpoint: &str, mut user_agent: UserAgent) {
    Push::to(server, endpoint).text("good").accepted().await;
    assert_eq!(decrypted(&user_agent.notification().await.data()), "good");
}

#[tokio::test]
async fn http_l_an_ambiguous_request_is_refused_and_its_connection_closed() {
    let (server, user_agent, endpoint) = subscribed().await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let host = format!("Host: {}", server.authority());
    for fields in [
        "Content-Length: 0".to_owned(),
        format!("{host}\r\n{host}\r\nContent-Length: 0"),
        format!("{host}\r\nContent-Length: 0\r\nContent-Length: 5"),
        format!("{host}\r\nContent-Length: 0, 5"),
        format!("{host}\r\nContent-Length: +0"),
        format!("{host}\r\nTransfer-Encoding: chunked, identity"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nTTL: 60\r\n{fields}\r\n\r\n0\r\n\r\n");
        let answer = raw(server.authority(), request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400"), "{fields}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{fields}: {answer}");
    }
    // With both lengths, the service uses the chunks or refuses, and then closes the connection
    // (RFC 9112 §6.1), so that it parses no further request from it.
    let request = format!(
        "POST /push/unknown HTTP/1.1\r\n{host}\r\nContent-Length: 5\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n{host}\r\n\r\n"
    );
    let answer = raw(server.authority(), request.as_bytes()).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_next_push_arrives(&server, &endpoint, user_agent).await;
}

#[tokio::test]
async fn http_m_a_repeated_singleton_field_is_refused_in_any_case() {
    let (server, user_agent, endpoint) = subscribed().await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    for fields in ["TTL: 60\r\nttl: 60", "TTL: 60\r\nTopic: a\r\nTOPIC: a"] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\
             {fields}\r\n\r\n",
            server.authority()
        );
        let answer = raw(server.authority(), request.as_bytes()).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{fields}");
    }
    for (name, value) in [("ttl", "60"), ("topic", "a"), ("urgency", "low")] {
        for version in [Http1, Http2] {
            let push = Push::to(&server, &endpoint).over(version);
            let twice = push.header(name, value).another(name, value);
            assert_eq!(twice.send().await.status, 400, "{name}");
        }
    }
    assert_next_push_arrives(&server, &endpoint, user_agent).await;
}

#[tokio::test]
async fn http_i_a_415_names_the_accepted_coding() {
    let (server, _user_agent, endpoint) = subscribed().await;
    for version in [Http1, Http2] {
        let push = Push::to(&server, &endpoint)
            .body(vec![1; 200])
            .over(version);
        for reply in [
            push.clone().header("content-encoding", "gzip").send().await,
            push.send().await,
        ] {
            assert_eq!(reply.status, 415);
            assert_eq!(reply.header("accept-encoding"), "aes128gcm");
        }
    }
}

#[tokio::test]
async fn http_c_a_429_is_not_cacheable() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.messages_per_user_agent = 1).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let push = Push::to(&server, &endpoint).text("x");
    push.accepted().await;
    for version in [Http1, Http2] {
        let reply = push.clone().over(version).send().await;
        assert_eq!(reply.status, 429);
        assert_eq!(reply.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn upl_4_no_push_is_redirected() {
    let (server, _user_agent, endpoint) = subscribed().await;
    for spelling in [
        endpoint.clone(),
        format!("{endpoint}/"),
        format!("{endpoint}?a=b"),
        endpoint.replace("/push/", "/push//"),
        endpoint.replace("/push/", "/push/../push/"),
        format!("{}/", server.origin()),
    ] {
        for version in [Http1, Http2] {
            let reply = Push::to(&server, &spelling).over(version).send().await;
            assert!(!reply.status.is_redirection(), "{spelling}: {reply:?}");
        }
    }
}

/// The next HTTP/2 frame: type, flags and payload.
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length.try_into().unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

#[tokio::test]
async fn rfc8030_7_1_b_rfc8030_7_5_a_http2_offers_streams_and_ends_with_goaway() {
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    needs_ours!("a restart");
    let mut server = Server::start().await;
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let no_settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    stream.write_all(preface).await.unwrap();
    stream.write_all(&no_settings).await.unwrap();
    let (kind, _, settings) = frame(&mut stream).await.unwrap();
    assert_eq!(kind, SETTINGS);
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]);
    let streams = streams.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()));
    assert!(streams.is_none_or(|streams| streams >= 2), "{streams:?}");

    let received = async {
        let mut last = None;
        while let Some((kind, flags, payload)) = frame(&mut stream).await {
            if kind == PING && flags == 0 {
                let head = [0, 0, 8, PING, 1, 0, 0, 0, 0];
                stream
                    .write_all(&[&head[..], &payload].concat())
                    .await
                    .unwrap();
            } else if kind == GOAWAY {
                last = Some(payload);
            }
        }
        last
    };
    let (goaway, ()) = tokio::join!(received, server.stop());
    assert_eq!(goaway.expect("GOAWAY")[4..8], [0; 4], "no error");
}
