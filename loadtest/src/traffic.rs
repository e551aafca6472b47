//! The traffic of `churn` and `mixed`: kinds of pushes with their rates, and user agents
//! that stay connected or connect and disconnect.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::contents::mix;
use crate::population::Held;
use crate::run::Run;
use crate::schedule::{Due, Schedule};
use crate::sender::{Push, send_all};
use crate::subscription::PushSpec;
use crate::visits::{self, Visits};

/// Maximum number of messages in a run; the ledger uses about 100 bytes for each.
const MAX_MESSAGES: u64 = 20_000_000;

/// One kind of push.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The properties of each push except its topic.
    pub spec: PushSpec,
    /// Pushes per second.
    pub rate: f64,
    /// Number of topics per user agent; 0 means no topic.
    pub topics: u32,
    /// Percentage of messages to withdraw once accepted.
    pub withdraw: u32,
}

/// All concurrent traffic.
#[derive(Clone, Debug)]
pub struct Mix {
    /// The duration.
    pub duration: Duration,
    /// Percentage of user agents that connect and disconnect.
    pub come_and_go: u32,
    /// How those connect and disconnect.
    pub visits: Visits,
    /// The kinds of pushes.
    pub traffic: Vec<Traffic>,
}

impl Mix {
    /// Plays it: connects all user agents, pushes while some connect and disconnect, and
    /// finally reconnects all so that they receive the rest.
    pub async fn play(&self, run: &Arc<Run>) {
        run.phase("connect");
        let mut user_agents = Held::all(run).await.stop().await;
        run.phase("traffic");
        let roaming = user_agents.len() * self.come_and_go as usize / 100;
        let staying = user_agents.split_off(roaming);
        let (held, _) = Held::begin(run, staying, run.setup.opening);
        let over = run.cancel.child_token();
        let roaming = visits::begin(run, user_agents, self.visits, &over);
        self.push(run).await;
        over.cancel();
        run.phase("return");
        let roaming = Held::hold(run, roaming.join_all().await, run.setup.opening).await;
        run.phase("settle");
        run.settle().await;
        run.phase("leave");
        roaming.leave().await;
        held.leave().await;
    }

    /// Sends all traffic, uniformly to all user agents.
    async fn push(&self, run: &Arc<Run>) {
        let mut kinds = JoinSet::new();
        for (number, traffic) in (1..).zip(self.traffic.clone()) {
            let (run, duration) = (Arc::clone(run), self.duration);
            kinds.spawn(async move { traffic.send(&run, number, duration).await });
        }
        kinds.join_all().await;
    }
}

impl Traffic {
    /// Sends it for `duration`. `number` distinguishes its random choices from those of
    /// other traffic.
    pub async fn send(self, run: &Arc<Run>, number: u64, duration: Duration) {
        let until = run.cancel.child_token();
        let count = messages(self.rate, duration);
        let schedule = Schedule::paced(run.stopwatch, self.rate, count, until.clone());
        let seed = mix(run.setup.seed ^ number);
        let user_agents = u64::from(run.setup.user_agents);
        let plan = move |due: Due| self.choose(mix(seed ^ due.number), user_agents);
        // Pushes that are late by then count as unsent.
        let _give_up = give_up(until.clone(), duration + run.setup.settle);
        send_all(run, schedule, Arc::new(plan), &until).await;
    }

    /// Chooses a push from a random number.
    fn choose(&self, draw: u64, user_agents: u64) -> Push {
        let draw_of = |salt: u64, below: u64| {
            u32::try_from(mix(draw ^ salt) % below.max(1)).unwrap_or_default()
        };
        let mut spec = self.spec;
        spec.terms.topic = (self.topics > 0).then(|| draw_of(2, self.topics.into()));
        Push {
            user_agent: draw_of(1, user_agents),
            spec,
            withdraw: draw_of(3, 100) < self.withdraw,
        }
    }
}

/// Cancels after a delay, unless the result is dropped before.
fn give_up(until: CancellationToken, after: Duration) -> JoinSet<()> {
    let mut timer = JoinSet::new();
    timer.spawn(async move {
        tokio::time::sleep(after).await;
        until.cancel();
    });
    timer
}

/// Number of messages at a rate, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and clamped to the maximum"
)]
pub fn messages(rate: f64, duration: Duration) -> u64 {
    ((rate * duration.as_secs_f64()) as u64).clamp(1, MAX_MESSAGES)
}
