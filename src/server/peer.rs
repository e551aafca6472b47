//! Who is at the other end of a connection, and of each request that comes over
//! it: behind a proxy these are many.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bugle_protocol::session::SessionSettings;
use http::request;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::stop::Leave;
use crate::addresses::{Addresses, Place};
use crate::admin::access::Remote;
use crate::config::ForwardedHeader;
use crate::error::Error;
use crate::http::Site;
use crate::limits::Limit;
use crate::proxies::Mistake;

/// What serves a connection needs to know of it. The connection counts as open
/// until the last clone is gone.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The site it is connected to.
    pub(crate) site: Arc<Site>,
    /// Where it is connected from.
    pub(super) address: IpAddr,
    /// Whether it is a proxy that is believed where its clients are.
    pub(super) is_proxy: bool,
    /// Who is at the other end of a unix socket.
    pub(super) user: Option<User>,
    /// Whether it came to the admin listener.
    pub(crate) is_admin: bool,
    /// The times and bounds of a WebSocket session.
    pub(crate) settings: Arc<SessionSettings>,
    /// Tells it to end.
    pub(crate) leave: Leave,
    /// Where the tasks of connections run.
    pub(crate) tasks: TaskTracker,
    pub(crate) admitted: Arc<Admitted>,
}

/// A user of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// Whether the service runs as this user.
    pub is_own: bool,
}

/// Who makes a request, and its place among those of its address, for as long as
/// the request goes on.
pub(crate) struct Client {
    /// Where it is.
    pub(crate) address: IpAddr,
    /// `None` where the connection has one.
    pub(crate) place: Option<Box<Place>>,
}

impl Peer {
    /// Where a request to the admin API comes from: always the peer of the
    /// connection, besides whom it says that it stands for.
    pub(crate) fn remote(&self, parts: &request::Parts) -> Remote {
        if let Some(user) = self.user {
            return Remote::User(user);
        }
        let (client, is_forwarded) = self.origin(parts);
        Remote::Address {
            peer: self.address,
            forwarded_for: is_forwarded.then_some(client),
        }
    }

    /// Lets a request to the public listener in, by the address of whoever makes
    /// it.
    ///
    /// # Errors
    /// [`Error::BlockedAddress`], [`Error::Rate`]; [`Error::Limit`] when a client
    /// behind a proxy has as many requests and WebSockets as one address may have
    /// connections.
    pub(crate) fn admit(&self, parts: &request::Parts) -> Result<Client, Error> {
        let (address, is_forwarded) = self.origin(parts);
        let enter = || match is_forwarded {
            true => enter(&self.site, address).map(|place| Some(place.into())),
            false => Ok(None),
        };
        match self.site.admit_peer(address).and_then(|()| enter()) {
            Ok(place) => Ok(Client { address, place }),
            Err(error) => {
                tracing::debug!(%address, "a client is refused by its address");
                Err(error)
            }
        }
    }

    /// Where a request comes from, and whether that is not this peer itself.
    fn origin(&self, parts: &request::Parts) -> (IpAddr, bool) {
        // What only operators and probes ask for needs no address.
        let counts = !self.is_admin && !matches!(parts.uri.path(), "/health" | "/ready");
        if self.is_proxy {
            let origin = self.site.proxies.origin(self.address, &parts.headers);
            if let Some(mistake) = origin.mistake.filter(|_| counts) {
                self.see(mistake);
            }
            return (origin.address, origin.is_forwarded);
        }
        if let Some(field) = ForwardedHeader::any_in(&parts.headers).filter(|_| counts) {
            self.see(Mistake::NotTrusted(field));
        }
        (self.address, false)
    }

    /// Counts and tells what it shows to be set wrong.
    pub(crate) fn see(&self, mistake: Mistake) {
        let metrics = self.site.service.metrics();
        self.site
            .mistakes
            .see(mistake, self.address, self.is_proxy, metrics);
    }

    /// The proxy at the other end says that the connection is that of a client
    /// there.
    ///
    /// # Errors
    /// [`Error::Limit`] when that address has too many.
    pub(super) fn stand_for(&mut self, client: IpAddr) -> Result<(), Error> {
        self.address = client;
        self.is_proxy = self.site.proxies.trust(client);
        self.enter()
    }

    /// Takes the connection's place among those of its address. A proxy has as
    /// many as it needs: its clients are counted one by one.
    ///
    /// # Errors
    /// [`Error::Limit`]
    pub(super) fn enter(&self) -> Result<(), Error> {
        if !self.is_proxy && !self.is_admin {
            let place = enter(&self.site, self.address)?;
            // It has none yet: a peer stands for one client at most.
            let _ = self.admitted.place.set(place);
        }
        Ok(())
    }
}

fn enter(site: &Site, address: IpAddr) -> Result<Place, Error> {
    let most = site.service.config().limits.connections_per_address;
    let place = Addresses::enter(&site.addresses, address, most);
    place.ok_or(Error::Limit(Limit::ConnectionsPerAddress))
}

/// What an open connection takes; given back when it is dropped, and counted
/// out last.
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
    place: OnceLock<Place>,
    _counted: Counted,
}

impl Admitted {
    pub(super) fn new(site: &Arc<Site>, permit: OwnedSemaphorePermit) -> Self {
        site.service.metrics().connections.inc();
        Self {
            _permit: permit,
            place: OnceLock::new(),
            _counted: Counted(Arc::clone(site)),
        }
    }
}

struct Counted(Arc<Site>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.service.metrics().connections.dec();
    }
}
