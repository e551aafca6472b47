//! Tests of the contracts of an [`Engine`], run on every engine.
//!
//! One line in [`ENGINES`] adds an engine to the suite; an engine that keeps its data also needs
//! one in [`reopen`].

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broadcasts;
mod events;
mod filter;
mod grants;
mod largest;
mod limits;
mod messages;
mod model;
mod pair;
mod receipt_subscriptions;
mod receipts;
mod removal;
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

use super::event::EventRecorder;
use super::memory::MemoryStore;
use super::sled::SledStore;
use super::{
    Backlog, Batch, Engine, Event, Filter, Grant, Inspect, NewMessage, Origin, Readers,
    ReceiptStore, ReceiptTarget, Removal, Store, StoreError, StoreLimits, Subscription,
};
use crate::config::Config;

/// A store, with its folder.
struct Opened {
    store: Arc<dyn Engine>,
    events: Arc<EventRecorder>,
    folder: Option<tempfile::TempDir>,
}

type Open = fn(StoreLimits) -> Opened;

const ENGINES: [(&str, Open); 2] = [("memory", open_memory), ("sled", open_sled)];

fn open_memory(limits: StoreLimits) -> Opened {
    let events = Arc::<EventRecorder>::default();
    Opened {
        store: Arc::new(MemoryStore::new(limits, Arc::clone(&events) as _)),
        events,
        folder: None,
    }
}

fn open_sled(limits: StoreLimits) -> Opened {
    sled_in(tempfile::tempdir().unwrap(), limits)
}

fn sled_in(folder: tempfile::TempDir, limits: StoreLimits) -> Opened {
    let events = Arc::<EventRecorder>::default();
    let config = Config::default().store;
    let store = SledStore::open(folder.path(), &config, limits, Arc::clone(&events) as _);
    Opened {
        store: Arc::new(store.unwrap()),
        events,
        folder: Some(folder),
    }
}

/// Runs a test on a fresh store of every engine.
async fn each(limits: StoreLimits, test: impl AsyncFn(&Arc<dyn Engine>)) {
    each_with_events(limits, async |store, _| test(store).await).await;
}

/// Like [`each`], with the events that the store sends.
async fn each_with_events(
    limits: StoreLimits,
    test: impl AsyncFn(&Arc<dyn Engine>, &EventRecorder),
) {
    for (name, open) in ENGINES {
        println!("engine: {name}");
        let engine = open(limits);
        test(&engine.store, &engine.events).await;
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

/// `millis` milliseconds after [`NOW`].
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

/// The subscription of a channel in its `life`th life. Each life has a different key; from the third
/// on it has a registration.
fn subscription_of(ua: u8, ch: u8, life: u8) -> Subscription {
    let mut id = [ua; 16];
    (id[0], id[1]) = (ch, life);
    Subscription {
        uaid: uaid(ua),
        channel: channel(ch),
        id: SubscriptionId::from_bytes(id),
        vapid_key: (life > 0).then(|| key(life)),
        registration: (life > 2).then(|| format!("registration {life}")),
    }
}

fn key(n: u8) -> PublicKey {
    let key = p256::SecretKey::from_slice(&[n; 32]).unwrap();
    (&key.public_key()).into()
}

/// A message for that subscription with a TTL of one minute.
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

/// An origin: 0 is unknown, and an odd number has its own key.
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

/// Adds an existing receipt subscription.
fn awaited(mut message: NewMessage, n: u8) -> NewMessage {
    message.receipt = Some(ReceiptTarget::existing(receipt_subscription(n)));
    message
}

/// Adds a receipt subscription that the message creates.
fn making(mut message: NewMessage, n: u8, ends_at: UnixTime) -> NewMessage {
    message.receipt = Some(ReceiptTarget {
        id: receipt_subscription(n),
        grant: Grant::Make(ends_at),
    });
    message
}

/// Creates or extends a receipt subscription by a message with TTL 0 from `origin`, to a
/// subscription that is removed afterwards.
async fn make_receipts(
    store: &dyn Engine,
    id: ReceiptSubscriptionId,
    ends_at: UnixTime,
    origin: Origin,
) -> Result<(), StoreError> {
    let to = subscription_of(250, 250, 0);
    store.subscribe(to.clone(), NOW).await.unwrap();
    let mut message = with_ttl(message_for(&to, ""), 0);
    let grant = Grant::Make(ends_at);
    message.receipt = Some(ReceiptTarget { id, grant });
    message.origin = origin;
    let made = store.append(to.uaid, message, None).await;
    let ended = store.unsubscribe(to.uaid, to.channel, None, Readers::Stay, NOW);
    assert_eq!(ended.await, Ok(true));
    made.map(drop)
}

/// Creates a receipt subscription with a distant end.
async fn receipts_of(store: &Arc<dyn Engine>, n: u8) {
    let (id, ends_at) = (receipt_subscription(n), at(u64::from(u32::MAX)));
    let made = make_receipts(&**store, id, ends_at, Origin::default());
    made.await.unwrap();
}

async fn subscribed(store: &Arc<dyn Engine>, ua: u8, ch: u8) -> Subscription {
    let subscription = subscription_of(ua, ch, 0);
    store.subscribe(subscription.clone(), NOW).await.unwrap();
    subscription
}

/// Removes a message, and returns whether it existed.
async fn removed(
    store: &Arc<dyn Engine>,
    ua: u8,
    id: MessageId,
    why: Removal,
    now: UnixTime,
) -> bool {
    store.remove(uaid(ua), &[(id, why)], now).await.unwrap() == 1
}

/// Acknowledges a message, and returns whether it existed.
async fn acked(store: &Arc<dyn Engine>, ua: u8, id: MessageId) -> bool {
    removed(store, ua, id, Removal::Delivered, NOW).await
}

/// Removes a subscription, and returns whether it existed.
async fn unsubscribed(store: &Arc<dyn Engine>, ua: u8, ch: u8) -> bool {
    let removed = store.unsubscribe(uaid(ua), channel(ch), None, Readers::Close, NOW);
    removed.await.unwrap()
}

/// Sweeps, and returns the number of removed messages.
async fn swept(store: &Arc<dyn Engine>, now: UnixTime, limit: usize) -> usize {
    store.expire(now, limit).await.unwrap().messages
}

async fn pending(store: &Arc<dyn Engine>, ua: u8) -> Vec<PushMessage> {
    store
        .pending(uaid(ua), None, Filter::NONE, ALL, NOW)
        .await
        .unwrap()
        .items
}

/// Gives out all pending messages.
async fn given_out(store: &Arc<dyn Engine>, ua: u8) -> Vec<MessageId> {
    let ids = pending_ids(store, ua).await;
    ids.iter().for_each(|id| store.give_out(*id));
    ids
}

async fn pending_ids(store: &Arc<dyn Engine>, ua: u8) -> Vec<MessageId> {
    pending(store, ua).await.iter().map(|m| m.id).collect()
}

fn bodies(messages: &[PushMessage]) -> Vec<String> {
    let content = messages.iter().filter_map(|m| m.content.as_ref());
    content
        .map(|c| String::from_utf8(c.body.clone()).unwrap())
        .collect()
}
