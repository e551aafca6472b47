//! The scenarios.

mod churn;
mod connect;
mod fanout;
mod mixed;
mod offline;
mod push;
mod storm;

use std::sync::Arc;

use clap::Subcommand;
use serde::Serialize;

use crate::cli::{Common, Pushing};
use crate::run::Run;
use crate::schedule::{Due, Schedule};
use crate::sender::{Push as Order, send_all};
use crate::subscription::PushSpec;

pub use churn::Churn;
pub use connect::Connect;
pub use fanout::Fanout;
pub use mixed::Mixed;
pub use offline::Offline;
pub use push::{Push, rate};
pub use storm::Storm;

/// A scenario with its settings.
#[derive(Clone, Debug, Subcommand, Serialize)]
#[serde(untagged)]
pub enum Scenario {
    /// Connects user agents and holds the connections
    Connect(Connect),
    /// Pushes at a steady rate to connected user agents
    Push(Push),
    /// Sends one message to each user agent, as fast as possible
    Fanout(Fanout),
    /// Stores messages for disconnected user agents, then reconnects them
    Offline(Offline),
    /// Drops the connections of all user agents at once and lets them reconnect
    Storm(Storm),
    /// Lets user agents connect and disconnect while messages are pushed
    Churn(Churn),
    /// Plays several kinds of traffic concurrently, as a file describes
    Mixed(Mixed),
}

impl Scenario {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Push(_) => "push",
            Self::Fanout(_) => "fanout",
            Self::Offline(_) => "offline",
            Self::Storm(_) => "storm",
            Self::Churn(_) => "churn",
            Self::Mixed(_) => "mixed",
        }
    }

    /// Its common settings.
    pub fn common(&self) -> &Common {
        match self {
            Self::Connect(connect) => &connect.common,
            Self::Push(push) => &push.common,
            Self::Fanout(fanout) => &fanout.common,
            Self::Offline(offline) => &offline.common,
            Self::Storm(storm) => &storm.common,
            Self::Churn(churn) => &churn.common,
            Self::Mixed(mixed) => &mixed.common,
        }
    }

    /// Its settings for pushes, if it pushes.
    pub fn pushing(&self) -> Option<&Pushing> {
        match self {
            Self::Connect(_) => None,
            Self::Push(push) => Some(&push.pushing),
            Self::Fanout(fanout) => Some(&fanout.pushing),
            Self::Offline(offline) => Some(&offline.pushing),
            Self::Storm(storm) => Some(&storm.pushing),
            Self::Churn(churn) => Some(&churn.pushing),
            Self::Mixed(mixed) => Some(&mixed.pushing),
        }
    }

    /// Plays it. Faults are recorded in the run.
    pub async fn play(&self, run: &Arc<Run>) {
        match self {
            Self::Connect(connect) => connect.play(run).await,
            Self::Push(push) => push.play(run).await,
            Self::Fanout(fanout) => fanout.play(run).await,
            Self::Offline(offline) => offline.play(run).await,
            Self::Storm(storm) => storm.play(run).await,
            Self::Churn(churn) => churn.play(run).await,
            Self::Mixed(mixed) => mixed.play(run).await,
        }
    }
}

/// Sends `each` messages to every user agent, as fast as possible: to all their first, then
/// to all their second.
async fn each_in_turn(run: &Arc<Run>, each: u32, spec: PushSpec) {
    let user_agents = u64::from(run.setup.user_agents);
    let schedule = Schedule::at_once(run.stopwatch, user_agents * u64::from(each));
    let plan = move |due: Due| Order {
        user_agent: u32::try_from(due.number % user_agents).unwrap_or_default(),
        spec,
        withdraw: false,
    };
    send_all(run, schedule, Arc::new(plan), &run.cancel).await;
}
