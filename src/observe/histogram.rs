//! Latency histograms. Prometheus and the overview's percentiles read the same counts, so they
//! agree.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds of the buckets, in microseconds: three per decade, from 50 µs to 100 s. Longer
/// durations go into an extra bucket.
const BOUNDS: [u64; 20] = [
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
];

/// Counts durations; clones share the counts. Recording takes no lock.
#[derive(Clone, Debug, Default)]
pub struct Latency(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A snapshot of the buckets of a [`Latency`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u64; BOUNDS.len() + 1]);

impl Latency {
    /// Records one duration.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < micros);
        self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Returns a snapshot.
    pub fn buckets(&self) -> Buckets {
        Buckets(std::array::from_fn(|at| {
            self.0.buckets[at].load(Ordering::Relaxed)
        }))
    }
}

impl Buckets {
    /// The counts recorded since the snapshot `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|at| {
            self.0[at].saturating_sub(earlier.0[at])
        }))
    }

    /// The quantile `part` (0 to 1), interpolated linearly within a bucket as Prometheus does.
    /// Returns `None` if there are no counts.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count: u64 = self.0.iter().sum();
        if count == 0 {
            return None;
        }
        let wanted = part * count as f64;
        let mut below = 0;
        for (at, inside) in self.0.iter().enumerate() {
            if (below + inside) as f64 >= wanted && *inside > 0 {
                let low = at.checked_sub(1).map_or(0, |before| BOUNDS[before]);
                // The extra bucket has no upper bound; report its lower one.
                let high = BOUNDS.get(at).copied().unwrap_or(low);
                let share = ((wanted - below as f64) / *inside as f64).clamp(0.0, 1.0);
                let micros = low as f64 + share * (high - low) as f64;
                return Some(Duration::from_secs_f64(micros / 1e6));
            }
            below += inside;
        }
        None
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let Buckets(counts) = self.buckets();
        let seconds = |micros: u64| micros as f64 / 1e6;
        let bounds = BOUNDS
            .iter()
            .map(|bound| seconds(*bound))
            .chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let sum = seconds(self.0.micros.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn quantiles_are_read_off_the_buckets() {
        let latency = Latency::default();
        assert_eq!(latency.buckets().quantile(0.5), None);
        for _ in 0..90 {
            latency.record(ms(1));
        }
        for _ in 0..10 {
            latency.record(ms(20));
        }
        let buckets = latency.buckets();
        assert_eq!(buckets.quantile(0.9), Some(ms(1)));
        assert_eq!(buckets.quantile(1.0), Some(ms(20)));
        assert_eq!(buckets.quantile(0.95), Some(ms(15)));
        latency.record(Duration::MAX);
        let later = latency.buckets().since(&buckets);
        assert_eq!(later.quantile(0.5), Some(Duration::from_secs(100)));
    }
}
