//! Tests of what an engine with a disk keeps when it is closed and reopened.

use super::*;

/// Closes the store and reopens its folder.
pub(super) fn reopened(engine: Opened) -> Opened {
    drop(engine.store);
    sled_in(engine.folder.unwrap(), ROOMY)
}

#[tokio::test]
async fn everything_stored_is_there_after_a_restart() {
    let engine = open_sled(ROOMY);
    let subscription = subscribed(&engine.store, 1, 1).await;
    let large = "x".repeat(50_000);
    for body in ["a", "", &large, "b"] {
        let message = message_for(&subscription, body);
        engine.store.append(uaid(1), message, None).await.unwrap();
    }
    let before = (pending(&engine.store, 1).await, engine.store.usage());
    let engine = reopened(engine);
    let after = (pending(&engine.store, 1).await, engine.store.usage());
    assert_eq!(before.0, after.0);
    let counts =
        |usage: crate::store::Usage| (usage.subscriptions, usage.messages, usage.live_bytes);
    assert_eq!(counts(before.1), counts(after.1));
    assert!(after.1.disk_bytes > 50_000);
    let found = engine.store.subscription(uaid(1), channel(1)).await;
    assert_eq!(found, Ok(Some(subscription)));
}

#[tokio::test]
async fn removed_messages_stay_removed_after_a_restart() {
    let engine = open_sled(ROOMY);
    let store = &engine.store;
    let (kept, gone) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
    let append = async |message| store.append(uaid(1), message, None).await.unwrap();
    let delivered = append(message_for(&kept, "delivered")).await;
    append(with_topic(message_for(&kept, "replaced"), "t")).await;
    append(with_topic(message_for(&kept, "replacing"), "t")).await;
    append(with_topic(message_for(&kept, "dropped"), "u")).await;
    append(with_ttl(with_topic(message_for(&kept, "unstored"), "u"), 0)).await;
    append(with_ttl(message_for(&kept, "expired"), 10)).await;
    append(message_for(&gone, "of a removed subscription")).await;
    acked(store, 1, delivered).await;
    store.expire(at(10), 10).await.unwrap();
    unsubscribed(store, 1, 2).await;

    let engine = reopened(engine);
    assert_eq!(bodies(&pending(&engine.store, 1).await), ["replacing"]);
    assert!(engine.store.connect(uaid(1)).await.unwrap());
    assert_eq!(engine.store.usage().subscriptions, 1);
    // The topic and the expiry are restored too.
    let newest = with_topic(message_for(&kept, "newest"), "t");
    engine.store.append(uaid(1), newest, None).await.unwrap();
    assert_eq!(bodies(&pending(&engine.store, 1).await), ["newest"]);
    assert_eq!(swept(&engine.store, at(60_000), 10).await, 1);
}

#[tokio::test]
async fn receipts_and_awaited_receipts_survive_a_restart() {
    use crate::store::ReceiptStatus::{Delivered, Failed};
    let mut engine = open_sled(ROOMY);
    let store = &engine.store;
    let subscription = subscribed(store, 1, 1).await;
    for n in 1..=3 {
        receipts_of(store, n).await;
    }
    let append = async |n| {
        let message = awaited(message_for(&subscription, "x"), n);
        store.append(uaid(1), message, None).await.unwrap()
    };
    let (one, two, three, of_another) = (
        append(1).await,
        append(1).await,
        append(1).await,
        append(2).await,
    );
    append(3).await;
    let gone = receipt_subscription(3);
    store.remove_receipt_subscription(gone, NOW).await.unwrap();
    assert!(acked(store, 1, one).await && acked(store, 1, of_another).await);
    let read = store.receipts(receipt_subscription(2), None, 9, NOW).await;
    let taken = store.remove_receipt(receipt_subscription(2), read.unwrap().unwrap().items[0].id);
    assert_eq!(taken.await, Ok(true));

    let mut expected = vec![(one, Delivered)];
    for (id, why, status) in [
        (two, Removal::NotDecrypted, Failed),
        (three, Removal::Delivered, Delivered),
    ] {
        engine = reopened(engine);
        assert!(removed(&engine.store, 1, id, why, NOW).await);
        assert_eq!(engine.events.take_receipts(), [receipt_subscription(1)]);
        expected.push((id, status));
    }
    let engine = reopened(engine);
    let log = receipt_subscription(1);
    let read = engine.store.receipts(log, None, 9, NOW).await.unwrap();
    let read = read.unwrap().items;
    let outcomes: Vec<_> = read.iter().map(|r| (r.message, r.status)).collect();
    assert_eq!(outcomes, expected);
    let usage = engine.store.usage();
    assert_eq!((usage.receipts, usage.receipt_subscriptions), (3, 2));
    assert_eq!(usage.damaged, 0);
    // Their ends are restored too.
    engine.store.expire(at(1 << 40), 9).await.unwrap();
    assert_eq!(engine.events.take_receipts().len(), 2);
    assert_eq!(engine.store.usage().receipts, 0);
}

#[tokio::test]
async fn no_id_is_given_twice() {
    let mut engine = open_sled(ROOMY);
    let subscription = subscribed(&engine.store, 1, 1).await;
    let mut last = None;
    for _ in 0..4 {
        for ttl in [1000, 0] {
            let message = with_ttl(message_for(&subscription, "x"), ttl);
            let id = engine.store.append(uaid(1), message, None).await.unwrap();
            assert!(last < Some(id));
            last = Some(id);
            acked(&engine.store, 1, id).await;
        }
        engine = reopened(engine);
    }
}

#[tokio::test]
async fn more_ids_than_a_block_are_given_out() {
    let engine = open_sled(ROOMY);
    let subscription = subscribed(&engine.store, 1, 1).await;
    let unstored = with_ttl(message_for(&subscription, ""), 0);
    let mut last = None;
    for _ in 0..150_000 {
        let id = engine
            .store
            .append(uaid(1), unstored.clone(), None)
            .await
            .unwrap();
        assert!(last < Some(id));
        last = Some(id);
    }
    let engine = reopened(engine);
    let id = engine.store.append(uaid(1), unstored, None).await.unwrap();
    assert!(last < Some(id));
}

#[tokio::test]
async fn a_large_message_takes_no_file_of_its_own() {
    let engine = open_sled(ROOMY);
    let subscription = subscribed(&engine.store, 1, 1).await;
    for n in 0..40 {
        let message = message_for(&subscription, &"x".repeat(n * 4000));
        let id = engine.store.append(uaid(1), message, None).await.unwrap();
        if n % 3 == 0 {
            acked(&engine.store, 1, id).await;
        }
    }
    // The engine never syncs the files in that folder, so it must stay empty.
    let path = engine.folder.as_ref().unwrap().path().join("blobs");
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    let engine = reopened(engine);
    assert_eq!(pending(&engine.store, 1).await.len(), 26);
}
