//! The server process: listeners, connections and their limits, the supervised background tasks,
//! and shutdown.

pub mod systemd;

mod accept;
mod listener;
pub(crate) mod proxy_header;
mod shutdown;
mod start_error;
mod tasks;
mod tls;
mod tunnel;

#[cfg(test)]
pub(crate) mod tests;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::Keyring;
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use crate::admin::access::Access;
use crate::admin::{Admin, history};
use crate::app::shutdown::CloseSignals;
use crate::app::{App, readiness};
use crate::config::{Config, FileMode, PublicUrl, SocketOthers};
use crate::gate::blocklist::Blocks;
use crate::http::Site;
use crate::observe::log::Log;
use crate::observe::otel::Traces;
use crate::secrets;
use crate::service::clock::{self, ServiceClock};
use crate::service::{PushService, Wakes, expiry};
use crate::store::{self, Engine};
use crate::time::Clock;
use crate::user_agent::websocket::session_settings;

use self::accept::Acceptor;
use self::listener::Listener;
use self::shutdown::shut_down;
use self::systemd::Inherited;
use self::tasks::Tasks;
use self::tls::Tls;

pub use self::start_error::StartError;
pub use self::tasks::TaskEnded;
pub(crate) use self::tunnel::COMPILED_IN;

/// A service with open listeners; [`run`](Server::run) serves them.
pub struct Server {
    app: Arc<App>,
    admin_api: Arc<Admin>,
    public: Listener,
    public_socket: Option<Listener>,
    chromium: Option<Listener>,
    admin: Option<Listener>,
    admin_socket: Option<Listener>,
    tls: Option<Arc<Tls>>,
    watchdog: Option<Duration>,
}

/// What the surrounding process provides to a service.
#[derive(Default)]
pub struct Process {
    /// Sockets inherited from the service manager.
    pub inherited: Inherited,
    /// The log of the process.
    pub log: Log,
    /// Exports its traces.
    pub traces: Traces,
    /// The watchdog timeout of the service manager (`WatchdogSec=`); `None` without a watchdog.
    pub watchdog: Option<Duration>,
}

/// The contents of the data folder, and the configuration that they were read with.
struct Folder {
    config: Config,
    /// The store and its event listener.
    store: (Arc<dyn Engine>, Arc<Wakes>),
    keyring: Keyring,
    access: Access,
    blocks: Blocks,
    time: ServiceClock,
}

impl Folder {
    /// Reads the data folder, which takes long for a large store. Blocks on disk I/O.
    ///
    /// # Errors
    /// The first problem found.
    fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        let blocks = config.server.data.join("blocks.json");
        let time = config.server.data.join(clock::FILE);
        let wakes = Wakes::new(config.limits.live_queue);
        Ok(Self {
            store: (store::open(&config, Arc::clone(&wakes) as _)?, wakes),
            keyring: secrets::load_or_make(&config.endpoint_keys_file())?,
            access: Access::open(&config)?,
            blocks: Blocks::open(blocks, config.admin.blocks)?,
            // Opened last, so that the time taken by the store does not count as a step of the
            // clock.
            time: ServiceClock::open(clock, time)?,
            config,
        })
    }
}

impl Server {
    /// Opens the data folder and the listeners, in an order that detects a second process over the
    /// same data.
    ///
    /// # Errors
    /// The first problem found.
    pub async fn bind(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::bind_in(config, clock, Process::default()).await
    }

    /// As [`bind`](Self::bind), with what the process provides: inherited sockets replace
    /// `server.listen` and `admin.listen`. If the future is dropped, a blocking thread continues
    /// until it has read the data folder.
    ///
    /// # Errors
    /// The first problem found.
    pub async fn bind_in(
        config: Config,
        clock: Clock,
        process: Process,
    ) -> Result<Self, StartError> {
        let Process {
            inherited,
            log,
            traces,
            watchdog,
        } = process;
        let data = &config.server.data;
        secrets::make_private_folder(data)
            .map_err(|error| StartError::Data(data.clone(), error))?;
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
        let chromium = config.chromium.listen.filter(|_| config.chromium.enabled);
        let chromium = chromium.map(|address| Listener::open(None, address, "chromium.listen"));
        let chromium = chromium.transpose()?;
        let mode = config.server.socket_mode;
        let public_socket = open_unix(config.server.socket.as_deref(), mode, "server.socket")?;
        let mode = match config.admin.socket_others {
            SocketOthers::Refuse => FileMode(0o600),
            SocketOthers::ReadOnly => FileMode(0o666),
        };
        let admin_socket = open_unix(config.admin.socket.as_deref(), mode, "admin.socket")?;
        let started_at = clock.now();
        // On a blocking thread, so that signals are handled meanwhile.
        let opened = spawn_blocking(move || Folder::open(config, clock));
        let Folder {
            config,
            store,
            keyring,
            access,
            blocks,
            time,
        } = opened.await??;
        let listening_at = public.local_addr().unwrap_or(config.server.listen);
        let public_url = config.public_url(listening_at);
        let service = PushService::new(config, public_url, store, keyring, blocks, time, traces);
        let app = Arc::new(App::new(service));
        let admin_api = Arc::new(Admin::new(Arc::clone(&app), access, log, started_at));
        Ok(Self {
            app,
            admin_api,
            public,
            public_socket,
            chromium,
            admin,
            admin_socket,
            tls,
            watchdog,
        })
    }

    /// The address of the public listener.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// The file of the admin token with full access.
    pub fn admin_token_file(&self) -> PathBuf {
        self.app.service.config().admin_token_file()
    }

    /// The address of the further listener for Chromium, if there is one.
    pub fn chromium_addr(&self) -> Option<SocketAddr> {
        self.chromium.as_ref()?.local_addr().ok()
    }

    /// The address of the admin listener, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// The origin of the endpoints that the service issues.
    pub fn public_url(&self) -> &PublicUrl {
        self.app.service.public_url()
    }

    /// Whether the service manager keeps the public listener open, so that connections wait in it
    /// for the next process.
    pub fn is_inherited(&self) -> bool {
        self.public.is_inherited()
    }

    /// Serves until `shutdown` completes, the admin API requests a shutdown, or a required task
    /// ends; then shuts down in the order given in `shutdown.rs`. Dropping the future aborts the
    /// tasks and closes the listeners at once.
    ///
    /// # Errors
    /// [`TaskEnded`] if a required task ended. The shutdown is complete when this returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let mut tasks = self.start_tasks();
        let Self {
            app,
            admin_api,
            public,
            public_socket,
            chromium,
            admin,
            admin_socket,
            tls,
            ..
        } = self;
        let acceptor = Acceptor {
            app: Arc::clone(&app),
            settings: Arc::new(session_settings(app.service.config())),
            tls,
            site: Site::Public,
            connections: Arc::clone(&app.gate.connections),
            close: CloseSignals::default(),
            tasks: TaskTracker::new(),
        };
        let mut admin = acceptor
            .for_admin(Arc::clone(&admin_api) as _)
            .open(admin.into_iter().chain(admin_socket));
        let others = public_socket.into_iter().chain(chromium);
        let mut public = acceptor.open([public].into_iter().chain(others));
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            () = app.shutdown.requested() => Ok(()),
            ended = tasks.ended() => Err(ended),
            ended = public.accepting.ended() => Err(ended),
            ended = admin.accepting.ended() => Err(ended),
        };
        if let Err(error) = &ended {
            tracing::error!(task = error.task, why = %error.why, "a task ended unasked: stopping");
        }
        shut_down(&app, &admin_api, public, admin).await;
        ended
    }

    /// Starts the background tasks.
    fn start_tasks(&self) -> Tasks {
        let (app, config) = (&self.app, self.app.service.config());
        let mut tasks = Tasks::default();
        // Required: without it, no connection would be woken after a store failure.
        let waking = Arc::clone(app);
        tasks.require("store-wake-up", async move {
            waking.service.wake_everybody().await;
        });
        // Required: without it, the service manager would kill a healthy service.
        if let Some(interval) = self.watchdog {
            tasks.require("watchdog", systemd::watchdog(Arc::clone(app), interval));
        }
        // These keep no state between iterations: they read the store, files and counters, so a
        // restart loses nothing.
        tasks.restart("expiry", app, |app| async move {
            expiry::run(&app.service, &app.gate.rates).await;
        });
        tasks.restart(
            "clock",
            app,
            |app| async move { clock::run(&app.service).await },
        );
        let admin = Arc::clone(&self.admin_api);
        tasks.restart("history", app, move |_| history::run(Arc::clone(&admin)));
        tasks.restart("readiness", app, readiness::run);
        let admin = Arc::clone(&self.admin_api);
        tasks.restart("log-summary", app, move |_| {
            let admin = Arc::clone(&admin);
            async move { admin.log().count().await }
        });
        if let Some(tls) = self.tls.clone() {
            let period = config.tls.check_every;
            tasks.restart("certificate-reload", app, move |app| {
                let tls = Arc::clone(&tls);
                async move { tls.watch(period, app.service.metrics()).await }
            });
        }
        tasks
    }

    /// The shared state, for tests.
    #[cfg(test)]
    pub(crate) fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The admin API, for tests.
    #[cfg(test)]
    pub(crate) fn admin_api(&self) -> &Arc<Admin> {
        &self.admin_api
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
