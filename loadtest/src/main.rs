//! The load tester's program.

use std::io::{self, Write};
use std::process::ExitCode;

use bugle_load::cli::{Cli, Command};
use bugle_load::harness;
use clap::Parser;

/// Something was missing or wrong.
const FAILED: u8 = 1;

/// The run could not be made.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let Command::Scenario(scenario) = Cli::parse().command;
    // Where there is no output, the exit code has to do.
    match harness::play(&scenario) {
        Ok(outcome) => {
            let _ = writeln!(io::stdout(), "{}", outcome.summary());
            match outcome.passed {
                true => ExitCode::SUCCESS,
                false => FAILED.into(),
            }
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "bugle-load: {failure}");
            UNUSABLE.into()
        }
    }
}
