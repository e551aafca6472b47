//! The process as a server: listeners, connections and their bounds, and the
//! way down.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bugle_protocol::session::{Close, SessionSettings};
use dashmap::DashMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, PublicUrl};
use crate::expiry;
use crate::http::{Site, http1, http2};
use crate::io::Io;
use crate::keys::{self, KeysError};
use crate::service::PushService;
use crate::store::{self, OpenError};
use crate::time::Clock;
use crate::tls::{Tls, TlsError};
use crate::user_agent::websocket::session_settings;

/// A service that listens, and serves once it is [`run`](Server::run).
pub struct Server {
    site: Arc<Site>,
    public: TcpListener,
    admin: Option<TcpListener>,
    tls: Option<Arc<Tls>>,
    connections: Arc<Semaphore>,
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can neither be found nor made.
    #[error("the data folder {}: {}", .0.display(), .1)]
    Data(PathBuf, #[source] io::Error),
    /// The sealing keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened at.
    #[error("cannot listen at {0} ({2}): {1}")]
    Listen(SocketAddr, #[source] io::Error, &'static str),
}

/// What serves a connection needs to know of it. The connection counts as open
/// until the last clone is gone.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The site it is connected to.
    pub(crate) site: Arc<Site>,
    /// Whether it came to the admin listener.
    pub(crate) is_admin: bool,
    /// The times and bounds of a WebSocket session.
    pub(crate) settings: Arc<SessionSettings>,
    /// Cancelled when the service is on its way out.
    pub(crate) stop: CancellationToken,
    /// Where the tasks of connections run.
    pub(crate) tasks: TaskTracker,
    _admitted: Arc<Admitted>,
}

impl Server {
    /// Opens the data folder and the listeners, in the order in which a
    /// second process over the same data would be noticed.
    ///
    /// # Errors
    /// The first thing that is in the way.
    pub async fn bind(config: Config, clock: Clock) -> Result<Self, StartError> {
        let data = &config.server.data;
        keys::make_private_folder(data).map_err(|error| StartError::Data(data.clone(), error))?;
        let files = config
            .tls
            .files()
            .map(|(cert, key)| (cert.to_owned(), key.to_owned()));
        let tls = files
            .map(|(cert, key)| Tls::load(cert, key))
            .transpose()?
            .map(Arc::new);
        let public = listen(config.server.listen, "server.listen, --listen").await?;
        let admin = match config.admin.listen {
            Some(address) => Some(listen(address, "admin.listen, --admin-listen").await?),
            None => None,
        };
        let store = store::open(&config)?;
        let keyring = keys::load_or_make(&config.endpoint_keys_file())?;
        let listening_at = public.local_addr().unwrap_or(config.server.listen);
        let public_url = config.public_url(listening_at);
        let connections = Arc::new(Semaphore::new(config.limits.connections));
        let service = PushService::new(config, public_url, store, keyring, clock);
        let site = Arc::new(Site::new(service));
        Ok(Self {
            site,
            public,
            admin,
            tls,
            connections,
        })
    }

    /// Where the public listener is.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where the admin listener is, unless there is none.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// The origin that endpoints are handed out under.
    pub fn public_url(&self) -> &PublicUrl {
        self.site.service.public_url()
    }

    /// Serves until `shutdown` is ready, then drains: takes no new connection,
    /// closes WebSockets with 1001, lets requests in progress end, makes the
    /// store durable. Takes no longer than `server.drain` for the connections.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            site,
            public,
            admin,
            tls,
            connections,
        } = self;
        let config = site.service.config();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = Door {
            site: Arc::clone(&site),
            settings: Arc::new(session_settings(config)),
            tls: tls.clone(),
            is_admin: false,
            connections: Some(connections),
            per_address: config.limits.connections_per_address,
            addresses: Arc::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let mut background = JoinSet::new();
        if let Some(tls) = tls {
            let period = config.tls.check_every;
            let site = Arc::clone(&site);
            background.spawn(async move { tls.watch(period, site.service.metrics()).await });
        }
        background.spawn(expiry::run(Arc::clone(&site)));
        if let Some(admin) = admin {
            background.spawn(door.for_admin().accept(admin));
        }
        background.spawn(door.accept(public));

        shutdown.await;
        site.draining.store(true, Ordering::Relaxed);
        background.shutdown().await;
        stop.cancel();
        site.service.clients().close_all(&Close::GoingAway);
        tasks.close();
        if timeout(config.server.drain, tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "server.drain is over: connections were cut"
            );
        }
        if site.service.flush().await.is_err() {
            tracing::error!("the store could not be made durable");
        }
    }
}

async fn listen(address: SocketAddr, setting: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen(address, error, setting))
}

/// Lets connections in.
struct Door {
    site: Arc<Site>,
    settings: Arc<SessionSettings>,
    tls: Option<Arc<Tls>>,
    is_admin: bool,
    connections: Option<Arc<Semaphore>>,
    /// 0 is no bound.
    per_address: usize,
    addresses: Arc<Addresses>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    /// The door of the admin listener: without TLS, and under none of the
    /// bounds, so that operators can always look.
    fn for_admin(&self) -> Self {
        Self {
            site: Arc::clone(&self.site),
            settings: Arc::clone(&self.settings),
            tls: None,
            is_admin: true,
            connections: None,
            per_address: 0,
            addresses: Arc::default(),
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// Accepts for ever. With `limits.connections` open, new ones wait in the
    /// system's backlog.
    async fn accept(self, listener: TcpListener) {
        const OUT_OF_HANDLES: Duration = Duration::from_millis(100);
        loop {
            let permit = match &self.connections {
                Some(connections) => Arc::clone(connections).acquire_owned().await.ok(),
                None => None,
            };
            match listener.accept().await {
                Ok((stream, address)) => self.admit(stream, address.ip(), permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(OUT_OF_HANDLES).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: IpAddr, permit: Option<OwnedSemaphorePermit>) {
        let Some(place) = Addresses::enter(&self.addresses, address, self.per_address) else {
            const SETTING: &str = "limits.connections_per_address";
            self.site.service.metrics().refuse(SETTING);
            tracing::debug!(limit = SETTING, "a connection was refused");
            return;
        };
        let counted = Counted::in_metrics_of(&self.site);
        let admitted = Admitted {
            _permit: permit,
            _place: place,
            _counted: counted,
        };
        let peer = Peer {
            site: Arc::clone(&self.site),
            is_admin: self.is_admin,
            settings: Arc::clone(&self.settings),
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
            _admitted: Arc::new(admitted),
        };
        self.tasks.spawn(serve(stream, self.tls.clone(), peer));
    }
}

/// Finds out which protocol a connection speaks, and serves it.
async fn serve(stream: TcpStream, tls: Option<Arc<Tls>>, peer: Peer) {
    let patience = peer.site.service.config().limits.handshake_timeout;
    let opened = tokio::select! {
        opened = timeout(patience, open(stream, tls)) => opened,
        () = peer.stop.cancelled() => return,
    };
    match opened {
        Ok(Ok((io, true))) => http2::serve(io, peer).await,
        Ok(Ok((io, false))) => http1::serve(io, peer).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended before its first request"),
        Err(_) => tracing::debug!("limits.handshake_timeout is over"),
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
    const AGAIN: Duration = Duration::from_millis(10);
    let mut seen = [0; PREFACE.len()];
    loop {
        let octets = stream.peek(&mut seen).await?;
        if octets == 0 || octets == PREFACE.len() || !PREFACE.starts_with(&seen[..octets]) {
            return Ok(&seen[..octets] == PREFACE);
        }
        // Only a sender that splits its first four octets comes here.
        sleep(AGAIN).await;
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

/// How many connections each address has. Of IPv6, the network counts that one
/// customer usually gets, /64.
#[derive(Default)]
struct Addresses(DashMap<IpAddr, usize>);

/// One connection's place among those of its address.
struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Addresses {
    /// A place, unless the address has `most` already; 0 is no bound.
    fn enter(addresses: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let address = match address {
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => {
                Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into()
            }
            address => address,
        };
        let mut open = addresses.0.entry(address).or_default();
        if most != 0 && *open >= most {
            return None;
        }
        *open += 1;
        Some(Place {
            addresses: Arc::clone(addresses),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let addresses = &self.addresses.0;
        addresses.alter(&self.address, |_, open| open - 1);
        addresses.remove_if(&self.address, |_, open| *open == 0);
    }
}
