//! Messages: order, reading, topics, removal, expiry.

use super::*;

#[tokio::test]
async fn a_message_is_read_as_it_was_stored() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let aesgcm = ContentCoding::Aesgcm {
            encryption: "salt=AAAA".to_owned(),
            crypto_key: "dh=BBBB".to_owned(),
        };
        let contents = [
            None,
            Some((None, None, vec![])),
            Some((Some(ContentCoding::Aes128gcm), None, (0..=255).collect())),
            Some((Some(aesgcm), Some("text/plain".to_owned()), vec![0; 4096])),
            Some((None, None, vec![9; 70_000])),
        ];
        let mut expected = Vec::new();
        for content in contents {
            let mut message = with_topic(
                message_for(&subscription, ""),
                &format!("t{}", expected.len()),
            );
            message.urgency = Urgency::VeryLow;
            message.content = content.map(|(coding, content_type, body)| Content {
                coding,
                content_type,
                body,
            });
            let id = store.append(uaid(1), message.clone(), None).await.unwrap();
            expected.push(message.with_id(id));
        }
        assert_eq!(pending(store, 1).await, expected);
        for message in &expected {
            let read = store.message(uaid(1), message.id, NOW).await.unwrap();
            assert_eq!(read.as_ref(), Some(message));
        }
        let bytes: usize = expected.iter().map(PushMessage::size).sum();
        let backlog = Backlog {
            messages: expected.len() as u64,
            bytes: bytes as u64,
        };
        assert_eq!(store.backlog(uaid(1)).await.unwrap(), backlog);
        assert_eq!(store.backlog(uaid(2)).await.unwrap(), Backlog::default());
        assert_eq!(store.usage().live_bytes, bytes as u64);
        assert_eq!(store.usage().damaged, 0);
    })
    .await;
}

#[tokio::test]
async fn two_messages_of_one_millisecond_are_two() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let message = message_for(&subscription, "same");
        let first = store.append(uaid(1), message.clone(), None).await.unwrap();
        let second = store.append(uaid(1), message, None).await.unwrap();
        assert!(first < second);
        assert_eq!(pending_ids(store, 1).await, [first, second]);
    })
    .await;
}

#[tokio::test]
async fn two_hundred_messages_are_read_once_and_in_order() {
    each(ROOMY, async |store| {
        let channels = [subscribed(store, 1, 1).await, subscribed(store, 1, 2).await];
        for n in 0..200 {
            let message = message_for(&channels[n % 2], &n.to_string());
            store.append(uaid(1), message, None).await.unwrap();
        }
        let (mut read, mut after) = (Vec::new(), None);
        let batch = Batch {
            messages: 7,
            bytes: usize::MAX,
        };
        loop {
            let some = store
                .pending(uaid(1), after, Filter::NONE, batch, NOW)
                .await
                .unwrap();
            after = some.items.last().map(|last| last.id);
            assert!((1..=7).contains(&some.items.len()));
            read.extend(some.items);
            if !some.more {
                break;
            }
        }
        let expected: Vec<_> = (0..200).map(|n| n.to_string()).collect();
        assert_eq!(bodies(&read), expected);
        assert!(read.is_sorted_by(|a, b| a.id < b.id));
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_bounded_but_never_stuck() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        for body in ["a", "b", "c"] {
            store
                .append(uaid(1), message_for(&subscription, body), None)
                .await
                .unwrap();
        }
        let size = pending(store, 1).await[0].size();
        for (messages, bytes, expected) in [
            (0, 0, 1),
            (3, 1, 1),
            (3, 2 * size - 1, 1),
            (3, 2 * size, 2),
            (2, usize::MAX, 2),
            (3, 3 * size - 1, 2),
            (3, 3 * size, 3),
            (9, usize::MAX, 3),
        ] {
            let batch = Batch { messages, bytes };
            let read = store
                .pending(uaid(1), None, Filter::NONE, batch, NOW)
                .await
                .unwrap();
            assert_eq!(read.items.len(), expected, "{batch:?}");
            assert_eq!(read.more, expected < 3, "{batch:?}");
            let last = read.items.last().map(|it| it.id);
            let rest = store.pending(uaid(1), last, Filter::NONE, ALL, NOW).await;
            assert_eq!(rest.unwrap().items.len(), 3 - expected, "{batch:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn pending_begins_after_the_cursor() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(
                store
                    .append(uaid(1), message_for(&subscription, ""), None)
                    .await
                    .unwrap(),
            );
        }
        acked(store, 1, ids[2]).await;
        for (after, expected) in [
            (ids[0], vec![ids[1], ids[3], ids[4]]),
            (ids[2], vec![ids[3], ids[4]]),
            (ids[4], vec![]),
        ] {
            let read = store
                .pending(uaid(1), Some(after), Filter::NONE, ALL, NOW)
                .await
                .unwrap();
            assert_eq!(
                read.items.iter().map(|m| m.id).collect::<Vec<_>>(),
                expected
            );
            assert!(!read.more);
        }
        assert_eq!(pending_ids(store, 2).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_message_belongs_to_one_log() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let id = store
            .append(uaid(1), message_for(&subscription, "x"), None)
            .await
            .unwrap();
        assert_eq!(store.message(uaid(2), id, NOW).await, Ok(None));
        assert!(!acked(store, 2, id).await);
        assert!(store.message(uaid(1), id, NOW).await.unwrap().is_some());
        assert!(acked(store, 1, id).await);
        assert!(!acked(store, 1, id).await);
        assert_eq!(store.message(uaid(1), id, NOW).await, Ok(None));
        assert_eq!(pending_ids(store, 1).await, []);
    })
    .await;
}

#[tokio::test]
async fn ttl_zero_is_never_stored() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let message = with_topic(message_for(&subscription, "x"), "t");
        let first = store.append(uaid(1), message.clone(), None).await.unwrap();
        let second = store
            .append(uaid(1), with_ttl(message, 0), None)
            .await
            .unwrap();
        assert!(first < second);
        // It replaced the one before it, and was not stored.
        assert_eq!(pending_ids(store, 1).await, []);
        assert_eq!(store.message(uaid(1), second, NOW).await, Ok(None));
        let usage = store.usage();
        assert_eq!((usage.messages, usage.live_bytes), (0, 0));
        let third = store
            .append(uaid(1), message_for(&subscription, "y"), None)
            .await
            .unwrap();
        assert!(second < third);
    })
    .await;
}

#[tokio::test]
async fn a_topic_replaces_within_its_subscription_alone() {
    each(ROOMY, async |store| {
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        let of_another = subscribed(store, 2, 1).await;
        for (ua, subscription) in [(1, &one), (1, &two), (2, &of_another)] {
            for topic in ["a", "b", "A"] {
                let message = with_topic(message_for(subscription, topic), topic);
                store.append(uaid(ua), message, None).await.unwrap();
            }
            store
                .append(uaid(ua), message_for(subscription, "none"), None)
                .await
                .unwrap();
        }
        let replaced = pending_ids(store, 1).await[0];
        let newest = with_topic(message_for(&one, "a2"), "a");
        let newest = store.append(uaid(1), newest, None).await.unwrap();
        let ids = pending_ids(store, 1).await;
        assert!(ids.len() == 8 && !ids.contains(&replaced) && ids.last() == Some(&newest));
        assert!(!acked(store, 1, replaced).await);
        assert_eq!(pending(store, 2).await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn after_an_ack_a_topic_replaces_nothing() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let message = with_topic(message_for(&subscription, "x"), "t");
        let first = store.append(uaid(1), message.clone(), None).await.unwrap();
        acked(store, 1, first).await;
        let second = store.append(uaid(1), message.clone(), None).await.unwrap();
        let third = store.append(uaid(1), message, None).await.unwrap();
        // A late ack of a replaced message removes nothing.
        assert!(!acked(store, 1, second).await);
        assert_eq!(pending_ids(store, 1).await, [third]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_concurrent_messages_of_a_topic_remains() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let tasks = (0..64).map(|_| {
            let store = Arc::clone(store);
            let message = with_topic(message_for(&subscription, "x"), "t");
            tokio::spawn(async move { store.append(uaid(1), message, None).await.unwrap() })
        });
        let ids = futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
        let mut ids: Vec<_> = ids.into_iter().map(Result::unwrap).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 64);
        assert_eq!(pending_ids(store, 1).await, ids[63..]);
        assert_eq!(store.usage().messages, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_smaller_id_appears_before_a_cursor() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let writers = (0..8).map(|_| {
            let (store, subscription) = (Arc::clone(store), subscription.clone());
            tokio::spawn(async move {
                for _ in 0..25 {
                    store
                        .append(uaid(1), message_for(&subscription, "x"), None)
                        .await
                        .unwrap();
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        let (mut read, mut after) = (0, None);
        while read < 200 {
            let some = store
                .pending(uaid(1), after, Filter::NONE, ALL, NOW)
                .await
                .unwrap();
            for message in &some.items {
                assert!(after < Some(message.id));
                after = Some(message.id);
                assert!(acked(store, 1, message.id).await);
            }
            read += some.items.len();
            tokio::task::yield_now().await;
        }
        futures_util::future::join_all(writers).await;
        assert_eq!(store.usage().messages, 0);
    })
    .await;
}

#[tokio::test]
async fn expired_messages_are_not_read() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let short = with_ttl(message_for(&subscription, "short"), 1000);
        let short = store.append(uaid(1), short, None).await.unwrap();
        let long = store
            .append(uaid(1), message_for(&subscription, "long"), None)
            .await
            .unwrap();
        let seen = async |now| {
            let read = store
                .pending(uaid(1), None, Filter::NONE, ALL, now)
                .await
                .unwrap();
            assert_eq!(
                store.message(uaid(1), short, now).await.unwrap().is_some(),
                read.items.iter().any(|m| m.id == short)
            );
            bodies(&read.items)
        };
        assert_eq!(seen(at(999)).await, ["short", "long"]);
        assert_eq!(seen(at(1000)).await, ["long"]);
        let one = Batch {
            messages: 1,
            bytes: 0,
        };
        let read = store
            .pending(uaid(1), None, Filter::NONE, one, at(1000))
            .await
            .unwrap();
        assert_eq!(read.items.iter().map(|m| m.id).collect::<Vec<_>>(), [long]);
        assert!(!read.more);
        // Not delivered, but stored until the sweep.
        assert_eq!(store.usage().messages, 2);
    })
    .await;
}

#[tokio::test]
async fn expiry_takes_the_oldest_first_and_no_more_than_asked() {
    each(ROOMY, async |store| {
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 2, 1).await);
        for (ua, subscription, ttl) in [
            (1, &one, 300),
            (2, &two, 100),
            (1, &one, 200),
            (2, &two, 400),
        ] {
            let message = with_ttl(message_for(subscription, &ttl.to_string()), ttl);
            store.append(uaid(ua), message, None).await.unwrap();
        }
        let remaining = async || {
            let mut remaining = bodies(&pending(store, 1).await);
            remaining.extend(bodies(&pending(store, 2).await));
            remaining
        };
        assert_eq!(swept(store, at(99), 10).await, 0);
        assert_eq!(swept(store, at(300), 0).await, 0);
        assert_eq!(swept(store, at(300), 1).await, 1);
        assert_eq!(remaining().await, ["300", "200", "400"]);
        assert_eq!(swept(store, at(300), 1).await, 1);
        assert_eq!(remaining().await, ["300", "400"]);
        assert_eq!(swept(store, at(300), 10).await, 1);
        assert_eq!(swept(store, at(300), 10).await, 0);
        assert_eq!(remaining().await, ["400"]);
        assert_eq!(store.usage().messages, 1);
    })
    .await;
}

#[tokio::test]
async fn many_expire_at_once() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        for n in 0..300 {
            let message = with_topic(message_for(&subscription, "x"), &format!("t{n}"));
            store
                .append(uaid(1), with_ttl(message, n), None)
                .await
                .unwrap();
        }
        // The message with TTL 0 was never stored.
        assert_eq!(swept(store, at(250), 200).await, 200);
        assert_eq!(swept(store, at(250), 200).await, 50);
        assert_eq!(pending(store, 1).await.len(), 49);
        store.flush().await.unwrap();
    })
    .await;
}
