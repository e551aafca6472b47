//! Subscriptions: stored, replaced, removed, and their messages with them.

use super::*;

#[tokio::test]
async fn a_subscription_exists_until_removed() {
    each(ROOMY, async |store| {
        assert!(!store.connect(uaid(1)).await.unwrap());
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        assert!(store.connect(uaid(1)).await.unwrap());
        assert!(!store.connect(uaid(2)).await.unwrap());
        for it in [&one, &two] {
            let found = store.subscription(uaid(1), it.channel).await;
            assert_eq!(found, Ok(Some(it.clone())));
        }
        assert_eq!(store.subscription(uaid(2), channel(1)).await, Ok(None));
        assert_eq!(store.usage().subscriptions, 2);
        let mut all = store.subscriptions(uaid(1)).await.unwrap();
        all.sort_by_key(|it| it.channel);
        assert_eq!(all, [one, two]);
        assert_eq!(store.subscriptions(uaid(2)).await, Ok(vec![]));

        assert!(unsubscribed(store, 1, 1).await);
        assert!(!unsubscribed(store, 1, 1).await);
        assert_eq!(store.subscription(uaid(1), channel(1)).await, Ok(None));
        assert!(store.connect(uaid(1)).await.unwrap());
        assert!(unsubscribed(store, 1, 2).await);
        assert!(!store.connect(uaid(1)).await.unwrap());
        assert_eq!(store.usage().subscriptions, 0);
    })
    .await;
}

#[tokio::test]
async fn all_are_found_step_by_step() {
    each(ROOMY, async |store| {
        let mut all = Vec::new();
        for ua in 1..=5 {
            for ch in 1..=ua {
                all.push(subscribed(store, ua, ch).await);
            }
        }
        for limit in [1, 2, 7, 100] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let step = store.all_subscriptions(after, limit).await.unwrap();
                assert!(step.len() <= limit);
                let Some(last) = step.last() else { break };
                after = Some((last.uaid, last.channel));
                found.extend(step);
            }
            assert_eq!(found, all, "{limit}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_key_of_a_subscription_is_stored() {
    each(ROOMY, async |store| {
        let restricted = subscription_of(1, 1, 7);
        store.subscribe(restricted.clone(), NOW).await.unwrap();
        let stored = store.subscription(uaid(1), channel(1)).await.unwrap();
        assert_eq!(stored, Some(restricted));
    })
    .await;
}

#[tokio::test]
async fn a_new_life_drops_the_messages_of_the_last() {
    each(ROOMY, async |store| {
        let (old, other) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        for subscription in [&old, &other] {
            let message = with_topic(message_for(subscription, "old"), "t");
            store.append(uaid(1), message, None).await.unwrap();
        }
        let new = subscription_of(1, 1, 1);
        store.subscribe(new.clone(), NOW).await.unwrap();

        let remaining = pending(store, 1).await;
        assert_eq!(
            remaining.iter().map(|m| m.channel).collect::<Vec<_>>(),
            [channel(2)]
        );
        let late = store.append(uaid(1), message_for(&old, "late"), None).await;
        assert_eq!(late, Err(StoreError::NoSubscription));
        let message = with_topic(message_for(&new, "new"), "t");
        store.append(uaid(1), message, None).await.unwrap();
        assert_eq!(bodies(&pending(store, 1).await), ["old", "new"]);
        assert_eq!(store.usage().subscriptions, 2);
        assert_eq!(store.usage().messages, 2);
    })
    .await;
}

#[tokio::test]
async fn removing_a_subscription_removes_only_its_messages() {
    each(ROOMY, async |store| {
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        let of_another = subscribed(store, 2, 1).await;
        for n in 0..10 {
            let body = n.to_string();
            store
                .append(uaid(1), message_for(&one, &body), None)
                .await
                .unwrap();
            store
                .append(uaid(1), message_for(&two, &body), None)
                .await
                .unwrap();
            store
                .append(uaid(2), message_for(&of_another, &body), None)
                .await
                .unwrap();
        }
        unsubscribed(store, 1, 1).await;
        let remaining = pending(store, 1).await;
        assert!(remaining.len() == 10 && remaining.iter().all(|m| m.channel == channel(2)));
        assert_eq!(pending(store, 2).await.len(), 10);
        assert_eq!(store.usage().messages, 20);
        let late = store.append(uaid(1), message_for(&one, "late"), None).await;
        assert_eq!(late, Err(StoreError::NoSubscription));
    })
    .await;
}

#[tokio::test]
async fn a_message_needs_its_subscription() {
    each(ROOMY, async |store| {
        let mine = subscription_of(1, 1, 0);
        let none = store.append(uaid(1), message_for(&mine, "x"), None).await;
        assert_eq!(none, Err(StoreError::NoSubscription));
        let mine = subscribed(store, 1, 1).await;
        let stale = message_for(&subscription_of(1, 1, 9), "x");
        let unstored = with_ttl(stale.clone(), 0);
        for refused in [stale, unstored] {
            let result = store.append(uaid(1), refused, None).await;
            assert_eq!(result, Err(StoreError::NoSubscription));
        }
        let of_another = store.append(uaid(2), message_for(&mine, "x"), None).await;
        assert_eq!(of_another, Err(StoreError::NoSubscription));
        assert_eq!(store.usage().messages, 0);
    })
    .await;
}

#[tokio::test]
async fn the_same_key_keeps_its_life_and_another_begins_one() {
    each(ROOMY, async |store| {
        let first = subscription_of(1, 1, 1);
        assert_eq!(store.subscribe(first.clone(), NOW).await, Ok(first.clone()));
        let kept = store
            .append(uaid(1), message_for(&first, "kept"), None)
            .await;
        let again = Subscription {
            id: subscription_of(1, 1, 2).id,
            ..first.clone()
        };
        assert_eq!(store.subscribe(again, NOW).await, Ok(first));
        assert_eq!(pending_ids(store, 1).await, [kept.unwrap()]);
        for other in [subscription_of(1, 1, 3), subscription_of(1, 1, 0)] {
            let given = store.subscribe(other.clone(), NOW).await;
            assert_eq!(given, Ok(other));
            assert_eq!(pending_ids(store, 1).await, []);
        }
        assert_eq!(store.usage().subscriptions, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_subscribers_get_one_life() {
    each(ROOMY, async |store| {
        for ch in 1..20 {
            let tasks = (0..8).map(|n| {
                let store = Arc::clone(store);
                let new = Subscription {
                    id: SubscriptionId::from_bytes([n; 16]),
                    ..subscription_of(1, ch, 0)
                };
                tokio::spawn(async move { store.subscribe(new, NOW).await.unwrap() })
            });
            let given = futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
            let there = store.subscription(uaid(1), channel(ch)).await.unwrap();
            for given in given {
                assert_eq!(Some(given.unwrap()), there);
            }
        }
        assert_eq!(store.usage().subscriptions, 19);
    })
    .await;
}

#[tokio::test]
async fn ending_one_life_does_not_end_another() {
    each(ROOMY, async |store| {
        let old = subscribed(store, 1, 1).await;
        let new = subscription_of(1, 1, 1);
        store.subscribe(new.clone(), NOW).await.unwrap();
        let end = async |life| {
            let ended = store.unsubscribe(uaid(1), channel(1), life, Readers::Close, NOW);
            ended.await.unwrap()
        };
        assert!(!end(Some(old.id)).await);
        let there = store.subscription(uaid(1), channel(1)).await;
        assert_eq!(there, Ok(Some(new.clone())));
        assert!(end(Some(new.id)).await);
        assert!(!end(None).await);
    })
    .await;
}

#[tokio::test]
async fn many_tasks_change_one_user_agent() {
    each(ROOMY, async |store| {
        let tasks = (0..32).map(|n| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let (ch, life) = (n % 4, n);
                let new = subscription_of(1, ch, life);
                store.subscribe(new.clone(), NOW).await.unwrap();
                // Another life may have begun concurrently.
                let _ = store.append(uaid(1), message_for(&new, "x"), None).await;
            })
        });
        futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
        assert_eq!(store.usage().subscriptions, 4);
        for message in pending(store, 1).await {
            let living = store.subscription(uaid(1), message.channel).await.unwrap();
            assert_eq!(living.map(|s| s.id), Some(message.subscription));
        }
        for ch in 0..4 {
            assert!(unsubscribed(store, 1, ch).await);
        }
        assert!(!store.connect(uaid(1)).await.unwrap());
        let usage = store.usage();
        assert_eq!(
            (usage.subscriptions, usage.messages, usage.live_bytes),
            (0, 0, 0)
        );
    })
    .await;
}
