//! Requirements of HTTP on receipts, links and pushed streams.

use std::collections::HashSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app_server::Push;
use crate::support::held::drain;
use crate::support::http::Version::{Http1, Http2};
use crate::support::server::Server;
use crate::support::subscriber::{Subscription, link, try_subscribe};
use crate::support::user_agent::TIMEOUT;

const RECEIPT: &str = "urn:ietf:params:push:receipt";

#[tokio::test]
async fn http_e_http_f_prefer_is_parsed_in_every_form_and_confirmed() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let push = Push::to(&server, &made.push);
    for preference in [
        "respond-async",
        "Respond-Async",
        "foo, respond-async",
        "respond-async; x=y",
        "wait=10,respond-async",
    ] {
        for version in [Http1, Http2] {
            let push = push.clone().header("prefer", preference).over(version);
            let reply = push.send().await;
            assert_eq!(reply.status, 202, "{preference}");
            assert_eq!(reply.header("preference-applied"), "respond-async");
        }
    }
    let two_lines = push
        .clone()
        .header("prefer", "foo")
        .another("prefer", "respond-async");
    assert_eq!(two_lines.send().await.status, 202);
    let other = push.header("prefer", "respond, async").send().await;
    assert_eq!(
        (other.status.as_u16(), other.header("preference-applied")),
        (201, "")
    );
}

#[tokio::test]
async fn http_g_links_are_parsed_in_every_form() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let set = "urn:ietf:params:push:set";
    let relative = made.set.strip_prefix(&server.origin()).unwrap();
    for spelling in [
        format!("<{}>; rel=\"{set}\"", made.set),
        format!("<{}>;rel={set}", made.set),
        format!("<{relative}>; rel=\"next {set}\"; title=\"a, b; c\""),
        format!(
            "<https://a.example/>; rel=next, <{}>; x=y; rel=\"{set}\"",
            made.set
        ),
    ] {
        let reply = try_subscribe(&server, Http1, &[("link", &spelling)], "").await;
        assert_eq!(Subscription::of(&reply).set, made.set, "{spelling}");
    }
    let lines = [
        ("link", "</x>; rel=next"),
        ("link", &format!("<{}>; rel={set}", made.set)),
    ];
    let reply = try_subscribe(&server, Http2, &lines, "").await;
    assert_eq!(Subscription::of(&reply).set, made.set);

    let push = Push::to(&server, &made.push).header("prefer", "respond-async");
    let receipts = link(&push.send().await, RECEIPT).unwrap();
    let relative = receipts.strip_prefix(&server.origin()).unwrap();
    let again = push.header(
        "link",
        &format!("</x>; rel=a,<{relative}>;rel=\"b {RECEIPT}\""),
    );
    assert_eq!(link(&again.send().await, RECEIPT), Some(receipts));
}

#[tokio::test]
async fn http_h_links_are_written_in_the_plainest_form() {
    let server = Server::start().await;
    let reply = try_subscribe(&server, Http1, &[], "").await;
    let made = Subscription::of(&reply);
    let links: HashSet<_> = reply.headers.get_all("link").iter().collect();
    let push = format!("<{}>; rel=\"urn:ietf:params:push\"", made.push);
    let set = format!("<{}>; rel=\"urn:ietf:params:push:set\"", made.set);
    assert_eq!(
        links,
        [push.parse().unwrap(), set.parse().unwrap()]
            .iter()
            .collect()
    );
}

/// A client that sends and receives single HTTP/2 frames.
struct Frames(TcpStream);

impl Frames {
    /// Connects with MAX_CONCURRENT_STREAMS 1 and windows of 0, and sends a GET.
    async fn get(server: &Server, path: &str) -> Self {
        let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        octets.extend(frame(4, 0, 0, &[0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0]));
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", server.authority()),
            (":path", path),
            ("prefer", "wait=0"),
        ] {
            block.push(0);
            for text in [name, value] {
                // All texts here are shorter than 127 bytes.
                block.push(u8::try_from(text.len()).unwrap());
                block.extend(text.as_bytes());
            }
        }
        octets.extend(frame(1, 5, 1, &block));
        let mut stream = TcpStream::connect(server.authority()).await.unwrap();
        stream.write_all(&octets).await.unwrap();
        Self(stream)
    }

    /// Returns type, flags, stream and payload of the next frame.
    async fn next(&mut self) -> (u8, u8, u32, Vec<u8>) {
        let mut head = [0; 9];
        let read = timeout(TIMEOUT, self.0.read_exact(&mut head)).await;
        read.expect("a frame arrives").unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.unwrap();
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        (head[3], head[4], stream, payload)
    }

    /// Opens the window of a stream.
    async fn window(&mut self, stream: u32) {
        let update = frame(8, 0, stream, &20_000u32.to_be_bytes());
        self.0.write_all(&update).await.unwrap();
    }

    async fn ping(&mut self) {
        self.0.write_all(&frame(6, 0, 0, &[7; 8])).await.unwrap();
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut octets = vec![length[1], length[2], length[3], kind, flags];
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

#[tokio::test]
async fn http_k_pushed_streams_respect_the_limit_of_the_client() {
    const END_STREAM: u8 = 1;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PING: u8 = 6;
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    for _ in 0..3 {
        Push::to(&server, &made.push)
            .text(&"x".repeat(3000))
            .accepted()
            .await;
    }
    let path = made.url.strip_prefix(&server.origin()).unwrap();
    let mut client = Frames::get(&server, path).await;
    let (mut open, mut ended) = (HashSet::new(), 0);
    loop {
        let (kind, flags, stream, _) = client.next().await;
        let is_pushed = stream != 0 && stream % 2 == 0;
        match kind {
            HEADERS if is_pushed => {
                open.insert(stream);
                assert_eq!(open.len(), 1, "more streams than the client allows");
                // A frame sent without a window would arrive before the pong.
                client.ping().await;
            }
            PING if flags == 1 => client.window(*open.iter().next().unwrap()).await,
            DATA if is_pushed && flags & END_STREAM != 0 => {
                open.remove(&stream);
                ended += 1;
            }
            HEADERS => break,
            _ => {}
        }
    }
    assert_eq!(ended, 3, "all arrive, before the GET ends");
    assert_eq!(drain(&server, &made.url).await.0.len(), 3);
}
