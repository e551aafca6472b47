//! Pushes at a steady rate to connected user agents, in an open loop: a stalled service
//! shows as latency, not as fewer pushes.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{Common, Pushing, duration, seconds};
use crate::population::Held;
use crate::run::Run;
use crate::traffic::{Traffic, messages};

/// Settings of `push`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Push {
    /// Common settings.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How application servers push.
    #[command(flatten)]
    #[serde(flatten)]
    pub pushing: Pushing,
    /// Pushes per second, 0.01 to 1000000
    #[arg(long, default_value = "100", value_parser = rate)]
    pub rate: f64,
    /// Duration of the pushes, up to 6h
    #[arg(long, default_value = "10s", value_parser = seconds::<21_600>)]
    #[serde(serialize_with = "duration")]
    pub duration: Duration,
}

impl Push {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let held = Held::all(run).await;
        run.sign_ahead(messages(self.rate, self.duration)).await;
        run.phase("push");
        let traffic = Traffic {
            spec: self.pushing.spec(),
            rate: self.rate,
            topics: 0,
            withdraw: 0,
        };
        traffic.send(run, 1, self.duration).await;
        run.phase("settle");
        run.settle().await;
        run.phase("leave");
        held.leave().await;
    }
}

/// Parses a rate in pushes per second.
///
/// # Errors
/// When it is out of range.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.01..=1e6).contains(&rate) {
        true => Ok(rate),
        false => Err("0.01 to 1000000 is allowed".to_owned()),
    }
}
