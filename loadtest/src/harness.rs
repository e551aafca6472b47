//! Plays a scenario from beginning to end, within its limits, and says how it
//! went.

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
use crate::preflight::{Lack, Limits, Needs};
use crate::process::ProcessError;
use crate::progress::Watch;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::target::TargetError;
use crate::usage::Observer;

/// Why there is no outcome, or none that was kept.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the connections need is missing.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A process that `--pid` names cannot be observed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The target is somebody else's.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The machine is too small as it is.
    #[error("this machine is not ready for the run:\n{}", listed(.0))]
    Lacking(Vec<Lack>),
    /// No runtime, or no file.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why it does not work.
        error: io::Error,
    },
}

/// Plays a scenario on a runtime of its own, writes the result where `--out`
/// says, and returns it.
///
/// # Errors
/// When it could not begin, or the result could not be written.
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
        // On a thread of the runtime, as everything else.
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
/// When it could not begin: also when the service does not let a first user agent
/// in.
pub async fn run(scenario: &Scenario) -> Result<Outcome, Failure> {
    let common = scenario.common();
    let started_at = Clock::system().now().as_secs();
    let pushing = scenario.pushing();
    let setup = common.setup(pushing);
    setup.guard.check(&setup.url)?;
    check_machine(&common.needs(pushing))?;
    let observer = Observer::new(&common.pid)?;
    let dialer = common.dialer()?;
    knock(&dialer, &setup.url).await?;
    let run = Run::new(setup, dialer, observer);
    let watch = Watch::start(&run, common.time_limit, common.quiet);

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
        // Who is connected leaves; what hangs even then is left behind.
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

/// Lets one user agent come and go: what all would meet is told before they try,
/// again and again.
async fn knock(dialer: &Dialer, url: &Url) -> Result<(), ClientError> {
    let mut first = UserAgent::connect(dialer, url).await?;
    first.hello(None).await?;
    // However it ends, it was let in.
    let _ = first.close().await;
    Ok(())
}

/// What the run cannot go without; what it may lack is told.
fn check_machine(needs: &Needs) -> Result<(), Failure> {
    let lacks = Limits::of_this_machine().lacks(needs);
    let (certain, doubtful): (Vec<_>, Vec<_>) = lacks.into_iter().partition(|lack| lack.is_certain);
    if !doubtful.is_empty() {
        // Where nobody listens, the run has to show it.
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

fn listed(lacks: &[Lack]) -> String {
    let lines = lacks.iter().map(|lack| format!("  {lack}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The settings, with those that were chosen for want of a flag.
fn config(scenario: &Scenario, run: &Run) -> BTreeMap<String, Value> {
    let config = serde_json::to_value(scenario).unwrap_or_default();
    let mut config: BTreeMap<_, _> = serde_json::from_value(config).unwrap_or_default();
    config.insert("seed".to_owned(), run.setup.seed.into());
    config
}
