//! The service under test, on free ports with its own data folder: in this process with a clock
//! that the test controls, as the real program that a test can kill, or as an external service.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use bugle::config::Profile;
use bugle::{Clock, Config, Server as Bugle, TaskEnded};
use bugle_launch::{Launcher, Service};
use bugle_protocol::UnixTime;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::http::{self, Reply, Version};
use super::secrets;
use super::subject::{self, Elsewhere};

/// A running service. Dropping it stops it and removes its data.
pub struct Server {
    config: Config,
    clock: Clock,
    running: Option<Running>,
    /// Declared after `running`, so that it is dropped last.
    folder: TempDir,
    /// Host and port of the public listener.
    public: String,
    /// The origin of endpoints.
    origin: String,
    /// The URL for user agents.
    websocket: String,
    admin: String,
}

enum Running {
    Here {
        stop: Option<oneshot::Sender<()>>,
        task: JoinHandle<Result<(), TaskEnded>>,
    },
    Program {
        service: Box<Service>,
        launcher: Box<Launcher>,
    },
}

/// The initial time of tests: 2026-01-01T00:00:00Z.
pub const START: UnixTime = UnixTime::from_secs(1_767_225_600);

impl Server {
    /// Starts the external service given by the environment, or one with the defaults under the
    /// strict profile and without delays for tests.
    pub async fn start() -> Self {
        match Elsewhere::from_environment() {
            Some(elsewhere) => Self::elsewhere(elsewhere),
            None => Self::start_with(|_| ()).await,
        }
    }

    /// Like `start`, with the tolerances that are on by default: for tests of tolerances and of
    /// 410.
    pub async fn lenient() -> Self {
        match Elsewhere::from_environment() {
            Some(elsewhere) => Self::elsewhere(elsewhere),
            None => Self::start_with(|config| config.compat.profile = Profile::Lenient).await,
        }
    }

    /// Starts a service with changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        assert!(
            Elsewhere::from_environment().is_none(),
            "a test that needs a service of our own begins with needs_ours!"
        );
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        config.server.data = folder.path().join("data");
        config.expiry.every = Duration::from_millis(20);
        // Clauses are tested without tolerances; a test of a tolerance enables it.
        config.compat.profile = Profile::Strict;
        // Tests use pings as a fence.
        config.user_agent.min_ping_interval = Duration::ZERO;
        config.limits.connections_per_address = 0;
        config.limits.refusal_delay = Duration::ZERO;
        change(&mut config);
        let mut server = Self {
            config,
            clock: Clock::manual(START),
            running: None,
            folder,
            public: String::new(),
            origin: String::new(),
            websocket: String::new(),
            admin: String::new(),
        };
        server.run().await;
        server
    }

    /// Starts the real program with the system's clock; its data is in `data` or in a temporary
    /// folder.
    pub async fn start_program(data: Option<&Path>) -> Self {
        Self::start_program_with(data, |_| ()).await
    }

    /// Like `start_program`, with changed settings.
    pub async fn start_program_with(data: Option<&Path>, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_program_in(Vec::new(), data, change).await
    }

    /// Like `start_program_with`, with environment variables.
    pub async fn start_program_in(
        environment: Vec<(&'static str, OsString)>,
        data: Option<&Path>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data = data.map_or(folder.path().join("data"), Path::to_owned);
        config.user_agent.min_ping_interval = Duration::ZERO;
        change(&mut config);
        if secrets::are_kept() {
            config.log.filter = "trace".to_owned();
            config.log.repeat_limit = 0;
        }
        let mut launcher = Launcher::new(env!("CARGO_BIN_EXE_bugle"), folder.path());
        launcher.configure(&config.to_toml()).unwrap();
        launcher = launcher.with_data(&config.server.data);
        for (name, value) in environment {
            launcher = launcher.env(name, value);
        }
        let started = launcher.start().await;
        let service = started.unwrap_or_else(|error| panic!("{error}"));
        let listening = launcher.listening();
        let mut server = Self::at(&listening.public);
        server.admin = listening.admin.clone().unwrap();
        config.server.listen = listening.public.parse().unwrap();
        config.admin.listen = Some(server.admin.parse().unwrap());
        server.folder = folder;
        server.config = config;
        let launcher = Box::new(launcher);
        server.running = Some(Running::Program {
            service: Box::new(service),
            launcher,
        });
        server.see_keys();
        server
    }

    /// Wraps a service that the test started at this address, with the system's clock.
    pub fn at(authority: &str) -> Self {
        Self::elsewhere(Elsewhere {
            http: format!("http://{authority}"),
            websocket: format!("ws://{authority}/"),
        })
    }

    fn elsewhere(elsewhere: Elsewhere) -> Self {
        Self {
            config: Config::default(),
            clock: Clock::system(),
            running: None,
            folder: tempfile::tempdir().unwrap(),
            public: subject::authority(&elsewhere.http),
            origin: elsewhere.http,
            websocket: elsewhere.websocket,
            admin: String::new(),
        }
    }

    /// The resident memory of the program, in bytes.
    pub fn resident(&self) -> u64 {
        let Some(Running::Program { service, .. }) = &self.running else {
            panic!("only the program has memory of its own")
        };
        let status = std::fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() << 10
    }

    /// Records the endpoint keys as secrets.
    fn see_keys(&self) {
        let keys = std::fs::read_to_string(self.config.endpoint_keys_file());
        secrets::see(&keys.unwrap_or_default());
    }

    async fn run(&mut self) {
        secrets::log_here();
        let bound = Bugle::bind(self.config.clone(), self.clock.clone())
            .await
            .unwrap();
        self.public = bound.local_addr().unwrap().to_string();
        self.origin = format!("http://{}", self.public);
        self.websocket = format!("ws://{}/", self.public);
        self.admin = bound.admin_addr().unwrap().to_string();
        // Keep the address after a restart, so that endpoints stay valid.
        self.config.server.listen = bound.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(bound.run(async {
            let _ = stopped.await;
        }));
        self.running = Some(Running::Here {
            stop: Some(stop),
            task,
        });
        self.see_keys();
    }

    /// Starts a shutdown as SIGTERM does.
    pub fn begin_stop(&mut self) {
        let Some(Running::Here { stop, .. }) = &mut self.running else {
            panic!("only a service in this process can be stopped so")
        };
        let _ = stop.take().map(|stop| stop.send(()));
    }

    /// Shuts down as SIGTERM does and waits for the end.
    pub async fn stop(&mut self) {
        self.begin_stop();
        if let Some(Running::Here { task, .. }) = self.running.take() {
            task.await.unwrap().unwrap();
        }
    }

    /// Waits until the service has ended by itself.
    pub async fn ended(&mut self) {
        match self.running.take() {
            Some(Running::Here { stop: _stop, task }) => task.await.unwrap().unwrap(),
            _ => panic!("only a service in this process can be waited for so"),
        }
    }

    /// Stops the service and starts it again over the same data.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Starts the service again after [`stop`](Self::stop).
    pub async fn restart_stopped(&mut self) {
        self.run().await;
    }

    /// Like `restart`, and advances the clock while the service is stopped.
    pub async fn restart_after(&mut self, time: Duration) {
        self.stop().await;
        self.clock.advance(time);
        self.run().await;
    }

    /// Advances the clock.
    pub fn advance(&self, by: Duration) {
        assert!(self.running.is_some(), "only our clock can be moved");
        self.clock.advance(by);
    }

    /// Sets the wall clock, in seconds, as a time service does.
    pub fn set_clock(&self, secs: u64) {
        assert!(self.running.is_some(), "only our clock can be set");
        self.clock.set(UnixTime::from_secs(secs));
    }

    /// The time of the clock, in seconds.
    pub fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    /// The settings, with the bound addresses.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Host and port of the public listener.
    pub fn authority(&self) -> &str {
        &self.public
    }

    /// Host and port of the admin listener.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.config.server.data
    }

    /// The origin that VAPID tokens use as audience.
    pub fn origin(&self) -> String {
        self.origin.clone()
    }

    /// Lets user agents connect to another path.
    pub fn user_agents_at(&mut self, path: &str) {
        self.websocket = format!("ws://{}{path}", self.public);
    }

    /// The URL for user agents.
    pub fn websocket(&self) -> &str {
        &self.websocket
    }

    /// Sends a GET to the public listener.
    pub async fn get(&self, path: &str) -> Reply {
        http::send(Version::of_run(), &self.public, "GET", path, &[], b"").await
    }

    /// The value of a metric, 0 if it is missing.
    pub async fn metric(&self, name: &str) -> f64 {
        assert!(!self.admin.is_empty(), "only our metrics can be read");
        let text = http::http1(&self.admin, "GET", "/metrics", &[], b"")
            .await
            .text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// Asserts the value of a metric, unless the service is external and has none.
    pub async fn counts(&self, name: &str, value: f64) {
        if !self.admin.is_empty() {
            assert_eq!(self.metric(name).await, value, "{name}");
        }
    }

    /// Waits until a metric reaches a value that changes in the background.
    pub async fn await_metric(&self, name: &str, value: f64) {
        self.await_that(name, |found| found == value).await;
    }

    /// Waits until a metric satisfies a condition.
    pub async fn await_that(&self, name: &str, is_reached: impl Fn(f64) -> bool) {
        let reached = async {
            while !is_reached(self.metric(name).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(60), reached).await;
        assert!(reached.is_ok(), "{name} did not reach its value");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Running::Program { service, launcher }) = self.running.take() {
            // Stop the service first, so that the log is complete.
            drop(service);
            secrets::keep_log(&std::fs::read(launcher.log_file()).unwrap_or_default());
        }
    }
}
