//! Latency histograms and their serialized form.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Maximum latency that is recorded exactly, in microseconds: one hour.
const MAX_LATENCY: u64 = 3_600_000_000;

/// A serialized histogram: the usual figures, and the complete data in `buckets`, so that
/// results can be merged and drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of values.
    pub count: u64,
    /// Mean in microseconds, the unit of all following fields.
    pub mean: f64,
    /// Minimum.
    pub min: u64,
    /// 50th percentile.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p99_9: u64,
    /// 99.99th percentile.
    pub p99_99: u64,
    /// Maximum.
    pub max: u64,
    /// The histogram in ascending order: the highest value of each bucket (0.1 % wide) and
    /// its count. Empty buckets are omitted; the counts sum to `count`.
    pub buckets: Vec<(u64, u64)>,
}

/// Records latencies for the whole run and for the current interval.
#[derive(Debug)]
pub struct Recorder {
    total: Histogram<u64>,
    interval: Histogram<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        let total = empty();
        let interval = empty();
        Self { total, interval }
    }
}

impl Recorder {
    /// Records a value in microseconds.
    pub fn record(&mut self, micros: u64) {
        self.total.saturating_record(micros.max(1));
        self.interval.saturating_record(micros.max(1));
    }

    /// All values so far.
    pub fn total(&self) -> Latency {
        Latency::of(&self.total)
    }

    /// The values since the last call, without buckets; `None` if there are none.
    pub fn take_interval(&mut self) -> Option<Latency> {
        if self.interval.is_empty() {
            return None;
        }
        let latency = Latency::figures(&self.interval);
        self.interval.reset();
        Some(latency)
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let recorded = histogram.iter_recorded();
        let buckets = recorded.map(|step| {
            let highest = step.value_iterated_to();
            (highest, step.count_since_last_iteration())
        });
        Self {
            buckets: buckets.collect(),
            ..Self::figures(histogram)
        }
    }

    fn figures(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p99_9: histogram.value_at_quantile(0.999),
            p99_99: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
            buckets: Vec::new(),
        }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants that it takes")]
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY, 3)
        .expect("1 < MAX_LATENCY, and 3 digits are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_buckets_cover_all_recorded_values() {
        let mut recorder = Recorder::default();
        for micros in 1..=1000 {
            recorder.record(micros);
        }
        let latency = recorder.total();
        assert_eq!((latency.count, latency.min, latency.max), (1000, 1, 1000));
        assert_eq!((latency.p50, latency.p90, latency.p99), (500, 900, 990));
        let sum: u64 = latency.buckets.iter().map(|(_, count)| count).sum();
        assert_eq!(sum, latency.count);
    }

    #[test]
    fn an_interval_begins_at_the_end_of_the_last() {
        let mut recorder = Recorder::default();
        recorder.record(5);
        assert_eq!(recorder.take_interval().map(|latency| latency.max), Some(5));
        assert_eq!(recorder.take_interval(), None);
        recorder.record(u64::MAX);
        let last = recorder.take_interval().map(|latency| latency.count);
        assert_eq!((last, recorder.total().count), (Some(1), 2));
    }
}
