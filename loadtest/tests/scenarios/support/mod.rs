//! Helpers of the tests.

pub mod proxy;
pub mod service;

use bugle_load::harness;
use bugle_load::outcome::Outcome;
use bugle_load::scenario::Scenario;
use clap::Parser;

/// A command line that plays a scenario.
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    scenario: Scenario,
}

/// Plays a command line without the program's name and `-q`.
pub async fn play(command: &str) -> Outcome {
    let arguments = command.split_whitespace().chain(["--quiet"]);
    let line = Line::parse_from(["bugle-load"].into_iter().chain(arguments));
    harness::run(&line.scenario).await.unwrap()
}

/// Like `play`, and asserts that the run passed.
pub async fn passes(command: &str) -> Outcome {
    let outcome = play(command).await;
    assert!(outcome.passed, "{}", outcome.summary());
    outcome
}
