//! Bounds: none is ever exceeded, and a refused change changes nothing.

use super::*;
use crate::store::{Full, Limit, Scope};

/// Size of a message without content in bytes.
const SIZE: u64 = 128;

fn empty(subscription: &Subscription) -> NewMessage {
    NewMessage {
        content: None,
        ..message_for(subscription, "")
    }
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let limits = StoreLimits {
        subscriptions_per_user_agent: 2,
        subscriptions: 3,
        ..ROOMY
    };
    each(limits, async |store| {
        let put = async |ua, ch, life| {
            let subscription = subscription_of(ua, ch, life);
            store.subscribe(subscription, NOW).await
        };
        let full = |limit: Limit| Err(StoreError::Full(limit.into()));
        assert!(put(1, 1, 0).await.is_ok());
        assert!(put(1, 2, 0).await.is_ok());
        assert_eq!(put(1, 3, 0).await, full(Limit::SubscriptionsPerUserAgent));
        assert!(put(2, 1, 0).await.is_ok());
        assert_eq!(put(3, 1, 0).await, full(Limit::Subscriptions));
        assert!(!store.connect(uaid(3)).await.unwrap());
        // A new life does not count as a further subscription.
        assert!(put(1, 2, 1).await.is_ok());
        unsubscribed(store, 1, 1).await;
        assert!(put(1, 3, 0).await.is_ok());
        assert_eq!(store.usage().subscriptions, 3);
    })
    .await;
}

/// The error of a full share, until the messages of these tests expire.
const fn full(limit: Limit, scope: Scope) -> StoreError {
    StoreError::Full(Full {
        limit,
        scope,
        until: Some(UnixTime::from_millis(NOW.as_millis() + 60_000)),
    })
}

/// Fills half of a bound of six with three messages, and expects the fourth to be refused.
async fn the_fourth_is_refused(limits: StoreLimits, limit: Limit, scope: Scope) {
    each(limits, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let mut ids = Vec::new();
        for topic in ["a", "b", "c"] {
            let message = with_topic(empty(&subscription), topic);
            ids.push(store.append(uaid(1), message, None).await.unwrap());
        }
        let refused = store
            .append(uaid(1), with_topic(empty(&subscription), "d"), None)
            .await;
        assert_eq!(refused, Err(full(limit, scope)));
        assert_eq!(pending_ids(store, 1).await, ids);

        // Messages that are not stored, or that replace another, do not count as further messages.
        let unstored = with_ttl(empty(&subscription), 0);
        store.append(uaid(1), unstored, None).await.unwrap();
        let replacing = with_topic(empty(&subscription), "b");
        let newest = store.append(uaid(1), replacing, None).await.unwrap();
        assert_eq!(pending_ids(store, 1).await, [ids[0], ids[2], newest]);

        acked(store, 1, ids[0]).await;
        store
            .append(uaid(1), empty(&subscription), None)
            .await
            .unwrap();
        assert_eq!(store.usage().live_bytes, 3 * SIZE);
    })
    .await;
}

#[tokio::test]
async fn messages_of_a_user_agent_are_bounded() {
    let limits = StoreLimits {
        messages_per_user_agent: 6,
        ..ROOMY
    };
    the_fourth_is_refused(limits, Limit::MessagesPerUserAgent, Scope::Subscription).await;
}

#[tokio::test]
async fn bytes_of_a_user_agent_are_bounded() {
    let limits = StoreLimits {
        bytes_per_user_agent: 6 * SIZE,
        ..ROOMY
    };
    the_fourth_is_refused(limits, Limit::BytesPerUserAgent, Scope::Subscription).await;
}

#[tokio::test]
async fn bytes_of_the_store_are_bounded() {
    let limits = StoreLimits {
        stored_bytes: 6 * SIZE,
        ..ROOMY
    };
    the_fourth_is_refused(limits, Limit::StoredBytes, Scope::UserAgent).await;
}

#[tokio::test]
async fn a_full_user_agent_affects_no_other() {
    let limits = StoreLimits {
        messages_per_user_agent: 1,
        ..ROOMY
    };
    each(limits, async |store| {
        for ua in 1..=3 {
            let subscription = subscribed(store, ua, 1).await;
            store
                .append(uaid(ua), empty(&subscription), None)
                .await
                .unwrap();
            let refused = store.append(uaid(ua), empty(&subscription), None).await;
            assert_eq!(
                refused,
                Err(full(Limit::MessagesPerUserAgent, Scope::UserAgent))
            );
        }
        // Removing the subscription freed its room.
        let new = subscription_of(2, 1, 1);
        store.subscribe(new.clone(), NOW).await.unwrap();
        store.append(uaid(2), empty(&new), None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_message_over_the_bound_is_refused_also_when_it_replaces() {
    let limits = StoreLimits {
        bytes_per_user_agent: 2 * SIZE,
        ..ROOMY
    };
    each(limits, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let small = with_topic(empty(&subscription), "t");
        let small = store.append(uaid(1), small, None).await.unwrap();
        let large = with_topic(message_for(&subscription, &"x".repeat(129)), "t");
        let refused = store.append(uaid(1), large, None).await;
        assert_eq!(
            refused,
            Err(full(Limit::BytesPerUserAgent, Scope::UserAgent))
        );
        assert_eq!(pending_ids(store, 1).await, [small]);
    })
    .await;
}
