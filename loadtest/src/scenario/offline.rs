//! Stores messages for disconnected user agents, which then reconnect.

use std::sync::Arc;

use clap::{Args, value_parser};
use serde::Serialize;

use super::each_in_turn;
use crate::cli::{Common, Pushing};
use crate::population::Held;
use crate::run::Run;

/// Settings of `offline`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Offline {
    /// Common settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How application servers push.
    #[command(flatten)]
    #[serde(flatten)]
    pub pushing: Pushing,
    /// Messages stored for each user agent, 0 to 100000
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(0..=100_000))]
    pub messages: u32,
}

impl Offline {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let held = Held::all(run).await;
        run.phase("leave");
        let user_agents = held.leave().await;
        run.phase("store");
        each_in_turn(run, self.messages, self.pushing.spec()).await;
        run.phase("return");
        let held = Held::hold(run, user_agents, run.setup.opening).await;
        run.settle().await;
        run.phase("leave again");
        held.leave().await;
    }
}
