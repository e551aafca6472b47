//! Receipt subscriptions that messages create and extend.

use super::*;

#[tokio::test]
async fn a_receipt_subscription_is_created_or_extended_in_the_step_of_its_message() {
    let limits = StoreLimits {
        messages_per_user_agent: 1,
        receipt_lifetime: Duration::from_secs(10),
        ..ROOMY
    };
    each(limits, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let id = receipt_subscription(1);
        let ends = async || store.all_receipt_subscriptions(None, 9).await.unwrap();
        let send = async |message| store.append(uaid(1), message, None).await;
        let message = message_for(&subscription, "x");
        let gone = message_for(&subscription_of(1, 1, 7), "x");
        for ttl in [0, 60_000] {
            let refused = send(making(with_ttl(gone.clone(), ttl), 1, at(100_000))).await;
            assert_eq!(refused, Err(StoreError::NoSubscription));
        }
        assert_eq!(ends().await, []);
        let first = send(making(message.clone(), 1, at(100_000))).await.unwrap();
        assert_eq!(ends().await, [(at(100_000), id)]);

        let prolonging = |ttl, ends_at| {
            let grant = Grant::Prolong(ends_at);
            let receipt = Some(ReceiptTarget { id, grant });
            let message = with_ttl(message.clone(), ttl);
            NewMessage { receipt, ..message }
        };
        let full = send(prolonging(99_000, at(200_000))).await;
        assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
        let full = send(making(message.clone(), 2, at(100_000))).await;
        assert!(matches!(full, Err(StoreError::Full(_))), "{full:?}");
        assert_eq!(ends().await, [(at(100_000), id)]);
        assert!(acked(store, 1, first).await);
        // The receipt of the first message expires before that end, the receipt of the second after
        // it.
        for (ttl, ends_at) in [(90_000, at(100_000)), (91_000, at(200_000))] {
            let sent = send(prolonging(ttl, at(200_000))).await.unwrap();
            assert_eq!(ends().await, [(ends_at, id)]);
            assert!(acked(store, 1, sent).await);
        }
        send(prolonging(0, at(300_000))).await.unwrap();
        assert_eq!(ends().await, [(at(200_000), id)]);
        assert_eq!(store.remove_receipt_subscription(id, NOW).await, Ok(true));
        let removed = send(prolonging(0, at(300_000))).await;
        assert_eq!(removed, Err(StoreError::NoReceiptSubscription));
        send(making(with_ttl(message.clone(), 0), 3, at(5)))
            .await
            .unwrap();
        assert_eq!(ends().await, [(at(5), receipt_subscription(3))]);
    })
    .await;
}
