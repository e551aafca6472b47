//! The process as a server: listeners, connections and their bounds, and the
//! way down.

mod addresses;
mod door;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bugle_protocol::session::Close;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, PublicUrl};
use crate::expiry;
use crate::http::Site;
use crate::keys::{self, KeysError};
use crate::service::PushService;
use crate::store::{self, OpenError};
use crate::time::Clock;
use crate::tls::{Tls, TlsError};
use crate::user_agent::websocket::session_settings;

use self::door::Door;
pub(crate) use self::door::Peer;

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
