//! Samples of the last hour, for the overview.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Admin;
use crate::observe::histogram::Buckets;
use crate::observe::metrics::Metrics;
use crate::service::PushService;

/// The number of samples: one hour with the default `admin.sample_every`.
const MAX_SAMPLES: usize = 720;

/// The 50th, 90th and 99th percentile of a duration, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

impl Percentiles {
    /// Returns `None` if the buckets are empty.
    fn of(buckets: &Buckets) -> Option<Self> {
        let millis = |part| {
            let took = buckets.quantile(part)?;
            // Rounded to microseconds, the precision of the buckets.
            Some(took.as_micros() as f64 / 1000.0)
        };
        Some(Self {
            p50: millis(0.5)?,
            p90: millis(0.9)?,
            p99: millis(0.99)?,
        })
    }
}

/// The state of the service at one time, and its rates since the previous sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Milliseconds since the epoch.
    at: u64,
    connections: u64,
    user_agents: u64,
    monitors: u64,
    accepted_per_second: f64,
    delivered_per_second: f64,
    acknowledged_per_second: f64,
    refused_per_second: f64,
    accept: Option<Percentiles>,
    delivery: Option<Percentiles>,
    stored_messages: u64,
    /// Bytes of the stored messages.
    stored_bytes: u64,
    /// Bytes of the store's files.
    disk_bytes: u64,
    subscriptions: u64,
}

/// Counters since the start.
#[derive(Clone, Debug, Default)]
struct Totals {
    accepted: u64,
    delivered: u64,
    acknowledged: u64,
    refused: BTreeMap<&'static str, u64>,
    accept: Buckets,
    delivery: Buckets,
}

impl Totals {
    fn of(metrics: &Metrics) -> Self {
        Self {
            accepted: metrics.accepted.get(),
            delivered: metrics.delivered.get(),
            acknowledged: metrics.acknowledgements(),
            refused: metrics.refusals(),
            accept: metrics.accept.buckets(),
            delivery: metrics.delivery.buckets(),
        }
    }

    /// The number of refusals since `earlier`, by reason.
    fn refused_since(&self, earlier: &Self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.iter().map(|(reason, count)| {
            let before = earlier.refused.get(reason).copied().unwrap_or(0);
            (*reason, count.saturating_sub(before))
        });
        refused.filter(|(_, count)| *count > 0).collect()
    }
}

/// The samples of the last hour.
pub struct History {
    samples: Mutex<Samples>,
    /// Sends `true` with each sample, `false` at the end.
    is_open: watch::Sender<bool>,
}

struct Samples {
    newest: VecDeque<Sample>,
    /// The refusals of each sample, in the same order.
    refused: VecDeque<Vec<(&'static str, u64)>>,
    totals: Totals,
    sampled_at: Instant,
}

impl Default for History {
    fn default() -> Self {
        Self {
            samples: Mutex::new(Samples {
                newest: VecDeque::new(),
                refused: VecDeque::new(),
                totals: Totals::default(),
                sampled_at: Instant::now(),
            }),
            is_open: watch::Sender::new(true),
        }
    }
}

impl History {
    /// The samples, oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.lock().newest.iter().copied().collect()
    }

    /// The newest sample. Takes one if there is none yet.
    pub fn newest(&self, service: &PushService) -> Sample {
        let mut samples = self.lock();
        let newest = samples.newest.back().copied();
        // Under the same lock, so that concurrent callers take only one.
        newest.unwrap_or_else(|| samples.take(service))
    }

    /// The number of refusals in the last hour, by reason.
    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (reason, count) in self.lock().refused.iter().flatten() {
            *sums.entry(*reason).or_default() += count;
        }
        sums
    }

    /// Changes with every sample; `false` after [`end`](Self::end).
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.is_open.subscribe()
    }

    /// Ends all that watch.
    pub fn end(&self) {
        self.is_open.send_replace(false);
    }

    fn lock(&self) -> MutexGuard<'_, Samples> {
        // No panic can leave the samples inconsistent.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samples {
    /// Takes a sample. The caller holds the lock while the counters are read, so that they are
    /// never older than those of the previous sample.
    fn take(&mut self, service: &PushService) -> Sample {
        let (metrics, usage) = (service.metrics(), service.usage());
        let (now, totals) = (Instant::now(), Totals::of(metrics));
        let (before, since) = (&self.totals, now.duration_since(self.sampled_at));
        let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), since);
        let refused = totals.refused_since(before);
        let refusals = refused.iter().map(|(_, count)| count).sum();
        let gauge = |value: i64| u64::try_from(value).unwrap_or(0);
        let sample = Sample {
            at: service.wall_clock().as_millis(),
            connections: gauge(metrics.connections.get()),
            user_agents: gauge(metrics.user_agents.get() + metrics.mcs_connections.get()),
            monitors: gauge(metrics.monitors.get()),
            accepted_per_second: rate(totals.accepted, before.accepted),
            delivered_per_second: rate(totals.delivered, before.delivered),
            acknowledged_per_second: rate(totals.acknowledged, before.acknowledged),
            refused_per_second: per_second(refusals, since),
            accept: Percentiles::of(&totals.accept.since(&before.accept)),
            delivery: Percentiles::of(&totals.delivery.since(&before.delivery)),
            stored_messages: usage.messages,
            stored_bytes: usage.live_bytes,
            disk_bytes: usage.disk_bytes,
            subscriptions: usage.subscriptions,
        };
        self.keep(sample, refused);
        self.totals = totals;
        self.sampled_at = now;
        sample
    }

    fn keep(&mut self, sample: Sample, refused: Vec<(&'static str, u64)>) {
        if self.newest.len() == MAX_SAMPLES {
            self.newest.pop_front();
            self.refused.pop_front();
        }
        self.newest.push_back(sample);
        self.refused.push_back(refused);
    }
}

fn per_second(count: u64, since: Duration) -> f64 {
    let rate = count as f64 / since.as_secs_f64().max(0.001);
    (rate * 10.0).round() / 10.0
}

/// Takes a sample every `admin.sample_every`. Never returns; it is ended by cancellation.
pub async fn run(admin: Arc<Admin>) {
    let (service, history) = (&admin.app.service, &admin.history);
    let mut ticks = interval(service.config().admin.sample_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        history.lock().take(service);
        // Notifies the watchers, unless the history has ended.
        history.is_open.send_if_modified(|is_open| *is_open);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use crate::server::tests::bound;

    #[tokio::test]
    async fn concurrent_requests_for_the_first_sample_take_one() {
        const AT_ONCE: usize = 8;
        for _ in 0..20 {
            let (server, _folder) = bound().await;
            let (service, history) = (&server.app().service, &server.admin_api().history);
            let begin = Barrier::new(AT_ONCE);
            thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    scope.spawn(|| {
                        begin.wait();
                        service.metrics().accepted.inc();
                        history.newest(service);
                    });
                }
            });
            assert_eq!(history.samples().len(), 1);
        }
    }

    #[tokio::test]
    async fn totals_lower_than_before_make_a_rate_of_zero() {
        let (server, _folder) = bound().await;
        let (service, history) = (&server.app().service, &server.admin_api().history);
        history.lock().totals.accepted = 5;
        history.lock().totals.refused.insert("limits.requests", 5);
        let sample = history.newest(service);
        assert!(sample.accepted_per_second == 0.0 && sample.refused_per_second == 0.0);
        assert_eq!(history.refused().values().sum::<u64>(), 0);
    }
}
