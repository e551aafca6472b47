//! One message to each user agent, as fast as possible.

use std::sync::Arc;

use clap::{Args, value_parser};
use serde::Serialize;

use super::each_in_turn;
use crate::cli::{Common, Pushing};
use crate::population::Held;
use crate::run::Run;

/// Settings of `fanout`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Fanout {
    /// Common settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How application servers push.
    #[command(flatten)]
    #[serde(flatten)]
    pub pushing: Pushing,
    /// Number of rounds, 1 to 1000
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
}

impl Fanout {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let held = Held::all(run).await;
        let pushes = u64::from(run.setup.user_agents) * u64::from(self.rounds);
        run.sign_ahead(pushes).await;
        for _ in 0..self.rounds {
            run.phase("fanout");
            each_in_turn(run, 1, self.pushing.spec()).await;
            run.settle().await;
        }
        run.phase("leave");
        held.leave().await;
    }
}
