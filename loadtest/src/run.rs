//! What all parts of a run share.

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
use crate::subscription::{Signing, Subscriptions, Writer};
use crate::target::Guard;
use crate::usage::Observer;

/// How often is looked whether all has arrived.
const SETTLE_TURN: Duration = Duration::from_millis(20);

/// In how many of these turns it is looked closer.
const SETTLE_LOOK: u64 = 50;

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where user agents connect, `ws` or `wss`.
    pub url: Url,
    /// How many there are.
    pub user_agents: u32,
    /// Whether bodies are prepared instead of encrypted.
    pub prepared: bool,
    /// How pushes are signed.
    pub signing: Signing,
    /// Whether application servers speak HTTP/2.
    pub http2: bool,
    /// Connections of application servers.
    pub senders: u32,
    /// Pushes at one time on each HTTP/2 connection.
    pub streams: u32,
    /// How often a push that is answered 429 or 503 is tried again.
    pub retries: u32,
    /// User agents that connect at one time.
    pub opening: u32,
    /// How long to wait at the end for what has not arrived.
    pub settle: Duration,
    /// Which hosts may be loaded.
    pub guard: Guard,
    /// Names the run, and makes its choices.
    pub seed: u64,
}

/// What all parts of a run share.
pub struct Run {
    /// How it was set up.
    pub setup: Setup,
    /// Opens connections.
    pub dialer: Dialer,
    /// What became of each message.
    pub ledger: Ledger,
    /// Rates and latencies.
    pub meters: Meters,
    /// Where to push to.
    pub subscriptions: Subscriptions,
    /// Makes pushes.
    pub writer: Writer,
    /// What messages say.
    pub contents: Contents,
    /// Ends the run before its time.
    pub cancel: CancellationToken,
    /// Tells the moments of the run.
    pub stopwatch: Stopwatch,
    /// What the processes use.
    pub observer: Observer,
    phases: Mutex<Vec<(String, Moment)>>,
}

impl Run {
    /// A run that begins now.
    pub fn new(setup: Setup, dialer: Dialer, observer: Observer) -> Arc<Self> {
        let contents = Contents::new(setup.seed);
        Arc::new(Self {
            dialer,
            ledger: Ledger::new(setup.user_agents),
            meters: Meters::default(),
            subscriptions: Subscriptions::new(setup.user_agents),
            writer: Writer::new(contents, setup.signing, Clock::system()),
            contents,
            cancel: CancellationToken::new(),
            stopwatch: Stopwatch::start(),
            observer,
            phases: Mutex::default(),
            setup,
        })
    }

    /// The moment that is now.
    pub fn now(&self) -> Moment {
        self.stopwatch.now()
    }

    /// Signs tokens for so many pushes, in a phase of its own, if each is to have
    /// one of its own.
    pub async fn sign_ahead(self: &Arc<Self>, count: u64) {
        if self.setup.signing == Signing::Fresh {
            self.phase("sign");
            let run = Arc::clone(self);
            let signed = tokio::task::spawn_blocking(move || {
                let known = (0..run.setup.user_agents).find_map(|one| run.subscriptions.get(one));
                known.inspect(|to| run.writer.sign_ahead(to, count));
            });
            // What is not signed ahead is signed when it is due.
            let _ = signed.await;
        }
    }

    /// Takes a sample of each process that is observed.
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

    /// Says what part of the run begins now.
    pub fn phase(&self, name: &str) {
        let now = self.observe();
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        phases.push((name.to_owned(), now));
    }

    /// The parts of the run so far, the last of which ends now.
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

    /// Waits, or until the run is cancelled. Whether it was not.
    pub async fn sleep(&self, duration: Duration) -> bool {
        let slept = self
            .cancel
            .run_until_cancelled(tokio::time::sleep(duration));
        slept.await.is_some()
    }

    /// Waits until nothing can be missing any more, but not longer than the
    /// setup says.
    pub async fn settle(&self) {
        let until = self.now() + self.setup.settle;
        let mut delivered = None;
        for turn in 1_u64.. {
            if self.ledger.open() == 0 || self.now() > until || !self.sleep(SETTLE_TURN).await {
                return;
            }
            // Some need never arrive: with TTL 0, replaced, withdrawn. To look for
            // those takes longer, so that is done now and then.
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
