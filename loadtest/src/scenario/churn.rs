//! User agents connect and disconnect while messages are pushed at a steady rate.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, value_parser};
use serde::Serialize;

use super::push::rate;
use crate::cli::{Common, Pushing, duration, seconds};
use crate::run::Run;
use crate::traffic::{Mix, Traffic};
use crate::visits::Visits;

/// Settings of `churn`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Churn {
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
    #[arg(long, default_value = "30s", value_parser = seconds::<21_600>)]
    #[serde(serialize_with = "duration")]
    pub duration: Duration,
    /// Mean duration of a connection, up to 1h
    #[arg(long, default_value = "5s", value_parser = seconds::<3600>)]
    #[serde(serialize_with = "duration")]
    pub stay: Duration,
    /// Mean time between two connections, up to 1h
    #[arg(long, default_value = "5s", value_parser = seconds::<3600>)]
    #[serde(serialize_with = "duration")]
    pub away: Duration,
    /// Percentage of connections that end with a new subscription in place of the old
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(0..=100))]
    pub resubscribe: u32,
}

impl Churn {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        let mix = Mix {
            duration: self.duration,
            come_and_go: 100,
            visits: Visits {
                stay: self.stay,
                away: self.away,
                resubscribe: self.resubscribe,
            },
            traffic: vec![Traffic {
                spec: self.pushing.spec(),
                rate: self.rate,
                topics: 0,
                withdraw: 0,
            }],
        };
        mix.play(run).await;
    }
}
