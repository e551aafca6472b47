//! The load tester's program.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use bugle_load::cli::{Cli, Command};
use bugle_load::{faults, harness, report, siege, soak};
use clap::Parser;

/// Exit code of a run that found a fault.
const FAILED: u8 = 1;

/// Exit code of a run that could not be carried out.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Scenario(scenario) => {
            let outcome = harness::play(&scenario);
            outcome.map_or_else(unusable, |outcome| {
                print_outcome(outcome.summary(), outcome.passed)
            })
        }
        Command::Soak(soak) => {
            let outcome = soak::play(&soak);
            outcome.map_or_else(unusable, |outcome| {
                print_outcome(outcome.to_string(), outcome.passed)
            })
        }
        Command::Siege(siege) => {
            let outcome = siege::play(&siege);
            outcome.map_or_else(unusable, |outcome| {
                print_outcome(outcome.to_string(), outcome.passed())
            })
        }
        Command::Report(report) => {
            let written = report::write(&report);
            written.map_or_else(unusable, |where_to| print_outcome(where_to, true))
        }
        Command::Faults(command) => {
            let outcome = faults::play(&command);
            outcome.map_or_else(unusable, |outcome| {
                print_outcome(outcome.to_string(), outcome.kept)
            })
        }
    };
    // If standard output is closed, only the exit code remains.
    done.unwrap_or(FAILED.into())
}

fn print_outcome(summary: String, passed: bool) -> io::Result<ExitCode> {
    writeln!(io::stdout(), "{summary}")?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        FAILED.into()
    })
}

fn unusable(failure: impl Display) -> io::Result<ExitCode> {
    writeln!(io::stderr(), "bugle-load: {failure}")?;
    Ok(UNUSABLE.into())
}
