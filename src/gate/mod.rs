//! Everything that refuses a peer before the service is asked, in the order in
//! which a request meets it:
//!
//! 1. [`proxies`]: which address a request comes from;
//! 2. [`fairness`]: the places for connections, and the share of an address;
//! 3. [`blocklist`]: addresses and keys that the operator has blocked;
//! 4. [`rates`], [`failures`]: token buckets for requests, pushes and failed
//!    signatures;
//! 5. [`admission`]: who may come in as a user agent;
//! 6. the places for requests, bodies and user agents ([`fairness`] again), and the
//!    fair queue of pushes ([`fair_queue`]).
//!
//! Each limit has one [`Limit`](crate::config::Limit), which names its setting.

pub mod admission;
pub mod blocklist;
pub mod failures;
pub mod fair_queue;
pub mod fairness;
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

/// What stands between a peer and the service.
pub struct Gate {
    /// Who may come in as a user agent.
    pub admission: Admission,
    /// Token buckets by address, key and subscription.
    pub rates: Rates,
    /// The proxies that are trusted.
    pub proxies: Proxies,
    /// Reports of proxies and clients that are set up wrongly.
    pub mistakes: Mistakes,
    /// The connections to the public listener. Of the clients of a trusted
    /// proxy, their requests and WebSockets count in their shares.
    pub connections: Arc<Pool>,
    /// Whether addresses tell clients apart (`limits.connections_per_address`
    /// is not 0).
    by_address: bool,
    requests: Arc<Pool>,
    bodies: Arc<Pool>,
    user_agents: Arc<Pool>,
    /// The pushes of each application server that wait to be stored.
    turns: FairQueue,
}

impl Gate {
    /// The gate that is configured, with all places free.
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

    /// A place for a request whose sender is not known yet.
    ///
    /// # Errors
    /// [`Refusal::Limit`] when there is none, [`Refusal::Share`] when the address
    /// holds as many as are free.
    pub fn admit_request(&self, address: IpAddr) -> Result<Slot, Refusal> {
        self.requests.acquire([self.peer(address), None])
    }

    /// A place for a push that has arrived whole.
    ///
    /// # Errors
    /// [`Refusal::Limit`] when there is none, [`Refusal::Share`] when the sender or
    /// the address holds as many as are free.
    pub fn admit_push(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Slot, Refusal> {
        self.requests.acquire(self.holders(key, address))
    }

    /// A place for a request whose body is still to arrive. Such a request holds
    /// no place among those in progress: how long it takes is up to its client.
    ///
    /// # Errors
    /// [`Refusal::Limit`] when there is none, [`Refusal::Share`] when the sender or
    /// the address holds as many as are free.
    pub fn admit_body(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Slot, Refusal> {
        self.bodies.acquire(self.holders(key, address))
    }

    /// A place for one more connected user agent or held GET.
    ///
    /// # Errors
    /// [`Refusal::Limit`] when there is none, [`Refusal::Share`] when the address
    /// holds as many as are free.
    pub fn admit_user_agent(&self, address: IpAddr) -> Result<Slot, Refusal> {
        self.user_agents.acquire([self.peer(address), None])
    }

    /// Waits until a push of this sender may be stored.
    ///
    /// # Errors
    /// [`Refusal::Share`] when its turn does not come in time.
    pub async fn turn(
        &self,
        key: Option<&PublicKey>,
        address: IpAddr,
    ) -> Result<Turn<'_>, Refusal> {
        let sender = key.map_or_else(|| ShareHolder::address(address), ShareHolder::key);
        self.turns.take(sender).await
    }

    /// The application server by its key, and the peer; without a key the peer
    /// is the sender.
    fn holders(&self, key: Option<&PublicKey>, address: IpAddr) -> [Option<ShareHolder>; 2] {
        match key {
            Some(key) => [Some(ShareHolder::key(key)), self.peer(address)],
            None => [Some(ShareHolder::address(address)), None],
        }
    }

    /// The peer at an address, unless addresses do not tell clients apart.
    pub fn peer(&self, address: IpAddr) -> Option<ShareHolder> {
        self.by_address.then(|| ShareHolder::address(address))
    }

    /// How many requests are in progress.
    pub fn in_progress(&self) -> usize {
        self.requests.taken()
    }

    /// How many requests have a body that is still arriving.
    pub fn arriving(&self) -> usize {
        self.bodies.taken()
    }

    /// The addresses with the most connected user agents and held GETs.
    pub fn most_connected(&self, most: usize) -> Vec<(ShareHolder, usize)> {
        self.user_agents.largest(most)
    }

    /// How many places of connected user agents are taken.
    pub fn connected(&self) -> usize {
        self.user_agents.taken()
    }
}
