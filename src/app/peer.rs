//! The peer of a connection, and the client of each request on it: behind a proxy, one connection
//! carries requests of many clients.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bugle_protocol::session::SessionSettings;
use http::request;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::App;
use super::shutdown::CloseSignals;
use crate::config::ForwardedHeader;
use crate::config::{Holder, Limit};
use crate::gate::Refusal;
use crate::gate::fairness::{Share, ShareHolder};
use crate::gate::proxies::Mistake;

/// What the handlers of a connection know about it. The connection counts as open until the last
/// clone is dropped.
#[derive(Clone)]
pub struct Peer {
    /// The service it is connected to.
    pub app: Arc<App>,
    /// The address it connects from.
    pub(crate) address: IpAddr,
    /// Whether it is a trusted proxy, which names its clients.
    pub(crate) is_proxy: bool,
    /// The user at the other end of a unix socket.
    pub(crate) user: Option<User>,
    /// Whether it came to the admin listener.
    pub is_admin: bool,
    /// The timeouts and limits of a WebSocket session.
    pub settings: Arc<SessionSettings>,
    /// The limit that this connection exceeds for its address: each request is refused, then the
    /// connection is closed.
    pub(crate) over: Option<Limit>,
    /// Signals that close the connection.
    pub close: CloseSignals,
    /// Where the tasks of connections run.
    pub tasks: TaskTracker,
    pub admitted: Arc<Admitted>,
}

/// A user of this operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id.
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
        /// The client that this peer, a trusted proxy, forwards for. Anyone who can connect from
        /// the proxy's address can forge it.
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

/// The client of a request, and its slot in the share of its address, held while the request is in
/// progress.
pub struct Client {
    /// The client's address.
    pub address: IpAddr,
    /// `None` if the connection holds the slot.
    pub share: Option<Box<Share>>,
}

impl Peer {
    /// The origin of a request to the admin API: always the peer of the connection, and the client
    /// that it forwards for, if any.
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

    /// Admits a request to the public listener by the address of its client.
    ///
    /// # Errors
    /// [`Refusal::BlockedAddress`], [`Refusal::Rate`]; [`Refusal::Share`] if the connection exceeds
    /// the limit of its address, or if a client behind a proxy has that many requests and
    /// WebSockets.
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
            Ok(share) => Ok(Client { address, share }),
            Err(error) => {
                tracing::debug!(%address, "a client is refused by its address");
                Err(error)
            }
        }
    }

    /// The client address of a request, and whether a proxy forwarded it.
    fn origin(&self, parts: &request::Parts) -> (IpAddr, bool) {
        // Health checks and the admin API need no client address, so a proxy need not send it
        // there.
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

    /// Counts and logs a sign of a misconfiguration.
    pub fn see(&self, mistake: Mistake) {
        let metrics = self.app.service.metrics();
        self.app
            .gate
            .mistakes
            .see(mistake, self.address, self.is_proxy, metrics);
    }

    /// Takes a slot for a client behind a trusted proxy: its requests and WebSockets count like
    /// connections of other clients.
    fn forwarded(&self, address: IpAddr) -> Result<Option<Box<Share>>, Refusal> {
        let most = self.most();
        let share = |owner| self.app.gate.connections.share_of(owner, most);
        let share = self.app.gate.peer(address).map(share).transpose();
        let share = share.map_err(|_| full(Limit::ConnectionsPerAddress))?;
        Ok(share.map(Box::new))
    }

    /// Records that the proxy at the other end forwards this connection for `client`.
    pub(crate) fn stand_for(&mut self, client: IpAddr) {
        self.address = client;
        self.is_proxy = self.app.gate.proxies.trust(client);
        self.enter();
    }

    /// Counts the connection in the share of its address; one too many is
    /// [refused](Self::is_refused). Connections of a trusted proxy are not limited: its clients are
    /// counted one by one.
    pub(crate) fn enter(&mut self) {
        if self.is_proxy || self.is_admin {
            return;
        }
        let Some(owner) = self.app.gate.peer(self.address) else {
            return;
        };
        match self.share(owner) {
            // The cell is still empty: a peer forwards for one client at most.
            Ok(share) => drop(self.admitted.share.set(share)),
            Err(limit) => self.over = Some(limit),
        }
    }

    /// Waits for `limits.refusal_delay` if the connection exceeds the limit of its address, and
    /// counts it again: others of the address may have ended. A client that opens the next
    /// connection after each refusal would otherwise take as much CPU time as it can get.
    pub(crate) async fn wait_for_share(&mut self) {
        if self.is_refused() {
            let limits = &self.app.service.config().limits;
            sleep(limits.refusal_delay.min(limits.handshake_timeout / 2)).await;
            self.over = None;
            self.enter();
        }
    }

    fn share(&self, owner: ShareHolder) -> Result<Share, Limit> {
        let connections = &self.app.gate.connections;
        let (most, free) = (self.most(), connections.free());
        let share = connections.share_of(owner, most.min(free));
        share.map_err(|_| match most > free {
            true => Limit::Connections,
            false => Limit::ConnectionsPerAddress,
        })
    }

    fn most(&self) -> usize {
        self.app.service.config().limits.connections_per_address
    }

    /// Whether the connection exceeds the limit of its address. Each of its requests is answered
    /// 429; over HTTP/1.1 the first response closes the connection.
    pub fn is_refused(&self) -> bool {
        self.over.is_some()
    }

    /// Whether to close it without a response: refusals use file descriptors too, and must not take
    /// those of other addresses.
    pub(crate) fn is_cut(&self) -> bool {
        let connections = &self.app.gate.connections;
        self.is_refused() && connections.free() <= connections.most() / RESERVED_PART
    }
}

/// A refused connection gets a response only while more than one in `RESERVED_PART` of all slots is
/// free.
const RESERVED_PART: usize = 4;

/// The error for an address whose share of the connections is used up.
fn full(limit: Limit) -> Refusal {
    let holder = Holder::Address;
    Refusal::Share { limit, holder }
}

/// What an open connection holds until it is dropped. The connection gauge is decremented last.
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
