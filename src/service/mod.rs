//! The push service itself: the rules between those who send and those who
//! receive, whatever protocol they speak.

pub mod clock;
pub mod compat;
pub mod expiry;
pub mod full;
pub mod operating;
pub mod registry;
pub mod vapid;

mod error;
mod handles;
mod live;
mod order;
mod receipts;
mod receiving;
mod sending;
mod subscribers;
mod subscribing;
mod unused;
mod wakes;

use std::sync::Arc;

use bugle_protocol::{Keyring, MessageId, Resource, ResourcePath, UnixTime};

use crate::config::{Config, PublicUrl};
use crate::gate::blocklist::Blocks;
use crate::observe::exposition::Format;
use crate::observe::message_log::{Event, Trace};
use crate::observe::metrics::Metrics;
use crate::observe::otel::Traces;
use crate::service::clock::ServiceClock;
use crate::service::compat::Compat;
use crate::service::registry::Clients;
use crate::service::vapid::Verifier;
use crate::store::broadcasts::{Broadcasts, Label};
use crate::store::{Engine, ReceiptStatus, StoreError, Usage};
use crate::time::Clock;

use self::live::Live;
use self::order::Order;
use self::subscribers::Subscribers;

pub use self::error::Error;
pub use self::receiving::{Handover, Outcome};
pub use self::sending::Accepted;
pub use self::wakes::Wakes;

/// The rules of the service. Handlers and transports call it; nothing else
/// but the expiry talks to the store.
pub struct PushService {
    store: Arc<dyn Engine>,
    wakes: Arc<Wakes>,
    clients: Arc<Clients>,
    keyring: Keyring,
    verifier: Verifier,
    live: Live,
    order: Order,
    subscribers: Subscribers,
    public_url: PublicUrl,
    config: Config,
    compat: Compat,
    time: Arc<ServiceClock>,
    metrics: Metrics,
    trace: Arc<Trace>,
    traces: Traces,
    blocks: Blocks,
}

impl PushService {
    /// A service that hands out URLs below `public_url`, over a store that
    /// was opened with `wakes` as its listener.
    pub fn new(
        config: Config,
        public_url: PublicUrl,
        (store, wakes): (Arc<dyn Engine>, Arc<Wakes>),
        keyring: Keyring,
        blocks: Blocks,
        time: ServiceClock,
        traces: Traces,
    ) -> Self {
        let compat = Compat::new(&config.compat);
        let verifier = Verifier::new(
            public_url.audience(),
            compat.tolerances,
            config.push.vapid_leeway,
            config.limits.verified_tokens,
        );
        let clients = Arc::clone(wakes.clients());
        let live = Live::new(config.limits.live_receipts);
        let subscribers = Subscribers::new(config.limits.subscriptions);
        let metrics = Metrics::new(&config.limits);
        let trace = Arc::new(Trace::new(config.trace.messages, time.now()));
        Self {
            store,
            wakes,
            clients,
            keyring,
            verifier,
            live,
            order: Order::default(),
            subscribers,
            public_url,
            config,
            compat,
            time: Arc::new(time),
            metrics,
            trace,
            traces,
            blocks,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is tolerated of senders.
    pub fn compat(&self) -> &Compat {
        &self.compat
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The text of the metrics.
    pub fn metrics_text(&self, format: Format) -> String {
        self.metrics.text(self.usage(), format)
    }

    /// What became of single messages.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Where the stages of a push are told.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Who is refused.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Notes what happened to a message, for who asks.
    fn note(&self, id: MessageId, event: Event) {
        if self.trace.is_on() {
            self.trace.note(id, event, self.now());
        }
    }

    /// What the store holds.
    pub fn usage(&self) -> Usage {
        self.store.usage()
    }

    /// Who is connected.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The origin that URLs are handed out under.
    pub fn public_url(&self) -> &PublicUrl {
        &self.public_url
    }

    /// The clocks below service time.
    pub fn clock(&self) -> &Clock {
        self.time.clock()
    }

    /// Service time and the wall clock.
    pub fn time(&self) -> &ServiceClock {
        &self.time
    }

    /// Service time, by which the store counts lifetimes.
    pub fn now(&self) -> UnixTime {
        self.time.now()
    }

    /// What the wall clock shows, for tokens and people.
    pub fn wall_clock(&self) -> UnixTime {
        self.time.wall()
    }

    /// The broadcasts as they are now.
    pub fn broadcasts(&self) -> Arc<Broadcasts> {
        self.store.broadcasts()
    }

    /// Sets the version of a broadcast, or with `None` removes it, and says
    /// whether it was there before. When this returns, the change is safe, and
    /// all who are connected are being told.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unavailable`].
    pub async fn set_broadcast(&self, id: Label, version: Option<Label>) -> Result<bool, Error> {
        let set = self.store.set_broadcast(id, version).await;
        self.stored(set)
    }

    /// Removes what has expired, in one step of `limits.expire_batch`, and says
    /// whether there may be more.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn expire(&self) -> Result<bool, Error> {
        let now = self.now();
        for ((uaid, id), receipt) in self.live.given_up(now) {
            self.settle(receipt, uaid, id, ReceiptStatus::Failed).await;
        }
        let expired = self.store.expire(now, self.config.limits.expire_batch);
        let expired = self.stored(expired.await)?;
        self.metrics.expired.inc_by(expired.messages as u64);
        Ok(expired.more)
    }

    /// Whether the store takes changes, all of them so far made durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.stored(self.store.flush().await)
    }

    /// Whether the store takes changes now; asks no disk.
    pub fn store_is_well(&self) -> bool {
        self.store.health().is_ok()
    }

    /// Wakes all connections after changes that concern all of them, until it
    /// is cancelled.
    pub async fn wake_everybody(&self) {
        self.wakes.wake_everybody().await;
    }

    /// The absolute URL of a resource.
    pub fn url(&self, resource: &Resource) -> String {
        self.public_url.url(&resource.path(&self.keyring))
    }

    /// The resource at a path, if its token is one of ours.
    pub fn open(&self, path: ResourcePath<'_>) -> Option<Resource> {
        Resource::open(path, &self.keyring).ok()
    }

    /// The resource at a URL that we have handed out, absolute or relative.
    pub fn resource_at(&self, url: &str) -> Option<Resource> {
        let origin = self.public_url.origin();
        let path = url.strip_prefix(origin).unwrap_or(url);
        self.open(ResourcePath::parse(path)?)
    }

    /// What the store said, a failure counted and logged. Of a store that
    /// fails as a whole, it says so itself, once.
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, Error> {
        result.map_err(|error| {
            if let StoreError::Unavailable(reason) = &error {
                self.metrics.store_failures.inc();
                if self.store_is_well() {
                    tracing::error!(%reason, "the store failed");
                }
            }
            Error::of_store(error, self.now())
        })
    }
}
