//! Shares of storage: a hostile client that takes as much as it can causes refusals only for
//! itself.
//!
//! The addresses are those of clients behind a trusted proxy.

use bugle::Config;
use bugle_protocol::key_pair::KeyPair;
use serde_json::Value;

use crate::support::app_server::{Push, key_pair};
use crate::support::channels::subscribed;
use crate::support::held::drain;
use crate::support::http::{self, Reply, Version};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, link, try_subscribe};
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

const RECEIPT: &str = "urn:ietf:params:push:receipt";

/// The address of the hostile client.
const HOSTILE_ADDRESS: &str = "203.0.113.66";

/// A service that trusts the proxy in front of it.
async fn behind_a_proxy(change: impl FnOnce(&mut Config)) -> Server {
    let settings = [("BUGLE_SERVER__TRUSTED_PROXIES".into(), "127.0.0.0/8".into())];
    let behind = Config::load(None, settings, &[]).unwrap();
    Server::start_with(|config| {
        config.server.trusted_proxies = behind.server.trusted_proxies;
        config.limits.connections_per_address = behind.limits.connections_per_address;
        change(config);
    })
    .await
}

/// The address of the n-th client.
fn client(n: usize) -> String {
    format!("198.51.100.{n}")
}

fn push<'s>(server: &'s Server, to: &str, client: &str) -> Push<'s> {
    let push = Push::to(server, to).header("x-forwarded-for", client);
    push.text(&"x".repeat(1000))
}

/// An honest sender: its key, address and user agent.
struct Honest {
    keys: KeyPair,
    made: Subscription,
}

impl Honest {
    async fn new(server: &Server) -> Self {
        Self {
            keys: key_pair(90),
            made: Subscription::new(server).await,
        }
    }

    /// Sends a push that must be accepted.
    async fn push(&self, server: &Server) {
        let push = push(server, &self.made.push, "192.0.2.1");
        push.signed(&self.keys).accepted().await;
    }
}

/// The setting, the share and the message of a refusal.
fn refusal(reply: &Reply) -> (String, String, String) {
    assert_eq!(
        (reply.status.as_u16(), reply.errno()),
        (429, 201),
        "{reply:?}"
    );
    // At most an hour, plus up to half of it as jitter.
    let retry: u64 = reply.header("retry-after").parse().unwrap();
    assert!((10..=5400).contains(&retry), "{retry}");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (text("setting"), text("share"), text("message"))
}

#[tokio::test]
async fn one_site_cannot_starve_other_sites_of_the_same_user_agent() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.messages_per_user_agent = 40).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let site = user_agent.register(CHANNEL, None).await;
    let other = user_agent.register(CHANNEL_2, None).await;
    user_agent.leave(&server).await;
    let hog = Push::to(&server, &site).ttl(2_592_000).text("x");
    for _ in 0..20 {
        hog.accepted().await;
    }
    let refused = hog.send().await;
    let (setting, share, message) = refusal(&refused);
    assert_eq!(setting, "limits.messages_per_user_agent");
    assert_eq!(share, "subscription");
    assert!(
        message.starts_with("this subscription holds its share of"),
        "{message}"
    );
    assert!(
        message.contains("which is in 30 d at the latest"),
        "{message}"
    );
    let retry: u64 = refused.header("retry-after").parse().unwrap();
    assert!(retry >= 3600, "{retry}");
    // The other site of the same browser continues while the first is refused.
    for _ in 0..10 {
        assert_eq!(hog.send().await.status, 429);
        Push::to(&server, &other).text("x").accepted().await;
    }
}

/// Fills the store until the hostile client is refused, and continues while an honest sender
/// pushes: only the hostile client is refused. `stranger` returns its `n`-th push.
async fn fill_the_store<'s>(server: &'s Server, share: &str, stranger: impl Fn(usize) -> Push<'s>) {
    let honest = Honest::new(server).await;
    let mut accepted = 0;
    let refused = loop {
        honest.push_while(server, accepted).await;
        let reply = stranger(accepted).send().await;
        if reply.status != 201 {
            break reply;
        }
        accepted += 1;
        assert!(accepted < 200, "the stranger is never refused");
    };
    let (setting, full, message) = refusal(&refused);
    assert_eq!(
        (setting.as_str(), full.as_str()),
        ("limits.stored_bytes", share)
    );
    assert!(accepted > 20, "{accepted}: {message}");
    for n in 0..8 {
        assert_eq!(stranger(accepted + n).send().await.status, 429);
        honest.push(server).await;
    }
    let labels = format!("setting=\"limits.stored_bytes\",share=\"{share}\"");
    let counted = format!("bugle_shares_full_total{{{labels}}}");
    assert_eq!(server.metric(&counted).await, 9.0);
}

impl Honest {
    /// Sends every tenth push.
    async fn push_while(&self, server: &Server, n: usize) {
        if n.is_multiple_of(10) {
            self.push(server).await;
        }
    }
}

const STORED: u64 = 100_000;

async fn subscriptions(server: &Server, n: usize) -> Vec<Subscription> {
    let mut made = Vec::new();
    for _ in 0..n {
        made.push(Subscription::new(server).await);
    }
    made
}

#[tokio::test]
async fn one_key_fills_its_share_of_the_store_and_no_more() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.stored_bytes = STORED).await;
    let to = subscriptions(&server, 8).await;
    let keys = key_pair(1);
    fill_the_store(&server, "sender", |n| {
        push(&server, &to[n % to.len()].push, &client(n % 200)).signed(&keys)
    })
    .await;
}

#[tokio::test]
async fn many_keys_of_one_address_fill_its_share_of_the_store_and_no_more() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.stored_bytes = STORED).await;
    let to = subscriptions(&server, 8).await;
    let keys: Vec<_> = (1..30).map(key_pair).collect();
    fill_the_store(&server, "address", |n| {
        push(&server, &to[n % to.len()].push, HOSTILE_ADDRESS).signed(&keys[n % keys.len()])
    })
    .await;
}

#[tokio::test]
async fn unsigned_pushes_count_for_their_address() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.stored_bytes = STORED).await;
    let to = subscriptions(&server, 8).await;
    fill_the_store(&server, "address", |n| {
        push(&server, &to[n % to.len()].push, HOSTILE_ADDRESS)
    })
    .await;
}

#[tokio::test]
async fn one_user_agent_fills_its_share_of_the_store_and_no_more() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.stored_bytes = STORED).await;
    let first = Subscription::new(&server).await;
    let mut to = vec![first.clone()];
    for _ in 0..7 {
        to.push(first.another(&server).await);
    }
    let keys: Vec<_> = (1..30).map(key_pair).collect();
    fill_the_store(&server, "user_agent", |n| {
        let push = push(&server, &to[n % to.len()].push, &client(n % 200));
        push.signed(&keys[n % keys.len()])
    })
    .await;
}

#[tokio::test]
async fn receipt_subscriptions_of_one_address_leave_room_for_others() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.receipt_subscriptions = 20).await;
    let made = Subscription::new(&server).await;
    let with_receipt = |client: &str| {
        let push = Push::to(&server, &made.push).header("x-forwarded-for", client);
        push.header("prefer", "respond-async")
    };
    for _ in 0..10 {
        assert_eq!(with_receipt(HOSTILE_ADDRESS).send().await.status, 202);
    }
    for n in 0..5 {
        let (setting, share, message) = refusal(&with_receipt(HOSTILE_ADDRESS).send().await);
        assert_eq!(setting, "limits.receipt_subscriptions");
        assert_eq!(share, "address");
        assert!(message.contains("use one for many pushes"), "{message}");
        assert_eq!(with_receipt(&client(n)).send().await.status, 202);
    }
}

#[tokio::test]
async fn receipts_of_one_key_leave_room_for_others() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.receipts = 20).await;
    let made = Subscription::new(&server).await;
    let keys = key_pair(1);
    let with_receipt = || Push::to(&server, &made.push).header("prefer", "respond-async");
    let first = with_receipt().signed(&keys).send().await;
    let receipts = link(&first, RECEIPT).unwrap();
    let again = |n: usize| {
        let push = with_receipt()
            .signed(&keys)
            .header("x-forwarded-for", &client(n));
        push.header("link", &format!("<{receipts}>; rel=\"{RECEIPT}\""))
    };
    for n in 0..9 {
        assert_eq!(again(n).send().await.status, 202);
    }
    let (setting, share, _) = refusal(&again(99).send().await);
    assert_eq!(
        (setting.as_str(), share.as_str()),
        ("limits.receipts", "sender")
    );
    for _ in 0..5 {
        let push = with_receipt().header("x-forwarded-for", "192.0.2.1");
        assert_eq!(push.signed(&key_pair(2)).send().await.status, 202);
        assert_eq!(again(99).send().await.status, 429);
    }
    // A push without a receipt is still accepted.
    Push::to(&server, &made.push).signed(&keys).accepted().await;
}

#[tokio::test]
async fn subscriptions_of_one_address_leave_room_for_others() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.subscriptions = 20).await;
    let subscribe = async |client: &str| {
        let from = [("x-forwarded-for", client)];
        try_subscribe(&server, Version::Http2, &from, "").await
    };
    let mut made = Vec::new();
    for _ in 0..10 {
        made.push(Subscription::of(&subscribe(HOSTILE_ADDRESS).await));
    }
    let (setting, share, message) = refusal(&subscribe(HOSTILE_ADDRESS).await);
    assert_eq!(
        (setting.as_str(), share.as_str()),
        ("limits.subscriptions", "address")
    );
    assert!(
        message.contains("there is room when subscriptions end"),
        "{message}"
    );
    for n in 0..5 {
        Subscription::of(&subscribe(&client(n)).await);
        assert_eq!(subscribe(HOSTILE_ADDRESS).await.status, 429);
    }
    // The limit also applies to WebSockets, and others' subscriptions are not evicted.
    let mut user_agent = UserAgent::connect(&server).await;
    user_agent.register(CHANNEL, None).await;
    let path = made[0].url.strip_prefix(&server.origin()).unwrap();
    let from = [("x-forwarded-for", HOSTILE_ADDRESS)];
    let authority = server.authority();
    let ended = http::send(Version::Http2, authority, "DELETE", path, &from, b"").await;
    assert_eq!(ended.status, 204);
    assert_eq!(subscribe(HOSTILE_ADDRESS).await.status, 429);
}

#[tokio::test]
async fn honest_receipts_of_ttl_0_messages_stay_true() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| config.limits.live_receipts = 20).await;
    let (mut user_agent, endpoint) = subscribed(&server).await;
    let with_receipt = async |client: &str| {
        let push = Push::to(&server, &endpoint)
            .ttl(0)
            .header("x-forwarded-for", client);
        let reply = push.header("prefer", "respond-async").send().await;
        assert_eq!(reply.status, 202, "{reply:?}");
        (
            reply.header("location").to_owned(),
            link(&reply, RECEIPT).unwrap(),
        )
    };
    for n in 0..12 {
        let (message, receipts) = with_receipt(HOSTILE_ADDRESS).await;
        // The message is never acknowledged.
        user_agent.notification().await;
        let above = n >= 10;
        let expected = if above {
            vec![(message, 410)]
        } else {
            Vec::new()
        };
        assert_eq!(all_receipts(&server, &receipts).await, expected, "{n}");
    }
    for n in 0..6 {
        let (message, receipts) = with_receipt(&client(n)).await;
        let notification = user_agent.notification().await;
        assert_eq!(all_receipts(&server, &receipts).await, []);
        user_agent.ack(&notification).await;
        user_agent.receives_nothing().await;
        assert_eq!(all_receipts(&server, &receipts).await, [(message, 204)]);
    }
}

/// All present receipts: the message and status of each.
async fn all_receipts(server: &Server, receipts: &str) -> Vec<(String, u16)> {
    let (pushes, _) = drain(server, receipts).await;
    pushes
        .iter()
        .map(|push| (push.url(), push.reply.status.as_u16()))
        .collect()
}

#[tokio::test]
async fn without_connections_per_address_no_address_has_a_share() {
    needs_ours!("its settings");
    let server = behind_a_proxy(|config| {
        config.limits.connections_per_address = 0;
        config.limits.subscriptions = 8;
        config.limits.stored_bytes = STORED;
    })
    .await;
    let to = subscriptions(&server, 8).await;
    let keys: Vec<_> = (1..30).map(key_pair).collect();
    // One address takes much more than half.
    for n in 0..60 {
        let push = push(&server, &to[n % to.len()].push, HOSTILE_ADDRESS);
        push.signed(&keys[n % keys.len()]).accepted().await;
    }
}
