//! Fault runs: start a service, put it under load, and kill it or cut its power,
//! repeatedly. After each fault, every accepted message must be accounted for.
//!
//! `run` drives the rounds. `sender`s push, replace and withdraw; `receiver`s connect,
//! disconnect and acknowledge. Both report to the `account`, which knows the promises and
//! decides what the `service` owes.

mod account;
mod disk;
mod error;
mod message;
mod outcome;
mod receiver;
mod run;
mod scene;
mod sender;
mod service;
mod violation;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use url::Url;

pub use self::error::FaultError;
pub use self::message::Fate;
pub use self::outcome::{Fates, FaultOutcome, Round};
use self::run::Run;
pub use self::violation::{Violation, Violations};
use crate::cli::seconds;

/// The fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Kill the process with `SIGKILL`.
    Kill,
    /// Discard everything not yet written to the disk, then kill the process.
    Power,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Power => "power",
        })
    }
}

/// `bugle-load faults`
#[derive(Clone, Debug, Subcommand)]
pub enum FaultCommand {
    /// Kill the service at random moments
    #[command(after_help = EXAMPLE)]
    Kill(FaultArgs),
    /// Cut the power of its disk at random moments (as root)
    #[command(after_help = EXAMPLE)]
    Power(FaultArgs),
}

const EXAMPLE: &str = "\
Example:
  bugle-load faults kill --rounds 10 -- bugle --listen {listen} --data {data} --admin-listen ''";

/// Settings of a fault run.
#[derive(Clone, Debug, Args)]
pub struct FaultArgs {
    /// Number of faults
    #[arg(long, default_value_t = 10, value_parser = up_to(10_000))]
    pub rounds: usize,
    /// User agents at the start; one more subscribes in each round
    #[arg(long, default_value_t = 24, value_parser = up_to(1000))]
    pub user_agents: usize,
    /// Application servers that push concurrently
    #[arg(long, default_value_t = 8, value_parser = up_to(1000))]
    pub senders: usize,
    /// Maximum load before a fault, at most 1m
    #[arg(long, default_value = "1500ms", value_parser = seconds::<60>)]
    pub longest: Duration,
    /// Seeds the random choices [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where user agents connect, if not at {listen}
    #[arg(long)]
    pub url: Option<Url>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The command of the service; {data} stands for its data folder, {listen} for a free
    /// address and port
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Carries out a fault run on its own runtime, prints a line for each round to standard
/// error, and writes the result to the file given by `--out`.
///
/// # Errors
/// When the run could not be carried out, or its result could not be written. Misbehaviour
/// of the service is part of the outcome.
pub fn play(command: &FaultCommand) -> Result<FaultOutcome, FaultError> {
    let (fault, args) = match command {
        FaultCommand::Kill(args) => (Fault::Kill, args),
        FaultCommand::Power(args) => (Fault::Power, args),
    };
    let failed = |what: String| move |error| FaultError::File { what, error };
    let runtime = tokio::runtime::Runtime::new().map_err(failed("cannot start threads".into()))?;
    let outcome = runtime.block_on(run(fault, args))?;
    if let Some(path) = &args.out {
        let json = serde_json::to_string_pretty(&outcome).map_err(io::Error::other);
        json.and_then(|json| std::fs::write(path, json))
            .map_err(failed(format!("cannot write {}", path.display())))?;
    }
    Ok(outcome)
}

/// Carries out a fault run with its files in a temporary folder.
async fn run(fault: Fault, args: &FaultArgs) -> Result<FaultOutcome, FaultError> {
    let folder = tempfile::Builder::new().prefix("bugle-faults-").tempdir();
    let folder = folder.map_err(|error| FaultError::File {
        what: "cannot make a temporary folder".to_owned(),
        error,
    })?;
    let report = |round: &Round| {
        // If standard error is closed, the result still has all rounds.
        let _ = writeln!(io::stderr(), "{round}");
    };
    let rounds = Run::new(fault, args, folder.path())?.all_rounds(report);
    tokio::select! {
        outcome = rounds => outcome,
        _ = tokio::signal::ctrl_c() => Err(FaultError::Interrupted),
    }
}

fn up_to(most: u64) -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..=most)
}
