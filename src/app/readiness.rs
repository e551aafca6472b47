//! Readiness (`/ready`): whether the service works, and whether it is near its limits. One probe
//! per second serves all requests, so an attacker cannot cause more work by asking more often.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::app::App;
use crate::config::Limit;
use crate::observe::memory;

/// How long a result is reused.
const RESULT_LIFETIME: Duration = Duration::from_secs(1);

/// Timeout of the flush that probes the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(4);

/// Percentage of a limit from which the service counts as overloaded.
const OVERLOAD_PERCENT: u64 = 90;

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// When the probe ended.
    at: Instant,
    /// Whether the store accepts changes and the disk keeps them.
    pub store: bool,
    /// What is near its limit: names of settings, and `memory`.
    pub overloaded: Vec<&'static str>,
}

/// The last result, and a signal that requests a new one.
pub struct Readiness {
    asked: Notify,
    latest: watch::Sender<Option<ProbeResult>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            asked: Notify::new(),
            latest: watch::Sender::new(None),
        }
    }
}

impl Readiness {
    /// Returns a result at most one second old, probing if there is none. Returns `None` if the
    /// probe does not finish in time.
    pub async fn probe(&self) -> Option<ProbeResult> {
        let mut result = self.latest.subscribe();
        if let Some(result) = &*result.borrow_and_update()
            && result.at.elapsed() < RESULT_LIFETIME
        {
            return Some(result.clone());
        }
        self.asked.notify_one();
        // Slightly longer than a probe can take.
        timeout(FLUSH_TIMEOUT + RESULT_LIFETIME, result.changed())
            .await
            .ok()?
            .ok()?;
        result.borrow().clone()
    }
}

/// Probes the service on request, one probe at a time, until cancelled.
pub async fn run(app: Arc<App>) {
    loop {
        app.readiness.asked.notified().await;
        let flushed = timeout(FLUSH_TIMEOUT, app.service.flush()).await;
        let result = ProbeResult {
            at: Instant::now(),
            store: flushed.is_ok_and(|flushed| flushed.is_ok()),
            overloaded: overloaded(&app),
        };
        app.readiness.latest.send_replace(Some(result));
    }
}

/// Returns what is near its limit, and sets the metrics accordingly.
pub fn overloaded(app: &App) -> Vec<&'static str> {
    let service = &app.service;
    let (limits, metrics) = (&service.config().limits, service.metrics());
    let memory = memory::resident().zip(memory::limit());
    let (resident, memory_limit) = memory.unwrap_or((0, u64::MAX));
    let bounds = [
        (
            Limit::Connections.setting(),
            u64::try_from(metrics.connections.get()).unwrap_or(0),
            limits.connections as u64,
        ),
        (
            Limit::UserAgents.setting(),
            app.gate.connected() as u64,
            limits.user_agents as u64,
        ),
        (
            Limit::Requests.setting(),
            app.gate.in_progress() as u64,
            limits.requests as u64,
        ),
        (
            Limit::Bodies.setting(),
            app.gate.arriving() as u64,
            limits.bodies as u64,
        ),
        (
            Limit::WaitingForDisk.setting(),
            service.usage().waiting,
            limits.waiting_for_disk as u64,
        ),
        ("memory", resident, memory_limit),
    ];
    let near = bounds.map(|(bound, current, limit)| {
        let is_near =
            limit > 0 && current.saturating_mul(100) >= limit.saturating_mul(OVERLOAD_PERCENT);
        metrics.overload(bound, is_near);
        is_near.then_some(bound)
    });
    near.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::expect_used, reason = "a test fails by panicking")]

    use futures_util::future::join_all;

    use super::*;
    use crate::server::tests::bound;

    #[tokio::test(start_paused = true)]
    async fn requests_within_a_second_share_one_probe() {
        let (server, _folder) = bound().await;
        let app = Arc::clone(server.app());
        let looking = tokio::spawn(run(Arc::clone(&app)));
        let many = || join_all((0..100).map(|_| app.readiness.probe()));
        let first = many().await;
        let one = first[0].clone().expect("it is probed");
        assert!(one.store && one.overloaded.is_empty(), "{one:?}");
        assert!(first.iter().all(|result| result.as_ref() == Some(&one)));
        assert_eq!(app.readiness.probe().await, Some(one.clone()));
        tokio::time::advance(RESULT_LIFETIME).await;
        let later = app.readiness.probe().await.expect("it is probed");
        assert!(later.at >= one.at + RESULT_LIFETIME);
        looking.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_gives_up_if_no_probe_finishes() {
        let (server, _folder) = bound().await;
        assert_eq!(server.app().readiness.probe().await, None);
    }
}
