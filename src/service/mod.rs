//! The push service itself: the rules between senders and receivers, independent of the protocol
//! that they use.

pub mod clock;
pub mod compat;
pub mod devices;
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

use bugle_protocol::vapid::Audience;
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

/// The rules of the service. Handlers and transports call it; they do not use the store directly.
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
    /// Creates a service that issues URLs below `public_url`, over a store that was opened with
    /// `wakes` as its listener.
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
        let others = config.server.audiences.iter().map(PublicUrl::audience);
        let verifier = Verifier::new(
            others.fold(public_url.audience(), Audience::or),
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

    /// The deviations from the standards that are tolerated (`[compat]`).
    pub fn compat(&self) -> &Compat {
        &self.compat
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The text of the metrics.
    pub fn metrics_text(&self, format: Format) -> String {
        self.metrics.text(self.usage(), format)
    }

    /// The trace of single messages.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The OpenTelemetry traces of pushes.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The blocked keys and addresses.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Records an event of a message, if the trace is enabled.
    fn note(&self, id: MessageId, event: Event) {
        if self.trace.is_on() {
            self.trace.note(id, event, self.now());
        }
    }

    /// The amounts that the store holds.
    pub fn usage(&self) -> Usage {
        self.store.usage()
    }

    /// The registry of connected clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The base of the URLs that the service issues.
    pub fn public_url(&self) -> &PublicUrl {
        &self.public_url
    }

    /// The system clocks that service time is derived from.
    pub fn clock(&self) -> &Clock {
        self.time.clock()
    }

    /// Service time and the wall clock.
    pub fn time(&self) -> &ServiceClock {
        &self.time
    }

    /// Service time, which the store uses for lifetimes.
    pub fn now(&self) -> UnixTime {
        self.time.now()
    }

    /// The wall clock, for tokens and for people.
    pub fn wall_clock(&self) -> UnixTime {
        self.time.wall()
    }

    /// The current broadcasts.
    pub fn broadcasts(&self) -> Arc<Broadcasts> {
        self.store.broadcasts()
    }

    /// Sets the version of a broadcast, or removes it with `None`. Returns whether it existed
    /// before. When this returns, the change is durable, and the connected user agents are being
    /// notified.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Unavailable`].
    pub async fn set_broadcast(&self, id: Label, version: Option<Label>) -> Result<bool, Error> {
        let set = self.store.set_broadcast(id, version).await;
        self.stored(set)
    }

    /// Removes up to `limits.expire_batch` expired items. Returns whether there may be more.
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

    /// Makes all changes so far durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.stored(self.store.flush().await)
    }

    /// Whether the store accepts changes now. Does not access the disk.
    pub fn store_is_well(&self) -> bool {
        self.store.health().is_ok()
    }

    /// Wakes all connections after each change that concerns all of them. Never returns; it is
    /// ended by cancellation.
    pub async fn wake_everybody(&self) {
        self.wakes.wake_everybody().await;
    }

    /// The absolute URL of a resource.
    pub fn url(&self, resource: &Resource) -> String {
        self.public_url.url(&resource.path(&self.keyring))
    }

    /// The resource at a path, if this service has issued its token.
    pub fn open(&self, path: ResourcePath<'_>) -> Option<Resource> {
        Resource::open(path, &self.keyring).ok()
    }

    /// The resource at a URL that this service has issued, absolute or relative.
    pub fn resource_at(&self, url: &str) -> Option<Resource> {
        let origin = self.public_url.origin();
        let path = url.strip_prefix(origin).unwrap_or(url);
        self.open(ResourcePath::parse(path)?)
    }

    /// Converts a result of the store; counts and logs a failure. A store that fails as a whole
    /// logs that itself, once.
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
