//! The process as a server: listeners, connections and their bounds, and the
//! way down.

mod door;
mod listeners;
mod peer;
mod stop;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::admin::access::TokenError;
use crate::admin::{Admin, history};
use crate::blocks::{Blocks, BlocksError};
use crate::config::{Config, FileMode, PublicUrl, SocketOthers};
use crate::expiry;
use crate::http::Site;
use crate::keys::{self, KeysError};
use crate::service::PushService;
use crate::store::{self, OpenError};
use crate::systemd::{self, Inherited, InheritedError};
use crate::telemetry::log::Log;
use crate::telemetry::traces::Traces;
use crate::time::Clock;
use crate::tls::{Tls, TlsError};
use crate::user_agent::websocket::session_settings;

use self::door::Door;
use self::listeners::Listener;
use self::stop::stop;

pub(crate) use self::peer::{Admitted, Client, Peer, User};
pub(crate) use self::stop::{Leave, Stopping};

/// A service that listens, and serves once it is [`run`](Server::run).
pub struct Server {
    site: Arc<Site>,
    public: Listener,
    public_socket: Option<Listener>,
    admin: Option<Listener>,
    admin_socket: Option<Listener>,
    tls: Option<Arc<Tls>>,
    connections: Arc<Semaphore>,
}

/// What the process around a service has of its own.
#[derive(Default)]
pub struct Process {
    /// Sockets that it was started with.
    pub inherited: Inherited,
    /// Its log.
    pub log: Log,
    /// Where it sends its traces.
    pub traces: Traces,
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder can neither be found nor made.
    #[error(
        "cannot make the data folder {}: {}; make it a folder of the user that the service runs \
         as, or set server.data (--data)", .0.display(), .1
    )]
    Data(PathBuf, #[source] io::Error),
    /// The sealing keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The tokens of the admin API cannot be used.
    #[error(transparent)]
    AdminToken(#[from] TokenError),
    /// The blocks cannot be read.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What the service manager gave cannot be used.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The unix socket cannot be listened at.
    #[error("cannot listen at {} ({}): {}", .0.display(), .2, why_not(.1))]
    Socket(PathBuf, #[source] io::Error, &'static str),
    /// The address cannot be listened at.
    #[error("cannot listen at {} ({}): {}", .0, .2, why_not(.1))]
    Listen(SocketAddr, #[source] io::Error, &'static str),
}

/// Why an address or a socket cannot be listened at, and what to do.
fn why_not(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: stop it (`ss -ltnp` names it), or set another one"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; 0.0.0.0 or [::] stands for all it has"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not: a port under 1024 takes the systemd units or CAP_NET_BIND_SERVICE, \
             a socket a folder that it may write to"
        }
        _ => return error.to_string(),
    };
    advice.to_owned()
}

impl Server {
    /// Opens the data folder and the listeners, in the order in which a
    /// second process over the same data would be noticed.
    ///
    /// # Errors
    /// The first thing that is in the way.
    pub async fn bind(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::bind_in(config, clock, Process::default()).await
    }

    /// The same, with what the process around it has. Its sockets stand in for
    /// `server.listen` and `admin.listen`.
    ///
    /// # Errors
    /// The first thing that is in the way.
    pub async fn bind_in(
        config: Config,
        clock: Clock,
        process: Process,
    ) -> Result<Self, StartError> {
        let Process {
            inherited,
            log,
            traces,
        } = process;
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
        let listen = config.server.listen;
        let public = Listener::open(inherited.public, listen, "server.listen, --listen")?;
        let admin = config.admin.listen;
        let admin = match (inherited.admin, admin) {
            (None, None) => None,
            (inherited, address) => {
                let address = address.unwrap_or(listen);
                let setting = "admin.listen, --admin-listen";
                Some(Listener::open(inherited, address, setting)?)
            }
        };
        let mode = config.server.socket_mode;
        let public_socket = open_unix(config.server.socket.as_deref(), mode, "server.socket")?;
        let mode = match config.admin.socket_others {
            SocketOthers::Refuse => FileMode(0o600),
            SocketOthers::ReadOnly => FileMode(0o666),
        };
        let admin_socket = open_unix(config.admin.socket.as_deref(), mode, "admin.socket")?;
        let store = store::open(&config)?;
        let keyring = keys::load_or_make(&config.endpoint_keys_file())?;
        let listening_at = public.local_addr().unwrap_or(config.server.listen);
        let public_url = config.public_url(listening_at);
        let api = Admin::open(&config, log, clock.now())?;
        let connections = Arc::new(Semaphore::new(config.limits.connections));
        let blocks = Blocks::open(config.server.data.join("blocks.json"), config.admin.blocks)?;
        let service = PushService::new(config, public_url, store, keyring, blocks, clock, traces);
        let site = Arc::new(Site::new(service, api));
        Ok(Self {
            site,
            public,
            public_socket,
            admin,
            admin_socket,
            tls,
            connections,
        })
    }

    /// Where the public listener is.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// The token that may do everything over the admin API.
    pub fn admin_token_file(&self) -> PathBuf {
        self.site.service.config().admin_token_file()
    }

    /// Where the admin listener is, unless there is none.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// The origin that endpoints are handed out under.
    pub fn public_url(&self) -> &PublicUrl {
        self.site.service.public_url()
    }

    /// Whether connections wait for the next process when this one ends: the
    /// service manager holds the public listener.
    pub fn is_inherited(&self) -> bool {
        self.public.is_inherited()
    }

    /// Serves until `shutdown` is ready, or the admin API asks for the end; then
    /// goes down in the order that `stop.rs` tells.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            site,
            public,
            public_socket,
            admin,
            admin_socket,
            tls,
            connections,
        } = self;
        let config = site.service.config();
        let door = Door {
            site: Arc::clone(&site),
            settings: Arc::new(session_settings(config)),
            tls: tls.clone(),
            is_admin: false,
            connections,
            leave: Leave::default(),
            tasks: TaskTracker::new(),
        };
        let mut background = JoinSet::new();
        if let Some(tls) = tls {
            let period = config.tls.check_every;
            let site = Arc::clone(&site);
            background.spawn(async move { tls.watch(period, site.service.metrics()).await });
        }
        background.spawn(expiry::run(Arc::clone(&site)));
        let waking = Arc::clone(&site);
        background.spawn(async move { waking.service.wake_when_store_returns().await });
        background.spawn(history::run(Arc::clone(&site)));
        background.spawn(systemd::watchdog(Arc::clone(&site)));
        let admin = door.for_admin().open(admin.into_iter().chain(admin_socket));
        let public = door.open([public].into_iter().chain(public_socket));
        tokio::select! {
            () = shutdown => {}
            () = site.stopping.asked() => {}
        }
        stop(&site, public, admin).await;
    }
}

fn open_unix(
    path: Option<&Path>,
    mode: FileMode,
    setting: &'static str,
) -> Result<Option<Listener>, StartError> {
    path.map(|path| Listener::open_unix(path, mode, setting))
        .transpose()
}
