//! Connects user agents and holds the connections, to measure memory per connection and the
//! latency of `hello`.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, value_parser};
use serde::Serialize;

use crate::cli::{Common, duration, seconds};
use crate::population::{self, Held};
use crate::run::Run;

/// Settings of `connect`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Connect {
    /// Common settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How long to hold the connections, up to 6h
    #[arg(long, default_value = "10s", value_parser = seconds::<21_600>)]
    #[serde(serialize_with = "duration")]
    pub hold: Duration,
    /// How long to rest after all have disconnected, up to 1h: a service may release memory
    /// with a delay
    #[arg(long, default_value = "0s", value_parser = seconds::<3600>)]
    #[serde(serialize_with = "duration")]
    pub rest: Duration,
    /// How often to connect all, 1 to 1000
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
}

impl Connect {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        let mut user_agents = population::new(run, 0..run.setup.user_agents);
        for round in 0..self.rounds {
            run.phase(if round == 0 { "connect" } else { "return" });
            let held = Held::hold(run, user_agents, run.setup.opening).await;
            run.phase("hold");
            run.sleep(self.hold).await;
            run.phase("leave");
            user_agents = held.leave().await;
            if !self.rest.is_zero() {
                run.phase("rest");
                run.sleep(self.rest).await;
            }
        }
    }
}
