//! Groups of user agents, each in its own task.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::run::Run;
use crate::user_agent::UserAgent;

/// User agents that close concurrently.
const CONCURRENT_CLOSES: usize = 64;

/// A group of connected user agents.
pub struct Held {
    tasks: JoinSet<UserAgent>,
    until: CancellationToken,
}

/// Creates user agents with these indices, not yet connected.
pub fn new(run: &Arc<Run>, indices: Range<u32>) -> Vec<UserAgent> {
    indices.map(|index| UserAgent::new(run, index)).collect()
}

impl Held {
    /// Connects all user agents of the run.
    pub async fn all(run: &Arc<Run>) -> Self {
        let opening = run.setup.opening;
        Self::hold(run, new(run, 0..run.setup.user_agents), opening).await
    }

    /// Connects user agents, `opening` of them concurrently. Returns when all are connected
    /// or the run is cancelled; those that are connected already keep their connection. From
    /// then on they receive, and reconnect when they lose their connection.
    pub async fn hold(run: &Arc<Run>, user_agents: Vec<UserAgent>, opening: u32) -> Self {
        let (held, all_there) = Self::begin(run, user_agents, opening);
        run.cancel.run_until_cancelled(all_there).await;
        held
    }

    /// Like `hold`, without waiting: the returned future completes when all are connected.
    pub fn begin(
        run: &Arc<Run>,
        user_agents: Vec<UserAgent>,
        opening: u32,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let until = run.cancel.child_token();
        let permits = Arc::new(Semaphore::new(opening as usize));
        let connected = Arc::new(Semaphore::new(0));
        let wanted = user_agents.len();
        let mut tasks = JoinSet::new();
        for mut user_agent in user_agents {
            let (permits, connected, until) =
                (Arc::clone(&permits), Arc::clone(&connected), until.clone());
            tasks.spawn(async move {
                // Boxed, so that its memory is freed before the long `stay`.
                Box::pin(async {
                    let _permit = permits.acquire().await;
                    if !user_agent.is_connected() {
                        user_agent.connect_until(&until).await;
                    }
                    connected.add_permits(1);
                })
                .await;
                drop((permits, connected));
                user_agent.stay(&until).await;
                user_agent
            });
        }
        let all_there = async move {
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            let _all = connected.acquire_many(wanted).await;
        };
        (Self { tasks, until }, all_there)
    }

    /// Stops receiving. Returns the user agents by index; those that are connected keep
    /// their connection.
    pub async fn stop(mut self) -> Vec<UserAgent> {
        self.until.cancel();
        let mut user_agents = Vec::with_capacity(self.tasks.len());
        while let Some(user_agent) = self.tasks.join_next().await {
            user_agents.extend(user_agent);
        }
        user_agents.sort_unstable_by_key(UserAgent::index);
        user_agents
    }

    /// Closes all connections with a Close frame.
    pub async fn leave(self) -> Vec<UserAgent> {
        let permits = Arc::new(Semaphore::new(CONCURRENT_CLOSES));
        let mut leaving = JoinSet::new();
        for mut user_agent in self.stop().await {
            let permits = Arc::clone(&permits);
            leaving.spawn(async move {
                let _permit = permits.acquire().await;
                user_agent.leave().await;
                user_agent
            });
        }
        let mut user_agents = leaving.join_all().await;
        user_agents.sort_unstable_by_key(UserAgent::index);
        user_agents
    }

    /// Drops all connections at once, without a Close frame.
    pub async fn vanish(self) -> Vec<UserAgent> {
        let mut user_agents = self.stop().await;
        user_agents.iter_mut().for_each(UserAgent::vanish);
        user_agents
    }
}
