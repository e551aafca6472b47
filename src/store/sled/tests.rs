//! Tests of this engine only: damaged records, permits, cancelled callers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::time::Duration;

use bugle_protocol::{
    ChannelId, Content, ReceiptSubscriptionId, SubscriptionId, Uaid, UnixTime, Urgency,
};
use futures_util::FutureExt;

use super::keys::{MESSAGE, SUBSCRIPTION, USER_AGENT};
use super::*;
use crate::config::Config;
use crate::store::event::IgnoreEvents;
use crate::store::{
    Batch, Filter, Grant, Inspect, Limit, NewMessage, Origin, Readers, ReceiptTarget, Removal,
    Store, Subscription,
};

mod disk;

const UAID: Uaid = Uaid::from_bytes([1; 16]);
const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
const ALL: Batch = Batch {
    messages: 100,
    bytes: 1 << 20,
};
const NOW: UnixTime = UnixTime::from_secs(5);

async fn store(folder: &tempfile::TempDir) -> SledStore {
    let limits = StoreLimits {
        subscriptions_per_user_agent: 10,
        subscriptions: 10,
        messages_per_user_agent: 10,
        bytes_per_user_agent: 1 << 20,
        stored_bytes: 1 << 20,
        receipt_subscriptions: 10,
        receipts_per_subscription: 10,
        receipts: 10,
        receipt_lifetime: Duration::from_secs(1),
        waiting_for_disk: 2,
        broadcasts: 10,
    };
    let store = SledStore::open(
        folder.path(),
        &Config::default().store,
        limits,
        Arc::new(IgnoreEvents),
    );
    let store = store.unwrap();
    let subscription = Subscription {
        uaid: UAID,
        channel: CHANNEL,
        id: SubscriptionId::from_bytes([3; 16]),
        vapid_key: None,
        registration: None,
    };
    store.subscribe(subscription, NOW).await.unwrap();
    store
}

fn message(ttl: u64) -> NewMessage {
    NewMessage {
        channel: CHANNEL,
        subscription: SubscriptionId::from_bytes([3; 16]),
        accepted_at: NOW,
        expires_at: UnixTime::from_millis(NOW.as_millis() + ttl),
        urgency: Urgency::Normal,
        topic: None,
        content: Some(Content {
            coding: None,
            content_type: None,
            body: vec![8; 100],
        }),
        receipt: None,
        origin: Origin::default(),
    }
}

/// Overwrites the first record of a kind, as a broken disk might.
fn damage_first(store: &SledStore, kind: u8) {
    let (key, _) = store
        .database()
        .unwrap()
        .tree
        .scan_prefix([kind])
        .next()
        .unwrap()
        .unwrap();
    store
        .database()
        .unwrap()
        .tree
        .insert(key, b"not what it was")
        .unwrap();
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_set_aside_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let first = store.append(UAID, message(1), None).await.unwrap();
    let second = store.append(UAID, message(1), None).await.unwrap();
    damage_first(&store, MESSAGE);
    let one = Batch {
        messages: 1,
        bytes: 0,
    };
    let read = store
        .pending(UAID, None, Filter::NONE, one, NOW)
        .await
        .unwrap();
    assert_eq!(
        read.items.iter().map(|m| m.id).collect::<Vec<_>>(),
        [second]
    );
    assert_eq!(store.message(UAID, first, NOW).await, Ok(None));
    let usage = store.usage();
    assert_eq!((usage.messages, usage.damaged), (1, 1));
    assert_eq!(store.database().unwrap().damaged.len(), 1);
}

#[tokio::test]
async fn a_subscription_that_cannot_be_read_is_not_reported_as_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    damage_first(&store, SUBSCRIPTION);
    let unavailable = |error| matches!(error, Some(StoreError::Unavailable(_)));
    assert!(unavailable(store.subscription(UAID, CHANNEL).await.err()));
    assert!(unavailable(
        store.append(UAID, message(1), None).await.err()
    ));
}

#[tokio::test]
async fn a_user_agent_whose_count_cannot_be_read_is_not_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    damage_first(&store, USER_AGENT);
    let unavailable = |error| matches!(error, Some(StoreError::Unavailable(_)));
    assert!(unavailable(store.connect(UAID).await.err()));
    let there = store.subscription(UAID, CHANNEL).await.unwrap().unwrap();
    let other = Subscription {
        channel: ChannelId::from_bytes([9; 16]),
        ..there.clone()
    };
    assert!(unavailable(store.subscribe(other, NOW).await.err()));
    let end = store.unsubscribe(UAID, CHANNEL, None, Readers::Stay, NOW);
    assert!(unavailable(end.await.err()));
    assert_eq!(store.subscriptions(UAID).await, Ok(vec![there]));
}

#[tokio::test]
async fn too_many_waiting_callers_apply_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let database = store.database().unwrap();
    let permits = (
        database.committer.try_wait_permit(),
        database.committer.try_wait_permit(),
    );
    let full = StoreError::Full(Limit::WaitingForDisk.into());
    assert_eq!(
        store.append(UAID, message(1), None).await,
        Err(full.clone())
    );
    let removed = store.unsubscribe(UAID, CHANNEL, None, Readers::Stay, NOW);
    assert_eq!(removed.await, Err(full));
    assert_eq!(store.usage().messages, 0);
    assert!(store.connect(UAID).await.unwrap());
    // Messages that do not wait for the disk are still accepted.
    store.append(UAID, message(0), None).await.unwrap();
    drop(permits);
    store.append(UAID, message(1), None).await.unwrap();
    store.flush().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_change_still_completes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    // Fewer than the share of a subscription, so that one more is admitted.
    for _ in 0..4 {
        // Polled once, then dropped, as when the client disconnects.
        let _ = store.append(UAID, message(1), None).now_or_never();
    }
    store.flush().await.unwrap();
    let read = store
        .pending(UAID, None, Filter::NONE, ALL, NOW)
        .await
        .unwrap();
    assert_eq!(read.items.len() as u64, store.usage().messages);
    store.append(UAID, message(1), None).await.unwrap();
}

#[tokio::test]
async fn a_new_receipt_subscription_is_durable_with_its_message_in_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let committer = &store.database().unwrap().committer;
    for (n, ttl) in [(1, 1), (2, 0)] {
        let id = ReceiptSubscriptionId::from_bytes([n; 16]);
        let asked = |grant| NewMessage {
            receipt: Some(ReceiptTarget { id, grant }),
            ..message(ttl)
        };
        let batch = committer.batch();
        let making = asked(Grant::Make(NOW + Duration::from_secs(9)));
        store.append(UAID, making, None).await.unwrap();
        assert!(committer.is_durable(batch), "ttl {ttl}");
        assert_eq!(committer.batch(), batch + 1, "ttl {ttl}");
    }
    // A message that changes no record waits for nothing.
    let batch = committer.batch();
    let id = ReceiptSubscriptionId::from_bytes([1; 16]);
    let receipt = Some(ReceiptTarget::existing(id));
    let unstored = NewMessage {
        receipt,
        ..message(0)
    };
    store.append(UAID, unstored, None).await.unwrap();
    assert_eq!(committer.batch(), batch);
}
