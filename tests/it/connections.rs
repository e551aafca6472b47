//! More connections than one address may have: each gets a response, and none is reset.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::app_server::{Push, decrypted, encrypted};
use crate::support::file_limit::raise_file_limit;
use crate::support::server::Server;
use crate::support::siege::connect_from;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};
use crate::tls::{connect, write_certificate};

/// Timeout of each of thousands of connections on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(300);

/// Sends a push on its own connection like Node's `https.request`: the body follows the head.
/// Returns the whole response.
async fn push(mut stream: TcpStream, path: &str, body: &[u8]) -> Result<String, ErrorKind> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nTTL: 0\r\nContent-Encoding: aes128gcm\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        tokio::task::yield_now().await;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let exchange: std::io::Result<_> = timeout(CONNECT_TIMEOUT, exchange).await.expect("an answer");
    exchange.map_err(|error| error.kind())
}

/// Opens `count` connections from one address, then pushes on all at once. Returns the number
/// of accepted pushes; all others must get 429.
async fn burst(server: &Arc<Server>, path: &str, count: usize) -> usize {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(connect_from(server, 1).await);
    }
    server
        .await_that("bugle_connections", |open| open >= count as f64)
        .await;
    // Encrypt once, because encryption takes longer than everything else here.
    let (path, body): (Arc<str>, Arc<[u8]>) = (path.into(), encrypted("x").into());
    let mut pushes = JoinSet::new();
    for stream in streams {
        let (path, body) = (Arc::clone(&path), Arc::clone(&body));
        pushes.spawn(async move { push(stream, &path, &body).await });
    }
    let mut accepted = 0;
    for answer in pushes.join_all().await {
        let answer = answer.expect("no connection is reset");
        match answer.get(..12) {
            Some("HTTP/1.1 201") => accepted += 1,
            Some("HTTP/1.1 429") => assert_refusal(&answer),
            _ => panic!("{answer:?}"),
        }
    }
    accepted
}

fn assert_refusal(answer: &str) {
    let head = answer.to_ascii_lowercase();
    assert!(head.contains("\r\nretry-after: "), "{answer}");
    assert!(head.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(
        answer.contains("limits.connections_per_address"),
        "{answer}"
    );
}

/// Asserts that an honest application server on another address is served during the burst.
async fn assert_honest_clients_served(server: &Server) {
    let mut user_agent = UserAgent::connect(server).await;
    let endpoint = user_agent.register(CHANNEL_2, None).await;
    for round in 0..20 {
        let text = round.to_string();
        Push::to(server, &endpoint).text(&text).accepted().await;
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), text);
        user_agent.ack(&notification).await;
    }
}

async fn answers_all(count: usize, most: usize) -> usize {
    raise_file_limit(3 * count as u64);
    let server = Server::start_with(|config| {
        config.limits.connections_per_address = most;
        // Opening all connections takes long on a busy machine.
        config.limits.handshake_timeout = CONNECT_TIMEOUT;
        config.limits.body_timeout = CONNECT_TIMEOUT;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    user_agent.leave(&server).await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap().to_owned();
    let server = Arc::new(server);
    let (accepted, ()) = tokio::join!(
        burst(&server, &path, count),
        assert_honest_clients_served(&server)
    );
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_get_a_response_without_a_reset() {
    needs_ours!("its settings");
    assert_eq!(answers_all(1500, 1000).await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_server_may_push_on_3000_connections_at_once() {
    needs_ours!("its settings");
    let most = bugle::Config::default().limits.connections_per_address;
    assert_eq!(answers_all(3000, most).await, 3000);
}

#[tokio::test]
async fn one_address_always_leaves_connections_for_others() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.connections = 40;
        config.limits.connections_per_address = 1000;
    })
    .await;
    // Some connections are served, some would be refused, and the last are closed at once.
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(connect_from(&server, 1).await);
    }
    let cut = "bugle_connections_cut_total{reason=\"limits.connections_per_address\"}";
    server.await_that(cut, |count| count >= 20.0).await;
    assert_honest_clients_served(&server).await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_refused_inside_tls() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let server = Server::start_with(|config| {
        config.tls.cert_file = Some(folder.path().join("cert.pem"));
        config.tls.key_file = Some(folder.path().join("key.pem"));
        config.limits.connections_per_address = 1;
    })
    .await;
    let _first = connect(&server, &certificate, &[b"http/1.1"])
        .await
        .unwrap();
    let mut second = connect(&server, &certificate, &[b"http/1.1"])
        .await
        .unwrap();
    let ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    second.write_all(ask).await.unwrap();
    let mut answer = String::new();
    let read = timeout(CONNECT_TIMEOUT, second.read_to_string(&mut answer)).await;
    read.expect("the service closes").unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert_refusal(&answer);
    let third = connect(&server, &certificate, &[b"h2"]).await.unwrap();
    let (client, connection) = h2::client::handshake(third).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let ask = http::Request::get("https://localhost/health");
    let (answer, _) = client.send_request(ask.body(()).unwrap(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 429);
    // The service ends the connection with GOAWAY, not with a reset.
    let ended = timeout(CONNECT_TIMEOUT, connection)
        .await
        .expect("the connection ends");
    ended.unwrap().unwrap();
}
