//! Who is at the other end of a connection, and of each request that comes over
//! it: behind a proxy these are many.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bugle_protocol::session::SessionSettings;
use http::request;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::App;
use super::shutdown::CloseSignals;
use crate::config::ForwardedHeader;
use crate::config::{Holder, Limit};
use crate::gate::Refusal;
use crate::gate::fairness::{Share, ShareHolder};
use crate::gate::proxies::Mistake;

/// What serves a connection needs to know of it. The connection counts as open
/// until the last clone is gone.
#[derive(Clone)]
pub struct Peer {
    /// The service it is connected to.
    pub app: Arc<App>,
    /// Where it is connected from.
    pub(crate) address: IpAddr,
    /// Whether it is a proxy that is believed where its clients are.
    pub(crate) is_proxy: bool,
    /// Who is at the other end of a unix socket.
    pub(crate) user: Option<User>,
    /// Whether it came to the admin listener.
    pub is_admin: bool,
    /// The times and bounds of a WebSocket session.
    pub settings: Arc<SessionSettings>,
    /// The bound over which its address is with this connection: each request
    /// is refused, and then the connection ends.
    pub(crate) over: Option<Limit>,
    /// Tells it to end.
    pub close: CloseSignals,
    /// Where the tasks of connections run.
    pub tasks: TaskTracker,
    pub admitted: Arc<Admitted>,
}

/// A user of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// Whether the service runs as this user.
    pub is_own: bool,
}

/// Where a request to the admin API comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The admin listener.
    Address {
        /// The peer of the connection.
        peer: IpAddr,
        /// Whom that peer, a trusted proxy, says it stands for. Anyone who can
        /// connect from the proxy's address can say this.
        forwarded_for: Option<IpAddr>,
    },
    /// The unix socket, by this user.
    User(User),
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address {
                peer,
                forwarded_for,
            } => {
                peer.to_canonical().fmt(f)?;
                match forwarded_for {
                    Some(client) => write!(f, " (forwarded for {})", client.to_canonical()),
                    None => Ok(()),
                }
            }
            Self::User(user) => write!(f, "uid {}", user.uid),
        }
    }
}

/// Who makes a request, and its place among those of its address, for as long as
/// the request goes on.
pub struct Client {
    /// Where it is.
    pub address: IpAddr,
    /// `None` where the connection has one.
    pub place: Option<Box<Share>>,
}

impl Peer {
    /// Where a request to the admin API comes from: always the peer of the
    /// connection, besides whom it says that it stands for.
    pub fn remote(&self, parts: &request::Parts) -> Remote {
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
    /// [`Refusal::BlockedAddress`], [`Refusal::Rate`]; [`Refusal::Share`] when the
    /// connection is one more than its address may have, or a client behind a
    /// proxy has as many requests and WebSockets as that.
    pub fn admit(&self, parts: &request::Parts) -> Result<Client, Refusal> {
        if let Some(limit) = self.over {
            return Err(full(limit));
        }
        let (address, is_forwarded) = self.origin(parts);
        let enter = || match is_forwarded {
            true => self.forwarded(address),
            false => Ok(None),
        };
        match self.app.admit_peer(address).and_then(|()| enter()) {
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
            let origin = self.app.gate.proxies.origin(self.address, &parts.headers);
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
    pub fn see(&self, mistake: Mistake) {
        let metrics = self.app.service.metrics();
        self.app
            .gate
            .mistakes
            .see(mistake, self.address, self.is_proxy, metrics);
    }

    /// Takes the place of a client behind a trusted proxy, whose requests and
    /// WebSockets count as connections do elsewhere.
    fn forwarded(&self, address: IpAddr) -> Result<Option<Box<Share>>, Refusal> {
        let most = self.most();
        let share = |who| self.app.gate.connections.share_of(who, most);
        let share = self.app.gate.peer(address).map(share).transpose();
        let share = share.map_err(|_| full(Limit::ConnectionsPerAddress))?;
        Ok(share.map(Box::new))
    }

    /// The proxy at the other end says that the connection is that of a client
    /// there.
    pub(crate) fn stand_for(&mut self, client: IpAddr) {
        self.address = client;
        self.is_proxy = self.app.gate.proxies.trust(client);
        self.enter();
    }

    /// Counts the connection among those of its address; one too many is
    /// [refused](Self::is_refused). A proxy has as many as it needs: its clients
    /// are counted one by one.
    pub(crate) fn enter(&mut self) {
        if self.is_proxy || self.is_admin {
            return;
        }
        let Some(who) = self.app.gate.peer(self.address) else {
            return;
        };
        match self.share(who) {
            // It has none yet: a peer stands for one client at most.
            Ok(share) => drop(self.admitted.share.set(share)),
            Err(limit) => self.over = Some(limit),
        }
    }

    fn share(&self, who: ShareHolder) -> Result<Share, Limit> {
        let connections = &self.app.gate.connections;
        let (most, free) = (self.most(), connections.free());
        let share = connections.share_of(who, most.min(free));
        share.map_err(|_| match most > free {
            true => Limit::Connections,
            false => Limit::ConnectionsPerAddress,
        })
    }

    fn most(&self) -> usize {
        self.app.service.config().limits.connections_per_address
    }

    /// Whether the connection is one more than its address may have. Each of its
    /// requests is answered 429, and the answer to the first one over HTTP/1.1
    /// is the last.
    pub fn is_refused(&self) -> bool {
        self.over.is_some()
    }

    /// Whether it is closed without an answer: refusals take handles too, and
    /// must not take those of other addresses.
    pub(crate) fn is_cut(&self) -> bool {
        let connections = &self.app.gate.connections;
        self.is_refused() && connections.free() <= connections.most() / KEPT_FREE
    }
}

/// The part of all connections that stays free of refusals: as long as more are
/// free, one that its address may not have is answered before it ends.
const KEPT_FREE: usize = 4;

/// What an address is told that has its share of the connections.
fn full(limit: Limit) -> Refusal {
    let holder = Holder::Address;
    Refusal::Share { limit, holder }
}

/// What an open connection takes; given back when it is dropped, and counted
/// out last.
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
    share: OnceLock<Share>,
    _counted: Counted,
}

impl Admitted {
    pub(crate) fn new(app: &Arc<App>, permit: OwnedSemaphorePermit) -> Self {
        app.service.metrics().connections.inc();
        Self {
            _permit: permit,
            share: OnceLock::new(),
            _counted: Counted(Arc::clone(app)),
        }
    }
}

struct Counted(Arc<App>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.service.metrics().connections.dec();
    }
}
