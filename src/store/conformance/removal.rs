//! Removals of many messages at once.

use super::receipts::{append, outcomes};
use super::*;
use crate::store::ReceiptStatus::Delivered;

#[tokio::test]
async fn one_removal_removes_many_messages_of_one_log_once() {
    each_with_events(ROOMY, async |store, events| {
        let (mine, other) = (subscribed(store, 1, 1).await, subscribed(store, 2, 1).await);
        receipts_of(store, 1).await;
        let mut messages = Vec::new();
        for _ in 0..150 {
            let message = awaited(message_for(&mine, "x"), 1);
            messages.push((append(store, message).await, Removal::Delivered));
        }
        let message = message_for(&other, "x");
        let of_another = store.append(uaid(2), message, None).await.unwrap();
        let expected: Vec<_> = messages.iter().map(|(id, _)| (*id, Delivered)).collect();
        messages.insert(1, (messages[0].0, Removal::NotDecrypted));
        messages.push((of_another, Removal::Delivered));
        events.take();
        assert_eq!(store.remove(uaid(1), &messages, NOW).await, Ok(150));
        assert_eq!(events.take_receipts(), [receipt_subscription(1)]);
        assert_eq!(outcomes(store, 1).await, expected);
        assert_eq!(pending_ids(store, 2).await, [of_another]);
        assert_eq!(store.remove(uaid(1), &messages, NOW).await, Ok(0));
        assert_eq!(store.usage().messages, 1);
    })
    .await;
}
