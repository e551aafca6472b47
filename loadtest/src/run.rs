//! The state that all parts of a run share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bugle::Clock;
use bugle_client::Dialer;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{Moment, Stopwatch};
use crate::contents::Contents;
use crate::ledger::Ledger;
use crate::meters::Meters;
use crate::outcome::{Phase, Sample};
use crate::subscription::{PushBuilder, Signing, Subscriptions};
use crate::target::Guard;
use crate::usage::Observer;

/// Interval between checks for outstanding messages.
const SETTLE_TURN: Duration = Duration::from_millis(20);

/// Number of such checks between complete ones.
const SETTLE_LOOK: u64 = 50;

/// The setup of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where user agents connect, `ws` or `wss`.
    pub url: Url,
    /// Whether user agents connect by MCS, as Chromium, instead of by WebSocket.
    pub mcs: bool,
    /// Number of user agents.
    pub user_agents: u32,
    /// Whether bodies are prepared instead of encrypted.
    pub prepared: bool,
    /// How pushes are signed.
    pub signing: Signing,
    /// Whether application servers speak HTTP/2.
    pub http2: bool,
    /// Connections of application servers.
    pub senders: u32,
    /// Concurrent pushes on each HTTP/2 connection.
    pub streams: u32,
    /// How often to retry a push after 429 or 503.
    pub retries: u32,
    /// User agents that connect concurrently.
    pub opening: u32,
    /// How long to wait at the end for outstanding messages.
    pub settle: Duration,
    /// Which hosts may be loaded.
    pub guard: Guard,
    /// Identifies the run and seeds its random choices.
    pub seed: u64,
}

/// The state that all parts of a run share.
pub struct Run {
    /// Its setup.
    pub setup: Setup,
    /// Opens connections.
    pub dialer: Dialer,
    /// Accounts for each message.
    pub ledger: Ledger,
    /// Rates and latencies.
    pub meters: Meters,
    /// The push resources and keys.
    pub subscriptions: Subscriptions,
    /// Makes pushes.
    pub pushes: PushBuilder,
    /// Generates and checks the contents of messages.
    pub contents: Contents,
    /// Aborts the run.
    pub cancel: CancellationToken,
    /// The clock of the run.
    pub stopwatch: Stopwatch,
    /// Samples the observed processes.
    pub observer: Observer,
    phases: Mutex<Vec<(String, Moment)>>,
}

impl Run {
    /// Starts a run.
    pub fn new(setup: Setup, dialer: Dialer, observer: Observer) -> Arc<Self> {
        let contents = Contents::new(setup.seed);
        Arc::new(Self {
            dialer,
            ledger: Ledger::new(setup.user_agents),
            meters: Meters::default(),
            subscriptions: Subscriptions::new(setup.user_agents),
            pushes: PushBuilder::new(contents, setup.signing, Clock::system()),
            contents,
            cancel: CancellationToken::new(),
            stopwatch: Stopwatch::start(),
            observer,
            phases: Mutex::default(),
            setup,
        })
    }

    /// The current moment.
    pub fn now(&self) -> Moment {
        self.stopwatch.now()
    }

    /// Signs tokens for `count` pushes in a phase of its own, if each push has its own
    /// token.
    pub async fn sign_ahead(self: &Arc<Self>, count: u64) {
        if self.setup.signing == Signing::Fresh {
            self.phase("sign");
            let run = Arc::clone(self);
            let signed = tokio::task::spawn_blocking(move || {
                let known = (0..run.setup.user_agents).find_map(|one| run.subscriptions.get(one));
                known.inspect(|to| run.pushes.sign_ahead(to, count));
            });
            // If it fails, tokens are signed when they are due.
            let _ = signed.await;
        }
    }

    /// Samples each observed process.
    pub fn observe(&self) -> Moment {
        let now = self.now();
        self.observer.sample(&Sample {
            at: now.as_secs_f64(),
            connected: self.meters.connected_now(),
            delivered: self.meters.progress().delivered,
            ..Sample::default()
        });
        now
    }

    /// Starts a phase of the run.
    pub fn phase(&self, name: &str) {
        let now = self.observe();
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        phases.push((name.to_owned(), now));
    }

    /// The phases so far; the last one ends now.
    pub fn phases(&self) -> Vec<Phase> {
        let phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = phases.iter().skip(1).map(|(_, from)| *from);
        let ends = ends.chain([self.observe()]);
        let timed = phases.iter().zip(ends).map(|((name, from), to)| Phase {
            name: name.clone(),
            from: from.as_secs_f64(),
            to: to.as_secs_f64(),
        });
        timed.collect()
    }

    /// Sleeps. Returns false if the run was cancelled meanwhile.
    pub async fn sleep(&self, duration: Duration) -> bool {
        let slept = self
            .cancel
            .run_until_cancelled(tokio::time::sleep(duration));
        slept.await.is_some()
    }

    /// Waits until no message can be missing any more, at most for the time in the setup.
    pub async fn settle(&self) {
        let until = self.now() + self.setup.settle;
        let mut delivered = None;
        for turn in 1_u64.. {
            if self.ledger.open() == 0 || self.now() > until || !self.sleep(SETTLE_TURN).await {
                return;
            }
            // Messages with TTL 0, replaced and withdrawn ones may never arrive. Finding
            // those takes longer, so it happens only now and then.
            if turn.is_multiple_of(SETTLE_LOOK) {
                let before = delivered.replace(self.meters.progress().delivered);
                let is_quiet = before == delivered;
                if is_quiet && self.ledger.settle(self.now()).missing == 0 {
                    return;
                }
            }
        }
    }
}
