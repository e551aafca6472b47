//! All user agents of a run, or some of them, each in a task of its own.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::run::Run;
use crate::user_agent::UserAgent;

/// User agents that leave at one time.
const LEAVING: usize = 64;

/// User agents that are kept connected.
pub struct Held {
    tasks: JoinSet<UserAgent>,
    until: CancellationToken,
}

/// New user agents of these indices, not yet connected.
pub fn new(run: &Arc<Run>, indices: Range<u32>) -> Vec<UserAgent> {
    indices.map(|index| UserAgent::new(run, index)).collect()
}

impl Held {
    /// Connects all user agents of the run for the first time.
    pub async fn all(run: &Arc<Run>) -> Self {
        let opening = run.setup.opening;
        Self::hold(run, new(run, 0..run.setup.user_agents), opening).await
    }

    /// Connects user agents, `opening` of them at one time, and returns when all
    /// are there or the run is cancelled. Who is connected already stays so. From
    /// then on they receive, and come
    /// back when they lose their connection.
    pub async fn hold(run: &Arc<Run>, user_agents: Vec<UserAgent>, opening: u32) -> Self {
        let (held, all_there) = Self::begin(run, user_agents, opening);
        run.cancel.run_until_cancelled(all_there).await;
        held
    }

    /// The same, without waiting: the second part ends when all are there.
    pub fn begin(
        run: &Arc<Run>,
        user_agents: Vec<UserAgent>,
        opening: u32,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let until = run.cancel.child_token();
        let places = Arc::new(Semaphore::new(opening as usize));
        let there = Arc::new(Semaphore::new(0));
        let wanted = user_agents.len();
        let mut tasks = JoinSet::new();
        for mut user_agent in user_agents {
            let (places, there, until) = (Arc::clone(&places), Arc::clone(&there), until.clone());
            tasks.spawn(async move {
                // Boxed: it is over when the long part of a life begins.
                Box::pin(async {
                    let _place = places.acquire().await;
                    if !user_agent.is_connected() {
                        user_agent.connect_until(&until).await;
                    }
                    there.add_permits(1);
                })
                .await;
                drop((places, there));
                user_agent.stay(&until).await;
                user_agent
            });
        }
        let all_there = async move {
            let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
            let _all = there.acquire_many(wanted).await;
        };
        (Self { tasks, until }, all_there)
    }

    /// Lets them go on without receiving; they come back in their order, those
    /// that are connected with their connections.
    pub async fn stop(mut self) -> Vec<UserAgent> {
        self.until.cancel();
        let mut user_agents = Vec::with_capacity(self.tasks.len());
        while let Some(user_agent) = self.tasks.join_next().await {
            user_agents.extend(user_agent);
        }
        user_agents.sort_unstable_by_key(UserAgent::index);
        user_agents
    }

    /// All leave with a Close frame.
    pub async fn leave(self) -> Vec<UserAgent> {
        let places = Arc::new(Semaphore::new(LEAVING));
        let mut leaving = JoinSet::new();
        for mut user_agent in self.stop().await {
            let places = Arc::clone(&places);
            leaving.spawn(async move {
                let _place = places.acquire().await;
                user_agent.leave().await;
                user_agent
            });
        }
        let mut user_agents = leaving.join_all().await;
        user_agents.sort_unstable_by_key(UserAgent::index);
        user_agents
    }

    /// All are gone at once, without a word.
    pub async fn vanish(self) -> Vec<UserAgent> {
        let mut user_agents = self.stop().await;
        user_agents.iter_mut().for_each(UserAgent::vanish);
        user_agents
    }
}
