//! What happens at one time in `churn` and `mixed`: some kinds of pushes, each
//! at its rate, and user agents of which some come and go.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::contents::mix;
use crate::population::Held;
use crate::run::Run;
use crate::schedule::{Due, Schedule};
use crate::sender::{Push, send_all};
use crate::subscription::Letter;
use crate::visits::{self, Visits};

/// No run sends more: each message is remembered, in about 100 octets.
const MOST_MESSAGES: u64 = 20_000_000;

/// One kind of push.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// What each asks for, but for its topic.
    pub letter: Letter,
    /// Pushes a second.
    pub rate: f64,
    /// How many topics each user agent has; 0 is none.
    pub topics: u32,
    /// Of 100 messages, how many are withdrawn once they are accepted.
    pub withdraw: u32,
}

/// All that happens at one time.
#[derive(Clone, Debug)]
pub struct Mix {
    /// For how long.
    pub duration: Duration,
    /// Of 100 user agents, how many come and go.
    pub come_and_go: u32,
    /// How those do it.
    pub visits: Visits,
    /// What is pushed.
    pub traffic: Vec<Traffic>,
}

impl Mix {
    /// Plays it: connects all, lets them come and go while messages are pushed,
    /// and at the end lets all return and take what is left.
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

    /// Sends all traffic, to all user agents alike.
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
    /// Sends it for `duration`. Its `number` makes its choices differ from those
    /// of other traffic.
    pub async fn send(self, run: &Arc<Run>, number: u64, duration: Duration) {
        let until = run.cancel.child_token();
        let count = messages(self.rate, duration);
        let schedule = Schedule::paced(run.stopwatch, self.rate, count, until.clone());
        let seed = mix(run.setup.seed ^ number);
        let user_agents = u64::from(run.setup.user_agents);
        let plan = move |due: Due| self.choose(mix(seed ^ due.number), user_agents);
        // What is behind by then is counted as unsent.
        let _give_up = give_up(until.clone(), duration + run.setup.settle);
        send_all(run, schedule, Arc::new(plan), &until).await;
    }

    /// Makes of a number that could be any a push to one of the user agents.
    fn choose(&self, draw: u64, user_agents: u64) -> Push {
        let draw_of = |salt: u64, below: u64| {
            u32::try_from(mix(draw ^ salt) % below.max(1)).unwrap_or_default()
        };
        let mut letter = self.letter;
        letter.terms.topic = (self.topics > 0).then(|| draw_of(2, self.topics.into()));
        Push {
            user_agent: draw_of(1, user_agents),
            letter,
            withdraw: draw_of(3, 100) < self.withdraw,
        }
    }
}

/// Cancels after a time, unless it is dropped before.
fn give_up(until: CancellationToken, after: Duration) -> JoinSet<()> {
    let mut timer = JoinSet::new();
    timer.spawn(async move {
        tokio::time::sleep(after).await;
        until.cancel();
    });
    timer
}

/// How many messages a rate gives, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and what is beyond the most is cut off"
)]
pub fn messages(rate: f64, duration: Duration) -> u64 {
    ((rate * duration.as_secs_f64()) as u64).clamp(1, MOST_MESSAGES)
}
