//! Group commit, with a sync that tests can block.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::time::Instant;

use super::queue::{SHARED_SYNC_INTERVAL, SHARED_SYNC_WAITERS};
use super::*;
use crate::store::event::{EventRecorder, IgnoreEvents};
use crate::store::{Event, Listener};

fn no_listener() -> Notifier {
    Notifier::new(Arc::new(IgnoreEvents))
}

#[tokio::test]
async fn all_waiting_callers_share_one_sync() {
    let (go, gate) = mpsc::channel::<()>();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let sync = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        gate.recv().map_err(io::Error::other)
    };
    let committer = Committer::start(sync, 100, no_listener()).unwrap();
    let first = committer.commit(
        committer.try_wait_permit().unwrap(),
        None,
        Notice::default(),
    );
    let others = (0..50).map(|_| {
        committer.commit(
            committer.try_wait_permit().unwrap(),
            None,
            Notice::default(),
        )
    });
    let others: Vec<_> = others.collect();
    let (first, others, ()) = tokio::join!(first, futures_util::future::join_all(others), async {
        go.send(()).unwrap();
        go.send(()).unwrap();
    });
    assert!(first.is_ok() && others.iter().all(Result::is_ok));
    assert!(syncs.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn shared_syncs_start_at_a_minimum_interval() {
    let (go, gate) = mpsc::channel::<()>();
    let (begin, begins) = mpsc::channel();
    let sync = move || {
        begin.send(Instant::now()).map_err(io::Error::other)?;
        gate.recv().map_err(io::Error::other)
    };
    let committer = Committer::start(sync, 100, no_listener()).unwrap();
    let commit = || {
        committer.commit(
            committer.try_wait_permit().unwrap(),
            None,
            Notice::default(),
        )
    };
    let first = commit();
    let several = async {
        // These arrive while the first is being synced.
        while committer.batch() == 1 {
            tokio::task::yield_now().await;
        }
        let several = futures_util::future::join_all((0..SHARED_SYNC_WAITERS).map(|_| commit()));
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
    assert!(next - shared >= SHARED_SYNC_INTERVAL, "{begins:?}");
}

#[tokio::test]
async fn wait_permits_are_bounded_and_released() {
    let committer = Committer::start(|| Ok(()), 2, no_listener()).unwrap();
    let (one, _two) = (
        committer.try_wait_permit().unwrap(),
        committer.try_wait_permit().unwrap(),
    );
    assert_eq!(
        committer.try_wait_permit().unwrap_err(),
        StoreError::Full(Limit::WaitingForDisk.into())
    );
    committer
        .commit(one, None, Notice::default())
        .await
        .unwrap();
    let free = committer.wait_permit().await.unwrap();
    committer
        .commit(free, None, Notice::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_every_change_is_refused() {
    let mut results = vec![Ok(()), Err(io::Error::other("no space left"))];
    let sync = move || results.pop().unwrap_or(Ok(()));
    let committer = Committer::start(sync, 2, no_listener()).unwrap();
    let permit = committer.try_wait_permit().unwrap();
    let unavailable = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(why)) if why.contains("no space left"));
    assert!(unavailable(
        committer.commit(permit, None, Notice::default()).await
    ));
    assert!(unavailable(committer.try_wait_permit().map(drop)));
    assert!(unavailable(committer.wait_permit().await.map(drop)));
}

#[tokio::test]
async fn a_sync_that_succeeds_after_a_failure_confirms_nothing() {
    let (go, gate) = mpsc::channel();
    let sync = move || gate.recv().map_err(io::Error::other)?;
    let committer = Committer::start(sync, 2, no_listener()).unwrap();
    let first = committer.commit(
        committer.try_wait_permit().unwrap(),
        None,
        Notice::default(),
    );
    let second = async {
        // Arrives while the first is being synced.
        while committer.batch() == 1 {
            tokio::task::yield_now().await;
        }
        let permit = committer.try_wait_permit().unwrap();
        let waiting = committer.commit(permit, None, Notice::default());
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
async fn callers_time_out() {
    let (go, gate) = mpsc::channel::<()>();
    let sync = move || gate.recv().map_err(io::Error::other);
    let events = Arc::<EventRecorder>::default();
    let notifier = Notifier::new(Arc::clone(&events) as _);
    let committer = Committer::start(sync, 1, notifier).unwrap();
    let notice = Event::Broadcasts.into();
    let waited = committer.commit(committer.try_wait_permit().unwrap(), None, notice);
    let waited = waited.await;
    assert!(matches!(waited, Err(StoreError::Unavailable(why)) if why.contains("8 s")));
    // The change may be lost, so its permit stays taken until the sync ends.
    assert!(committer.try_wait_permit().is_err());
    assert_eq!(events.take(), []);
    // Its notice is sent after the sync.
    go.send(()).unwrap();
    drop(committer);
    assert_eq!(events.take(), [Event::Broadcasts]);
}

#[tokio::test]
async fn a_panicking_listener_affects_no_other_caller() {
    struct Broken;

    impl Listener for Broken {
        fn changed(&self, _: Event) {
            panic!("broken")
        }
    }

    let committer = Committer::start(|| Ok(()), 1, Notifier::new(Arc::new(Broken))).unwrap();
    for _ in 0..2 {
        let permit = committer.try_wait_permit().unwrap();
        let notice = Event::Broadcasts.into();
        committer.commit(permit, None, notice).await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_in_the_engine_is_a_failed_sync() {
    let committer = Committer::start(|| panic!("broken"), 2, no_listener()).unwrap();
    let permit = committer.try_wait_permit().unwrap();
    assert!(
        committer
            .commit(permit, None, Notice::default())
            .await
            .is_err()
    );
    assert!(committer.try_wait_permit().is_err());
}

#[test]
fn dropping_syncs_the_remaining_changes() {
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let sync = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let committer = Committer::start(sync, 1, no_listener()).unwrap();
    let batch = committer.commit_later(None);
    assert_eq!(committer.commit_later(None), batch);
    drop(committer);
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn unsynced_bytes_are_bounded() {
    let (unsynced, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let in_sync = Arc::clone(&unsynced);
    let sync = move || {
        in_sync.store(0, Ordering::SeqCst);
        Ok(())
    };
    let committer = Committer::start(sync, 1, no_listener()).unwrap();
    for _ in 0..100 {
        let bytes = committer.byte_permit(1, UNSYNCED_BYTES / 4).await.unwrap();
        let now = unsynced.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        committer.commit_later(Some(bytes));
    }
    // Callers do not wait for the maximum unsynced time, and the bound holds.
    assert!(peak.load(Ordering::SeqCst) <= 3);
    let _all = committer.byte_permit(usize::MAX, usize::MAX).await.unwrap();
}

#[test]
fn a_change_without_a_waiter_is_synced_soon() {
    let (synced, syncs) = mpsc::channel();
    let sync = move || synced.send(()).map_err(io::Error::other);
    let committer = Committer::start(sync, 1, no_listener()).unwrap();
    let batch = committer.commit_later(None);
    assert!(!committer.is_durable(batch));
    syncs.recv_timeout(Duration::from_secs(30)).unwrap();
}
