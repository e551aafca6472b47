//! Compares the resources of a service before and after a soak.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SoakSample;

/// The comparison of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The resource.
    pub what: String,
    /// Its value at the end of the first part.
    pub before: f64,
    /// Its value at the end of the second part.
    pub after: f64,
    /// The maximum allowed value.
    pub allowed: f64,
    /// Whether `after` is within `allowed`.
    pub passed: bool,
}

impl Check {
    fn new(what: &str, before: f64, after: f64, more: f64) -> Self {
        let allowed = before + more;
        Self {
            what: what.to_owned(),
            before,
            after,
            allowed,
            passed: after <= allowed,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            before,
            after,
            allowed,
            ..
        } = self;
        write!(
            f,
            "{what}: {before} before, {after} after, at most {allowed} allowed"
        )
    }
}

/// Compares the resources at the ends of the two parts. Memory is the median of the first
/// and of the last quarter in between, because a store fills one buffer after the other and
/// single samples say little. Disk is that of the third and of the last quarter, because a log
/// fills new segments before it reuses old ones. Allowed growth: a tenth and 4 MiB of memory,
/// which allocator and cache may keep; 2 file descriptors; one thread; a tenth and 16 MiB of
/// disk, one more segment. A leak exceeds this within an hour.
pub(super) fn compare(before: &SoakSample, after: &SoakSample, curve: &[SoakSample]) -> Vec<Check> {
    let mib = |count: f64| count * 1024.0 * 1024.0;
    let octets = |octets: u64| octets as f64;
    let between = |sample: &&SoakSample| before.at < sample.at && sample.at < after.at;
    let between: Vec<_> = curve.iter().filter(between).collect();
    let of_quarter = |nth: usize, of: fn(&SoakSample) -> u64, or: &SoakSample| {
        let quarter = between.len().div_ceil(4);
        let samples = between.iter().skip(nth * quarter).take(quarter);
        let values: Vec<_> = samples.map(|sample| of(sample)).collect();
        octets(median(&values).unwrap_or(of(or)))
    };
    let memory = |sample: &SoakSample| sample.memory;
    let first = of_quarter(0, memory, before);
    let last = of_quarter(3, memory, after);
    let mut checks = vec![
        Check::new("memory, octets", first, last, first / 10.0 + mib(4.0)),
        Check::new(
            "file handles",
            octets(before.files),
            octets(after.files),
            2.0,
        ),
        Check::new(
            "threads",
            octets(before.threads),
            octets(after.threads),
            1.0,
        ),
    ];
    if before.disk.is_some() {
        let disk = |sample: &SoakSample| sample.disk.unwrap_or(u64::MAX);
        let third = of_quarter(2, disk, before);
        let last = of_quarter(3, disk, after);
        let more = third / 10.0 + mib(16.0);
        checks.push(Check::new("disk, octets", third, last, more));
    }
    // `bugle_disk_bytes` is the service's own measure of the disk.
    let others = before.gauges.iter();
    for (name, value) in others.filter(|(name, _)| *name != "bugle_disk_bytes") {
        let more = match name.as_str() {
            // The request for the metrics itself may or may not count.
            "bugle_tasks" | "bugle_connections" => 2.0,
            _ => 0.0,
        };
        let after = after.gauges.get(name).copied().unwrap_or(f64::INFINITY);
        checks.push(Check::new(name, *value, after, more));
    }
    checks
}

fn median(values: &[u64]) -> Option<u64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(after: &SoakSample) -> Vec<String> {
        let before = sample();
        let checks = compare(&before, after, &[]).into_iter();
        let failed = checks.filter(|check| !check.passed);
        failed.map(|check| check.what).collect()
    }

    fn sample() -> SoakSample {
        SoakSample {
            memory: 20 << 20,
            files: 20,
            threads: 8,
            disk: Some(100 << 20),
            gauges: [("bugle_subscriptions".to_owned(), 0.0)].into(),
            ..SoakSample::default()
        }
    }

    #[test]
    fn unchanged_resources_pass() {
        assert_eq!(failed(&sample()), Vec::<String>::new());
    }

    #[test]
    fn every_leak_is_found() {
        let leaks = SoakSample {
            memory: 30 << 20,
            files: 30,
            threads: 12,
            disk: Some(200 << 20),
            gauges: [("bugle_subscriptions".to_owned(), 1.0)].into(),
            ..SoakSample::default()
        };
        let what = [
            "memory, octets",
            "file handles",
            "threads",
            "disk, octets",
            "bugle_subscriptions",
        ];
        assert_eq!(failed(&leaks), what);
    }

    #[test]
    fn memory_is_the_median_of_a_quarter() {
        let curve = |grown: u64| -> Vec<_> {
            (1..=400_u16)
                .map(|at| SoakSample {
                    at: at.into(),
                    // A buffer that fills repeatedly, plus a steady growth.
                    memory: ((20 + u64::from(at) % 16) << 20) + grown * u64::from(at),
                    ..sample()
                })
                .collect()
        };
        let after = SoakSample {
            at: 401.0,
            ..sample()
        };
        let passed = |grown| compare(&sample(), &after, &curve(grown))[0].passed;
        assert!(passed(0));
        assert!(!passed(64 << 10));
    }

    #[test]
    fn a_disk_may_fill_at_first_but_must_not_grow_later() {
        let curve = |size: fn(u64) -> u64| -> Vec<_> {
            (1..=400_u16)
                .map(|at| SoakSample {
                    at: at.into(),
                    disk: Some(size(at.into()) << 20),
                    ..sample()
                })
                .collect()
        };
        let after = SoakSample {
            at: 401.0,
            ..sample()
        };
        let passed = |size| compare(&sample(), &after, &curve(size))[3].passed;
        assert!(passed(|at| (at / 2).min(80)));
        assert!(!passed(|at| at / 2));
    }

    #[test]
    fn a_missing_gauge_fails() {
        let gone = SoakSample {
            gauges: [].into(),
            ..sample()
        };
        assert_eq!(failed(&gone), ["bugle_subscriptions"]);
    }
}
