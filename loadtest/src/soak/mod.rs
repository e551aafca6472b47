//! A soak: for an hour or more, user agents subscribe, connect, disconnect, receive, let
//! messages expire and unsubscribe. Afterwards the service must hold no more resources than
//! before.
//!
//! A soak has two parts with the same `life`, each until all user agents are gone. The first
//! lets the service allocate what it keeps, such as pages of its cache; `verdict` compares the
//! `sampling` at the ends of the two.

mod life;
mod sampling;
mod verdict;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bugle::Clock;
use bugle_client::{ClientError, Dialer};
use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::life::LifePool;
use self::sampling::Sampler;
pub use self::sampling::SoakSample;
pub use self::verdict::Check;
use crate::cli::{duration, seconds};
use crate::ledger::Counts;
use crate::process::ProcessError;
use crate::run::{Run, Setup};
use crate::scenario::rate;
use crate::subscription::Signing;
use crate::target::{Guard, TargetError};
use crate::usage::Observer;

/// How long the service may take to release resources once all user agents are gone: the
/// longest TTL, its sweep, and the timeout of connections without a Close frame.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(90);

/// The scenario name in the result of a soak.
pub const NAME: &str = "soak";

/// Settings of `soak`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Soak {
    /// Where user agents connect: ws://HOST:PORT/
    pub url: Url,
    /// Concurrent user agents, 1 to 10000
    #[arg(long, short = 'n', default_value = "200", value_parser = value_parser!(u32).range(1..=10_000))]
    pub user_agents: u32,
    /// Pushes per second, 0.01 to 1000000
    #[arg(long, default_value = "20", value_parser = rate)]
    pub rate: f64,
    /// Duration of the first part, in which the service allocates what it keeps, up to 1h
    #[arg(long, default_value = "8m", value_parser = seconds::<3600>)]
    #[serde(serialize_with = "duration")]
    pub warm_up: Duration,
    /// Duration of the second part, up to 1day
    #[arg(long, default_value = "1h", value_parser = seconds::<86_400>)]
    #[serde(serialize_with = "duration")]
    pub duration: Duration,
    /// Sampling interval, up to 10m
    #[arg(long, default_value = "10s", value_parser = seconds::<600>)]
    #[serde(serialize_with = "duration")]
    pub every: Duration,
    /// A process of the service; may be given several times
    #[arg(long, required = true)]
    pub pid: Vec<u32>,
    /// URL of the service's metrics, such as http://127.0.0.1:8081/metrics
    #[arg(long)]
    pub metrics: Option<Url>,
    /// Data folder of the service
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Seeds the random choices [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Allows a target that is not this machine
    #[arg(long, value_name = "NAME")]
    pub i_own_this_host: Option<String>,
    /// Where to write the result, as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The outcome of a soak.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SoakOutcome {
    /// [`NAME`].
    pub scenario: String,
    /// Every setting by flag.
    pub config: Value,
    /// Whether no message was lost and no resource leaked.
    pub passed: bool,
    /// Descriptions of the faults.
    pub faults: Vec<String>,
    /// Subscriptions that were created and removed.
    pub lives: u32,
    /// The message counts.
    pub messages: Counts,
    /// The comparisons of resources before and after.
    pub checks: Vec<Check>,
    /// The samples over time.
    pub samples: Vec<SoakSample>,
}

/// Why a soak could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The target is not allowed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A process of the service cannot be observed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The metrics cannot be read, or a connection failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The runtime or a file failed.
    #[error("{what}: {error}")]
    System {
        /// The operation.
        what: String,
        /// The cause.
        error: io::Error,
    },
    /// Ctrl-C was pressed.
    #[error("interrupted")]
    Interrupted,
}

/// Plays a soak on its own runtime and writes the result to the file given by `--out`.
///
/// # Errors
/// When it could not be carried out, or the result could not be written.
pub fn play(soak: &Soak) -> Result<SoakOutcome, SoakError> {
    let failed = |what: String| move |error| SoakError::System { what, error };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("cannot start".to_owned()))?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = run(soak) => outcome,
            _ = tokio::signal::ctrl_c() => Err(SoakError::Interrupted),
        }
    })?;
    if let Some(path) = &soak.out {
        let json = serde_json::to_string_pretty(&outcome).map_err(io::Error::other);
        json.and_then(|json| std::fs::write(path, json))
            .map_err(failed(format!("cannot write {}", path.display())))?;
    }
    Ok(outcome)
}

async fn run(soak: &Soak) -> Result<SoakOutcome, SoakError> {
    let lives = life::most(soak);
    let setup = setup(soak, lives);
    setup.guard.check(&setup.url)?;
    let dialer = Dialer::new(None)?;
    let run = Run::new(setup, dialer.clone(), Observer::default());
    let sampler = Sampler::start(soak, dialer, &run)?;
    let pool = LifePool::new(&run, soak);

    pool.live(soak.warm_up).await;
    report(&run, "warmed up; everybody is gone");
    tokio::time::sleep(RELEASE_TIMEOUT).await;
    let before = sampler.now().await?;
    pool.live(soak.duration).await;
    report(&run, "everybody is gone");
    tokio::time::sleep(RELEASE_TIMEOUT).await;
    let after = sampler.now().await?;

    let messages = run.ledger.settle(run.now());
    let samples = sampler.end().await;
    let checks = verdict::compare(&before, &after, &samples);
    let mut faults = messages.faults();
    let leaks = checks.iter().filter(|check| !check.passed);
    faults.extend(leaks.map(|check| format!("not where it began: {check}")));
    Ok(SoakOutcome {
        scenario: NAME.to_owned(),
        config: serde_json::to_value(soak).unwrap_or_default(),
        passed: faults.is_empty(),
        faults,
        lives: pool.lives(),
        messages,
        checks,
        samples,
    })
}

fn setup(soak: &Soak, lives: u32) -> Setup {
    Setup {
        url: soak.url.clone(),
        mcs: false,
        // Each life has its own entry in the ledger.
        user_agents: lives,
        prepared: false,
        signing: Signing::Once,
        http2: false,
        senders: 1,
        streams: 1,
        retries: 5,
        opening: 64,
        settle: Duration::from_secs(10),
        guard: Guard::new(soak.i_own_this_host.as_deref()),
        seed: soak
            .seed
            .unwrap_or_else(|| Clock::system().now().as_millis()),
    }
}

fn report(run: &Arc<Run>, what: &str) {
    // If standard error is closed, only the result remains.
    let _ = writeln!(io::stderr(), "{:>7.0} s: {what}", run.now().as_secs_f64());
}

/// Cancels `until` after `time`.
async fn wait(until: CancellationToken, time: Duration) {
    let _ = timeout(time, until.cancelled()).await;
    until.cancel();
}

impl fmt::Display for SoakOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let m = &self.messages;
        writeln!(
            f,
            "soak {verdict}: {} lives, {} messages accepted, {} delivered, {} expired, {} missing",
            self.lives, m.accepted, m.delivered, m.expired, m.missing
        )?;
        for check in &self.checks {
            writeln!(f, "  {check}")?;
        }
        for fault in &self.faults {
            writeln!(f, "  fault: {fault}")?;
        }
        Ok(())
    }
}
