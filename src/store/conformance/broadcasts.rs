//! Broadcasts: only the newest version of each counts.

use super::reopen::reopened;
use super::*;
use crate::store::Limit;
use crate::store::broadcasts::Label;

async fn set(store: &Arc<dyn Engine>, id: &str, version: Option<&str>) -> Result<bool, StoreError> {
    let label = |text| Label::new(text).unwrap();
    store.set_broadcast(label(id), version.map(label)).await
}

fn versions(store: &Arc<dyn Engine>) -> Vec<(String, String)> {
    let broadcasts = store.broadcasts();
    let versions = broadcasts.versions().into_iter();
    versions
        .map(|(id, version)| (id.to_owned(), version.to_owned()))
        .collect()
}

fn pair(id: &str, version: &str) -> (String, String) {
    (id.to_owned(), version.to_owned())
}

#[tokio::test]
async fn a_version_is_set_replaced_and_removed() {
    each(ROOMY, async |store| {
        assert_eq!(versions(store), []);
        assert_eq!(set(store, "b", Some("1")).await, Ok(false));
        assert_eq!(set(store, "a", Some("1")).await, Ok(false));
        assert_eq!(set(store, "b", Some("2")).await, Ok(true));
        assert_eq!(versions(store), [pair("a", "1"), pair("b", "2")]);
        assert_eq!(set(store, "a", None).await, Ok(true));
        assert_eq!(set(store, "a", None).await, Ok(false));
        assert_eq!(versions(store), [pair("b", "2")]);
    })
    .await;
}

#[tokio::test]
async fn the_number_of_broadcasts_is_bounded() {
    let limits = StoreLimits {
        broadcasts: 2,
        ..ROOMY
    };
    each(limits, async |store| {
        set(store, "a", Some("1")).await.unwrap();
        set(store, "b", Some("1")).await.unwrap();
        let full = Err(StoreError::Full(Limit::Broadcasts.into()));
        assert_eq!(set(store, "c", Some("1")).await, full);
        assert_eq!(set(store, "c", None).await, Ok(false));
        assert_eq!(set(store, "a", Some("2")).await, Ok(true));
        assert_eq!(versions(store), [pair("a", "2"), pair("b", "1")]);
        set(store, "b", None).await.unwrap();
        assert_eq!(set(store, "c", Some("1")).await, Ok(false));
    })
    .await;
}

#[tokio::test]
async fn broadcasts_survive_a_restart() {
    let engine = open_sled(ROOMY);
    let subscription = subscribed(&engine.store, 1, 1).await;
    let message = message_for(&subscription, "beside them");
    engine.store.append(uaid(1), message, None).await.unwrap();
    for id in ["a", "b/c d", "gone"] {
        set(&engine.store, id, Some("\"1\"")).await.unwrap();
    }
    set(&engine.store, "gone", None).await.unwrap();
    let engine = reopened(engine);
    let expected = [pair("a", "\"1\""), pair("b/c d", "\"1\"")];
    assert_eq!(versions(&engine.store), expected);
    assert_eq!(pending(&engine.store, 1).await.len(), 1);
    assert_eq!(engine.store.usage().damaged, 0);
}
