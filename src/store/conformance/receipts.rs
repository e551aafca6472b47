//! Receipts: which subscription receives which, in what order, for how long (RFC 8030 §5.1, §6.3).

use super::*;
use crate::store::ReceiptStatus::{self, Delivered, Failed};
use crate::store::{Page, Receipt, ReceiptId};

/// The outcome of a message.
pub(super) type Outcome = (MessageId, ReceiptStatus);

pub(super) async fn append(store: &Arc<dyn Engine>, message: NewMessage) -> MessageId {
    store.append(uaid(1), message, None).await.unwrap()
}

pub(super) async fn receipts(store: &Arc<dyn Engine>, n: u8) -> Vec<Receipt> {
    let read = store.receipts(receipt_subscription(n), None, usize::MAX, NOW);
    let Some(read) = read.await.unwrap() else {
        return Vec::new();
    };
    assert!(!read.more, "all were asked for");
    read.items
}

/// Returns the outcomes in a receipt subscription.
pub(super) async fn outcomes(store: &Arc<dyn Engine>, n: u8) -> Vec<Outcome> {
    let receipts = receipts(store, n).await;
    assert!(receipts.is_sorted_by(|a, b| a.id < b.id));
    assert!(receipts.iter().all(|receipt| receipt.uaid == uaid(1)));
    receipts.iter().map(|r| (r.message, r.status)).collect()
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
    each_with_events(ROOMY, async |store, events| {
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
                for (id, receipt) in [(silent, None), (id, status), (id, None)] {
                    events.take();
                    removed(store, 1, id, why, NOW).await;
                    let event = receipt.map(|_| Event::Receipts(receipt_subscription(1)));
                    assert_eq!(events.take(), Vec::from_iter(event));
                }
                expected.extend(status.map(|status| (id, status)));
            }
        }
        assert_eq!(outcomes(store, 1).await, expected);
        assert_eq!(store.usage().receipts, expected.len() as u64);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_filtered_or_read_by_its_url_is_not_given_out() {
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
        assert_eq!(outcomes(store, 1).await, []);
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
        assert_eq!(outcomes(store, 1).await, []);
        assert_eq!(outcomes(store, 2).await, [(second, Delivered)]);
    })
    .await;
}

#[tokio::test]
async fn expiry_and_the_end_of_a_subscription_leave_failure_receipts() {
    each_with_events(ROOMY, async |store, events| {
        let (one, two) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        receipts_of(store, 1).await;
        receipts_of(store, 2).await;
        let expired = with_ttl(awaited(message_for(&one, "x"), 2), 10);
        let expired = append(store, expired).await;
        let replaced = append(store, awaited(message_for(&one, "x"), 1)).await;
        let ended = append(store, awaited(message_for(&two, "x"), 1)).await;

        events.take();
        let swept = store.expire(at(10), 10).await.unwrap();
        assert_eq!((swept.messages, swept.more), (1, false));
        assert_eq!(events.take_receipts(), [receipt_subscription(2)]);
        let again = store.subscribe(subscription_of(1, 1, 1), NOW).await;
        assert!(again.is_ok());
        assert_eq!(events.take_receipts(), [receipt_subscription(1)]);
        assert!(unsubscribed(store, 1, 2).await);
        assert_eq!(store.usage().messages, 0);
        assert_eq!(events.take_receipts(), [receipt_subscription(1)]);
        let expected = [(replaced, Failed), (ended, Failed)];
        assert_eq!(outcomes(store, 1).await, expected);
        assert_eq!(outcomes(store, 2).await, [(expired, Failed)]);
    })
    .await;
}

#[tokio::test]
async fn one_change_leaves_many_receipts_in_order() {
    each_with_events(ROOMY, async |store, events| {
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
        assert_eq!(events.take_receipts(), [1, 2].map(receipt_subscription));
        assert_eq!([outcomes(store, 1).await, outcomes(store, 2).await], ids);
    })
    .await;
}

#[tokio::test]
async fn settle_leaves_the_receipt_of_a_message_that_was_not_stored() {
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
        assert_eq!(outcomes(store, 1).await, []);
        assert_eq!(settle(two, Delivered).await, Ok(true));
        assert_eq!(settle(one, Failed).await, Ok(true));
        assert_eq!(outcomes(store, 1).await, [(two, Delivered), (one, Failed)]);
    })
    .await;
}

#[tokio::test]
async fn receipts_are_read_after_a_cursor_and_removed_one_by_one() {
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
