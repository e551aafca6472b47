//! Tests of `limits.refusal_delay`, with paused time.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use bugle_client::new_key_pair;
use bugle_protocol::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::server::tests::{NOW, bound_with};

const DELAY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// A kept connection over HTTP/1.1.
struct Kept(TcpStream);

impl Kept {
    async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("it is accepted"))
    }

    async fn send(&mut self, request: &str) {
        self.0
            .write_all(request.as_bytes())
            .await
            .expect("it is sent");
    }

    /// Returns the header of the next response; the body is as long as it says.
    async fn answer(&mut self) -> String {
        let read = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.expect("the whole header"));
            }
            let head = String::from_utf8(head).unwrap();
            let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
                rest.split_once("\r\n").unwrap().0.parse().unwrap()
            });
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.expect("the whole body");
            head
        };
        timeout(PATIENCE, read).await.expect("an answer")
    }

    async fn ask(&mut self, request: &str) -> String {
        self.send(request).await;
        self.answer().await
    }
}

/// Runs `play` with the address of a service with these limits.
async fn with_service<F: Future<Output = ()>>(
    change: impl FnOnce(&mut Config),
    play: impl FnOnce(SocketAddr) -> F,
) {
    let (server, _folder) = bound_with(|config| {
        config.limits.refusal_delay = DELAY;
        change(config);
    })
    .await;
    let address = server.local_addr().expect("an address");
    server.run(play(address)).await.expect("no task ends");
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_over_the_limit_waits_for_another_one_of_its_address_to_end() {
    let limit = |config: &mut Config| config.limits.connections_per_address = 1;
    with_service(limit, async |address| {
        let mut first = Kept::open(address).await;
        assert!(first.ask(HEALTH).await.starts_with("HTTP/1.1 200"));
        let (mut refused, began) = (Kept::open(address).await, Instant::now());
        assert!(refused.ask(HEALTH).await.starts_with("HTTP/1.1 429"));
        assert!(began.elapsed() >= DELAY, "{:?}", began.elapsed());
        let mut waiting = Kept::open(address).await;
        waiting.send(HEALTH).await;
        sleep(DELAY / 2).await;
        drop(first);
        assert!(waiting.answer().await.starts_with("HTTP/1.1 200"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_over_its_rate_waits_for_each_response() {
    let limit = |config: &mut Config| {
        config.limits.address_rate = 1;
        config.limits.address_burst = 1;
    };
    with_service(limit, async |address| {
        let (mut kept, began) = (Kept::open(address).await, Instant::now());
        assert!(kept.ask(HEALTH).await.starts_with("HTTP/1.1 200"));
        for nth in 1..=3 {
            assert!(kept.ask(HEALTH).await.starts_with("HTTP/1.1 429"));
            assert!(began.elapsed() >= nth * DELAY, "{:?}", began.elapsed());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_address_whose_signatures_fail_waits_for_each_response() {
    let limit = |config: &mut Config| {
        config.limits.failed_signature_rate = 1;
        config.limits.failed_signature_burst = 1;
    };
    with_service(limit, async |address| {
        let mut kept = Kept::open(address).await;
        let subscribe = "POST /subscribe HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
        let subscribed = kept.ask(subscribe).await;
        let links = subscribed.lines().filter(|line| line.starts_with("link: "));
        let endpoint = links
            .filter_map(|link| link["link: <".len()..].split_once('>'))
            .find(|(_, relation)| relation.ends_with(r#""urn:ietf:params:push""#));
        let (endpoint, _) = endpoint.expect(&subscribed);
        let origin = format!("http://{address}");
        let path = endpoint.strip_prefix(&origin).expect(endpoint);
        let token = new_key_pair().sign(&origin, UnixTime::from_secs(NOW.as_secs() + 3600), None);
        let another = new_key_pair().public_key().to_base64url();
        let push = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTTL: 0\r\nContent-Length: 0\r\n\
             Authorization: vapid t={token}, k={another}\r\n\r\n"
        );
        assert!(kept.ask(&push).await.starts_with("HTTP/1.1 403"));
        let began = Instant::now();
        for nth in 1..=3 {
            assert!(kept.ask(&push).await.starts_with("HTTP/1.1 429"));
            assert!(began.elapsed() >= nth * DELAY, "{:?}", began.elapsed());
        }
    })
    .await;
}
