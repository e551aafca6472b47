//! Receipts: which subscription receives which, in what order, for how long (RFC 8030 §5.1, §6.3).

use super::*;
use crate::store::ReceiptStatus::{self, Delivered, Failed};
use crate::store::{Full, Limit, Page, Receipt, ReceiptId, Whose};

/// The outcome of a message.
pub(super) type Told = (MessageId, ReceiptStatus);

pub(super) async fn append(store: &Arc<dyn Engine>, message: NewMessage) -> MessageId {
    store.append(uaid(1), message, None).await.unwrap()
}

async fn receipts(store: &Arc<dyn Engine>, n: u8) -> Vec<Receipt> {
    let read = store.receipts(receipt_subscription(n), None, usize::MAX, NOW);
    let Some(read) = read.await.unwrap() else {
        return Vec::new();
    };
    assert!(!read.more, "all were asked for");
    read.items
}

/// Returns the outcomes in a receipt subscription.
pub(super) async fn told(store: &Arc<dyn Engine>, n: u8) -> Vec<Told> {
    let receipts = receipts(store, n).await;
    assert!(receipts.is_sorted_by(|a, b| a.id < b.id));
    assert!(receipts.iter().all(|receipt| receipt.uaid == uaid(1)));
    receipts.iter().map(|r| (r.message, r.status)).collect()
}

#[tokio::test]
async fn a_receipt_subscription_is_there_until_it_ends_or_is_removed() {
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
        assert_eq!(told(store, 1).await, []);
    })
    .await;
}

#[tokio::test]
async fn each_removal_leaves_its_receipt() {
    // The reason of the removal, and the outcome by how many times the message was given out.
    let table = [
        (Removal::Delivered, [Some(Delivered); 3]),
        (Removal::NotDecrypted, [Some(Failed); 3]),
        (
            Removal::NotWanted,
            [Some(Failed), Some(Failed), Some(Delivered)],
        ),
        (Removal::Withdrawn, [None, Some(Delivered), Some(Delivered)]),
        (Removal::GivenUp, [Some(Failed); 3]),
    ];
    each_heard(ROOMY, async |store, heard| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        let mut expected = Vec::new();
        for (why, statuses) in table {
            for (attempts, status) in statuses.into_iter().enumerate() {
                let message = message_for(&subscription, "x");
                let silent = append(store, message.clone()).await;
                let id = append(store, awaited(message, 1)).await;
                for _ in 0..attempts {
                    pending_ids(store, 1).await;
                    assert_eq!(given_out(store, 1).await, [silent, id]);
                }
                for (id, told) in [(silent, None), (id, status), (id, None)] {
                    heard.take();
                    removed(store, 1, id, why, NOW).await;
                    let told = told.map(|_| Event::Receipts(receipt_subscription(1)));
                    assert_eq!(heard.take(), Vec::from_iter(told));
                }
                expected.extend(status.map(|status| (id, status)));
            }
        }
        assert_eq!(told(store, 1).await, expected);
        assert_eq!(store.usage().receipts, expected.len() as u64);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_held_back_or_read_by_its_url_is_not_given_out() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        let id = append(store, awaited(message_for(&subscription, "x"), 1)).await;
        assert!(store.message(uaid(1), id, NOW).await.unwrap().is_some());
        let urgent = Filter {
            min_urgency: Urgency::High,
            ..Filter::NONE
        };
        let read = store.pending(uaid(1), None, urgent, ALL, NOW).await;
        assert_eq!(read, Ok(Page::EMPTY));
        assert!(removed(store, 1, id, Removal::Withdrawn, NOW).await);
        assert_eq!(told(store, 1).await, []);
    })
    .await;
}

/// 8030-5.4-e, 8030-5.4-f
#[tokio::test]
async fn a_replaced_message_leaves_no_receipt() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        receipts_of(store, 2).await;
        let message = with_topic(message_for(&subscription, "x"), "t");
        let first = append(store, awaited(message.clone(), 1)).await;
        given_out(store, 1).await;
        let second = append(store, awaited(message.clone(), 2)).await;
        assert!(!acked(store, 1, first).await);
        assert!(acked(store, 1, second).await);
        append(store, awaited(message.clone(), 1)).await;
        let third = append(store, message.clone()).await;
        assert!(acked(store, 1, third).await);
        append(store, awaited(message.clone(), 1)).await;
        append(store, awaited(with_ttl(message, 0), 1)).await;
        assert_eq!(told(store, 1).await, []);
        assert_eq!(told(store, 2).await, [(second, Delivered)]);
    })
    .await;
}

#[tokio::test]
async fn expiry_and_the_end_of_a_subscription_give_up() {
    each_heard(ROOMY, async |store, heard| {
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        receipts_of(store, 1).await;
        receipts_of(store, 2).await;
        let expired = with_ttl(awaited(message_for(&one, "x"), 2), 10);
        let expired = append(store, expired).await;
        let replaced = append(store, awaited(message_for(&one, "x"), 1)).await;
        let ended = append(store, awaited(message_for(&two, "x"), 1)).await;

        heard.take();
        let swept = store.expire(at(10), 10).await.unwrap();
        assert_eq!((swept.messages, swept.more), (1, false));
        assert_eq!(heard.receipts(), [receipt_subscription(2)]);
        let again = store.subscribe(subscription_of(1, 1, 1), NOW).await;
        assert!(again.is_ok());
        assert_eq!(heard.receipts(), [receipt_subscription(1)]);
        assert!(unsubscribed(store, 1, 2).await);
        assert_eq!(store.usage().messages, 0);
        assert_eq!(heard.receipts(), [receipt_subscription(1)]);
        let expected = [(replaced, Failed), (ended, Failed)];
        assert_eq!(told(store, 1).await, expected);
        assert_eq!(told(store, 2).await, [(expired, Failed)]);
    })
    .await;
}

#[tokio::test]
async fn one_change_tells_many_in_order() {
    each_heard(ROOMY, async |store, heard| {
        let subscription = subscribed(store, 1, 1).await;
        let mut ids = [Vec::new(), Vec::new()];
        for n in 0..200_u8 {
            let to = n % 2 + 1;
            receipts_of(store, to).await;
            let message = awaited(message_for(&subscription, "x"), to);
            ids[usize::from(n) % 2].push((append(store, message).await, Failed));
        }
        let swept = store.expire(at(60_000), 1000).await.unwrap();
        assert_eq!(swept.messages, 200);
        assert_eq!(heard.receipts(), [1, 2].map(receipt_subscription));
        assert_eq!([told(store, 1).await, told(store, 2).await], ids);
    })
    .await;
}

#[tokio::test]
async fn what_was_never_stored_is_settled_by_hand() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let to = receipt_subscription(1);
        let settle = async |id, status| store.settle(to, uaid(1), id, status, NOW).await;
        assert_eq!(settle(MessageId::new(0), Failed).await, Ok(false));
        receipts_of(store, 1).await;
        let message = with_ttl(awaited(message_for(&subscription, "x"), 1), 0);
        let (one, two) = (
            append(store, message.clone()).await,
            append(store, message).await,
        );
        assert_eq!(told(store, 1).await, []);
        assert_eq!(settle(two, Delivered).await, Ok(true));
        assert_eq!(settle(one, Failed).await, Ok(true));
        assert_eq!(told(store, 1).await, [(two, Delivered), (one, Failed)]);
    })
    .await;
}

#[tokio::test]
async fn receipts_are_read_behind_a_cursor_and_taken_one_by_one() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        for _ in 0..5 {
            let message = awaited(message_for(&subscription, "x"), 1);
            let id = append(store, message).await;
            acked(store, 1, id).await;
        }
        let (log, all) = (receipt_subscription(1), receipts(store, 1).await);
        let read = async |after, limit| {
            let page = store.receipts(log, after, limit, NOW).await.unwrap();
            page.map(|page| (page.items, page.more))
        };
        assert_eq!(read(None, 2).await, Some((all[..2].to_vec(), true)));
        assert_eq!(
            read(Some(all[1].id), 2).await,
            Some((all[2..4].to_vec(), true))
        );
        assert_eq!(
            read(Some(all[1].id), 3).await,
            Some((all[2..].to_vec(), false))
        );
        assert_eq!(read(Some(all[4].id), 2).await, Some((vec![], false)));
        assert_eq!(read(None, 0).await, Some((vec![], true)));
        let other = receipt_subscription(2);
        let take = async |log, id| store.remove_receipt(log, id).await.unwrap();
        assert!(!take(other, all[2].id).await);
        assert!(take(log, all[2].id).await);
        assert!(!take(log, all[2].id).await);
        assert!(!take(log, ReceiptId::new(u64::MAX)).await);
        assert_eq!(
            read(Some(all[1].id), 9).await,
            Some((all[3..].to_vec(), false))
        );
        assert_eq!(store.usage().receipts, 4);
        assert_eq!(store.remove_receipt_subscription(log, NOW).await, Ok(true));
        assert_eq!(read(None, 9).await, None);
        assert_eq!(store.usage().receipts, 0);
    })
    .await;
}

#[tokio::test]
async fn nobody_is_told_whose_receipt_subscription_is_gone() {
    each_heard(ROOMY, async |store, heard| {
        let subscription = subscribed(store, 1, 1).await;
        receipts_of(store, 1).await;
        let id = append(store, awaited(message_for(&subscription, "x"), 1)).await;
        let log = receipt_subscription(1);
        store.remove_receipt_subscription(log, NOW).await.unwrap();
        heard.take();
        assert!(acked(store, 1, id).await);
        assert_eq!(heard.take(), []);
        receipts_of(store, 1).await;
        assert_eq!(told(store, 1).await, []);
    })
    .await;
}

#[tokio::test]
async fn receipts_and_their_subscriptions_expire() {
    let limits = StoreLimits {
        receipt_lifetime: Duration::from_millis(50),
        ..ROOMY
    };
    each_heard(limits, async |store, heard| {
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
        heard.take();
        sweep(99, 9).await;
        assert_eq!(heard.receipts(), []);
        sweep(100, 9).await;
        assert_eq!(heard.receipts(), [log]);
        let usage = store.usage();
        assert_eq!((usage.receipts, usage.receipt_subscriptions), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_full_log_loses_its_oldest() {
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
        assert_eq!(told(store, 1).await, expected[1..4]);
        // Five at once exceed the bound of the log.
        assert!(unsubscribed(store, 1, 1).await);
        assert_eq!(told(store, 1).await, expected[6..]);
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
                whose: Whose::All,
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
        let told = receipts(store, 1).await;
        let taken = store.remove_receipt(receipt_subscription(1), told[0].id);
        assert_eq!(taken.await, Ok(true));
        append(store, third).await;
    })
    .await;
}
