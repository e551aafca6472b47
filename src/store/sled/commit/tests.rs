//! Group commit, with a sync that tests can block.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;
use crate::store::event::Nobody;
use crate::store::{Event, Listener};

/// Records the events it receives.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Listener for Heard {
    fn changed(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

fn nobody() -> Notifier {
    Notifier::new(Arc::new(Nobody))
}

#[tokio::test]
async fn all_who_wait_share_one_sync() {
    let (go, gate) = mpsc::channel::<()>();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let sync = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        gate.recv().map_err(io::Error::other)
    };
    let committer = Committer::start(sync, 100, nobody()).unwrap();
    let first = committer.commit(committer.place().unwrap(), None, News::default());
    let others =
        (0..50).map(|_| committer.commit(committer.place().unwrap(), None, News::default()));
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
    let committer = Committer::start(sync, 100, nobody()).unwrap();
    let commit = || committer.commit(committer.place().unwrap(), None, News::default());
    let first = commit();
    let several = async {
        // These arrive while the first is being synced.
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
    let committer = Committer::start(|| Ok(()), 2, nobody()).unwrap();
    let (one, _two) = (committer.place().unwrap(), committer.place().unwrap());
    assert_eq!(
        committer.place().unwrap_err(),
        StoreError::Full(Limit::WaitingForDisk.into())
    );
    committer.commit(one, None, News::default()).await.unwrap();
    let free = committer.free_place().await.unwrap();
    committer.commit(free, None, News::default()).await.unwrap();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_promised() {
    let mut results = vec![Ok(()), Err(io::Error::other("no space left"))];
    let sync = move || results.pop().unwrap_or(Ok(()));
    let committer = Committer::start(sync, 2, nobody()).unwrap();
    let place = committer.place().unwrap();
    let unavailable = |result: Result<(), StoreError>| matches!(result, Err(StoreError::Unavailable(why)) if why.contains("no space left"));
    assert!(unavailable(
        committer.commit(place, None, News::default()).await
    ));
    assert!(unavailable(committer.place().map(drop)));
    assert!(unavailable(committer.free_place().await.map(drop)));
}

#[tokio::test]
async fn a_sync_that_works_after_one_that_failed_answers_nobody() {
    let (go, gate) = mpsc::channel();
    let sync = move || gate.recv().map_err(io::Error::other)?;
    let committer = Committer::start(sync, 2, nobody()).unwrap();
    let first = committer.commit(committer.place().unwrap(), None, News::default());
    let second = async {
        // Arrives while the first is being synced.
        while committer.batch() == 1 {
            tokio::task::yield_now().await;
        }
        let place = committer.place().unwrap();
        let waiting = committer.commit(place, None, News::default());
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
    let heard = Arc::<Heard>::default();
    let notifier = Notifier::new(Arc::clone(&heard) as _);
    let committer = Committer::start(sync, 1, notifier).unwrap();
    let news = Event::Broadcasts.into();
    let waited = committer.commit(committer.place().unwrap(), None, news);
    let waited = waited.await;
    assert!(matches!(waited, Err(StoreError::Unavailable(why)) if why.contains("8 s")));
    // The change may be lost, so its permit stays taken until the sync ends.
    assert!(committer.place().is_err());
    assert_eq!(*heard.0.lock().unwrap(), []);
    // Its news is sent after the sync.
    go.send(()).unwrap();
    drop(committer);
    assert_eq!(*heard.0.lock().unwrap(), [Event::Broadcasts]);
}

#[tokio::test]
async fn a_listener_that_panics_harms_nobody_else() {
    struct Broken;

    impl Listener for Broken {
        fn changed(&self, _: Event) {
            panic!("broken")
        }
    }

    let committer = Committer::start(|| Ok(()), 1, Notifier::new(Arc::new(Broken))).unwrap();
    for _ in 0..2 {
        let place = committer.place().unwrap();
        let news = Event::Broadcasts.into();
        committer.commit(place, None, news).await.unwrap();
    }
}

#[tokio::test]
async fn a_panic_in_the_engine_is_a_failed_sync() {
    let committer = Committer::start(|| panic!("broken"), 2, nobody()).unwrap();
    let place = committer.place().unwrap();
    assert!(
        committer
            .commit(place, None, News::default())
            .await
            .is_err()
    );
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
    let committer = Committer::start(sync, 1, nobody()).unwrap();
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
    let committer = Committer::start(sync, 1, nobody()).unwrap();
    for _ in 0..100 {
        let room = committer.room(1, UNSYNCED_BYTES / 4).await.unwrap();
        let now = unsynced.fetch_add(1, Ordering::SeqCst) + 1;
        peak.fetch_max(now, Ordering::SeqCst);
        committer.commit_later(Some(room));
    }
    // Callers do not wait for `UNSYNCED_AT_MOST`, and the bound holds.
    assert!(peak.load(Ordering::SeqCst) <= 3);
    let _all = committer.room(usize::MAX, usize::MAX).await.unwrap();
}

#[test]
fn a_change_nobody_waits_for_is_synced_within_a_second_or_two() {
    let (synced, syncs) = mpsc::channel();
    let sync = move || synced.send(()).map_err(io::Error::other);
    let committer = Committer::start(sync, 1, nobody()).unwrap();
    let batch = committer.commit_later(None);
    assert!(!committer.is_durable(batch));
    syncs.recv_timeout(Duration::from_secs(30)).unwrap();
}
