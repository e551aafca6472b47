//! What waits for the disk, with a disk that tests hold.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;

#[tokio::test]
async fn all_who_wait_share_one_sync() {
    let (go, gate) = mpsc::channel::<()>();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let sync = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        gate.recv().map_err(io::Error::other)
    };
    let committer = Committer::start(sync, 100).unwrap();
    let first = committer.commit(committer.place().unwrap(), None);
    let others = (0..50).map(|_| committer.commit(committer.place().unwrap(), None));
    let others: Vec<_> = others.collect();
    let (first, others, ()) = tokio::join!(first, futures_util::future::join_all(others), async {
        go.send(()).unwrap();
        go.send(()).unwrap();
    });
    assert!(first.is_ok() && others.iter().all(Result::is_ok));
    assert!(syncs.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn syncs_that_several_share_begin_apart() {
    let (go, gate) = mpsc::channel::<()>();
    let (begin, begins) = mpsc::channel();
    let sync = move || {
        begin.send(Instant::now()).map_err(io::Error::other)?;
        gate.recv().map_err(io::Error::other)
    };
    let committer = Committer::start(sync, 100).unwrap();
    let commit = || committer.commit(committer.place().unwrap(), None);
    let first = commit();
    let several = async {
        // Come while the first is on its way to the disk.
        while committer.batch() == 1 {
            tokio::task::yield_now().await;
        }
        let several = futures_util::future::join_all((0..SEVERAL).map(|_| commit()));
        let release = async { (0..3).for_each(|_| go.send(()).unwrap()) };
        tokio::join!(several, release).0
    };
    let (first, several) = tokio::join!(first, several);
    assert!(first.is_ok() && several.iter().all(Result::is_ok));
    commit().await.unwrap();
    let begins: Vec<_> = begins.try_iter().collect();
    let [_, shared, next] = begins[..] else {
        panic!("three syncs: {begins:?}")
    };
    assert!(next - shared >= APART, "{begins:?}");
}

#[tokio::test]
async fn places_are_bounded_and_come_back() {
    let committer = Committer::start(|| Ok(()), 2).unwrap();
    let (one, _two) = (committer.place().unwrap(), committer.place().unwrap());
    assert_eq!(
        committer.place().unwrap_err(),
        StoreError::Full(Limit::WaitingForDisk.into())
    );
    committer.commit(one, None).await.unwrap();
    let free = committer.free_place().await.unwrap();
    committer.commit(free, None).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_promised() {
    let mut results = vec![Ok(()), Err(io::Error::other("no space left"))];
    let sync = move || results.pop().unwrap_or(Ok(()));
    let committer = Committer::start(sync, 2).unwrap();
    let place = committer.place().unwrap();
    let unavailable = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(why)) if why.contains("no space left"));
    assert!(unavailable(committer.commit(place, None).await));
    assert!(unavailable(committer.place().map(drop)));
    assert!(unavailable(committer.free_place().await.map(drop)));
}

#[tokio::test]
async fn a_sync_that_works_after_one_that_failed_answers_nobody() {
    let (go, gate) = mpsc::channel();
    let sync = move || gate.recv().map_err(io::Error::other)?;
    let committer = Committer::start(sync, 2).unwrap();
    let first = committer.commit(committer.place().unwrap(), None);
    let second = async {
        // Comes while the first is on its way to the disk.
        while committer.batch() == 1 {
            tokio::task::yield_now().await;
        }
        let place = committer.place().unwrap();
        let waiting = committer.commit(place, None);
        let fail = async {
            go.send(Err(io::Error::other("broken"))).unwrap();
            go.send(Ok(())).unwrap();
        };
        tokio::join!(waiting, fail).0
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_err() && second.is_err());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let (go, gate) = mpsc::channel::<()>();
    let sync = move || gate.recv().map_err(io::Error::other);
    let committer = Committer::start(sync, 1).unwrap();
    let waited = committer.commit(committer.place().unwrap(), None).await;
    assert!(matches!(waited, Err(StoreError::Unavailable(why)) if why.contains("8 s")));
    // Its change may be lost, so its place stays taken until that is known.
    assert!(committer.place().is_err());
    go.send(()).unwrap();
}

#[tokio::test]
async fn a_panic_in_the_engine_is_a_failed_sync() {
    let committer = Committer::start(|| panic!("broken"), 2).unwrap();
    let place = committer.place().unwrap();
    assert!(committer.commit(place, None).await.is_err());
    assert!(committer.place().is_err());
}

#[test]
fn dropping_syncs_what_is_left() {
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let sync = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let committer = Committer::start(sync, 1).unwrap();
    let batch = committer.commit_later(None);
    assert_eq!(committer.commit_later(None), batch);
    drop(committer);
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_unsynced_is_bounded() {
    let (unsynced, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let in_sync = Arc::clone(&unsynced);
    let sync = move || {
        in_sync.store(0, Ordering::SeqCst);
        Ok(())
    };
    let committer = Committer::start(sync, 1).unwrap();
    for _ in 0..100 {
        let room = committer.room(1, UNSYNCED_BYTES / 4).await.unwrap();
        let now = unsynced.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        committer.commit_later(Some(room));
    }
    // Waits for no second of rest, and keeps to what fits.
    assert!(peak.load(Ordering::SeqCst) <= 3);
    let _all = committer.room(usize::MAX, usize::MAX).await.unwrap();
}

#[test]
fn a_change_nobody_waits_for_is_synced_within_a_second_or_two() {
    let (synced, syncs) = mpsc::channel();
    let sync = move || synced.send(()).map_err(io::Error::other);
    let committer = Committer::start(sync, 1).unwrap();
    let batch = committer.commit_later(None);
    assert!(!committer.is_durable(batch));
    syncs.recv_timeout(Duration::from_secs(30)).unwrap();
}
