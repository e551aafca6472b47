//! Opens user agents and holds them: how much memory does each take, and how
//! long does a hello?

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{Common, duration, seconds};
use crate::population::Held;
use crate::run::Run;

/// Settings of `connect`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Connect {
    /// What all scenarios have.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How long to hold them, up to 6h
    #[arg(long, default_value = "10s", value_parser = seconds::<21_600>)]
    #[serde(serialize_with = "duration")]
    pub hold: Duration,
}

impl Connect {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let held = Held::all(run).await;
        run.phase("hold");
        run.sleep(self.hold).await;
        run.phase("leave");
        held.leave().await;
    }
}
