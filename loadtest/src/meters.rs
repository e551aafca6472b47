//! Rates and latencies of a run, counted by all of its parts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Moment;
use crate::latency::{Latency, Recorder};
use crate::outcome::{Connections, Second};

/// Reasons that are told apart; further ones are counted together.
const MAX_REASONS: usize = 32;

/// What is measured. A push begins when the schedule wanted it to, so that a
/// service that stalls cannot hide the wait (coordinated omission).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// From the intended time of a push to its 201.
    Acceptance,
    /// From the intended time of a push to its notification, decrypted and
    /// checked.
    Delivery,
    /// From the first attempt to connect to the answer to hello: attempts that
    /// fail, and the waits after them, count.
    Hello,
    /// From `register` to its answer.
    Register,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Acceptance,
        Self::Delivery,
        Self::Hello,
        Self::Register,
    ];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acceptance => "acceptance",
            Self::Delivery => "delivery",
            Self::Hello => "hello",
            Self::Register => "register",
        }
    }
}

/// Counters that only grow.
#[derive(Debug, Default)]
pub struct Totals {
    /// Pushes begun.
    pub sent: AtomicU64,
    /// Pushes accepted.
    pub accepted: AtomicU64,
    /// Pushes refused or not answered.
    pub refused: AtomicU64,
    /// Notifications.
    pub delivered: AtomicU64,
    /// Pushes that the schedule wanted and that were not begun in time.
    pub unsent: AtomicU64,
    /// Connections that were tried.
    pub attempts: AtomicU64,
    /// Hellos answered.
    pub established: AtomicU64,
    /// Connections that were tried in vain.
    pub failed: AtomicU64,
    /// Connections that were closed by the service or broke.
    pub broken: AtomicU64,
    /// User agents whose name the service no longer knew.
    pub forgotten: AtomicU64,
}

/// Rates and latencies of a run.
#[derive(Debug, Default)]
pub struct Meters {
    /// What has been counted.
    pub totals: Totals,
    connected: AtomicU64,
    peak: AtomicU64,
    recorders: [Mutex<Recorder>; Measure::ALL.len()],
    answers: Mutex<BTreeMap<u16, u64>>,
    reasons: Mutex<BTreeMap<String, u64>>,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Reads a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Meters {
    /// Takes a latency.
    pub fn record(&self, measure: Measure, from: Moment, to: Moment) {
        lock(&self.recorders[measure as usize]).record(to.micros_since(from));
    }

    /// A push was answered with this status.
    pub fn answered(&self, status: u16) {
        *lock(&self.answers).entry(status).or_default() += 1;
    }

    /// A user agent is connected.
    pub fn connected(&self) {
        count(&self.totals.established);
        let connected = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(connected, Ordering::Relaxed);
    }

    /// A user agent is no longer connected, whoever ended it.
    pub fn disconnected(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// User agents that are connected.
    pub fn connected_now(&self) -> u64 {
        read(&self.connected)
    }

    /// An attempt to connect failed, or a connection broke, for this reason.
    pub fn reason(&self, reason: String) {
        let mut reasons = lock(&self.reasons);
        let is_new = !reasons.contains_key(&reason);
        let reason = match is_new && reasons.len() >= MAX_REASONS {
            true => "other reasons".to_owned(),
            false => reason,
        };
        *reasons.entry(reason).or_default() += 1;
    }

    /// How often each status answered a push.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        lock(&self.answers).clone()
    }

    /// What became of connections; `user_agents` are in the run.
    pub fn connections(&self, user_agents: u64) -> Connections {
        Connections {
            user_agents,
            peak: read(&self.peak),
            attempts: read(&self.totals.attempts),
            established: read(&self.totals.established),
            failed: read(&self.totals.failed),
            broken: read(&self.totals.broken),
            forgotten: read(&self.totals.forgotten),
            reasons: lock(&self.reasons).clone(),
        }
    }

    /// All latencies so far, by name; those that were not measured are left out.
    pub fn latency(&self) -> BTreeMap<String, Latency> {
        self.by_name(|recorder| Some(recorder.total()).filter(|total| total.count > 0))
    }

    /// What happened since `last` was returned, a second that ends at `now`.
    pub fn second(&self, last: &Progress, now: Moment) -> (Second, Progress) {
        let progress = self.progress();
        let second = Second {
            at: now.as_secs_f64(),
            connected: self.connected_now(),
            sent: progress.sent - last.sent,
            accepted: progress.accepted - last.accepted,
            refused: progress.refused - last.refused,
            delivered: progress.delivered - last.delivered,
            latency: self.by_name(Recorder::take_interval),
        };
        (second, progress)
    }

    /// The counters that make up the series.
    pub fn progress(&self) -> Progress {
        Progress {
            sent: read(&self.totals.sent),
            accepted: read(&self.totals.accepted),
            refused: read(&self.totals.refused),
            delivered: read(&self.totals.delivered),
        }
    }

    fn by_name(&self, of: impl Fn(&mut Recorder) -> Option<Latency>) -> BTreeMap<String, Latency> {
        let named = Measure::ALL.iter().filter_map(|measure| {
            let latency = of(&mut lock(&self.recorders[*measure as usize]))?;
            Some((measure.name().to_owned(), latency))
        });
        named.collect()
    }
}

/// How far the counters were at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Pushes begun.
    pub sent: u64,
    /// Pushes accepted.
    pub accepted: u64,
    /// Pushes refused or not answered.
    pub refused: u64,
    /// Notifications.
    pub delivered: u64,
}

/// Nothing is left half counted, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
