//! Plays a scenario from beginning to end, within its limits, and returns the outcome.

use std::collections::BTreeMap;
use std::io::Write;
use std::{env, fs, io};

use bugle::Clock;
use bugle_client::{ClientError, Dialer, UserAgent};
use serde_json::Value;
use tokio::signal;
use tokio::time::timeout;
use url::Url;

use crate::machine::Machine;
use crate::meters::read;
use crate::outcome::{FORMAT, Outcome};
use crate::preflight::{Limits, Needs, Shortage};
use crate::process::ProcessError;
use crate::progress::ProgressTask;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::target::TargetError;
use crate::usage::Observer;

/// Why a run has no outcome, or its outcome could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A client failed before the run.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A process given by `--pid` cannot be observed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The target is not allowed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The machine's limits are too low.
    #[error("this machine is not ready for the run:\n{}", listed(.0))]
    Lacking(Vec<Shortage>),
    /// The runtime or a file failed.
    #[error("{what}: {error}")]
    System {
        /// The operation.
        what: String,
        /// The cause.
        error: io::Error,
    },
}

/// Plays a scenario on its own runtime, writes the result to the file given by `--out`, and
/// returns it.
///
/// # Errors
/// When the run could not start, or the result could not be written.
pub fn play(scenario: &Scenario) -> Result<Outcome, Failure> {
    let common = scenario.common();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error| Failure::System { what, error }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(common.threads as usize)
        .enable_all()
        .build()
        .map_err(failed("cannot start threads"))?;
    let outcome = runtime.block_on(async {
        // Run on a worker thread, like all other tasks.
        let scenario = scenario.clone();
        match tokio::spawn(async move { run(&scenario).await }).await {
            Ok(outcome) => outcome,
            Err(error) => Err(failed("the run broke off")(error.into())),
        }
    })?;
    if let Some(path) = &common.out {
        let json = serde_json::to_string_pretty(&outcome).map_err(io::Error::other);
        json.and_then(|json| fs::write(path, json))
            .map_err(failed(&format!("cannot write {}", path.display())))?;
    }
    Ok(outcome)
}

/// Plays a scenario on this runtime.
///
/// # Errors
/// When the run could not start, for instance because the service rejects a first user
/// agent.
pub async fn run(scenario: &Scenario) -> Result<Outcome, Failure> {
    let common = scenario.common();
    let started_at = Clock::system().now().as_secs();
    let pushing = scenario.pushing();
    let setup = common.setup(pushing);
    setup.guard.check(&setup.url)?;
    check_machine(&common.needs(pushing))?;
    let observer = Observer::new(&common.pid)?;
    let dialer = common.dialer()?;
    try_one(&dialer, &setup.url).await?;
    let run = Run::new(setup, dialer, observer);
    let watch = ProgressTask::start(&run, common.time_limit, common.quiet);

    let mut faults = Vec::new();
    let playing = scenario.play(&run);
    tokio::pin!(playing);
    let stopped = tokio::select! {
        () = &mut playing => None,
        () = tokio::time::sleep(common.time_limit) => Some("stopped by --time-limit"),
        _ = signal::ctrl_c() => Some("interrupted"),
    };
    if let Some(reason) = stopped {
        faults.push(reason.to_owned());
        run.cancel.cancel();
        // Connected user agents close; tasks that still hang after `settle` are dropped.
        let _ = timeout(common.settle, playing).await;
    }

    let series = watch.end().await;
    let messages = run.ledger.settle(run.now());
    faults.extend(messages.faults());
    let connections = run.meters.connections(common.user_agents.into());
    faults.extend(connections.faults());
    let unsent = read(&run.meters.totals.unsent);
    if unsent > 0 {
        faults.push(format!(
            "{unsent} pushes could not be begun in time: too high a rate"
        ));
    }
    let phases = run.phases();
    let mut processes = run.observer.records();
    let service = processes.split_off(1);
    Ok(Outcome {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: scenario.name().to_owned(),
        command: env::args().collect(),
        started_at,
        seconds: run.now().as_secs_f64(),
        config: config(scenario, &run),
        machine: Machine::this(),
        passed: faults.is_empty(),
        faults,
        messages,
        unsent,
        answers: run.meters.answers(),
        connections,
        latency: run.meters.latency(),
        phases,
        series,
        generator: processes.pop(),
        service,
    })
}

/// Connects one user agent first, so that an error that would affect all is reported once
/// instead of for each.
async fn try_one(dialer: &Dialer, url: &Url) -> Result<(), ClientError> {
    let mut first = UserAgent::connect(dialer, url).await?;
    first.hello(None).await?;
    // The result of the close does not matter: the service accepted the hello.
    let _ = first.close().await;
    Ok(())
}

/// Fails if a certain requirement is missing; warns about doubtful ones.
fn check_machine(needs: &Needs) -> Result<(), Failure> {
    let shortages = Limits::of_this_machine().shortages(needs);
    let (certain, doubtful): (Vec<_>, Vec<_>) = shortages
        .into_iter()
        .partition(|shortage| shortage.is_certain);
    if !doubtful.is_empty() {
        // If standard error is closed, the run itself shows the problem.
        let _ = writeln!(
            io::stderr(),
            "this may be too little:\n{}",
            listed(&doubtful)
        );
    }
    match certain.is_empty() {
        true => Ok(()),
        false => Err(Failure::Lacking(certain)),
    }
}

fn listed(shortages: &[Shortage]) -> String {
    let lines = shortages.iter().map(|shortage| format!("  {shortage}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The settings, including the seed if it was chosen.
fn config(scenario: &Scenario, run: &Run) -> BTreeMap<String, Value> {
    let config = serde_json::to_value(scenario).unwrap_or_default();
    let mut config: BTreeMap<_, _> = serde_json::from_value(config).unwrap_or_default();
    config.insert("seed".to_owned(), run.setup.seed.into());
    config
}
