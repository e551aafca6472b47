//! The way down, in the order in which those outside can follow it.
//!
//! 1. `/ready` fails, and for `server.stop_notice` nothing else changes.
//! 2. No user agent is taken any more; those that are here are told to go,
//!    spread over `server.close_window`. Requests are answered as before.
//! 3. Nothing is accepted any more. What was accepted is answered, each answer
//!    the last of its connection; after a moment, connections without a request
//!    end. All of it takes `server.drain` at most.
//! 4. The store is made durable, and the admin listener, where all of this can
//!    be watched, ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bugle_protocol::session::Close;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::Site;
use crate::service_clock;
use crate::systemd;

use super::tasks::Tasks;

/// How long a connection that is told to end may still bring a request: one
/// that its client sent before it knew.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// How long requests to the admin listener may take at the end.
const LAST_LOOKS: Duration = Duration::from_secs(1);

/// How far the service is on its way down, for all who ask.
#[derive(Debug, Default)]
pub struct Stopping {
    asked: Notify,
    leaving: AtomicBool,
    closing: AtomicBool,
}

impl Stopping {
    /// Asks the service to stop, as SIGTERM does.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Whether it is on its way down: no place for new work (`/ready`).
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Whether it takes no user agents any more.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Ends once it is [asked](Self::ask).
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// From now on [`is_closing`](Self::is_closing).
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

/// Tells the connections of a listener to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leave {
    /// Each answer is the last; who has not said hello goes.
    pub(crate) soon: CancellationToken,
    /// Who has no request in progress goes.
    pub(crate) now: CancellationToken,
}

/// Listeners and their connections. Dropped, it closes the listeners and tells
/// the connections to end.
pub(super) struct Crowd {
    /// The acceptors.
    pub(super) accepting: Tasks,
    pub(super) stop_accepting: CancellationToken,
    pub(super) leave: Leave,
    pub(super) tasks: TaskTracker,
}

impl Crowd {
    /// Accepts no more, and answers what is asked; what takes longer than
    /// `patience` is to be cut, and counted here.
    async fn end(mut self, patience: Duration) -> usize {
        self.stop_accepting.cancel();
        self.accepting.join().await;
        self.leave.soon.cancel();
        self.tasks.close();
        let ended = async {
            if timeout(LAST_REQUESTS, self.tasks.wait()).await.is_err() {
                self.leave.now.cancel();
                self.tasks.wait().await;
            }
        };
        // The count is right, whether or not they were in time.
        let _ = timeout(patience, ended).await;
        self.tasks.len()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.leave.soon.cancel();
        self.leave.now.cancel();
    }
}

/// Goes the whole way.
pub(super) async fn stop(site: &Arc<Site>, public: Crowd, admin: Crowd) {
    let server = &site.service.config().server;
    systemd::stopping("Stopping: not ready any more");
    tracing::info!(notice = ?server.stop_notice, "stopping: not ready any more");
    site.stopping.leaving.store(true, Ordering::Relaxed);
    sleep(server.stop_notice).await;

    systemd::status("Stopping: user agents are told to go");
    site.stopping.close();
    let clients = site.service.clients();
    clients
        .close_within(&Close::GoingAway, server.close_window)
        .await;

    systemd::status("Stopping: the last requests are answered");
    let cut = public.end(server.drain).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "server.drain is over: they are cut");
    }
    if timeout(LAST_LOOKS, site.finished()).await.is_err() {
        tracing::warn!("a change that a client has left is not finished");
    }
    if site.service.flush().await.is_err() {
        tracing::error!("the store could not be made durable");
    }
    service_clock::keep_at_end(site).await;
    site.admin.end_streams();
    admin.end(LAST_LOOKS.min(server.drain)).await;
    tracing::info!("stopped");
}
