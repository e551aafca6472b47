//! A soak: user agents subscribe, come and go, receive, let messages expire and
//! give their subscriptions back, for an hour or more. What the service holds
//! must then be what it held before.
//!
//! It goes in two parts of the same `life`, each until nobody is left. The
//! first lets the service take what it keeps for good, such as pages of its
//! cache; `sampling` compares the ends of the two, in `verdict`.

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

use self::life::Town;
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

/// After all have left, how long the service may take to forget: the longest
/// TTL, its sweep, and connections that end without a word.
const REST: Duration = Duration::from_secs(90);

/// What a result of a soak calls itself.
pub const NAME: &str = "soak";

/// Settings of `soak`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Soak {
    /// Where user agents connect: ws://HOST:PORT/
    pub url: Url,
    /// User agents at one time, 1 to 10000
    #[arg(long, short = 'n', default_value = "200", value_parser = value_parser!(u32).range(1..=10_000))]
    pub user_agents: u32,
    /// Pushes a second, 0.01 to 1000000
    #[arg(long, default_value = "20", value_parser = rate)]
    pub rate: f64,
    /// How long the service may fill what it keeps, up to 1h
    #[arg(long, default_value = "8m", value_parser = seconds::<3600>)]
    #[serde(serialize_with = "duration")]
    pub warm_up: Duration,
    /// For how long after that, up to 1day
    #[arg(long, default_value = "1h", value_parser = seconds::<86_400>)]
    #[serde(serialize_with = "duration")]
    pub duration: Duration,
    /// How often to look, up to 10m
    #[arg(long, default_value = "10s", value_parser = seconds::<600>)]
    #[serde(serialize_with = "duration")]
    pub every: Duration,
    /// A process of the service; several are allowed
    #[arg(long, required = true)]
    pub pid: Vec<u32>,
    /// Metrics of the service, such as http://127.0.0.1:8081/metrics
    #[arg(long)]
    pub metrics: Option<Url>,
    /// The folder of the service's data
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Makes the choices of the run [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Allows a host that is not this machine
    #[arg(long, value_name = "NAME")]
    pub i_own_this_host: Option<String>,
    /// Where to write the result, as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What a soak found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SoakOutcome {
    /// [`NAME`].
    pub scenario: String,
    /// Every setting, by its flag.
    pub config: Value,
    /// Nothing was lost, and everything ended where it began.
    pub passed: bool,
    /// What is not so, in words.
    pub faults: Vec<String>,
    /// Subscriptions that were made and given back.
    pub lives: u32,
    /// What became of the messages.
    pub messages: Counts,
    /// What the service held before and after.
    pub checks: Vec<Check>,
    /// The curve.
    pub samples: Vec<SoakSample>,
}

/// Why a soak could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The target is somebody else's.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The service cannot be observed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its metrics cannot be read, or nothing connects.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No runtime, or no file.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why it does not work.
        error: io::Error,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Soaks on a runtime of its own, and writes the result where `--out` says.
///
/// # Errors
/// When it could not be made, or the result not be written.
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
    let town = Town::new(&run, soak);

    town.live(soak.warm_up).await;
    tell(&run, "warmed up; everybody is gone");
    tokio::time::sleep(REST).await;
    let before = sampler.now().await?;
    town.live(soak.duration).await;
    tell(&run, "everybody is gone");
    tokio::time::sleep(REST).await;
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
        lives: town.lives(),
        messages,
        checks,
        samples,
    })
}

fn setup(soak: &Soak, lives: u32) -> Setup {
    Setup {
        url: soak.url.clone(),
        // Each life has an account of its own.
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

fn tell(run: &Arc<Run>, what: &str) {
    // Where nobody listens, the result has to do.
    let _ = writeln!(io::stderr(), "{:>7.0} s: {what}", run.now().as_secs_f64());
}

/// Cancels after a while.
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
