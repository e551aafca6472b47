//! Events: a store sends them even if the caller of a change is cancelled.

use futures_util::FutureExt;

use super::*;
use crate::store::broadcasts::Label;

/// The event of a message for the first channel of the first user agent.
const STORED: Event = Event::Message {
    uaid: uaid(1),
    channel: channel(1),
};

fn ended(ch: u8, is_last: bool) -> Event {
    Event::Ended {
        uaid: uaid(1),
        channel: channel(ch),
        is_last,
    }
}

#[tokio::test]
async fn a_stored_message_sends_its_event_before_its_caller_is_answered() {
    each_with_events(ROOMY, async |store, events| {
        let subscription = subscribed(store, 1, 1).await;
        assert_eq!(events.take(), []);
        let message = with_topic(message_for(&subscription, "x"), "t");
        store.append(uaid(1), message.clone(), None).await.unwrap();
        assert_eq!(events.take(), [STORED]);
        // A message that is not stored sends no event; its caller delivers it.
        store
            .append(uaid(1), with_ttl(message, 0), None)
            .await
            .unwrap();
        let stale = message_for(&subscription_of(1, 1, 9), "x");
        let refused = store.append(uaid(1), stale, None).await;
        assert_eq!(refused, Err(StoreError::NoSubscription));
        assert_eq!(events.take(), []);
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_subscription_sends_an_event_to_close_its_readers() {
    each_with_events(ROOMY, async |store, events| {
        for ch in 1..=3 {
            subscribed(store, 1, ch).await;
        }
        let end = async |ch, readers| {
            let removed = store.unsubscribe(uaid(1), channel(ch), None, readers, NOW);
            (removed.await.unwrap(), events.take())
        };
        assert_eq!(end(1, Readers::Stay).await, (true, vec![]));
        let event = vec![ended(2, false)];
        assert_eq!(end(2, Readers::Close).await, (true, event));
        assert_eq!(end(2, Readers::Close).await, (false, vec![]));
        let event = vec![ended(3, true)];
        assert_eq!(end(3, Readers::Close).await, (true, event));
    })
    .await;
}

#[tokio::test]
async fn broadcasts_and_ended_receipt_subscriptions_send_events() {
    each_with_events(ROOMY, async |store, events| {
        let label = || Label::new("a").unwrap();
        for version in [Some(label()), None] {
            store.set_broadcast(label(), version).await.unwrap();
            assert_eq!(events.take(), [Event::Broadcasts]);
        }
        receipts_of(store, 1).await;
        assert_eq!(events.take(), []);
        let log = receipt_subscription(1);
        store.remove_receipt_subscription(log, NOW).await.unwrap();
        assert_eq!(events.take(), [Event::Receipts(log)]);
        store.remove_receipt_subscription(log, NOW).await.unwrap();
        assert_eq!(events.take(), []);
    })
    .await;
}

#[tokio::test]
async fn cancelled_callers_lose_no_event() {
    each_with_events(ROOMY, async |store, events| {
        let subscription = subscribed(store, 1, 1).await;
        // Polled once, then dropped, as when the clients disconnect.
        for _ in 0..5 {
            let message = message_for(&subscription, "x");
            let _ = store.append(uaid(1), message, None).now_or_never();
        }
        store.flush().await.unwrap();
        assert_eq!(events.take(), [STORED; 5]);
        let _ = store
            .unsubscribe(uaid(1), channel(1), None, Readers::Close, NOW)
            .now_or_never();
        store.flush().await.unwrap();
        assert_eq!(events.take(), [ended(1, true)]);
    })
    .await;
}
