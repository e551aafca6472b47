//! HTTP/2 clients that cancel, stall or vanish: the service releases their resources and serves
//! others meanwhile.

use std::time::Duration;

use h2::client::{Builder, SendRequest};
use http::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::app_server::{Push, encrypted};
use crate::support::frames::http2;
use crate::support::held::{Held, drain};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;

/// Opens a connection for requests.
async fn connect(server: &Server, settings: &Builder) -> SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let (client, connection) = settings.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// Waits until only the connection of the metrics request is left.
async fn assert_resources_released(server: &Server) {
    for (gauge, value) in [
        ("monitors", 0.0),
        ("user_agents", 0.0),
        ("connections", 1.0),
    ] {
        server.await_metric(&format!("bugle_{gauge}"), value).await;
    }
}

#[tokio::test]
async fn cancelled_gets_leave_no_resources() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let message = Push::to(&server, &made.push).text("kept").accepted().await;
    for _ in 0..20 {
        let mut client = connect(&server, &Builder::new()).await;
        for url in [&made.url, &made.set].into_iter().cycle().take(500) {
            let Ok(ready) = client.ready().await else {
                break;
            };
            client = ready;
            let request = Request::get(url).body(()).unwrap();
            // Dropping the response resets the stream.
            let _ = client.send_request(request, true);
            let Ok(ready) = client.ready().await else {
                break;
            };
            client = ready;
            tokio::task::yield_now().await;
        }
    }
    assert_resources_released(&server).await;
    assert_eq!(drain(&server, &made.set).await.0[0].url(), message);
}

#[tokio::test]
async fn a_get_without_flow_control_window_times_out() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.body_timeout = Duration::from_millis(50);
    })
    .await;
    let mut settings = Builder::new();
    settings.initial_window_size(0);
    let made = Subscription::new(&server).await;
    Push::to(&server, &made.push).text("kept").accepted().await;
    let mut client = connect(&server, &settings).await;
    let (response, _) = client
        .send_request(Request::get(&made.set).body(()).unwrap(), true)
        .unwrap();
    assert!(response.await.is_err(), "the GET is reset");
    server.await_metric("bugle_monitors", 0.0).await;
    drop(client);
    assert_resources_released(&server).await;
    assert_eq!(drain(&server, &made.set).await.0.len(), 1);
}

#[tokio::test]
async fn a_refused_server_push_ends_no_get() {
    needs_ours!("its settings");
    let server = Server::start().await;
    let mut settings = Builder::new();
    // A server push can only be refused once it has started.
    settings.initial_window_size(1);
    let made = Subscription::new(&server).await;
    let mut client = connect(&server, &settings).await;
    let (mut response, _) = client
        .send_request(Request::get(&made.set).body(()).unwrap(), true)
        .unwrap();
    let mut pushes = response.push_promises();
    for text in ["one", "two", "three"] {
        Push::to(&server, &made.push).text(text).accepted().await;
        let promised = tokio::select! {
            promised = pushes.push_promise() => promised.unwrap().unwrap(),
            _ = &mut response => panic!("the GET has ended"),
        };
        // Dropping the promise resets the stream.
        drop(promised);
    }
    assert_eq!(server.metric("bugle_monitors").await, 1.0);
    let (pushes, _) = drain(&server, &made.url).await;
    assert_eq!(pushes.len(), 3, "none of them has been acknowledged");
    assert_eq!(pushes[2].reply.body, encrypted("three"));
}

#[tokio::test]
async fn a_vanished_client_is_detected() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.ping_interval = Duration::from_millis(100);
        config.user_agent.pong_timeout = Duration::from_millis(500);
    })
    .await;
    let made = Subscription::new(&server).await;
    // A raw connection that neither reads nor closes.
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream
        .write_all(&held_get(&server, &made.url))
        .await
        .unwrap();
    let mut alive = Held::get(&server, &made.set, &[]).await;
    server.await_metric("bugle_monitors", 2.0).await;
    server.await_metric("bugle_monitors", 1.0).await;
    Push::to(&server, &made.push).accepted().await;
    alive.push().await.unwrap();
    drop((stream, alive));
    assert_resources_released(&server).await;
}

/// The connection preface and a GET.
fn held_get(server: &Server, url: &str) -> Vec<u8> {
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // The maximum initial window.
    octets.extend(http2(4, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    octets.extend(http2(8, 0, 0, &0x7fff_0000_u32.to_be_bytes()));
    let path = url.strip_prefix(&server.origin()).unwrap();
    // RFC 7541: :method GET, :scheme http, :path and :authority as literals.
    let mut head = vec![0x82, 0x86];
    for (name, value) in [(4_u8, path), (1, server.authority())] {
        head.push(name);
        head.push(u8::try_from(value.len()).unwrap());
        assert!(value.len() < 127, "one octet for the length");
        head.extend(value.as_bytes());
    }
    octets.extend(http2(1, 5, 1, &head));
    octets
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_reset_before_its_promise_ends_the_connection() {
    needs_ours!("its metrics");
    let server = Server::start_with(|config| {
        config.limits.body_timeout = Duration::from_secs(60);
    })
    .await;
    let made = Subscription::new(&server).await;
    // More than the system buffers for a client that does not read.
    let push = Push::to(&server, &made.push).text(&"x".repeat(3900));
    for _ in 0..2500 {
        push.accepted().await;
    }
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    let get = held_get(&server, &made.url);
    stream.write_all(&get).await.unwrap();
    // Wait until the system's buffers are full.
    let delivered = || server.metric("bugle_messages_delivered_total");
    let mut before = 0.0;
    while before == 0.0 || before != delivered().await {
        before = delivered().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < 2500.0, "no more is pushed than can be written");
    for promised in 1..=2500 {
        let reset = http2(3, 0, promised * 2, &8_u32.to_be_bytes());
        if stream.write_all(&reset).await.is_err() {
            break;
        }
    }
    server.await_metric("bugle_monitors", 0.0).await;
    drop(stream);
    assert_resources_released(&server).await;
    assert_eq!(server.metric("bugle_stored_messages").await, 2500.0);
}
