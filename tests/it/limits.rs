//! Limits: a request over one gets a clear refusal, and others are served.

use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app_server::{Push, ask, encrypted};
use crate::support::channels::push_path;
use crate::support::http::{self, Reply, Version};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

fn assert_over(reply: &Reply, setting: &str) {
    assert_eq!(
        (reply.status.as_u16(), reply.errno()),
        (429, 201),
        "{reply:?}"
    );
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["setting"], setting, "{body}");
    assert_eq!(
        format!("limits.{}", body["limit"].as_str().unwrap()),
        setting
    );
    assert!(
        body["message"].as_str().unwrap().contains(setting),
        "{body}"
    );
    assert!(
        reply.header("retry-after").parse::<u32>().is_ok(),
        "8030-8.4-c"
    );
}

#[tokio::test]
async fn rfc8030_8_4_a_rfc8030_8_4_b_rfc8030_8_4_c_stored_messages_of_a_user_agent_are_limited() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.messages_per_user_agent = 5).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let push = Push::to(&server, &endpoint).text("x");
    let url = push.accepted().await;
    push.accepted().await;
    push.clone().topic("t").accepted().await;
    assert_over(&push.send().await, "limits.messages_per_user_agent");
    // A replacement needs no additional space, and TTL 0 none at all.
    push.clone().topic("t").accepted().await;
    push.clone().ttl(0).accepted().await;
    assert_eq!(ask(&server, "DELETE", &url).await.status, 204);
    push.accepted().await;
}

#[tokio::test]
async fn stored_bytes_are_limited_per_user_agent_and_in_total() {
    needs_ours!("its settings");
    for (setting, one) in [
        ("limits.bytes_per_user_agent", true),
        ("limits.stored_bytes", false),
    ] {
        let server = Server::start_with(|config| match one {
            true => config.limits.bytes_per_user_agent = 20_000,
            false => config.limits.stored_bytes = 20_000,
        })
        .await;
        let endpoint = UserAgent::connect(&server)
            .await
            .register(CHANNEL, None)
            .await;
        let push = Push::to(&server, &endpoint).text(&"x".repeat(3000));
        for _ in 0..3 {
            push.accepted().await;
        }
        assert_over(&push.send().await, setting);
    }
}

#[tokio::test]
async fn connected_user_agents_are_limited_and_senders_are_served() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.user_agents = 1;
        config.limits.connections = 3;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    assert_eq!(UserAgent::try_silent(&server).await.unwrap_err(), 429);
    Push::to(&server, &endpoint).text("x").accepted().await;
    assert_eq!(user_agent.notification().await.data(), encrypted("x"));
    user_agent.leave(&server).await;
    UserAgent::connect(&server).await;
}

#[tokio::test]
async fn admin_connections_over_the_limit_wait() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.admin.connections = 2).await;
    let connect = || TcpStream::connect(server.admin());
    let (_one, two) = (connect().await.unwrap(), connect().await.unwrap());
    let mut third = connect().await.unwrap();
    let get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    third.write_all(get).await.unwrap();
    // The public listener is served meanwhile.
    let mut user_agent = UserAgent::connect(&server).await;
    user_agent.register(CHANNEL, None).await;
    let mut answer = String::new();
    assert_eq!(
        third.read_to_string(&mut answer).now_or_never().map(drop),
        None
    );
    drop(two);
    third.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn ws_t_6_connections_of_one_address_are_limited() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.connections_per_address = 2).await;
    let mut first = UserAgent::connect(&server).await;
    let _second = UserAgent::connect(&server).await;
    assert_eq!(UserAgent::try_silent(&server).await.unwrap_err(), 429);
    for version in [Version::Http1, Version::Http2] {
        let refused = http::send(version, server.authority(), "GET", "/version", &[], b"").await;
        assert_over(&refused, "limits.connections_per_address");
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(
            message.starts_with("this address holds its share"),
            "{body}"
        );
        if version == Version::Http1 {
            assert_eq!(refused.header("connection"), "close");
        }
    }
    first.receives_nothing().await;
    drop(first);
    // The second connection, and that of the metrics request.
    server.await_metric("bugle_connections", 2.0).await;
    UserAgent::connect(&server).await;
}

/// Asserts how many connections ended because of a limit.
async fn assert_cut(server: &Server, setting: &str, times: f64) {
    let cut = format!("bugle_connections_cut_total{{reason=\"{setting}\"}}");
    server.await_metric(&cut, times).await;
}

/// Sends bytes and reads until the service closes the connection.
async fn exchange(server: &Server, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(60), read)
        .await
        .expect("the service closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn slow_and_incomplete_requests_time_out() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.handshake_timeout = Duration::from_millis(100);
        config.limits.idle_timeout = Duration::from_millis(100);
        config.limits.body_timeout = Duration::from_millis(100);
    })
    .await;
    let endpoint = UserAgent::connect(&server)
        .await
        .register(CHANNEL, None)
        .await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    assert_eq!(exchange(&server, b"").await, "");
    assert_eq!(exchange(&server, b"PR").await, "");
    exchange(&server, b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    exchange(&server, b"PRI * HTTP/2.0\r\n\r\nSM").await;
    exchange(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let post = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nTTL: 60\r\nContent-Encoding: aes128gcm\r\n\
         Content-Length: 200\r\n\r\nhalf"
    );
    assert!(
        exchange(&server, post.as_bytes())
            .await
            .starts_with("HTTP/1.1 408")
    );
    let late = "bugle_refused_total{reason=\"limits.body_timeout\"}";
    assert_eq!(server.metric(late).await, 1.0);
    assert_cut(&server, "limits.handshake_timeout", 3.0).await;
    server.counts("bugle_messages_accepted_total", 0.0).await;
}

#[tokio::test]
async fn every_closed_connection_counts_under_its_setting() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.hello_timeout = Duration::from_millis(100);
        config.user_agent.ping_interval = Duration::from_millis(50);
        config.user_agent.pong_timeout = Duration::from_millis(50);
        config.limits.idle_timeout = Duration::from_millis(100);
        config.limits.frame_bytes = 4096;
    })
    .await;
    UserAgent::silent(&server).await.closed().await;
    assert_cut(&server, "user_agent.hello_timeout", 1.0).await;
    exchange(&server, b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    assert_cut(&server, "limits.idle_timeout", 1.0).await;
    let mut loud = UserAgent::connect(&server).await;
    loud.say(json!("x".repeat(5000))).await;
    assert_eq!(loud.closed().await, 1009);
    assert_cut(&server, "limits.frame_bytes", 1.0).await;
    // Nothing drives this connection, so it answers no ping.
    let _deaf = UserAgent::connect(&server).await;
    assert_cut(&server, "user_agent.pong_timeout", 1.0).await;
}

#[tokio::test]
async fn rfc8188_4_2_a_truncated_body_is_refused() {
    let server = Server::start().await;
    let path = push_path(&server).await;
    let body = encrypted("whole");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nTTL: 60\r\nContent-Encoding: aes128gcm\r\n\
         Content-Length: {}\r\n\r\n",
        body.len() + 1
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream
        .write_all(&[head.as_bytes(), &body].concat())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(
        !answer.starts_with(b"HTTP/1.1 2"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    server.counts("bugle_messages_accepted_total", 0.0).await;
}

#[tokio::test]
async fn large_headers_are_refused() {
    let server = Server::start().await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(32 * 1024)
    );
    let answer = exchange(&server, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    if !server.admin().is_empty() {
        assert_cut(&server, "limits.header_bytes", 1.0).await;
    }
}

#[tokio::test]
async fn a_user_agent_that_does_not_read_is_closed() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.write_timeout = Duration::from_millis(200);
        config.user_agent.window_patience = Duration::from_millis(10);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let push = Push::to(&server, &endpoint).text(&"x".repeat(3993));
    // More than the buffers of a loopback connection hold.
    for _ in 0..1500 {
        push.accepted().await;
        if server.metric("bugle_user_agents").await == 0.0 {
            break;
        }
    }
    server.await_metric("bugle_user_agents", 0.0).await;
    assert_cut(&server, "user_agent.write_timeout", 1.0).await;
    let mut again = UserAgent::reconnect(&server, &user_agent.uaid).await;
    again.notification().await;
    again.say(json!({})).await;
}

#[tokio::test]
async fn too_many_header_fields_get_431() {
    let server = Server::start().await;
    let fields = |count| vec![("x-field", "y"); count];
    for (version, count, status) in [
        // Host is one of the fields.
        (Version::Http1, 99, 200),
        (Version::Http1, 100, 431),
        (Version::Http2, 100, 200),
        (Version::Http2, 101, 431),
    ] {
        let host = server.authority();
        let reply = http::send(version, host, "GET", "/health", &fields(count), b"").await;
        assert_eq!(reply.status.as_u16(), status, "{version:?} {count}");
        if (version, status) == (Version::Http2, 431) {
            assert_eq!(reply.errno(), 999);
        }
    }
}
