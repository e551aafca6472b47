//! The interface to a service manager such as systemd: inherited sockets, status notifications and
//! the watchdog.

use std::env;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use crate::app::App;

/// Listening sockets inherited from the service manager. Connections wait in their backlog while no
/// process runs.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The public listener: `FileDescriptorName=public`, or a single socket of any name.
    pub public: Option<TcpListener>,
    /// The admin listener: `FileDescriptorName=admin`.
    pub admin: Option<TcpListener>,
}

/// An inherited socket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// It is not a TCP listener.
    #[error(
        "the inherited socket {0} cannot be listened at: {1}; the socket unit needs \
         ListenStream= with an address and a port"
    )]
    Unusable(String, #[source] io::Error),
    /// There are more sockets than listeners.
    #[error(
        "the inherited socket {0} has no use: give one FileDescriptorName=public and at most one \
         other FileDescriptorName=admin in the socket units"
    )]
    Surplus(String),
}

impl Inherited {
    /// Reads `LISTEN_FDS` and `LISTEN_FDNAMES` (sd_listen_fds(3)) and removes them from the
    /// environment. Call it before any thread starts.
    ///
    /// # Errors
    /// If a socket is not a TCP listener, or there are more sockets than listeners.
    pub fn from_environment() -> Result<Self, InheritedError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut inherited = Self::default();
        let names = names.split(':').map(str::to_owned);
        for (index, name) in (0..sockets.len()).zip(names.chain(std::iter::repeat(String::new()))) {
            let listener = sockets.take_tcp_listener(index);
            let listener =
                listener.map_err(|error| InheritedError::Unusable(called(index, &name), error));
            let role = if name == "admin" {
                &mut inherited.admin
            } else {
                &mut inherited.public
            };
            if role.is_some() {
                return Err(InheritedError::Surplus(called(index, &name)));
            }
            *role = listener?;
        }
        Ok(inherited)
    }
}

fn called(index: usize, name: &str) -> String {
    format!("{} (\"{name}\")", index + 1)
}

/// Reports that the service accepts connections (`Type=notify`).
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reports the status line.
pub fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Reports that the shutdown has begun.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Does nothing without a service manager.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

/// The watchdog timeout of the service manager (`WatchdogSec=`), if it has one.
pub fn watchdog_time() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Feeds the watchdog until cancelled, twice per `limit`. Each time the store is flushed first,
/// so a hanging runtime and a hanging store thread both stop the watchdog. A flush that fails still
/// feeds it: a restart would not repair a disk.
pub async fn watchdog(app: Arc<App>, limit: Duration) {
    // sd_watchdog_enabled(3) recommends half of the timeout.
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        let _ = app.service.flush().await;
        // A service manager that does not read blocks only this thread.
        let _ = spawn_blocking(|| notify(&[NotifyState::Watchdog])).await;
    }
}
