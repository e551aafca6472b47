//! Rates and latencies of a run, counted by all of its parts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Moment;
use crate::latency::{Latency, Recorder};
use crate::outcome::{Connections, Second};

/// Maximum number of distinct reasons; further ones are counted together.
const MAX_REASONS: usize = 32;

/// A kind of latency. A push counts from its scheduled time, so that a stalled service
/// cannot hide the wait (coordinated omission).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// From the scheduled time of a push to its 201.
    Acceptance,
    /// From the scheduled time of a push to its notification, decrypted and checked.
    Delivery,
    /// From the first attempt to connect to the response to `hello`, including failed
    /// attempts and the pauses after them.
    Hello,
    /// From `register` to its response.
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

/// Monotonic counters.
#[derive(Debug, Default)]
pub struct Totals {
    /// Pushes sent.
    pub sent: AtomicU64,
    /// Pushes accepted.
    pub accepted: AtomicU64,
    /// Pushes refused or unanswered.
    pub refused: AtomicU64,
    /// Notifications.
    pub delivered: AtomicU64,
    /// Scheduled pushes that could not be sent in time.
    pub unsent: AtomicU64,
    /// Attempts to connect.
    pub attempts: AtomicU64,
    /// Responses to `hello`.
    pub established: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Connections that the service closed or that broke.
    pub broken: AtomicU64,
    /// User agents whose uaid the service had lost.
    pub forgotten: AtomicU64,
}

/// Rates and latencies of a run.
#[derive(Debug, Default)]
pub struct Meters {
    /// The counters.
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
    /// Records a latency.
    pub fn record(&self, measure: Measure, from: Moment, to: Moment) {
        lock(&self.recorders[measure as usize]).record(to.micros_since(from));
    }

    /// Counts the status of a response to a push.
    pub fn answered(&self, status: u16) {
        *lock(&self.answers).entry(status).or_default() += 1;
    }

    /// Counts a connection.
    pub fn connected(&self) {
        count(&self.totals.established);
        let connected = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(connected, Ordering::Relaxed);
    }

    /// Counts the end of a connection, for any reason.
    pub fn disconnected(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Number of connected user agents.
    pub fn connected_now(&self) -> u64 {
        read(&self.connected)
    }

    /// Counts the reason of a failed attempt or a broken connection.
    pub fn reason(&self, reason: String) {
        let mut reasons = lock(&self.reasons);
        let is_new = !reasons.contains_key(&reason);
        let reason = match is_new && reasons.len() >= MAX_REASONS {
            true => "other reasons".to_owned(),
            false => reason,
        };
        *reasons.entry(reason).or_default() += 1;
    }

    /// Number of responses to pushes by status.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        lock(&self.answers).clone()
    }

    /// The connection figures; the run has `user_agents` user agents.
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

    /// All latencies so far by name, without empty ones.
    pub fn latency(&self) -> BTreeMap<String, Latency> {
        self.by_name(|recorder| Some(recorder.total()).filter(|total| total.count > 0))
    }

    /// The events since `last`, as the second that ends at `now`.
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

    /// The counters of the series.
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

/// A snapshot of the counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Pushes sent.
    pub sent: u64,
    /// Pushes accepted.
    pub accepted: u64,
    /// Pushes refused or unanswered.
    pub refused: u64,
    /// Notifications.
    pub delivered: u64,
}

/// A poisoned lock is safe to use because no update stops halfway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
