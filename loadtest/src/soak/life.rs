//! The subscriptions of a soak, from `register` to `unregister`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Soak, wait};
use crate::contents::mix;
use crate::ledger::Terms;
use crate::run::Run;
use crate::sender::Sender;
use crate::subscription::PushSpec;
use crate::user_agent::UserAgent;

/// Number of connections before a user agent removes its subscription.
const VISITS: u32 = 3;

/// Minimum and maximum duration of a connection, in seconds.
const VISIT: (f64, f64) = (5.0, 30.0);

/// Minimum and maximum time between two connections, in seconds.
const OFFLINE: (f64, f64) = (1.0, 15.0);

/// How long the last messages may take.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// TTLs of messages in seconds. The short ones expire while a user agent is disconnected;
/// with TTL 0, only connected user agents receive the message.
const TTLS: [u32; 4] = [0, 2, 20, 60];

/// Upper bound of the number of lives, if each takes the minimum time.
pub(super) fn most(soak: &Soak) -> u32 {
    let time = (soak.warm_up + soak.duration).as_secs();
    let shortest = u64::from(VISITS) * 5;
    let each = u32::try_from(time / shortest).unwrap_or(u32::MAX);
    // Two more are cut short, at the end of each part.
    soak.user_agents.saturating_mul(each.saturating_add(2))
}

/// A fixed number of concurrent lives; a new one follows each that ends.
pub(super) struct LifePool {
    run: Arc<Run>,
    size: u32,
    /// Mean time between two pushes to one user agent, in seconds.
    pause: f64,
    next: Arc<AtomicU32>,
}

impl LifePool {
    pub(super) fn new(run: &Arc<Run>, soak: &Soak) -> Self {
        Self {
            run: Arc::clone(run),
            size: soak.user_agents,
            pause: f64::from(soak.user_agents) / soak.rate,
            next: Arc::default(),
        }
    }

    /// The number of lives so far.
    pub(super) fn lives(&self) -> u32 {
        self.next
            .load(Ordering::Relaxed)
            .min(self.run.setup.user_agents)
    }

    /// Runs lives for `time` and waits until all have ended.
    pub(super) async fn live(&self, time: Duration) {
        let until = self.run.cancel.child_token();
        let mut lives = JoinSet::new();
        for _ in 0..self.size {
            let (run, next) = (Arc::clone(&self.run), Arc::clone(&self.next));
            let (until, pause) = (until.clone(), self.pause);
            lives.spawn(async move {
                while !until.is_cancelled() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= run.setup.user_agents {
                        return;
                    }
                    live_once(&run, index, pause, &until).await;
                }
            });
        }
        wait(until, time).await;
        while lives.join_next().await.is_some() {}
    }
}

/// One life, from the subscription to its removal.
async fn live_once(run: &Arc<Run>, index: u32, pause: f64, until: &CancellationToken) {
    let rng = Rng::with_seed(mix(run.setup.seed ^ u64::from(index)));
    let mut user_agent = UserAgent::new(run, index);
    if !user_agent.connect_until(until).await {
        return;
    }
    let pushing = push(run, index, pause, rng.clone());
    tokio::select! {
        () = pushing => {}
        () = visit(&mut user_agent, rng, until) => {}
    }
    // Connect once more to receive the remaining messages; no further push is sent.
    let _ = user_agent.connect_until(&run.cancel).await;
    stay(&mut user_agent, run, DRAIN_TIME).await;
    user_agent.unregister().await;
    user_agent.leave().await;
}

async fn visit(user_agent: &mut UserAgent, mut rng: Rng, until: &CancellationToken) {
    for _ in 0..VISITS {
        let end = until.child_token();
        let over = wait(end.clone(), between(&mut rng, VISIT));
        tokio::join!(user_agent.stay(&end), over);
        if until.is_cancelled() {
            return;
        }
        // Half of the connections end without a Close frame.
        match rng.bool() {
            true => user_agent.leave().await,
            false => user_agent.vanish(),
        }
        wait(until.child_token(), between(&mut rng, OFFLINE)).await;
    }
}

async fn stay(user_agent: &mut UserAgent, run: &Run, time: Duration) {
    let end = run.cancel.child_token();
    tokio::join!(user_agent.stay(&end), wait(end.clone(), time));
}

/// Pushes to one user agent until dropped.
async fn push(run: &Arc<Run>, index: u32, pause: f64, mut rng: Rng) {
    let mut sender = Sender::new(run);
    loop {
        tokio::time::sleep(between(&mut rng, (0.0, 2.0 * pause))).await;
        let ttl = rng.choice(TTLS).unwrap_or_default();
        let spec = PushSpec {
            terms: Terms { ttl, topic: None },
            urgency: None,
            size: rng.usize(150..2000),
        };
        sender.send(index, &spec, run.now()).await;
    }
}

/// A random duration between two limits in seconds.
fn between(rng: &mut Rng, (least, most): (f64, f64)) -> Duration {
    Duration::from_secs_f64(least + (most - least) * rng.f64())
}
