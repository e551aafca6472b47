//! The service under test: in this process, on free ports, over a folder of
//! its own, with a clock that the test moves.

use std::time::Duration;

use bugle::{Clock, Config, Server as Bugle};
use bugle_protocol::UnixTime;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http::{self, Reply};

/// A running service. Dropped, it is gone with its data.
pub struct Server {
    config: Config,
    clock: Clock,
    _data: TempDir,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    public: String,
    admin: String,
}

/// When the tests take place: 2026-01-01T00:00:00Z.
pub const START: UnixTime = UnixTime::from_secs(1_767_225_600);

impl Server {
    /// The defaults, but for what keeps tests from waiting.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same with other settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        config.server.data = data.path().join("data");
        config.expiry.every = Duration::from_millis(20);
        // Tests use a ping and its answer as a fence.
        config.user_agent.min_ping_interval = Duration::ZERO;
        config.limits.connections_per_address = 0;
        change(&mut config);
        let clock = Clock::manual(START);
        let (public, admin) = (String::new(), String::new());
        let mut server = Self {
            config,
            clock,
            _data: data,
            running: None,
            public,
            admin,
        };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let bound = Bugle::bind(self.config.clone(), self.clock.clone())
            .await
            .unwrap();
        self.public = bound.local_addr().unwrap().to_string();
        self.admin = bound.admin_addr().unwrap().to_string();
        // The same address after a restart: endpoints are to stay as they are.
        self.config.server.listen = bound.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(bound.run(async {
            let _ = stopped.await;
        }));
        self.running = Some((stop, running));
    }

    /// Stops it as SIGTERM does, and waits for the end.
    pub async fn stop(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        let _ = stop.send(());
        running.await.unwrap();
    }

    /// Stops it and starts it again over the same data.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Moves its clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Its clock's time, in seconds.
    pub fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    /// Host and port of the public listener.
    pub fn authority(&self) -> &str {
        &self.public
    }

    /// Host and port of the admin listener.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The origin that tokens are made out to.
    pub fn origin(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Gets a page of the public listener.
    pub async fn get(&self, path: &str) -> Reply {
        http::http1(&self.public, "GET", path, &[], b"").await
    }

    /// The value of a metric, 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = http::http1(&self.admin, "GET", "/metrics", &[], b"")
            .await
            .text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// Waits until a metric has a value: for what happens in the background.
    pub async fn await_metric(&self, name: &str, value: f64) {
        let reached = async {
            while self.metric(name).await != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
        assert!(reached.is_ok(), "{name} did not become {value}");
    }
}
