//! User agents that connect and disconnect.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::contents::mix;
use crate::run::Run;
use crate::user_agent::UserAgent;

/// How user agents connect and disconnect.
#[derive(Clone, Copy, Debug)]
pub struct Visits {
    /// Mean duration of a connection.
    pub stay: Duration,
    /// Mean time between two connections.
    pub away: Duration,
    /// Percentage of connections that end with a new subscription in place of the old.
    pub resubscribe: u32,
}

/// Lets user agents connect and disconnect until `over` is cancelled. The tasks return
/// them, with the connections that are open then.
pub fn begin(
    run: &Arc<Run>,
    user_agents: Vec<UserAgent>,
    visits: Visits,
    over: &CancellationToken,
) -> JoinSet<UserAgent> {
    let mut tasks = JoinSet::new();
    for mut user_agent in user_agents {
        let seed = mix(run.setup.seed) ^ u64::from(user_agent.index());
        let over = over.clone();
        tasks.spawn(async move {
            visits.roam(&mut user_agent, Random(seed), &over).await;
            user_agent
        });
    }
    tasks
}

impl Visits {
    async fn roam(&self, user_agent: &mut UserAgent, mut random: Random, over: &CancellationToken) {
        while !over.is_cancelled() {
            let stay = random.around(self.stay);
            // A timeout is the normal end of a connection.
            let _ = timeout(stay, user_agent.stay(over)).await;
            if over.is_cancelled() {
                return;
            }
            if random.percent() < self.resubscribe {
                user_agent.resubscribe().await;
            }
            match random.percent() < 50 {
                true => user_agent.leave().await,
                false => user_agent.vanish(),
            }
            let away = sleep(random.around(self.away));
            over.run_until_cancelled(away).await;
        }
    }
}

/// A deterministic sequence of pseudo-random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    fn percent(&mut self) -> u32 {
        u32::try_from(self.next() % 100).unwrap_or_default()
    }

    /// A duration between 0 and twice `mean`.
    fn around(&mut self, mean: Duration) -> Duration {
        let share = u32::try_from(self.next() % 2000).unwrap_or_default();
        mean * share / 1000
    }
}
