//! How far the shutdown has come, for whoever has to behave differently then.
//! `server::shutdown` goes through its stages.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The stage of the shutdown.
#[derive(Debug, Default)]
pub struct Shutdown {
    requested: Notify,
    draining: AtomicBool,
    closing: AtomicBool,
}

impl Shutdown {
    /// Asks the service to stop, as SIGTERM does.
    pub fn request(&self) {
        self.requested.notify_one();
    }

    /// Waits until the shutdown is [requested](Self::request). One request ends
    /// one wait, also a wait that begins later.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }

    /// From now on [`is_draining`](Self::is_draining).
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether load balancers should send traffic elsewhere: `/ready` fails.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on [`is_closing`](Self::is_closing).
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether new user agents are refused.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// Ends the connections of a listener, in two stages.
#[derive(Clone, Debug, Default)]
pub struct CloseSignals {
    /// Each response is the last of its connection; WebSockets that wait for
    /// `hello` are closed.
    pub graceful: CancellationToken,
    /// Connections without a request in progress are closed.
    pub idle: CancellationToken,
}
