//! Interleavings of one reader with pushes, with other readers and with time.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::net::Ipv4Addr;
use std::time::Duration;

use bugle_protocol::{ChannelId, Keyring, ReceiptSubscriptionId, SubscriptionId};
use futures_util::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::config::{Config, StoreEngine};
use crate::gate::blocklist::Blocks;
use crate::observe::otel::Traces;
use crate::service::clock::ServiceClock;
use crate::service::registry::Reader;
use crate::service::{PushService, Wakes};
use crate::store::watched::Watched;
use crate::store::{self, NewMessage, Origin, ReceiptStatus, ReceiptTarget, Subscription};
use crate::time::Clock;

const UAID: Uaid = Uaid::from_bytes([1; 16]);
const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
const LIFE: SubscriptionId = SubscriptionId::from_bytes([3; 16]);
const RECEIPTS: ReceiptSubscriptionId = ReceiptSubscriptionId::from_bytes([4; 16]);
const MINUTE: Duration = Duration::from_secs(60);

/// A service without listeners, over a store in memory with one subscription.
struct Scene {
    app: Arc<App>,
    store: Arc<Watched>,
    clock: Clock,
    _folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.engine = StoreEngine::Memory;
        config.user_agent.window_messages = 4;
        let clock = Clock::manual(UnixTime::from_secs(1_800_000_000));
        let wakes = Wakes::new(config.limits.live_queue);
        let store = Watched::over(store::open(&config, Arc::clone(&wakes) as _).unwrap());
        let service = PushService::new(
            config.clone(),
            config.public_url((Ipv4Addr::LOCALHOST, 0).into()),
            (Arc::clone(&store) as _, wakes),
            Keyring::new(&[[5; 32]]).unwrap(),
            Blocks::open(folder.path().join("blocks"), 1).unwrap(),
            ServiceClock::open(clock.clone(), folder.path().join("clock")).unwrap(),
            Traces::default(),
        );
        let scene = Self {
            app: Arc::new(App::new(service)),
            store,
            clock,
            _folder: folder,
        };
        let subscription = Subscription {
            uaid: UAID,
            channel: CHANNEL,
            id: LIFE,
            vapid_key: None,
            registration: None,
        };
        let now = scene.app.service.now();
        store::Store::subscribe(&*scene.store, subscription, now)
            .await
            .unwrap();
        scene
    }

    fn reader(&self, reader: Reader, window: Option<Window>) -> Drain {
        let here = Ipv4Addr::LOCALHOST.into();
        let registration = self.app.service.register(reader, here).unwrap();
        Drain::new(&self.app, registration, window, Urgency::VeryLow)
    }

    /// A reader with a window, as a WebSocket has it.
    fn drain(&self) -> Drain {
        let window = Window::new(Arc::clone(&self.app.window));
        self.reader(Reader::UserAgent(UAID), Some(window))
    }

    fn message(&self, urgency: Urgency, ttl: Duration) -> NewMessage {
        let now = self.app.service.now();
        NewMessage {
            channel: CHANNEL,
            subscription: LIFE,
            accepted_at: now,
            expires_at: now + ttl,
            urgency,
            topic: None,
            content: None,
            receipt: None,
            origin: Origin::default(),
        }
    }

    async fn append(&self, message: NewMessage) -> MessageId {
        store::Store::append(&*self.store, UAID, message, None)
            .await
            .unwrap()
    }

    async fn push(&self, urgency: Urgency) -> MessageId {
        self.append(self.message(urgency, MINUTE)).await
    }

    /// Offers a message with TTL 0 to the connected readers. Returns whether one took it.
    fn offer(&self, id: u64, urgency: Urgency) -> bool {
        let message = self.message(urgency, Duration::ZERO);
        let message = message.with_id(MessageId::new(id));
        let clients = self.app.service.clients();
        clients.offer(UAID, message, Instant::now())
    }
}

/// What the drain returns without waiting.
async fn now(drain: &mut Drain) -> Next {
    drain.next(Instant::now()).await.unwrap()
}

fn id(next: &Next) -> Option<MessageId> {
    match next {
        Next::Item(Item::Message { message, .. }) => Some(message.id),
        _ => None,
    }
}

/// The ids of all messages that the drain returns without waiting.
async fn ids(drain: &mut Drain) -> Vec<MessageId> {
    let mut ids = Vec::new();
    while let Some(id) = id(&now(drain).await) {
        ids.push(id);
    }
    ids
}

/// The time in `secs` seconds.
fn after(secs: u64) -> Instant {
    Instant::now() + Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn one_message_is_one_wake_and_one_read() {
    let scene = Scene::new().await;
    let mut drain = scene.drain();
    assert_eq!(now(&mut drain).await, Next::Quiet);
    assert_eq!(scene.store.reads(), 1, "what had been there");
    for reads in 2..5 {
        let pushed = scene.push(Urgency::Normal).await;
        assert_eq!(ids(&mut drain).await, [pushed]);
        assert_eq!(drain.next(after(60)).await, Ok(Next::Quiet));
        assert_eq!(scene.store.reads(), reads);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_log_is_read_in_as_many_reads_as_it_has_batches() {
    let scene = Scene::new().await;
    for _ in 0..70 {
        scene.push(Urgency::Normal).await;
    }
    let mut drain = scene.reader(Reader::Channel(UAID, CHANNEL), None);
    assert_eq!(ids(&mut drain).await.len(), 70);
    assert_eq!(scene.store.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wake_during_a_read_is_not_lost() {
    let scene = Scene::new().await;
    let mut drain = scene.drain();
    let held = scene.store.hold().await;
    let mut next = Box::pin(drain.next(after(60)));
    assert!(next.as_mut().now_or_never().is_none());
    assert_eq!(scene.store.reads(), 1, "it has found nothing");
    let pushed = scene.push(Urgency::Normal).await;
    drop(held);
    assert_eq!(id(&next.await.unwrap()), Some(pushed));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_read_loses_nothing() {
    let scene = Scene::new().await;
    let pushed = [
        scene.push(Urgency::Normal).await,
        scene.push(Urgency::Normal).await,
    ];
    let mut drain = scene.drain();
    let held = scene.store.hold().await;
    assert!(drain.next(after(60)).now_or_never().is_none());
    drop(held);
    assert_eq!(ids(&mut drain).await, pushed);
}

#[tokio::test(start_paused = true)]
async fn a_connection_superseded_during_a_read_gets_nothing_more() {
    let scene = Scene::new().await;
    let pushed = scene.push(Urgency::Normal).await;
    let mut older = scene.drain();
    let held = scene.store.hold().await;
    let mut next = Box::pin(older.next(after(60)));
    assert!(next.as_mut().now_or_never().is_none());
    let mut newer = scene.drain();
    drop(held);
    assert_eq!(next.await, Ok(Next::Ended(Ended::Superseded)));
    assert_eq!(ids(&mut newer).await, [pushed]);
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_changes_between_items_holds_for_the_next() {
    let scene = Scene::new().await;
    let mut pushed = Vec::new();
    for urgency in [Urgency::High, Urgency::Low, Urgency::High, Urgency::Normal] {
        pushed.push(scene.push(urgency).await);
    }
    let mut drain = scene.reader(Reader::UserAgent(UAID), None);
    assert_eq!(id(&now(&mut drain).await), Some(pushed[0]));
    drain.filter(Urgency::High);
    assert_eq!(ids(&mut drain).await, [pushed[2]]);
    drain.filter(Urgency::Normal);
    assert_eq!(ids(&mut drain).await, [pushed[3]]);
    drain.filter(Urgency::VeryLow);
    assert_eq!(ids(&mut drain).await, [pushed[1]]);
    // A higher minimum causes no read.
    let reads = scene.store.reads();
    drain.filter(Urgency::High);
    assert_eq!(ids(&mut drain).await, []);
    assert_eq!(scene.store.reads(), reads);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_expires_between_read_and_send_is_not_sent() {
    let scene = Scene::new().await;
    let first = scene.push(Urgency::Normal).await;
    let brief = scene.message(Urgency::Normal, Duration::from_secs(10));
    scene.append(brief).await;
    let last = scene.push(Urgency::Normal).await;
    let mut drain = scene.drain();
    assert_eq!(id(&now(&mut drain).await), Some(first));
    scene.clock.advance(Duration::from_secs(10));
    assert_eq!(ids(&mut drain).await, [last]);
    assert_eq!(scene.store.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_window_waits_for_acks_or_for_window_patience() {
    let scene = Scene::new().await;
    for _ in 0..10 {
        scene.push(Urgency::Normal).await;
    }
    let mut drain = scene.drain();
    assert_eq!(ids(&mut drain).await.len(), 4);
    let patience = scene.app.window.window_patience;
    assert_eq!(
        drain.next(Instant::now() + patience / 2).await,
        Ok(Next::Quiet)
    );
    let begun = Instant::now();
    let next = drain.next(after(3600)).await;
    assert!(id(&next.unwrap()).is_some());
    // The window reopens after the rest of its patience; timers have a resolution of 1 ms.
    let late = begun.elapsed().checked_sub(patience - patience / 2);
    assert!(late.is_some_and(|late| late < Duration::from_millis(5)));
    assert_eq!(ids(&mut drain).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_with_ttl_0_is_sent_now_or_dropped() {
    let scene = Scene::new().await;
    let mut drain = scene.drain();
    assert!(scene.offer(100, Urgency::High));
    drain.filter(Urgency::Normal);
    assert!(scene.offer(101, Urgency::Low));
    assert!(scene.offer(102, Urgency::Normal));
    assert_eq!(ids(&mut drain).await, [100, 102].map(MessageId::new));
    assert_eq!(scene.app.service.metrics().dropped.get(), 1);
}

/// The messages that wait in memory for a slow connection are bounded.
#[tokio::test(start_paused = true)]
async fn queued_messages_with_ttl_0_are_bounded() {
    let scene = Scene::new().await;
    let mut drain = scene.reader(Reader::UserAgent(UAID), None);
    let mut taken = 0;
    for id in 0..1000 {
        taken += u64::from(scene.offer(id, Urgency::High));
        if id % 10 == 0 {
            now(&mut drain).await;
            taken -= 1;
        }
    }
    let bound = 2 * scene.app.service.config().limits.live_queue as u64;
    assert!(taken <= bound, "{taken} wait");
    // A newer connection still supersedes it.
    let _newer = scene.drain();
    assert_eq!(now(&mut drain).await, Next::Ended(Ended::Superseded));
}

#[tokio::test(start_paused = true)]
async fn one_receipt_is_one_wake_and_one_read() {
    let scene = Scene::new().await;
    let mut message = scene.message(Urgency::Normal, MINUTE);
    let ends_at = message.expires_at + MINUTE;
    message.receipt = Some(ReceiptTarget {
        id: RECEIPTS,
        grant: store::Grant::Make(ends_at),
    });
    let message = scene.append(message).await;
    let mut drain = scene.reader(Reader::Receipts(RECEIPTS), None);
    assert_eq!(now(&mut drain).await, Next::Quiet);
    let acked = [(message, store::Removal::Delivered)];
    let service_now = scene.app.service.now();
    store::Store::remove(&*scene.store, UAID, &acked, service_now)
        .await
        .unwrap();
    let Ok(Next::Item(Item::Receipt(receipt))) = drain.next(after(60)).await else {
        panic!("a receipt is there");
    };
    assert_eq!(
        (receipt.message, receipt.status),
        (message, ReceiptStatus::Delivered)
    );
    assert_eq!(drain.next(after(60)).await, Ok(Next::Quiet));
    assert_eq!(scene.store.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_reader_holds_no_read_ahead() {
    let scene = Scene::new().await;
    let mut drain = scene.drain();
    scene.push(Urgency::Normal).await;
    assert!(scene.offer(100, Urgency::High));
    ids(&mut drain).await;
    assert!(drain.ahead.is_none());
}
