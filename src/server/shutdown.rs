//! Graceful shutdown, in stages that clients and load balancers can follow:
//!
//! 1. `/ready` returns 503; for `server.stop_notice` nothing else changes.
//! 2. New user agents are refused, and connected ones are closed, spread over
//!    `server.close_window`. Requests are answered as before.
//! 3. Listeners close. Accepted requests get a response with `Connection: close`; after one second,
//!    idle connections are closed. All of this takes at most `server.drain`.
//! 4. The store is flushed, and the admin listener, on which the shutdown can be watched, closes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::app::App;
use crate::app::shutdown::CloseSignals;
use crate::service::clock;
use crate::service::registry::Ended;

use super::systemd;
use super::tasks::Tasks;

/// How long a closing connection may still send a request that its client began before it knew.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// How long requests to the admin listener may take at the end.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// Listeners and their connections. Dropping it closes the listeners and signals the connections to
/// close.
pub(super) struct Listeners {
    /// The acceptor tasks.
    pub(super) accepting: Tasks,
    pub(super) stop_accepting: CancellationToken,
    pub(super) close: CloseSignals,
    pub(super) tasks: TaskTracker,
}

impl Listeners {
    /// Stops accepting and completes the requests in progress. Returns how many connections are
    /// still open after `grace`; the caller cuts them.
    async fn end(mut self, grace: Duration) -> usize {
        self.stop_accepting.cancel();
        self.accepting.join().await;
        self.close.graceful.cancel();
        self.tasks.close();
        let ended = async {
            if timeout(LAST_REQUESTS, self.tasks.wait()).await.is_err() {
                self.close.idle.cancel();
                self.tasks.wait().await;
            }
        };
        // The count below is right in both cases.
        let _ = timeout(grace, ended).await;
        self.tasks.len()
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.close.graceful.cancel();
        self.close.idle.cancel();
    }
}

/// Runs all stages.
pub(super) async fn shut_down(
    app: &Arc<App>,
    admin_api: &Admin,
    public: Listeners,
    admin: Listeners,
) {
    let server = &app.service.config().server;
    systemd::stopping("Shutting down: /ready returns 503");
    tracing::info!(notice = ?server.stop_notice, "stopping: not ready any more");
    app.shutdown.drain();
    sleep(server.stop_notice).await;

    systemd::status("Shutting down: closing user agent connections");
    app.shutdown.close();
    let clients = app.service.clients();
    clients
        .close_within(Ended::ShuttingDown, server.close_window)
        .await;

    systemd::status("Shutting down: completing the last requests");
    let cut = public.end(server.drain).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "server.drain is over: they are cut");
    }
    if timeout(LAST_LOOKS, app.finished()).await.is_err() {
        tracing::warn!("a change that a client has left is not finished");
    }
    if app.service.flush().await.is_err() {
        tracing::error!("the store could not be made durable");
    }
    clock::keep_at_end(&app.service).await;
    admin_api.end_streams();
    admin.end(LAST_LOOKS.min(server.drain)).await;
    tracing::info!("stopped");
}
