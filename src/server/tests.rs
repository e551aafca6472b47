//! Tests of the supervision: each background task is made to end, and the service must react as
//! specified.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bugle_protocol::UnixTime;
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Process, Server, TaskEnded};
use crate::config::{Config, StoreEngine};
use crate::observe::exposition::Format;
use crate::server::tls::Tls;
use crate::time::Clock;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A fault to inject once into a task.
#[derive(Clone)]
struct Plan {
    task: &'static str,
    panics: bool,
    is_due: Arc<AtomicBool>,
}

tokio::task_local! {
    /// The fault of the service whose `run` this task polls.
    static PLAN: Plan;
}

/// The fault that a test injects into a task, if any.
pub(super) struct Fault(Option<Plan>);

impl Fault {
    pub(super) fn of(name: &'static str) -> Self {
        let plan = PLAN.try_with(Clone::clone).ok();
        Self(plan.filter(|plan| plan.task == name))
    }

    pub(super) fn apply<F>(&self, task: F) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send,
    {
        let plan = self.0.clone();
        async move {
            match plan {
                Some(plan) if plan.is_due.swap(false, Ordering::SeqCst) => {
                    assert!(!plan.panics, "broken by the test");
                }
                _ => task.await,
            }
        }
    }
}

/// What the clock of a service shows.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

/// A service over a memory store, and the folder of its other files.
pub(crate) async fn bound() -> (Server, TempDir) {
    bound_with(|_| ()).await
}

/// Like `bound`, with changed settings.
pub(crate) async fn bound_with(change: impl FnOnce(&mut Config)) -> (Server, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.server.data = folder.path().to_owned();
    config.server.stop_notice = Duration::ZERO;
    config.server.close_window = Duration::ZERO;
    config.admin.listen = Some(([127, 0, 0, 1], 0).into());
    config.store.engine = StoreEngine::Memory;
    change(&mut config);
    let clock = Clock::manual(NOW);
    let process = Process {
        watchdog: Some(Duration::from_secs(60)),
        ..Process::default()
    };
    let server = Server::bind_in(config, clock, process).await;
    (server.expect("it starts"), folder)
}

fn plan(task: &'static str, panics: bool) -> Plan {
    Plan {
        task,
        panics,
        is_due: Arc::new(AtomicBool::new(true)),
    }
}

#[tokio::test]
async fn a_required_task_that_ends_shuts_the_service_down() {
    for name in ["accept-public", "accept-admin", "store-wake-up", "watchdog"] {
        for (panics, why) in [
            (true, "it panicked: broken by the test"),
            (false, "it returned"),
        ] {
            let (server, _folder) = bound().await;
            let run = server.run(std::future::pending());
            let ended = timeout(TIMEOUT, PLAN.scope(plan(name, panics), run)).await;
            let expected = TaskEnded {
                task: name,
                why: why.to_owned(),
            };
            assert_eq!(ended.expect(name), Err(expected), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn other_tasks_are_restarted_and_counted() {
    for name in [
        "expiry",
        "clock",
        "history",
        "readiness",
        "log-summary",
        "certificate-reload",
    ] {
        let (mut server, folder) = bound().await;
        server.tls = Some(Arc::new(certificate(folder.path())));
        let app = Arc::clone(&server.app);
        let counted = async move {
            let line = format!("bugle_task_restarts_total{{task=\"{name}\"}} 1");
            while !app.service.metrics_text(Format::Plain).contains(&line) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let run = PLAN.scope(plan(name, true), server.run(counted));
        let ended = timeout(TIMEOUT, run).await.expect(name);
        assert_eq!(ended, Ok(()), "{name}");
    }
}

fn certificate(folder: &Path) -> Tls {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it is made");
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("it is written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("it is written");
    Tls::load(cert, key).expect("it is read")
}

#[tokio::test]
async fn a_service_whose_future_is_dropped_closes_its_listeners() {
    let (server, _folder) = bound().await;
    let address = server.local_addr().expect("an address");
    let mut run = Box::pin(server.run(std::future::pending()));
    assert!(run.as_mut().now_or_never().is_none());
    assert!(TcpStream::connect(address).await.is_ok());
    drop(run);
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(TIMEOUT, refused).await.expect("it listens no more");
}
