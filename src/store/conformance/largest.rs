//! The largest holders, for operators, also after a restart.

use super::*;
use crate::store::{Held, HeldReceipts, Holder, ReceiptStatus};

/// Size of a message without content in bytes.
const SIZE: u64 = 128;

async fn send(store: &Arc<dyn Engine>, to: &Subscription, from: u8, millis: u64) {
    let mut message = sent_from(message_for(to, ""), from);
    message.content = None;
    message.accepted_at = at(millis);
    store.append(to.uaid, message, None).await.unwrap();
}

fn held<T: Copy>(list: &[Held<T>]) -> Vec<(T, u64, u64, UnixTime)> {
    let of = |held: &Held<T>| (held.holder, held.messages, held.bytes, held.since);
    list.iter().map(of).collect()
}

#[tokio::test]
async fn the_largest_are_listed_in_order_up_to_the_limit() {
    each(ROOMY, async |store| {
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        let three = subscribed(store, 3, 1).await;
        for (to, from, n) in [(&one, 1, 3), (&two, 1, 1), (&three, 2, 2)] {
            for millis in 1..=n {
                send(store, to, from, millis * 10).await;
            }
        }
        let largest = store.largest(10).await.unwrap();
        let user_agents = [
            (uaid(1), 4, 4 * SIZE, at(10)),
            (uaid(3), 2, 2 * SIZE, at(10)),
        ];
        assert_eq!(held(&largest.user_agents), user_agents);
        let listed = largest.subscriptions.iter();
        let listed: Vec<_> = listed
            .map(|held| (held.holder.subscription, held.messages))
            .collect();
        assert_eq!(listed, [(one.id, 3), (three.id, 2), (two.id, 1)]);
        assert_eq!(largest.subscriptions[0].holder.channel, one.channel);
        let key = origin_of(1).key.unwrap();
        assert_eq!(held(&largest.senders), [(key, 4, 4 * SIZE, at(10))]);
        let network = |n| origin_of(n).network.unwrap();
        let addresses = [
            (network(1), 4, 4 * SIZE, at(10)),
            (network(2), 2, 2 * SIZE, at(10)),
        ];
        assert_eq!(held(&largest.addresses), addresses);
        let first = store.largest(1).await.unwrap();
        assert_eq!(held(&first.user_agents), user_agents[..1]);
        assert_eq!(held(&first.addresses), addresses[..1]);
        unsubscribed(store, 1, 1).await;
        unsubscribed(store, 1, 2).await;
        let remaining = store.largest(10).await.unwrap();
        assert_eq!(
            (remaining.senders.len(), remaining.user_agents.len()),
            (0, 1)
        );
    })
    .await;
}

#[tokio::test]
async fn receipt_subscriptions_are_listed_with_their_creators() {
    each(ROOMY, async |store| {
        for (n, from) in [(1, 1), (2, 1), (3, 2)] {
            let (id, origin) = (receipt_subscription(n), origin_of(from));
            let made = make_receipts(&**store, id, at(1000), origin);
            made.await.unwrap();
        }
        for (n, message) in [(1, 1), (3, 2), (3, 3)] {
            let (id, message) = (receipt_subscription(n), MessageId::new(message));
            let status = ReceiptStatus::Failed;
            assert!(
                store
                    .settle(id, uaid(1), message, status, at(5))
                    .await
                    .unwrap()
            );
        }
        let largest = store.largest(10).await.unwrap();
        let listed = |held: &HeldReceipts<_>| (held.holder, held.receipts, held.since);
        let subscriptions: Vec<_> = largest.receipt_subscriptions.iter().map(listed).collect();
        assert_eq!(
            subscriptions,
            [
                (receipt_subscription(3), 2, at(5)),
                (receipt_subscription(1), 1, at(5)),
            ]
        );
        let holders = |largest: &crate::store::Largest| -> Vec<_> {
            let holders = largest.receipt_holders.iter();
            let networks = holders.filter(|held| matches!(held.holder, Holder::Network(_)));
            networks
                .map(|held| (held.subscriptions, held.receipts))
                .collect()
        };
        let mut listed = holders(&largest);
        listed.sort_unstable();
        assert_eq!(listed, [(1, 2), (2, 1)]);
        store
            .remove_receipt_subscription(receipt_subscription(3), NOW)
            .await
            .unwrap();
        assert_eq!(holders(&store.largest(10).await.unwrap()), [(2, 1)]);
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_messages_count_for_the_key_of_their_subscription() {
    let engine = open_sled(ROOMY);
    let key = origin_of(1).key;
    let restricted = Subscription {
        vapid_key: key,
        ..subscription_of(1, 1, 0)
    };
    engine
        .store
        .subscribe(restricted.clone(), NOW)
        .await
        .unwrap();
    let open = subscribed(&engine.store, 2, 1).await;
    send(&engine.store, &restricted, 1, 0).await;
    send(&engine.store, &open, 3, 0).await;
    let before = engine.store.largest(10).await.unwrap();
    assert_eq!((before.senders.len(), before.addresses.len()), (2, 2));
    let engine = reopen::reopened(engine);
    let after = engine.store.largest(10).await.unwrap();
    assert_eq!(held(&after.senders), [(key.unwrap(), 1, SIZE, NOW)]);
    assert_eq!(after.addresses, []);
    assert_eq!(held(&after.user_agents).len(), 2);
}
