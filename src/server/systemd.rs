//! What a service manager like systemd gives and is told: sockets that it
//! listens at for us, and how we are.

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

/// Listening sockets that this process was started with. Connections wait in
/// them while there is no process.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For user agents and application servers: `FileDescriptorName=public`, or
    /// the only one, whatever its name.
    pub public: Option<TcpListener>,
    /// For operators: `FileDescriptorName=admin`.
    pub admin: Option<TcpListener>,
}

/// An inherited socket that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// Not a TCP listener.
    #[error(
        "the inherited socket {0} cannot be listened at: {1}; the socket unit needs \
         ListenStream= with an address and a port"
    )]
    Unusable(String, #[source] io::Error),
    /// There is one more than there are uses.
    #[error(
        "the inherited socket {0} has no use: give one FileDescriptorName=public and at most one \
         other FileDescriptorName=admin in the socket units"
    )]
    Surplus(String),
}

impl Inherited {
    /// What `LISTEN_FDS` and `LISTEN_FDNAMES` say (sd_listen_fds(3)); they are
    /// taken out of the environment. Call it before any thread is started.
    ///
    /// # Errors
    /// When a socket is no TCP listener, or has no use.
    pub fn from_environment() -> Result<Self, InheritedError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut sockets = ListenFd::from_env();
        let mut inherited = Self::default();
        let names = names.split(':').map(str::to_owned);
        for (index, name) in (0..sockets.len()).zip(names.chain(std::iter::repeat(String::new()))) {
            let taken = sockets.take_tcp_listener(index);
            let taken =
                taken.map_err(|error| InheritedError::Unusable(called(index, &name), error));
            let place = if name == "admin" {
                &mut inherited.admin
            } else {
                &mut inherited.public
            };
            if place.is_some() {
                return Err(InheritedError::Surplus(called(index, &name)));
            }
            *place = taken?;
        }
        Ok(inherited)
    }
}

fn called(index: usize, name: &str) -> String {
    format!("{} (\"{name}\")", index + 1)
}

/// Says that connections are served (`Type=notify`).
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says how things are.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Says that the end has begun.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Without a service manager this is nothing.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

/// Within which time the service manager wants to hear that the service is alive
/// (`WatchdogSec=`); `None` where it does not.
pub fn watchdog_time() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Says for ever that the service is alive, more often than every `patience`:
/// each time after the store has answered, so that
/// the tasks of this process and the thread of the store have to be alive both.
/// A store that answers that it fails is alive; a restart would not mend a disk.
pub async fn watchdog(app: Arc<App>, patience: Duration) {
    // As sd_watchdog_enabled(3) asks, at half of the time.
    let mut ticks = interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        let _ = app.service.flush().await;
        // Who does not read may make this wait, and only this.
        let _ = spawn_blocking(|| tell(&[NotifyState::Watchdog])).await;
    }
}
