//! Who gets a place: of requests in progress, of bodies that arrive, of user
//! agents. Each is shared by application servers and addresses.

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::PublicKey;

use super::{Site, status};
use crate::config::Limits;
use crate::error::Error;
use crate::limits::Limit;
use crate::shares::{Place, Pool, Who};
use crate::turns::{Turn, Turns};

/// The places that there are.
pub(super) struct Places {
    requests: Arc<Pool>,
    bodies: Arc<Pool>,
    user_agents: Arc<Pool>,
    /// The pushes of each application server that wait to be stored.
    turns: Turns,
}

impl Places {
    /// As many as `limits` says, all free.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            requests: Pool::new(Limit::Requests, limits.requests),
            bodies: Pool::new(Limit::Bodies, limits.bodies),
            user_agents: Pool::new(Limit::UserAgents, limits.user_agents),
            turns: Turns::new(limits.pushes_at_once),
        }
    }
}

impl Site {
    /// A place for a request whose sender is not known yet.
    ///
    /// # Errors
    /// [`Error::Limit`] when there is none, [`Error::Share`] when the address
    /// holds as many as are free.
    pub fn admit_request(&self, address: IpAddr) -> Result<Place, Error> {
        self.places.requests.enter([self.peer(address), None])
    }

    /// The place of a request at its beginning. One for health takes none: it
    /// must be answered whatever the service does, and costs nothing.
    pub(super) fn begin(&self, path: &str, address: IpAddr) -> Result<Option<Place>, Error> {
        match status::is_health(path) {
            true => Ok(None),
            false => self.admit_request(address).map(Some),
        }
    }

    /// A place for a push that has arrived whole.
    ///
    /// # Errors
    /// [`Error::Limit`] when there is none, [`Error::Share`] when the sender or
    /// the address holds as many as are free.
    pub fn admit_push(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Place, Error> {
        self.places.requests.enter(self.holders(key, address))
    }

    /// A place for a request whose body is still to arrive. Such a request holds
    /// no place among those in progress: how long it takes is up to its client.
    ///
    /// # Errors
    /// [`Error::Limit`] when there is none, [`Error::Share`] when the sender or
    /// the address holds as many as are free.
    pub fn admit_body(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Place, Error> {
        self.places.bodies.enter(self.holders(key, address))
    }

    /// A place for one more connected user agent or held GET.
    ///
    /// # Errors
    /// [`Error::Limit`] when there is none, [`Error::Share`] when the address
    /// holds as many as are free, [`Error::Unavailable`] during shutdown.
    pub fn admit_user_agent(&self, address: IpAddr) -> Result<Box<Place>, Error> {
        if self.stopping.is_closing() {
            return Err(Error::Unavailable);
        }
        let place = self.places.user_agents.enter([self.peer(address), None])?;
        Ok(Box::new(place))
    }

    /// Waits until a push of this sender may be stored.
    ///
    /// # Errors
    /// [`Error::Share`] when its turn does not come in time.
    pub async fn turn(&self, key: Option<&PublicKey>, address: IpAddr) -> Result<Turn<'_>, Error> {
        let sender = key.map_or_else(|| Who::address(address), Who::key);
        self.places.turns.take(sender).await
    }

    /// The application server by its key, and the peer; without a key the peer
    /// is the sender.
    fn holders(&self, key: Option<&PublicKey>, address: IpAddr) -> [Option<Who>; 2] {
        match key {
            Some(key) => [Some(Who::key(key)), self.peer(address)],
            None => [Some(Who::address(address)), None],
        }
    }

    /// The peer at an address, unless addresses do not tell clients apart.
    pub fn peer(&self, address: IpAddr) -> Option<Who> {
        let most = self.service.config().limits.connections_per_address;
        (most != 0).then(|| Who::address(address))
    }

    /// How many requests are in progress.
    pub fn in_progress(&self) -> usize {
        self.places.requests.taken()
    }

    /// How many requests have a body that is still arriving.
    pub fn arriving(&self) -> usize {
        self.places.bodies.taken()
    }

    /// The addresses with the most connected user agents and held GETs.
    pub fn most_connected(&self, most: usize) -> Vec<(Who, usize)> {
        self.places.user_agents.largest(most)
    }

    /// How many places of connected user agents are taken.
    pub fn connected(&self) -> usize {
        self.places.user_agents.taken()
    }
}
