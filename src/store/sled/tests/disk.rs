//! Tests with a disk that is slow or broken while the engine reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use bugle_protocol::PublicKey;
use tokio::runtime::Handle;

use super::*;
use crate::store::{Event, Page};

/// How long a test waits for an expected event.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The name of the thread whose reads block.
const SLOW: &str = "slow";

/// A user agent whose caller must not be blocked.
const OTHER: Uaid = Uaid::from_bytes([9; 16]);

#[derive(Clone, Copy, Debug)]
enum Call {
    Append,
    Pending,
    Replace,
    End,
}

/// The `n`th life of the subscription; each has a different key.
fn life(n: usize) -> Subscription {
    let n = u8::try_from(n).unwrap();
    Subscription {
        uaid: UAID,
        channel: CHANNEL,
        id: SubscriptionId::from_bytes([n; 16]),
        vapid_key: Some(PublicKey::from_kept(&[n; 65]).unwrap()),
        registration: None,
    }
}

async fn run(store: &SledStore, call: Call, nth: usize) {
    match call {
        Call::Append => drop(store.append(UAID, message(0), None).await.unwrap()),
        Call::Pending => {
            let filter = Filter {
                channel: Some(CHANNEL),
                ..Filter::NONE
            };
            let read = store.pending(UAID, None, filter, ALL, NOW).await;
            assert_eq!(read, Ok(Page::EMPTY));
        }
        Call::Replace => drop(store.subscribe(life(100 + nth), NOW).await.unwrap()),
        Call::End => {
            let ended = store.unsubscribe(UAID, CHANNEL, None, Readers::Stay, NOW);
            assert_eq!(ended.await, Ok(true));
        }
    }
}

/// Starts a call that blocks at its `nth` read until the sender is dropped; `None` if it ends with
/// fewer reads.
fn stuck_at(
    store: &Arc<SledStore>,
    call: Call,
    nth: usize,
) -> Option<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (stuck, reported) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (released, reads) = (Mutex::new(released), AtomicUsize::new(0));
    let ended = stuck.clone();
    store.database().unwrap().stand_in.before_reads(move || {
        if thread::current().name() == Some(SLOW) && reads.fetch_add(1, Ordering::Relaxed) == nth {
            stuck.send(true).unwrap();
            let _ = released.lock().unwrap().recv();
        }
    });
    let thread = thread::Builder::new().name(SLOW.to_owned()).spawn({
        let (store, runtime) = (Arc::clone(store), Handle::current());
        move || {
            runtime.block_on(run(&store, call, nth));
            let _ = ended.send(false);
        }
    });
    match reported.recv_timeout(TIMEOUT) {
        Ok(true) => Some((release, thread.unwrap())),
        Ok(false) => None,
        Err(error) => panic!("{call:?}: {error}"),
    }
}

/// Returns whether a message of another user agent is accepted, stored and acknowledged.
fn others_go_on(store: &Arc<SledStore>) -> bool {
    let (done, is_done) = mpsc::channel();
    let (store, runtime) = (Arc::clone(store), Handle::current());
    thread::spawn(move || {
        runtime.block_on(async {
            let id = store.append(OTHER, message(1000), None).await.unwrap();
            let acknowledged = [(id, Removal::Delivered)];
            assert_eq!(store.remove(OTHER, &acknowledged, NOW).await, Ok(1));
        });
        let _ = done.send(());
    });
    is_done.recv_timeout(TIMEOUT).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_read_delays_no_other_caller() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(store(&folder).await);
    let there = store.subscription(UAID, CHANNEL).await.unwrap().unwrap();
    let of_other = Subscription {
        uaid: OTHER,
        ..there
    };
    store.subscribe(of_other, NOW).await.unwrap();
    for call in [Call::Append, Call::Pending, Call::Replace, Call::End] {
        for nth in 0.. {
            if let Call::End = call {
                store.subscribe(life(nth), NOW).await.unwrap();
            }
            let Some((release, thread)) = stuck_at(&store, call, nth) else {
                assert!(nth > 0, "{call:?} reads nothing");
                break;
            };
            let go_on = others_go_on(&store);
            drop(release);
            thread.join().unwrap();
            assert!(go_on, "{call:?} is stuck at its read {nth}");
        }
    }
}

#[tokio::test]
async fn a_panic_in_a_read_fails_only_that_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let id = store.append(UAID, message(1000), None).await.unwrap();
    let database = store.database().unwrap();
    database
        .stand_in
        .before_reads(|| panic!("as the engine does where its files fail"));
    let panicked = StoreError::Unavailable("the engine panicked in a read".to_owned());
    let read = store.pending(UAID, None, Filter::NONE, ALL, NOW).await;
    assert_eq!(read, Err(panicked.clone()));
    assert_eq!(store.message(UAID, id, NOW).await, Err(panicked.clone()));
    assert_eq!(store.largest(9).await, Err(panicked.clone()));
    assert_eq!(
        store.all_subscriptions(None, 9).await,
        Err(panicked.clone())
    );
    assert_eq!(store.append(UAID, message(0), None).await, Err(panicked));
    database.stand_in.before_reads(|| {});
    assert_eq!(store.health(), Ok(()));
    let read = store.message(UAID, id, NOW).await.unwrap();
    assert_eq!(read.map(|message| message.id), Some(id));
}

/// Reports when the engine is reopened after a failure.
struct Gaps(mpsc::Sender<()>);

impl Listener for Gaps {
    fn changed(&self, event: Event) {
        if event == Event::Gap {
            let _ = self.0.send(());
        }
    }
}

#[tokio::test]
async fn a_panic_in_a_flush_reopens_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (gaps, gap) = mpsc::channel();
    let config = Config::default();
    let limits = StoreLimits::from(&config);
    let store = SledStore::open(folder.path(), &config.store, limits, Arc::new(Gaps(gaps)));
    let store = store.unwrap();
    store.subscribe(life(3), NOW).await.unwrap();
    let database = store.database().unwrap();
    database
        .stand_in
        .before_flushes(|| panic!("as the engine does where its files fail"));
    // The engine is replaced once this last reference is dropped.
    drop(database);
    gap.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(store.usage().reopened, 1);
    store.append(UAID, message(1000), None).await.unwrap();
}
