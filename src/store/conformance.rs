//! What the contracts of [`Store`] promise, tested on every engine.
//!
//! An engine joins the suite with one line in [`ENGINES`]; one that keeps its
//! data also with [`reopen`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broadcasts;
mod filter;
mod largest;
mod limits;
mod messages;
mod model;
mod pair;
mod receipts;
mod reopen;
mod shares;
mod subscriptions;
mod unused;

use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::{
    ChannelId, Content, ContentCoding, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId,
    SubscriptionId, Uaid, UnixTime, Urgency,
};

use super::memory::MemoryStore;
use super::sled::SledStore;
use super::{
    Backlog, Batch, Filter, NewMessage, Origin, Removal, Store, StoreLimits, Subscription,
};
use crate::config::Config;

/// A store, with the folder it is in.
struct Engine {
    store: Arc<dyn Store>,
    folder: Option<tempfile::TempDir>,
}

type Open = fn(StoreLimits) -> Engine;

const ENGINES: [(&str, Open); 2] = [("memory", open_memory), ("sled", open_sled)];

fn open_memory(limits: StoreLimits) -> Engine {
    Engine {
        store: Arc::new(MemoryStore::new(limits)),
        folder: None,
    }
}

fn open_sled(limits: StoreLimits) -> Engine {
    let folder = tempfile::tempdir().unwrap();
    Engine {
        store: Arc::new(sled_in(&folder, limits)),
        folder: Some(folder),
    }
}

fn sled_in(folder: &tempfile::TempDir, limits: StoreLimits) -> SledStore {
    SledStore::open(folder.path(), &Config::default().store, limits).unwrap()
}

/// Runs a test on a fresh store of every engine.
async fn each(limits: StoreLimits, test: impl AsyncFn(&Arc<dyn Store>)) {
    for (name, open) in ENGINES {
        println!("engine: {name}");
        let engine = open(limits);
        test(&engine.store).await;
        drop(engine.store);
        drop(engine.folder);
    }
}

const ROOMY: StoreLimits = StoreLimits {
    subscriptions_per_user_agent: 1000,
    subscriptions: 10_000,
    messages_per_user_agent: 1000,
    bytes_per_user_agent: 10 << 20,
    stored_bytes: 100 << 20,
    receipt_subscriptions: 1000,
    receipts_per_subscription: 1000,
    receipts: 10_000,
    receipt_lifetime: Duration::from_secs(3600),
    waiting_for_disk: 1000,
    broadcasts: 1000,
};

const ALL: Batch = Batch {
    messages: usize::MAX,
    bytes: usize::MAX,
};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// `millis` after [`NOW`].
fn at(millis: u64) -> UnixTime {
    UnixTime::from_millis(NOW.as_millis() + millis)
}

const fn uaid(n: u8) -> Uaid {
    Uaid::from_bytes([n; 16])
}

const fn channel(n: u8) -> ChannelId {
    ChannelId::from_bytes([n; 16])
}

const fn receipt_subscription(n: u8) -> ReceiptSubscriptionId {
    ReceiptSubscriptionId::from_bytes([n; 16])
}

/// The subscription of a channel in its `life`th life.
fn subscription_of(ua: u8, ch: u8, life: u8) -> Subscription {
    let mut id = [ua; 16];
    (id[0], id[1]) = (ch, life);
    Subscription {
        uaid: uaid(ua),
        channel: channel(ch),
        id: SubscriptionId::from_bytes(id),
        vapid_key: None,
    }
}

/// A message for that subscription, which lives for a minute.
fn message_for(subscription: &Subscription, body: &str) -> NewMessage {
    NewMessage {
        channel: subscription.channel,
        subscription: subscription.id,
        accepted_at: NOW,
        expires_at: at(60_000),
        urgency: Urgency::Normal,
        topic: None,
        content: Some(Content {
            coding: Some(ContentCoding::Aes128gcm),
            content_type: None,
            body: body.into(),
        }),
        receipt: None,
        origin: Origin::default(),
    }
}

fn with_topic(mut message: NewMessage, topic: &str) -> NewMessage {
    message.topic = Some(topic.parse().unwrap());
    message
}

fn with_ttl(mut message: NewMessage, millis: u64) -> NewMessage {
    message.expires_at = UnixTime::from_millis(message.accepted_at.as_millis() + millis);
    message
}

/// Where a push came from: 0 is nowhere, an odd number has a key of its own.
fn origin_of(n: u8) -> Origin {
    Origin {
        key: (n % 2 == 1).then(|| PublicKey::from_kept(&[n; 65]).unwrap()),
        network: (n > 0).then(|| [192, 0, 2, n].into()),
    }
}

fn sent_from(mut message: NewMessage, n: u8) -> NewMessage {
    message.origin = origin_of(n);
    message
}

/// With a receipt for that receipt subscription.
fn awaited(mut message: NewMessage, n: u8) -> NewMessage {
    message.receipt = Some(receipt_subscription(n));
    message
}

/// Makes a receipt subscription that lasts for long.
async fn receipts_of(store: &Arc<dyn Store>, n: u8) {
    let (id, ends_at) = (receipt_subscription(n), at(u64::from(u32::MAX)));
    let put = store.put_receipt_subscription(id, ends_at, Origin::default(), NOW);
    put.await.unwrap();
}

async fn subscribed(store: &Arc<dyn Store>, ua: u8, ch: u8) -> Subscription {
    let subscription = subscription_of(ua, ch, 0);
    store
        .put_subscription(subscription.clone(), NOW)
        .await
        .unwrap();
    subscription
}

/// Acknowledges a message, and says whether it was there.
async fn acked(store: &Arc<dyn Store>, ua: u8, id: MessageId) -> bool {
    let removed = store.remove(uaid(ua), id, Removal::Delivered, NOW).await;
    removed.unwrap().messages == 1
}

/// Removes a subscription, and says whether it was there.
async fn unsubscribed(store: &Arc<dyn Store>, ua: u8, ch: u8) -> bool {
    let removed = store.remove_subscription(uaid(ua), channel(ch), NOW).await;
    removed.unwrap().is_some()
}

/// Sweeps, and says how many messages went.
async fn swept(store: &Arc<dyn Store>, now: UnixTime, limit: usize) -> usize {
    store.expire(now, limit).await.unwrap().messages
}

async fn pending(store: &Arc<dyn Store>, ua: u8) -> Vec<PushMessage> {
    store
        .pending(uaid(ua), None, Filter::NONE, ALL, NOW)
        .await
        .unwrap()
}

async fn pending_ids(store: &Arc<dyn Store>, ua: u8) -> Vec<MessageId> {
    pending(store, ua).await.iter().map(|m| m.id).collect()
}

fn bodies(messages: &[PushMessage]) -> Vec<String> {
    let content = messages.iter().filter_map(|m| m.content.as_ref());
    content
        .map(|c| String::from_utf8(c.body.clone()).unwrap())
        .collect()
}
