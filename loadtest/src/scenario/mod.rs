//! What is played against a service.

mod connect;
mod push;

use std::sync::Arc;

use clap::Subcommand;
use serde::Serialize;

use crate::cli::{Common, Pushing};
use crate::run::Run;

pub use connect::Connect;
pub use push::Push;

/// A scenario with its settings.
#[derive(Clone, Debug, Subcommand, Serialize)]
#[serde(untagged)]
pub enum Scenario {
    /// Opens user agents and holds them.
    Connect(Connect),
    /// Pushes at a steady rate to user agents that are connected.
    Push(Push),
}

impl Scenario {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Push(_) => "push",
        }
    }

    /// What it has in common with the others.
    pub fn common(&self) -> &Common {
        match self {
            Self::Connect(connect) => &connect.common,
            Self::Push(push) => &push.common,
        }
    }

    /// How it pushes, if it does.
    pub fn pushing(&self) -> Option<&Pushing> {
        match self {
            Self::Connect(_) => None,
            Self::Push(push) => Some(&push.pushing),
        }
    }

    /// Plays it. What went wrong is in the run.
    pub async fn play(&self, run: &Arc<Run>) {
        match self {
            Self::Connect(connect) => connect.play(run).await,
            Self::Push(push) => push.play(run).await,
        }
    }
}
