//! Everything that can refuse a request before the service sees it, in the order of the checks:
//!
//! 1. [`proxies`]: determines the client address of a request;
//! 2. [`fairness`]: connection slots, and the share of each address;
//! 3. [`blocklist`]: addresses and keys that the operator has blocked;
//! 4. [`rates`], [`failures`]: token buckets for requests, pushes and failed signature checks;
//! 5. [`admission`]: which user agents may connect;
//! 6. slots for requests, bodies and user agents ([`fairness`] again), and the fair queue of pushes
//!    ([`fair_queue`]).
//!
//! Each limit has one [`Limit`](crate::config::Limit), which names its setting.

pub mod admission;
pub mod blocklist;
pub mod failures;
pub mod fair_queue;
pub mod fairness;
pub mod keyed_semaphore;
pub mod network;
pub mod proxies;
pub mod rates;
pub mod refusal;

mod serial;

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::PublicKey;

use crate::config::{Config, Limit};
use crate::time::Clock;

use self::admission::Admission;
use self::fair_queue::{FairQueue, Turn};
use self::fairness::{Pool, ShareHolder, Slot};
use self::proxies::{Mistakes, Proxies};
use self::rates::Rates;

pub use self::refusal::Refusal;

/// All checks between a peer and the service.
pub struct Gate {
    /// Which user agents may connect.
    pub admission: Admission,
    /// Token buckets by address, key and subscription.
    pub rates: Rates,
    /// The trusted proxies.
    pub proxies: Proxies,
    /// Reports misconfigured proxies and clients.
    pub mistakes: Mistakes,
    /// Connections to the public listener. For clients behind a trusted proxy, each request and
    /// WebSocket counts against the share of the client instead.
    pub connections: Arc<Pool>,
    /// Whether a client address identifies a client (`limits.connections_per_address` is not 0).
    by_address: bool,
    requests: Arc<Pool>,
    bodies: Arc<Pool>,
    user_agents: Arc<Pool>,
    /// Pushes that wait to be stored, by sender.
    turns: FairQueue,
}

impl Gate {
    /// Applies the configuration, with all slots free.
    pub fn new(config: &Config, clock: &Clock) -> Self {
        let limits = &config.limits;
        Self {
            admission: Admission::new(&config.admission),
            rates: Rates::new(limits, clock),
            proxies: Proxies::new(&config.server),
            mistakes: Mistakes::new(clock),
            connections: Pool::new(Limit::Connections, limits.connections),
            by_address: limits.connections_per_address != 0,
            requests: Pool::new(Limit::Requests, limits.requests),
            bodies: Pool::new(Limit::Bodies, limits.bodies),
            user_agents: Pool::new(Limit::UserAgents, limits.user_agents),
            turns: FairQueue::new(limits.pushes_at_once),
        }
    }

    /// Takes a slot for a request whose sender is not yet known.
    ///
    /// # Errors
    /// [`Refusal::Limit`] if no slot is free, [`Refusal::Share`] if the address already has as many
    /// as are free.
    pub fn admit_request(&self, address: IpAddr) -> Result<Slot, Refusal> {
        self.requests.acquire([self.peer(address), None])
    }

    /// Takes a slot for a push whose body has arrived.
    ///
    /// # Errors
    /// [`Refusal::Limit`] if no slot is free, [`Refusal::Share`] if the sender or the address
    /// already has as many as are free.
    pub fn admit_push(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Slot, Refusal> {
        self.requests.acquire(self.holders(key, address))
    }

    /// Takes a slot for a request whose body is still arriving. Such a request holds no request
    /// slot, because its client determines how long it takes.
    ///
    /// # Errors
    /// [`Refusal::Limit`] if no slot is free, [`Refusal::Share`] if the sender or the address
    /// already has as many as are free.
    pub fn admit_body(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Slot, Refusal> {
        self.bodies.acquire(self.holders(key, address))
    }

    /// Takes a slot for a user agent's connection or monitor (held GET).
    ///
    /// # Errors
    /// [`Refusal::Limit`] if no slot is free, [`Refusal::Share`] if the address already has as many
    /// as are free.
    pub fn admit_user_agent(&self, address: IpAddr) -> Result<Slot, Refusal> {
        self.user_agents.acquire([self.peer(address), None])
    }

    /// Waits until a push of this sender may be stored.
    ///
    /// # Errors
    /// [`Refusal::Share`] if its turn does not come in time.
    pub async fn turn(
        &self,
        key: Option<&PublicKey>,
        address: IpAddr,
    ) -> Result<Turn<'_>, Refusal> {
        let sender = key.map_or_else(|| ShareHolder::address(address), ShareHolder::key);
        self.turns.take(sender).await
    }

    /// A signed request counts against its VAPID key and its address, an unsigned one against its
    /// address.
    fn holders(&self, key: Option<&PublicKey>, address: IpAddr) -> [Option<ShareHolder>; 2] {
        match key {
            Some(key) => [Some(ShareHolder::key(key)), self.peer(address)],
            None => [Some(ShareHolder::address(address)), None],
        }
    }

    /// The share holder for an address; `None` if addresses do not identify clients.
    pub fn peer(&self, address: IpAddr) -> Option<ShareHolder> {
        self.by_address.then(|| ShareHolder::address(address))
    }

    /// Number of requests in progress.
    pub fn in_progress(&self) -> usize {
        self.requests.taken()
    }

    /// Number of requests whose body is still arriving.
    pub fn arriving(&self) -> usize {
        self.bodies.taken()
    }

    /// The addresses with the most user agent connections and monitors.
    pub fn most_connected(&self, most: usize) -> Vec<(ShareHolder, usize)> {
        self.user_agents.largest(most)
    }

    /// Number of user agent slots in use.
    pub fn connected(&self) -> usize {
        self.user_agents.taken()
    }
}
