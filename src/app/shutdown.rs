//! The stage of the shutdown, read by code that behaves differently then. `server::shutdown`
//! advances it.

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
    /// Requests a shutdown, as SIGTERM does.
    pub fn request(&self) {
        self.requested.notify_one();
    }

    /// Waits until a shutdown is [requested](Self::request). One request completes one wait, even a
    /// wait that begins later.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Sets [`is_draining`](Self::is_draining).
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether load balancers should send traffic elsewhere: `/ready` returns 503.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Sets [`is_closing`](Self::is_closing).
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether new user agents are refused.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// Closes the connections of a listener, in two stages.
#[derive(Clone, Debug, Default)]
pub struct CloseSignals {
    /// Send `Connection: close` on every response; close WebSockets that still wait for `hello`.
    pub graceful: CancellationToken,
    /// Close connections without a request in progress.
    pub idle: CancellationToken,
}
