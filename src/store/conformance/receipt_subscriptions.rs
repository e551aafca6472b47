//! Receipt subscriptions: how long they exist, and what they may hold (RFC 8030 §5.1, §7.3).

use super::receipts::{append, outcomes, receipts};
use super::*;
use crate::store::ReceiptStatus::{Delivered, Failed};
use crate::store::{Full, Limit, Scope};

#[tokio::test]
async fn a_receipt_subscription_exists_until_it_ends_or_is_removed() {
    each(ROOMY, async |store| {
        let id = receipt_subscription(1);
        let knows = async |now| store.receipts(id, None, 0, now).await.unwrap().is_some();
        assert!(!knows(NOW).await);
        let make = async |ends_at| {
            let made = make_receipts(&**store, id, ends_at, Origin::default());
            made.await.unwrap();
        };
        make(at(100)).await;
        assert!(knows(at(99)).await && !knows(at(100)).await);
        // A message can extend it, but never shorten it.
        for ends_at in [at(200), at(50)] {
            make(ends_at).await;
            assert!(knows(at(199)).await && !knows(at(200)).await);
        }
        assert_eq!(store.usage().receipt_subscriptions, 1);

        let ended = store.remove_receipt_subscription(id, at(200)).await;
        assert_eq!(ended, Ok(false), "it is there until it is swept");
        assert_eq!(store.usage().receipt_subscriptions, 1);
        assert_eq!(store.remove_receipt_subscription(id, NOW).await, Ok(true));
        assert_eq!(store.remove_receipt_subscription(id, NOW).await, Ok(false));
        assert!(!knows(NOW).await);
        assert_eq!(store.usage().receipt_subscriptions, 0);
    })
    .await;
}

#[tokio::test]
async fn a_message_needs_its_receipt_subscription() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let message = awaited(message_for(&subscription, "x"), 1);
        let refused = Err(StoreError::NoReceiptSubscription);
        assert_eq!(store.append(uaid(1), message.clone(), None).await, refused);
        let unstored = with_ttl(message.clone(), 0);
        assert_eq!(store.append(uaid(1), unstored, None).await, refused);
        let ended = receipt_subscription(1);
        let made = make_receipts(&**store, ended, NOW, Origin::default());
        made.await.unwrap();
        assert_eq!(store.append(uaid(1), message.clone(), None).await, refused);
        assert_eq!(store.usage().messages, 0);

        receipts_of(store, 1).await;
        let id = append(store, message.clone()).await;
        assert_eq!(pending(store, 1).await, [message.with_id(id)]);
        assert_eq!(outcomes(store, 1).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_removed_receipt_subscription_gets_no_receipt() {
    each_with_events(ROOMY, async |store, events| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        let id = append(store, awaited(message_for(&subscription, "x"), 1)).await;
        let log = receipt_subscription(1);
        store.remove_receipt_subscription(log, NOW).await.unwrap();
        events.take();
        assert!(acked(store, 1, id).await);
        assert_eq!(events.take(), []);
        receipts_of(store, 1).await;
        assert_eq!(outcomes(store, 1).await, []);
    })
    .await;
}

#[tokio::test]
async fn receipts_and_their_subscriptions_expire() {
    let limits = StoreLimits {
        receipt_lifetime: Duration::from_millis(50),
        ..ROOMY
    };
    each_with_events(limits, async |store, events| {
        let subscription = subscribed(store, 1, 1).await;
        let log = receipt_subscription(1);
        let made = make_receipts(&**store, log, at(100), Origin::default());
        made.await.unwrap();
        for now in [0, 20, 60] {
            let id = append(store, awaited(message_for(&subscription, "x"), 1)).await;
            assert!(removed(store, 1, id, Removal::Delivered, at(now)).await);
        }
        let seen = async |now| {
            let read = store.receipts(log, None, 9, at(now)).await.unwrap();
            read.map(|page| page.items.len())
        };
        let seen = [
            seen(49).await,
            seen(50).await,
            seen(70).await,
            seen(100).await,
        ];
        assert_eq!(seen, [Some(3), Some(2), Some(1), None]);
        let sweep = async |now, limit| store.expire(at(now), limit).await.unwrap();
        assert!(sweep(70, 1).await.more);
        assert_eq!(store.usage().receipts, 2);
        assert!(!sweep(70, 2).await.more);
        assert_eq!(store.usage().receipts, 1);
        // A connection that monitors it is notified of its end (RFC 8030 §7.3).
        events.take();
        sweep(99, 9).await;
        assert_eq!(events.take_receipts(), []);
        sweep(100, 9).await;
        assert_eq!(events.take_receipts(), [log]);
        let usage = store.usage();
        assert_eq!((usage.receipts, usage.receipt_subscriptions), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_full_receipt_log_drops_its_oldest_receipt() {
    let limits = StoreLimits {
        receipts_per_subscription: 3,
        ..ROOMY
    };
    each(limits, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        let mut expected = Vec::new();
        for n in 0..9 {
            let id = append(store, awaited(message_for(&subscription, "x"), 1)).await;
            expected.push((id, if n < 4 { Delivered } else { Failed }));
            if n < 4 {
                acked(store, 1, id).await;
            }
        }
        assert_eq!(outcomes(store, 1).await, expected[1..4]);
        // Five at once exceed the bound of the log.
        assert!(unsubscribed(store, 1, 1).await);
        assert_eq!(outcomes(store, 1).await, expected[6..]);
        assert_eq!(store.usage().receipts, 3);
    })
    .await;
}

#[tokio::test]
async fn receipts_and_their_subscriptions_are_bounded() {
    let limits = StoreLimits {
        receipts: 2,
        receipt_subscriptions: 1,
        ..ROOMY
    };
    each(limits, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        let other = receipt_subscription(2);
        let refused = make_receipts(&**store, other, at(1), Origin::default()).await;
        let until = Some(at(u64::from(u32::MAX)));
        let full = |limit, until| {
            StoreError::Full(Full {
                limit,
                scope: Scope::All,
                until,
            })
        };
        assert_eq!(refused, Err(full(Limit::ReceiptSubscriptions, until)));
        receipts_of(store, 1).await;

        let message = with_topic(awaited(message_for(&subscription, "x"), 1), "t");
        let first = append(store, message.clone()).await;
        acked(store, 1, first).await;
        append(store, message.clone()).await;
        // One receipt is stored and one awaited; a replacement does not add a third.
        let second = append(store, message.clone()).await;
        let third = awaited(message_for(&subscription, "x"), 1);
        let refused = store.append(uaid(1), third.clone(), None).await;
        let until = Some(NOW + ROOMY.receipt_lifetime);
        assert_eq!(refused, Err(full(Limit::Receipts, until)));
        append(store, message_for(&subscription, "no receipt")).await;
        acked(store, 1, second).await;
        let stored = receipts(store, 1).await;
        let taken = store.remove_receipt(receipt_subscription(1), stored[0].id);
        assert_eq!(taken.await, Ok(true));
        append(store, third).await;
    })
    .await;
}
