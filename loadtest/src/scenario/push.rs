//! Pushes at a steady rate to user agents that are connected, in an open loop:
//! a service that stalls shows as latency, not as fewer pushes.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::{Common, Pushing, duration, seconds};
use crate::contents::mix;
use crate::population::Held;
use crate::run::Run;
use crate::schedule::Schedule;
use crate::sender::send_all;

/// Settings of `push`.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Push {
    /// What all scenarios have.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: Common,
    /// How application servers push.
    #[command(flatten)]
    #[serde(flatten)]
    pub pushing: Pushing,
    /// Pushes a second, 0.01 to 1000000
    #[arg(long, default_value = "100", value_parser = rate)]
    pub rate: f64,
    /// For how long, up to 6h
    #[arg(long, default_value = "10s", value_parser = seconds::<21_600>)]
    #[serde(serialize_with = "duration")]
    pub duration: Duration,
}

/// No run sends more: each message is remembered, in about 100 octets.
pub const MOST_MESSAGES: u64 = 20_000_000;

impl Push {
    pub(super) async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let held = Held::all(run).await;
        run.phase("push");
        let (seed, user_agents) = (run.setup.seed, u64::from(run.setup.user_agents));
        let letter = self.pushing.letter();
        let plan = move |due: crate::schedule::Due| {
            let chosen = mix(seed ^ due.number) % user_agents;
            (u32::try_from(chosen).unwrap_or_default(), letter)
        };
        let until = run.cancel.child_token();
        let schedule = Schedule::paced(run.stopwatch, self.rate, self.count(), until.clone());
        let sent = send_all(run, schedule, Arc::new(plan), &until);
        // What is behind by then is counted as unsent.
        let time = self.duration + run.setup.settle;
        if tokio::time::timeout(time, sent).await.is_err() {
            until.cancel();
        }
        run.phase("settle");
        run.settle().await;
        run.phase("leave");
        held.leave().await;
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and what is beyond the most is cut off"
    )]
    fn count(&self) -> u64 {
        ((self.rate * self.duration.as_secs_f64()) as u64).clamp(1, MOST_MESSAGES)
    }
}

/// Reads a rate.
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
