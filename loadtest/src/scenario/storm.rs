//! All user agents lose their connections and reconnect at once, as after a restart of the
//! service or its reverse proxy.

use std::sync::Arc;

use clap::{Args, value_parser};
use serde::Serialize;

use super::each_in_turn;
use crate::cli::{Common, Pushing};
use crate::population::Held;
use crate::run::Run;

/// Settings of `storm`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Storm {
    /// Common settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How application servers push.
    #[command(flatten)]
    #[serde(flatten)]
    pub pushing: Pushing,
    /// Messages stored for each user agent before it reconnects, 0 to 100000
    #[arg(long, default_value = "0", value_parser = value_parser!(u32).range(0..=100_000))]
    pub messages: u32,
    /// Number of storms, 1 to 1000
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
}

impl Storm {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let mut held = Held::all(run).await;
        for _ in 0..self.rounds {
            run.phase("vanish");
            let user_agents = held.vanish().await;
            if self.messages > 0 {
                run.phase("store");
                each_in_turn(run, self.messages, self.pushing.spec()).await;
            }
            run.phase("storm");
            held = Held::hold(run, user_agents, run.setup.user_agents).await;
            run.settle().await;
        }
        run.phase("leave");
        held.leave().await;
    }
}
