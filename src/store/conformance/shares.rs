//! Shares of the bounds: a holder that takes all it can get leaves room for others.

use futures_util::future::join_all;

use super::*;
use crate::store::{Full, Limit, Scope};

/// Size of a message without content in bytes.
const SIZE: u64 = 128;

fn empty(to: &Subscription, from: Origin) -> NewMessage {
    NewMessage {
        content: None,
        origin: from,
        ..message_for(to, "")
    }
}

/// An origin with the numbered key and network.
fn origin(key: Option<u8>, network: Option<u8>) -> Origin {
    Origin {
        key: key.map(|n| PublicKey::from_kept(&[n; 65]).unwrap()),
        network: network.map(|n| [198, 51, 100, n].into()),
    }
}

/// Sends until a message is refused. Returns how many were accepted, and whose share was full.
async fn fill(
    store: &Arc<dyn Engine>,
    messages: impl Iterator<Item = (Subscription, Origin)>,
) -> (usize, Option<(Limit, Scope)>) {
    let mut taken = 0;
    for (to, from) in messages {
        match store.append(to.uaid, empty(&to, from), None).await {
            Ok(_) => taken += 1,
            Err(StoreError::Full(Full {
                limit,
                scope,
                until,
            })) => {
                assert_eq!(until, Some(at(60_000)), "when room comes");
                return (taken, Some((limit, scope)));
            }
            Err(error) => panic!("{error}"),
        }
    }
    (taken, None)
}

async fn subscriptions(store: &Arc<dyn Engine>, uas: std::ops::Range<u8>) -> Vec<Subscription> {
    let mut made = Vec::new();
    for ua in uas {
        made.push(subscribed(store, ua, 1).await);
    }
    made
}

#[tokio::test]
async fn one_subscription_leaves_a_share_for_others_of_its_user_agent() {
    let messages = StoreLimits {
        messages_per_user_agent: 200,
        ..ROOMY
    };
    let bytes = StoreLimits {
        bytes_per_user_agent: 200 * SIZE,
        ..ROOMY
    };
    for (limits, limit) in [
        (messages, Limit::MessagesPerUserAgent),
        (bytes, Limit::BytesPerUserAgent),
    ] {
        each(limits, async |store| {
            let (hog, other) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
            let full = Some((limit, Scope::Subscription));
            let to = |to: &Subscription| std::iter::repeat((to.clone(), Origin::default()));
            assert_eq!(fill(store, to(&hog)).await, (100, full));
            assert_eq!(fill(store, to(&other)).await, (50, full));
            let third = subscribed(store, 1, 3).await;
            assert_eq!(fill(store, to(&third).take(20)).await, (20, None));
            // A replacement takes no more room, but is no way around the rule.
            let topic = with_topic(empty(&hog, Origin::default()), "t");
            let refused = store.append(uaid(1), topic.clone(), None).await;
            assert!(refused.is_err(), "{refused:?}");
            let oldest = pending_ids(store, 1).await[..40].to_vec();
            for id in oldest {
                acked(store, 1, id).await;
            }
            store.append(uaid(1), topic.clone(), None).await.unwrap();
            fill(store, to(&hog)).await;
            store.append(uaid(1), topic, None).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn by_default_one_subscription_may_hold_five_thousand_messages() {
    let limits = StoreLimits::from(&Config::default());
    each(limits, async |store| {
        let (app, other) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        let send = |to: &Subscription| store.append(uaid(1), empty(to, Origin::default()), None);
        for _ in 0..5 {
            let sent = join_all((0..1000).map(|_| send(&app))).await;
            assert!(sent.iter().all(Result::is_ok));
        }
        assert!(send(&app).await.is_err());
        send(&other).await.unwrap();
    })
    .await;
}

/// Fills `stored_bytes` in one way, and expects room for an honest sender.
async fn an_honest_sender_finds_room(
    scope: Scope,
    hog: impl Fn(usize, &[Subscription]) -> (Subscription, Origin),
) {
    let limits = StoreLimits {
        stored_bytes: 200 * SIZE,
        ..ROOMY
    };
    each(limits, async |store| {
        let all = subscriptions(store, 1..12).await;
        let (honest, others) = all.split_last().unwrap();
        let hogs = (0..).map(|n| hog(n, others));
        let full = Some((Limit::StoredBytes, scope));
        assert_eq!(fill(store, hogs).await, (100, full));
        let own = std::iter::repeat((honest.clone(), origin(Some(99), Some(99))));
        assert_eq!(fill(store, own.take(40)).await, (40, None));
    })
    .await;
}

#[tokio::test]
async fn one_key_with_many_user_agents_and_addresses_leaves_a_share_for_others() {
    an_honest_sender_finds_room(Scope::Sender, |n, to| {
        let network = u8::try_from(n % 100).unwrap();
        (to[n % to.len()].clone(), origin(Some(1), Some(network)))
    })
    .await;
}

#[tokio::test]
async fn one_address_with_many_keys_leaves_a_share_for_others() {
    an_honest_sender_finds_room(Scope::Address, |n, to| {
        let key = u8::try_from(n % 50).unwrap();
        (to[n % to.len()].clone(), origin(Some(key), Some(1)))
    })
    .await;
    an_honest_sender_finds_room(Scope::Address, |n, to| {
        (to[n % to.len()].clone(), origin(None, Some(1)))
    })
    .await;
}

#[tokio::test]
async fn one_user_agent_leaves_a_share_for_others() {
    an_honest_sender_finds_room(Scope::UserAgent, |n, to| {
        let n = u8::try_from(n % 90).unwrap();
        (to[0].clone(), origin(Some(n), Some(n)))
    })
    .await;
}

#[tokio::test]
async fn acknowledged_messages_free_their_share() {
    let limits = StoreLimits {
        stored_bytes: 200 * SIZE,
        ..ROOMY
    };
    each(limits, async |store| {
        let to = subscribed(store, 1, 1).await;
        let all = || std::iter::repeat((to.clone(), origin(Some(1), Some(1))));
        assert_eq!(fill(store, all()).await.0, 100);
        for id in &pending_ids(store, 1).await[..30] {
            acked(store, 1, *id).await;
        }
        assert_eq!(fill(store, all()).await.0, 30);
        unsubscribed(store, 1, 1).await;
        assert_eq!(
            store.largest(9).await.unwrap(),
            crate::store::Largest::default()
        );
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_a_subscription_is_charged_to_its_key_alone() {
    let limits = StoreLimits {
        stored_bytes: 200 * SIZE,
        ..ROOMY
    };
    let engine = open_sled(limits);
    let mut to = Vec::new();
    for ua in 1..12 {
        let restricted = Subscription {
            vapid_key: origin(Some(1), None).key,
            ..subscription_of(ua, 1, 0)
        };
        engine
            .store
            .subscribe(restricted.clone(), NOW)
            .await
            .unwrap();
        to.push(restricted);
    }
    let all = || (0..).map(|n: usize| (to[n % to.len()].clone(), origin(Some(1), Some(1))));
    assert_eq!(fill(&engine.store, all()).await.0, 100);
    drop(engine.store);
    let engine = sled_in(engine.folder.unwrap(), limits);
    let full = Some((Limit::StoredBytes, Scope::Sender));
    assert_eq!(fill(&engine.store, all()).await, (0, full));
}

#[tokio::test]
async fn one_sender_leaves_receipt_subscriptions_and_receipts_for_others() {
    let limits = StoreLimits {
        receipt_subscriptions: 20,
        receipts: 20,
        ..ROOMY
    };
    each(limits, async |store| {
        let mut next = 0;
        let mut put = async |from: Origin| {
            next += 1;
            let id = receipt_subscription(next);
            let made = make_receipts(&**store, id, at(90_000), from).await;
            made.map(|()| next)
        };
        let full = |limit, scope, until| {
            StoreError::Full(Full {
                limit,
                scope,
                until,
            })
        };
        let (hog, other) = (origin(Some(1), Some(1)), origin(Some(2), Some(2)));
        for _ in 0..10 {
            put(hog).await.unwrap();
        }
        let by = |scope| full(Limit::ReceiptSubscriptions, scope, Some(at(90_000)));
        assert_eq!(put(hog).await, Err(by(Scope::Sender)));
        assert_eq!(put(origin(Some(3), Some(1))).await, Err(by(Scope::Address)));
        let of_other = put(other).await.unwrap();

        let to = subscribed(store, 1, 1).await;
        let send = async |from, n| {
            store
                .append(uaid(1), awaited(empty(&to, from), n), None)
                .await
        };
        let mut sent = Vec::new();
        for n in 0..10 {
            sent.push(send(hog, n + 1).await.unwrap());
        }
        let by = |scope| full(Limit::Receipts, scope, None);
        assert_eq!(send(hog, 1).await, Err(by(Scope::Sender)));
        // Stored receipts count like awaited ones.
        for id in sent {
            acked(store, 1, id).await;
        }
        let refused = send(origin(Some(3), Some(1)), 1).await;
        let until = Some(NOW + limits.receipt_lifetime);
        assert_eq!(refused, Err(full(Limit::Receipts, Scope::Address, until)));
        for _ in 0..5 {
            send(other, of_other).await.unwrap();
        }
        // A push without a receipt is not affected.
        store.append(uaid(1), empty(&to, hog), None).await.unwrap();
    })
    .await;
}
