//! Restarts without failed requests: the listening sockets stay open, and connections wait in
//! their backlog while no process runs.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::{Request, StatusCode};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::app_server::{Push, decrypted, encrypted};
use crate::support::server::Server;
use crate::support::service_manager::ServiceManager;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, Notification, UserAgent};

const RESTARTS: usize = 10;

/// Timeout of one message, including a restart.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The promised texts of an application server.
#[derive(Debug, Default)]
struct Promised {
    texts: Vec<String>,
    connections: usize,
}

/// Pushes sequentially over HTTP/1.1 until `over`, on one connection as long as the service
/// keeps it. Fails if the connection ends in another way.
async fn push_on_kept(path: &str, authority: &str, name: &str, over: &AtomicBool) -> Promised {
    let mut promised = Promised::default();
    let mut kept = None;
    while !over.load(Ordering::Relaxed) {
        let mut client = match kept.take() {
            Some(client) => client,
            None => {
                promised.connections += 1;
                connect(authority).await
            }
        };
        let text = format!("{name} {:06}", promised.texts.len());
        let request = Request::post(path)
            .header("host", authority)
            .header("ttl", "600")
            .header("content-encoding", "aes128gcm");
        let request = request.body(Full::from(encrypted(&text))).unwrap();
        let reply = timeout(MESSAGE_TIMEOUT, client.send_request(request)).await;
        let reply = reply.expect("a response").expect("no push is interrupted");
        let (head, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(head.status, StatusCode::CREATED, "{body:?}");
        promised.texts.push(text);
        let is_last = head
            .headers
            .get("connection")
            .is_some_and(|it| it == "close");
        kept = (!is_last).then_some(client);
    }
    promised
}

async fn connect(authority: &str) -> http1::SendRequest<Full<Bytes>> {
    let stream = timeout(MESSAGE_TIMEOUT, TcpStream::connect(authority)).await;
    let stream = stream.expect("in time").expect("no connection is refused");
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Pushes with a new connection for each push until `over`.
async fn push_on_new(server: &Server, endpoint: &str, name: &str, over: &AtomicBool) -> Promised {
    let mut promised = Promised::default();
    while !over.load(Ordering::Relaxed) {
        let text = format!("{name} {:06}", promised.texts.len());
        let push = Push::to(server, endpoint).ttl(600).text(&text);
        let reply = timeout(MESSAGE_TIMEOUT, push.send())
            .await
            .expect("a response");
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        promised.texts.push(text);
        promised.connections += 1;
    }
    promised
}

/// Receives, acknowledges and reconnects after each close; forwards every text.
async fn receive(server: &Server, uaid: &str, texts: mpsc::UnboundedSender<String>) {
    loop {
        // Only a service that shuts down may refuse.
        if let Some(end) = stay(server, uaid, &texts).await {
            assert_eq!(end, 1001, "the code of a close");
        }
    }
}

/// Uses one connection to its end; returns the close code.
async fn stay(server: &Server, uaid: &str, texts: &mpsc::UnboundedSender<String>) -> Option<u16> {
    let stream = TcpStream::connect(server.authority()).await;
    let stream = stream.expect("no connection is refused");
    let (mut socket, _) = client_async(server.websocket(), stream).await.ok()?;
    let hello = json!({ "messageType": "hello", "uaid": uaid });
    socket.send(Message::text(hello.to_string())).await.ok()?;
    loop {
        match socket.next().await?.ok()? {
            Message::Close(frame) => return Some(frame?.code.into()),
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["messageType"] == "hello" {
                    assert_eq!(message["uaid"], uaid, "it is known");
                    continue;
                }
                let notification = Notification(message);
                texts.send(decrypted(&notification.data())).ok()?;
                let ack = notification.acknowledged(json!({ "code": 100 }));
                socket.send(Message::text(ack.to_string())).await.ok()?;
            }
            _ => {}
        }
    }
}

/// Checks each sender's texts: all promised ones arrived in order, and no unknown ones. A text
/// that was unacknowledged before a stop may arrive again afterwards.
fn account(promised: &[(&str, Promised)], received: &[String]) {
    let mut seen = BTreeSet::new();
    let firsts: Vec<_> = received.iter().filter(|text| seen.insert(*text)).collect();
    for (name, promised) in promised {
        let of_it = |text: &&&String| text.split_once(' ').unwrap().0 == *name;
        let of_it: Vec<_> = firsts.iter().filter(of_it).copied().cloned().collect();
        assert_eq!(of_it, promised.texts, "the texts of {name}");
    }
}

#[tokio::test]
async fn senders_notice_no_restart() {
    needs_ours!("the program");
    let mut manager = ServiceManager::new(|config| config.limits.connections_per_address = 0);
    manager.start().await;
    let server = &Server::at(&manager.authority());
    let mut user_agent = UserAgent::connect(server).await;
    let endpoint = &user_agent.register(CHANNEL, None).await;
    let uaid = &user_agent.uaid.clone();
    let path = endpoint.strip_prefix(&server.origin()).unwrap();

    let over = &AtomicBool::new(false);
    let (texts, mut arrivals) = mpsc::unbounded_channel();
    let mut received = Vec::new();
    let conduct = async {
        for _ in 0..RESTARTS {
            for _ in 0..30 {
                received.push(arrivals.recv().await.unwrap());
            }
            manager.terminate();
            manager.hears("STOPPING=1").await;
            manager.ended().await;
            manager.start().await;
            assert_eq!(manager.admin("/ready").await.status, 200);
        }
        over.store(true, Ordering::Relaxed);
    };
    let senders = async {
        let (a, b, c, d, ()) = tokio::join!(
            push_on_kept(path, server.authority(), "a", over),
            push_on_kept(path, server.authority(), "b", over),
            push_on_new(server, endpoint, "c", over),
            push_on_new(server, endpoint, "d", over),
            conduct,
        );
        [("a", a), ("b", b), ("c", c), ("d", d)]
    };
    // One future to the end. A second one would reconnect beside a connection of the first whose
    // hello may still be unread; the service could then process the hellos in the other order.
    let mut receiving = pin!(receive(server, uaid, texts));
    let promised = tokio::select! {
        promised = senders => promised,
        () = &mut receiving => unreachable!("it comes back for ever"),
    };
    for (_, promised) in &promised {
        assert!(promised.connections >= RESTARTS, "each restart was met");
    }
    let sum: usize = promised.iter().map(|(_, it)| it.texts.len()).sum();
    let mut all: BTreeSet<_> = received.iter().cloned().collect();
    let rest = async {
        while all.len() < sum {
            let text = arrivals.recv().await.unwrap();
            all.insert(text.clone());
            received.push(text);
        }
    };
    let arrived = tokio::select! {
        arrived = timeout(MESSAGE_TIMEOUT, rest) => arrived,
        () = receiving => unreachable!("it comes back for ever"),
    };
    arrived.expect("everything arrives");
    account(&promised, &received);
}
