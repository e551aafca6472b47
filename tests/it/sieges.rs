//! Hostile clients that hold shared slots: request slots by endless bodies, user agent slots by
//! held GETs. They use their own address, and honest clients are never refused.

use bugle::Config;
use bugle_protocol::UnixTime;
use bugle_protocol::key_pair::KeyPair;
use futures_util::FutureExt;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use http::{Request, StatusCode};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app_server::{Push, ask, decrypted, encrypted, key_pair};
use crate::support::channels::subscribed;
use crate::support::disk::{Fault, FaultyDisk};
use crate::support::held::Held;
use crate::support::http::read;
use crate::support::server::Server;
use crate::support::siege::{connect_from, upgrade_on};
use crate::support::subject::needs_ours;
use crate::support::subscriber::Subscription;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, TIMEOUT, UserAgent};

/// The last number of the hostile client's address.
const HOSTILE_ADDRESS: u8 = 1;

/// A connection of a hostile client that sends one request after the other.
struct Stranger {
    client: SendRequest<bytes::Bytes>,
    /// Requests with endless bodies, and their responses.
    unfinished: Vec<(h2::client::ResponseFuture, SendStream<bytes::Bytes>)>,
}

impl Stranger {
    async fn at(server: &Server) -> Self {
        let stream = connect_from(server, HOSTILE_ADDRESS).await;
        let (client, connection) = Builder::new().handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self {
            client: client.ready().await.unwrap(),
            unfinished: Vec::new(),
        }
    }

    /// Starts a request; its body ends if `whole`.
    async fn ask(&mut self, request: Request<()>, whole: bool) {
        let client = self.client.clone().ready().await.unwrap();
        self.client = client;
        let asked = self.client.send_request(request, whole).unwrap();
        self.unfinished.push(asked);
    }

    /// Counts the refusals so far, at least one: each must be a 429 that names the address's
    /// share.
    async fn refusals(&mut self, setting: &str) -> usize {
        let mut count = 0;
        let all = std::mem::take(&mut self.unfinished);
        for (mut answer, body) in all {
            match (&mut answer).now_or_never() {
                None => self.unfinished.push((answer, body)),
                Some(answer) => {
                    assert_refused(answer.unwrap(), setting).await;
                    count += 1;
                }
            }
        }
        count
    }
}

async fn assert_refused(answer: http::Response<RecvStream>, setting: &str) {
    let reply = read(answer).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{reply:?}");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["setting"], setting);
    assert_eq!(body["share"], "address");
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("this address holds"), "{message}");
}

/// Asserts that an honest application server, its user agent and a new subscriber are served.
async fn assert_honest_clients_served(server: &Server) {
    let mut user_agent = UserAgent::connect(server).await;
    let signed = user_agent.register(CHANNEL, None).await;
    let unsigned = user_agent.register(CHANNEL_2, None).await;
    let keys = key_pair(1);
    for round in 0..20 {
        let text = round.to_string();
        let push = Push::to(server, &signed).text(&text).signed(&keys);
        push.accepted().await;
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), text);
        user_agent.ack(&notification).await;
        Push::to(server, &unsigned).ttl(0).accepted().await;
        let notification = user_agent.notification().await;
        user_agent.ack(&notification).await;
    }
    let made = Subscription::new(server).await;
    let mut held = Held::get(server, &made.url, &[]).await;
    Push::to(server, &made.push).text("held").accepted().await;
    held.push().await.unwrap();
}

/// Few slots, and no timeout during the test, even on a busy machine.
fn few_slots(config: &mut Config) {
    config.limits.connections_per_address = 1000;
    config.limits.requests = 256;
    config.limits.bodies = 256;
    config.limits.body_timeout = 8 * TIMEOUT;
}

/// Waits until the service handles at least this many endless requests.
async fn await_bodies(server: &Server, count: f64) {
    server
        .await_that("bugle_bodies", |bodies| bodies >= count)
        .await;
}

/// Counts requests refused because the address has used its share of bodies.
async fn refused_bodies(strangers: &mut [Stranger]) -> usize {
    let mut refused = 0;
    for stranger in strangers {
        refused += stranger.refusals("limits.bodies").await;
    }
    refused
}

#[tokio::test]
async fn endless_subscribe_requests_cause_no_refusals_for_others() {
    needs_ours!("its settings");
    let server = Server::start_with(few_slots).await;
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = Stranger::at(&server).await;
        for _ in 0..100 {
            let ask = Request::post(format!("http://{}/subscribe", server.authority()))
                .header("content-type", "application/webpush-options+json");
            stranger.ask(ask.body(()).unwrap(), false).await;
        }
        strangers.push(stranger);
    }
    await_bodies(&server, 128.0).await;
    assert_honest_clients_served(&server).await;
    assert_eq!(server.metric("bugle_bodies").await, 128.0, "half of all");
    assert_eq!(refused_bodies(&mut strangers).await, 300 - 128);
}

#[tokio::test]
async fn endless_pushes_with_many_keys_cause_no_refusals_for_others() {
    needs_ours!("its settings");
    let server = Server::start_with(few_slots).await;
    let (_victim, endpoint) = subscribed(&server).await;
    let mut strangers = Vec::new();
    let expires_at = UnixTime::from_secs(server.now() + 3600);
    for part in 0..3_u8 {
        let mut stranger = Stranger::at(&server).await;
        for nth in 1..=100 {
            let mut seed = [7; 32];
            (seed[0], seed[1]) = (part, nth);
            let keys = KeyPair::from_bytes(&seed).unwrap();
            let token = keys.sign(&server.origin(), expires_at, None);
            let key = keys.public_key().to_base64url();
            let ask = Request::post(&endpoint)
                .header("ttl", "60")
                .header("content-encoding", "aes128gcm")
                .header("authorization", format!("vapid t={token}, k={key}"));
            stranger.ask(ask.body(()).unwrap(), false).await;
        }
        strangers.push(stranger);
    }
    await_bodies(&server, 128.0).await;
    assert_honest_clients_served(&server).await;
    assert_eq!(refused_bodies(&mut strangers).await, 300 - 128);
}

#[tokio::test]
async fn held_gets_and_websockets_of_one_address_cause_no_refusals_for_others() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.connections_per_address = 1000;
        config.limits.user_agents = 64;
    })
    .await;
    let mut stranger = Stranger::at(&server).await;
    for _ in 0..40 {
        // Different subscriptions, because a second GET would supersede the first.
        let made = Subscription::new(&server).await;
        let ask = Request::get(&made.url).body(()).unwrap();
        stranger.ask(ask, true).await;
    }
    server.await_metric("bugle_monitors", 32.0).await;
    assert_honest_clients_served(&server).await;
    assert_eq!(stranger.refusals("limits.user_agents").await, 8);
    // The address has used its share, over WebSockets as well.
    let refused = websocket_status(connect_from(&server, HOSTILE_ADDRESS).await, &server).await;
    assert_eq!(refused, "HTTP/1.1 429");
    let neighbour =
        websocket_status(connect_from(&server, HOSTILE_ADDRESS + 1).await, &server).await;
    assert_eq!(neighbour, "HTTP/1.1 101");
}

async fn websocket_status(stream: TcpStream, server: &Server) -> String {
    let answer = timeout(TIMEOUT, upgrade_on(stream, server, "")).await;
    answer.expect("a response").1[..12].to_owned()
}

#[tokio::test]
async fn failed_signatures_of_one_address_do_not_delay_others() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.failed_signature_rate = 1;
        config.limits.failed_signature_burst = 5;
    })
    .await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    let push = Push::to(&server, &endpoint);
    let known = push.clone().signed(&key_pair(1));
    known.accepted().await;
    // Signed by another key than the token names.
    let forged = |nth: u8| {
        let right = push.clone().signed(&key_pair(100 + nth));
        let (token, _) = right.authorization().split_once(',').unwrap();
        let other = key_pair(2).public_key().to_base64url();
        push.clone()
            .header("authorization", &format!("{token}, k={other}"))
    };
    for nth in 0..5 {
        assert_eq!(forged(nth).send().await.status, 403);
    }
    let checked = server.metric("bugle_vapid_signatures_checked_total").await;
    let refused = forged(6).send().await;
    assert_eq!((refused.status.as_u16(), refused.errno()), (429, 201));
    assert_eq!(refused.header("retry-after"), "1");
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(body["setting"], "limits.failed_signature_rate");
    // A cached token needs no check.
    known.accepted().await;
    assert_eq!(
        server.metric("bugle_vapid_signatures_checked_total").await,
        checked
    );
    // A new token from another address is checked.
    let elsewhere = connect_from(&server, HOSTILE_ADDRESS).await;
    let fresh = push.clone().signed(&key_pair(3));
    let (client, connection) = h2::client::handshake(elsewhere).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let ask = Request::post(&endpoint)
        .header("ttl", "60")
        .header("content-encoding", "aes128gcm")
        .header("authorization", fresh.authorization());
    let (answer, mut body) = client.send_request(ask.body(()).unwrap(), false).unwrap();
    body.send_data(encrypted("x").into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 201);
    // The token bucket refills.
    server.advance(std::time::Duration::from_secs(1));
    assert_eq!(forged(6).send().await.status, 403);
}

/// The statuses of requests to each kind of resource, sent without a body.
async fn statuses(server: &Server, requests: &[(&str, String)]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for (method, url) in requests {
        statuses.push(ask(server, method, url).await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn every_request_except_health_takes_a_slot() {
    needs_ours!("the program");
    let disk = FaultyDisk::new();
    let environment = disk.environment();
    let server = Server::start_program_in(environment, Some(&disk.data()), |config| {
        config.limits.requests = 1;
    })
    .await;
    let endpoint = UserAgent::connect(&server)
        .await
        .register(CHANNEL, None)
        .await;
    let push = Push::to(&server, &endpoint).text("x");
    let message = push.accepted().await;
    let made = Subscription::new(&server).await;
    let page = |path: &str| format!("{}{path}", server.origin());
    let requests = [
        ("GET", message.clone()),
        ("DELETE", message),
        ("GET", made.url.clone()),
        ("DELETE", made.url),
        ("GET", made.set.clone()),
        ("DELETE", made.set),
        ("GET", endpoint.clone()),
        ("OPTIONS", endpoint.clone()),
        ("POST", endpoint.clone()),
        ("POST", page("/subscribe")),
        ("GET", page("/")),
        ("GET", page("/version")),
        ("GET", page("/nothing")),
    ];
    let health = [("GET", page("/health")), ("GET", page("/__lbheartbeat__"))];
    // A push that waits for the disk takes the only slot.
    disk.fails(Fault::None, Fault::Stall);
    let look = async {
        server.await_metric("bugle_requests", 1.0).await;
        let seen = (
            statuses(&server, &requests).await,
            statuses(&server, &health).await,
        );
        disk.fails(Fault::None, Fault::None);
        seen
    };
    let (stalled, (refused, healthy)) = tokio::join!(push.send(), look);
    assert_eq!(stalled.status, 201, "it took no longer than a commit may");
    assert_eq!(refused, [429; 13]);
    assert_eq!(healthy, [200; 2]);
}
