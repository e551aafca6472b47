//! The acceptor: accepts connections within their limits, detects the protocol and hands them to
//! it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::mcs::frame::VERSION as MCS;
use bugle_protocol::session::SessionSettings;
use futures_util::FutureExt;
use tokio::io::AsyncBufReadExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::unconstrained;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::proxy_header::{self, HeaderError};
use super::tls::Tls;
use crate::app::App;
use crate::app::peer::{Admitted, Peer};
use crate::app::shutdown::CloseSignals;
use crate::config::Limit;
use crate::gate::fairness::Pool;
use crate::gate::proxies::{Mistake, ON_THIS_MACHINE};
use crate::http::{AdminRoutes, Site, http1, http2};
use crate::io::{Io, Socket, peek, set_nodelay};
use crate::user_agent::mcs;

use super::listener::{Listener, Source};
use super::shutdown::Listeners;
use super::tasks::Tasks;
use super::tunnel;

/// Accepts and serves connections of one listener.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) app: Arc<App>,
    pub(super) settings: Arc<SessionSettings>,
    pub(super) tls: Option<Arc<Tls>>,
    /// The routes of its listeners.
    pub(super) site: Site,
    pub(super) connections: Arc<Pool>,
    pub(super) close: CloseSignals,
    pub(super) tasks: TaskTracker,
}

impl Acceptor {
    /// The acceptor of the admin listener: no TLS, and a connection limit of its own, so that
    /// operators can connect while the public listener is full.
    pub(super) fn for_admin(&self, admin: Arc<dyn AdminRoutes>) -> Self {
        let connections = self.app.service.config().admin.connections;
        Self {
            app: Arc::clone(&self.app),
            settings: Arc::clone(&self.settings),
            tls: None,
            site: Site::Admin(admin),
            connections: Pool::new(Limit::Connections, connections),
            close: CloseSignals::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts from now on, in one task per listener.
    pub(super) fn open(self, listeners: impl IntoIterator<Item = Listener>) -> Listeners {
        let stop_accepting = CancellationToken::new();
        let mut accepting = Tasks::default();
        let name = match self.site {
            Site::Admin(_) => "accept-admin",
            Site::Public => "accept-public",
        };
        for listener in listeners {
            let stop = stop_accepting.clone();
            accepting.require(name, self.clone().accept(listener, stop));
        }
        Listeners {
            accepting,
            stop_accepting,
            close: self.close,
            tasks: self.tasks,
        }
    }

    /// Accepts until `stop` is cancelled. At the connection limit, new connections wait in the
    /// system's backlog.
    async fn accept(self, listener: Listener, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.accept_all(&listener) => {}
        }
        if listener.is_inherited() {
            return;
        }
        // Serve the backlog: the system would reset these connections when the listener closes.
        while let (Some(permit), Some(Ok((socket, from)))) = (
            self.connections.try_acquire_permit(),
            unconstrained(listener.accept()).now_or_never(),
        ) {
            self.admit(socket, from, permit);
        }
    }

    async fn accept_all(&self, listener: &Listener) {
        const OUT_OF_HANDLES: Duration = Duration::from_millis(100);
        loop {
            let Some(permit) = self.connections.acquire_permit().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, from)) => self.admit(socket, from, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(OUT_OF_HANDLES).await;
                }
            }
        }
    }

    /// Serves a connection. One too many of its address waits for a moment and then gets a 429
    /// response, while enough slots are free for others.
    fn admit(&self, socket: Socket, from: Source, permit: OwnedSemaphorePermit) {
        let (address, user) = match from {
            Source::Address(address) => (address, None),
            Source::User(user) => (ON_THIS_MACHINE, Some(user)),
        };
        let mut peer = Peer {
            app: Arc::clone(&self.app),
            address,
            is_proxy: user.is_some() || self.app.gate.proxies.trust(address),
            user,
            is_admin: matches!(self.site, Site::Admin(_)),
            settings: Arc::clone(&self.settings),
            over: None,
            close: self.close.clone(),
            tasks: self.tasks.clone(),
            admitted: Arc::new(Admitted::new(&self.app, permit)),
        };
        peer.enter();
        match peer.is_cut() {
            true => cut(&peer),
            false => {
                drop(
                    self.tasks
                        .spawn(serve(socket, self.tls.clone(), peer, self.site.clone())),
                )
            }
        }
    }
}

/// Counts a connection beyond the limit of its address that is closed without a response, or before
/// it has read it.
fn cut(peer: &Peer) {
    let limit = Limit::ConnectionsPerAddress;
    peer.app.service.metrics().cut(limit);
    tracing::debug!(
        setting = limit.setting(),
        "a connection was closed that its address has no room for"
    );
}

/// Why a connection ends before its first request.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Mistake(#[from] Mistake),
    #[error("its address has too many, and there is no room to say so")]
    Cut,
}

/// Detects the protocol of a connection and serves it.
async fn serve(socket: Socket, tls: Option<Arc<Tls>>, mut peer: Peer, site: Site) {
    let handshake_timeout = peer.app.service.config().limits.handshake_timeout;
    let close = peer.close.idle.clone();
    let opened = tokio::select! {
        opened = timeout(handshake_timeout, open(socket, tls, &mut peer)) => opened,
        () = close.cancelled() => return,
    };
    match opened {
        Ok(Ok((io, protocol))) if peer.is_refused() => {
            // It counts in no share, so its lifetime is bounded here.
            let answered = timeout(
                2 * handshake_timeout,
                speak(io, protocol, peer.clone(), site),
            )
            .await;
            if answered.is_err() {
                cut(&peer);
            }
        }
        Ok(Ok((io, protocol))) => speak(io, protocol, peer, site).await,
        Ok(Err(OpenError::Io(error))) => {
            tracing::debug!(%error, "a connection ended before its first request");
        }
        Ok(Err(OpenError::Mistake(mistake))) => peer.see(mistake),
        Ok(Err(OpenError::Cut)) => cut(&peer),
        Err(_) => {
            let limit = Limit::HandshakeTimeout;
            peer.app.service.metrics().cut(limit);
            let setting = limit.setting();
            tracing::debug!(setting, "a connection took too long to begin");
        }
    }
}

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    /// By ALPN or by prior knowledge.
    Http2,
    /// The connection of a Chromium, by its first byte.
    Mcs,
}

async fn speak(io: Io, protocol: Protocol, peer: Peer, site: Site) {
    match protocol {
        Protocol::Http1 => http1::serve(io, peer, site).await,
        Protocol::Http2 => http2::serve(io, peer, site).await,
        // It has no message for a refusal before the login.
        Protocol::Mcs if peer.is_refused() => cut(&peer),
        Protocol::Mcs => {
            let (app, settings) = (Arc::clone(&peer.app), Arc::clone(&peer.settings));
            let (address, stop) = (peer.address, peer.close.graceful.clone());
            let session = mcs::serve(io, app, settings, address, stop);
            let admitted = Arc::clone(&peer.admitted);
            // In a task of its own, which is smaller than this one.
            peer.tasks.spawn(async move {
                session.await;
                drop(admitted);
            });
        }
    }
}

/// Reads the PROXY header if one is required, waits if the address has too many connections, and
/// does the TLS handshake. Returns what the peer speaks.
async fn open(
    mut socket: Socket,
    tls: Option<Arc<Tls>>,
    peer: &mut Peer,
) -> Result<(Io, Protocol), OpenError> {
    set_nodelay(&socket)?;
    let is_announced = peer.app.service.config().server.proxy_protocol;
    if is_announced && peer.is_proxy && !peer.is_admin {
        match proxy_header::read(&mut socket).await {
            Ok(Some(client)) => {
                peer.stand_for(client);
                if peer.is_cut() {
                    return Err(OpenError::Cut);
                }
            }
            Ok(None) => {}
            Err(HeaderError::Missing) => return Err(Mistake::NoHeader.into()),
            Err(HeaderError::Malformed) => return Err(Mistake::BadHeader.into()),
            Err(HeaderError::Io(error)) => return Err(error.into()),
        }
    }
    peer.wait_for_share().await;
    let config = peer.app.service.config();
    let is_chromium = config.chromium.enabled && !peer.is_admin;
    let mut begins = beginning(&socket).await?;
    if begins == Beginning::Connect && is_chromium {
        tunnel::open(&mut socket, config).await?;
        begins = beginning(&socket).await?;
    }
    match (begins, tls) {
        (Beginning::ProxyHeader, _) => Err(Mistake::UnexpectedHeader.into()),
        (Beginning::Tls, None) => Err(Mistake::UnexpectedTls.into()),
        (Beginning::Http1 | Beginning::Http2 | Beginning::Connect, Some(_)) => {
            Err(Mistake::NoTls.into())
        }
        (_, Some(tls)) => {
            let mut stream = Box::new(tls.accept(socket).await?);
            let chosen = stream.get_ref().1.alpn_protocol();
            let (is_http2, is_silent) = (chosen == Some(b"h2"), chosen.is_none());
            // A Chromium offers no protocol on its push connection, and speaks first.
            let is_mcs = is_silent && is_chromium && stream.fill_buf().await?.first() == Some(&MCS);
            let protocol = match (is_http2, is_mcs) {
                (true, _) => Protocol::Http2,
                (_, true) => Protocol::Mcs,
                _ => Protocol::Http1,
            };
            Ok((Io::Right(stream), protocol))
        }
        (Beginning::Http2, None) => Ok((Io::Left(socket), Protocol::Http2)),
        (Beginning::Mcs, None) if is_chromium => Ok((Io::Left(socket), Protocol::Mcs)),
        (_, None) => Ok((Io::Left(socket), Protocol::Http1)),
    }
}

/// What a connection begins with, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    /// An HTTP/1.1 method.
    Http1,
    /// The preface of RFC 9113 §3.4. No method of HTTP/1.1 begins like it.
    Http2,
    /// A TLS handshake record (RFC 8446 §5.1).
    Tls,
    /// A PROXY header of either version.
    ProxyHeader,
    /// A request for a tunnel.
    Connect,
    /// The connection of a Chromium without TLS, which a proxy has ended.
    Mcs,
    /// None of these.
    Unknown,
}

impl Beginning {
    const PREFACE: &[u8] = b"PRI ";

    /// Returns `None` if more bytes are needed.
    fn of(octets: &[u8]) -> Option<Self> {
        match octets {
            _ if octets.starts_with(Self::PREFACE) => Some(Self::Http2),
            _ if !octets.is_empty() && Self::PREFACE.starts_with(octets) => None,
            _ if octets.starts_with(tunnel::CONNECT) => Some(Self::Connect),
            _ if !octets.is_empty() && tunnel::CONNECT.starts_with(octets) => None,
            [MCS, ..] => Some(Self::Mcs),
            _ if proxy_header::begins(octets) => Some(Self::ProxyHeader),
            [0x16, 0x03, ..] => Some(Self::Tls),
            [b'A'..=b'Z', ..] => Some(Self::Http1),
            _ => Some(Self::Unknown),
        }
    }
}

async fn beginning(socket: &Socket) -> io::Result<Beginning> {
    let mut again = Duration::from_millis(10);
    let mut seen = [0; proxy_header::SIGNATURE];
    loop {
        let octets = peek(socket, &mut seen).await?;
        if let Some(beginning) = Beginning::of(&seen[..octets]) {
            return Ok(beginning);
        }
        // Only a client that splits its first four bytes gets here. The exponential backoff bounds
        // the cost of one that stops there.
        sleep(again).await;
        again *= 2;
    }
}

#[cfg(test)]
mod tests;
