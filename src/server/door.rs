//! The way in: connections are accepted within their bounds, and handed to the
//! protocol they speak.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::session::SessionSettings;
use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::task::unconstrained;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::access::Remote;
use crate::http::{Site, http1, http2};
use crate::io::Io;
use crate::limits::Limit;
use crate::tls::Tls;

use super::addresses::{Addresses, Place};
use super::listeners::Listener;
use super::stop::{Crowd, Leave};

/// What serves a connection needs to know of it. The connection counts as open
/// until the last clone is gone.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The site it is connected to.
    pub(crate) site: Arc<Site>,
    /// Where it is connected from.
    pub(crate) address: IpAddr,
    /// Who is at the other end of a unix socket.
    pub(crate) user: Option<User>,
    /// Whether it came to the admin listener.
    pub(crate) is_admin: bool,
    /// The times and bounds of a WebSocket session.
    pub(crate) settings: Arc<SessionSettings>,
    /// Tells it to end.
    pub(crate) leave: Leave,
    /// Where the tasks of connections run.
    pub(crate) tasks: TaskTracker,
    _admitted: Arc<Admitted>,
}

/// A user of this system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: u32,
    /// Whether the service runs as this user.
    pub is_own: bool,
}

impl Peer {
    /// Where its requests to the admin API come from.
    pub(crate) fn remote(&self) -> Remote {
        self.user
            .map_or(Remote::Address(self.address), Remote::User)
    }
}

/// Lets connections in.
pub(super) struct Door {
    pub(super) site: Arc<Site>,
    pub(super) settings: Arc<SessionSettings>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) is_admin: bool,
    pub(super) connections: Option<Arc<Semaphore>>,
    /// 0 is no bound.
    pub(super) per_address: usize,
    pub(super) addresses: Arc<Addresses>,
    pub(super) leave: Leave,
    pub(super) tasks: TaskTracker,
}

impl Door {
    /// The door of the admin listener: without TLS, and under none of the
    /// bounds, so that operators can always look.
    pub(super) fn for_admin(&self) -> Self {
        Self {
            site: Arc::clone(&self.site),
            settings: Arc::clone(&self.settings),
            tls: None,
            is_admin: true,
            connections: None,
            per_address: 0,
            addresses: Arc::default(),
            leave: Leave::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts from now on, in a task of its own.
    pub(super) fn open(self, listener: Listener) -> Crowd {
        let stop_accepting = CancellationToken::new();
        let (leave, tasks) = (self.leave.clone(), self.tasks.clone());
        let accepting = tokio::spawn(self.accept(listener, stop_accepting.clone()));
        Crowd {
            accepting,
            stop_accepting,
            leave,
            tasks,
        }
    }

    /// Accepts until it is told to stop. With `limits.connections` open, new
    /// ones wait in the system's backlog.
    async fn accept(self, listener: Listener, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.accept_all(&listener.socket) => {}
        }
        if listener.is_inherited {
            return;
        }
        // These would be refused by the system, although they came in time.
        while let (Ok(permit), Some(Ok((stream, address)))) = (
            self.permit_now(),
            unconstrained(listener.socket.accept()).now_or_never(),
        ) {
            self.admit(stream, address.ip(), permit);
        }
    }

    async fn accept_all(&self, socket: &TcpListener) {
        const OUT_OF_HANDLES: Duration = Duration::from_millis(100);
        loop {
            let permit = match &self.connections {
                Some(connections) => Arc::clone(connections).acquire_owned().await.ok(),
                None => None,
            };
            match socket.accept().await {
                Ok((stream, address)) => self.admit(stream, address.ip(), permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(OUT_OF_HANDLES).await;
                }
            }
        }
    }

    fn permit_now(&self) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        let connections = self.connections.as_ref().map(Arc::clone);
        connections.map(Semaphore::try_acquire_owned).transpose()
    }

    /// Lets a user of this system in.
    pub(super) fn admit_user(&self, stream: UnixStream, uid: u32, is_own: bool) {
        let user = User { uid, is_own };
        if let Some(peer) = self.peer(Ipv4Addr::LOCALHOST.into(), Some(user), None) {
            self.tasks.spawn(http1::serve(Io::Unix(stream), peer));
        }
    }

    fn admit(&self, stream: TcpStream, address: IpAddr, permit: Option<OwnedSemaphorePermit>) {
        if let Some(peer) = self.peer(address, None, permit) {
            self.tasks.spawn(serve(stream, self.tls.clone(), peer));
        }
    }

    /// Counts a connection, unless its address has too many.
    fn peer(
        &self,
        address: IpAddr,
        user: Option<User>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Peer> {
        let Some(place) = Addresses::enter(&self.addresses, address, self.per_address) else {
            let setting = Limit::ConnectionsPerAddress.setting();
            self.site.service.metrics().refuse(setting);
            tracing::debug!(limit = setting, "a connection was refused");
            return None;
        };
        let counted = Counted::in_metrics_of(&self.site);
        let admitted = Admitted {
            _permit: permit,
            _place: place,
            _counted: counted,
        };
        Some(Peer {
            site: Arc::clone(&self.site),
            address,
            user,
            is_admin: self.is_admin,
            settings: Arc::clone(&self.settings),
            leave: self.leave.clone(),
            tasks: self.tasks.clone(),
            _admitted: Arc::new(admitted),
        })
    }
}

/// Finds out which protocol a connection speaks, and serves it.
async fn serve(stream: TcpStream, tls: Option<Arc<Tls>>, peer: Peer) {
    let patience = peer.site.service.config().limits.handshake_timeout;
    let opened = tokio::select! {
        opened = timeout(patience, open(stream, tls)) => opened,
        () = peer.leave.now.cancelled() => return,
    };
    match opened {
        Ok(Ok((io, true))) => http2::serve(io, peer).await,
        Ok(Ok((io, false))) => http1::serve(io, peer).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended before its first request"),
        Err(_) => {
            let setting = "limits.handshake_timeout";
            peer.site.service.metrics().cut(setting);
            tracing::debug!(setting, "a connection took too long to begin");
        }
    }
}

/// Does the TLS handshake; says whether the peer speaks HTTP/2, by ALPN or by
/// prior knowledge.
async fn open(stream: TcpStream, tls: Option<Arc<Tls>>) -> io::Result<(Io, bool)> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        let is_http2 = has_preface(&stream).await?;
        return Ok((Io::Plain(stream), is_http2));
    };
    let stream = tls.accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Io::Tls(Box::new(stream)), is_http2))
}

/// Whether the first octets are those of HTTP/2 (RFC 9113 §3.4). No method of
/// HTTP/1.1 begins like them.
async fn has_preface(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let mut again = Duration::from_millis(10);
    let mut seen = [0; PREFACE.len()];
    loop {
        let octets = stream.peek(&mut seen).await?;
        if octets == 0 || octets == PREFACE.len() || !PREFACE.starts_with(&seen[..octets]) {
            return Ok(&seen[..octets] == PREFACE);
        }
        // Only a sender that splits its first four octets comes here; one that
        // stops there is looked at ever more seldom.
        sleep(again).await;
        again *= 2;
    }
}

/// What an open connection takes; given back when it is dropped, and counted
/// out last.
struct Admitted {
    _permit: Option<OwnedSemaphorePermit>,
    _place: Place,
    _counted: Counted,
}

struct Counted(Arc<Site>);

impl Counted {
    fn in_metrics_of(site: &Arc<Site>) -> Self {
        site.service.metrics().connections.inc();
        Self(Arc::clone(site))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.service.metrics().connections.dec();
    }
}
