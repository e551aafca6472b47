//! Fault runs: a service is started, put under load, and killed or its power
//! cut, again and again; after each fault every message that it accepted must
//! be accounted for.
//!
//! `run` goes through the rounds. `sender`s push, replace and withdraw;
//! `receiver`s come, go and acknowledge; both tell the `account` what they
//! do and see, and it says what the `service` owes. The promises themselves
//! are in `account`.

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

/// What is done to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `SIGKILL`.
    Kill,
    /// What was not written to the disk is gone, and then the process.
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

/// How a fault run goes.
#[derive(Clone, Debug, Args)]
pub struct FaultArgs {
    /// How many times the service goes down
    #[arg(long, default_value_t = 10, value_parser = up_to(10_000))]
    pub rounds: usize,
    /// User agents at the beginning; each round one more subscribes
    #[arg(long, default_value_t = 24, value_parser = up_to(1000))]
    pub user_agents: usize,
    /// Application servers that push at one time
    #[arg(long, default_value_t = 8, value_parser = up_to(1000))]
    pub senders: usize,
    /// The longest load before a fault, at most 1m
    #[arg(long, default_value = "1500ms", value_parser = seconds::<60>)]
    pub longest: Duration,
    /// What all choices are drawn from [default: another one each time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where user agents connect, if that is not at {listen}
    #[arg(long)]
    pub url: Option<Url>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The command of the service; {data} stands for the folder of its store,
    /// {listen} for a free address and port
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Makes a fault run on a runtime of its own, tells each round in a line on
/// standard error, and writes the result where `--out` says.
///
/// # Errors
/// When the run could not be made, or its result not be written. What the
/// service did wrong is in the outcome.
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

/// Makes a fault run. Its files are in a temporary folder, which is removed.
async fn run(fault: Fault, args: &FaultArgs) -> Result<FaultOutcome, FaultError> {
    let folder = tempfile::Builder::new().prefix("bugle-faults-").tempdir();
    let folder = folder.map_err(|error| FaultError::File {
        what: "cannot make a temporary folder".to_owned(),
        error,
    })?;
    let tell = |round: &Round| {
        // Where nobody listens, the result has to do.
        let _ = writeln!(io::stderr(), "{round}");
    };
    let rounds = Run::new(fault, args, folder.path())?.all_rounds(tell);
    tokio::select! {
        outcome = rounds => outcome,
        _ = tokio::signal::ctrl_c() => Err(FaultError::Interrupted),
    }
}

fn up_to(most: u64) -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(1..=most)
}
