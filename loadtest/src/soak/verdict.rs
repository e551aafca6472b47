//! Whether a service holds what it held before.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::SoakSample;

/// One thing, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is compared.
    pub what: String,
    /// What it was when all had left for the first time.
    pub before: f64,
    /// What it was in the end.
    pub after: f64,
    /// The most that it may be.
    pub allowed: f64,
    /// Whether it is no more than that.
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

/// Compares the ends of the two parts. Of memory, the first and the last quarter
/// of the time between them: a store fills one buffer after the other, so that a
/// single look says little. Of the disk, the third and the last: a log fills
/// segment after segment until it comes to use them again. What may differ: an
/// allocator and a cache do not give back everything (a tenth, and 4 MiB); the
/// system opens a handle now and then; a log takes a segment more (a tenth, and
/// 16 MiB). A leak, over an hour, is more.
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
    // The service's own measure of the same.
    let others = before.gauges.iter();
    for (name, value) in others.filter(|(name, _)| *name != "bugle_disk_bytes") {
        let more = match name.as_str() {
            // The one that asks for the metrics may count or not.
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
    fn what_ends_where_it_began_passes() {
        assert_eq!(failed(&sample()), Vec::<String>::new());
    }

    #[test]
    fn each_leak_is_found() {
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
    fn memory_is_that_of_a_quarter() {
        let curve = |grown: u64| -> Vec<_> {
            (1..=400_u16)
                .map(|at| SoakSample {
                    at: at.into(),
                    // A buffer that is filled again and again, over what grows.
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
    fn a_disk_may_fill_and_then_must_not_grow() {
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
    fn a_gauge_that_is_gone_is_no_success() {
        let gone = SoakSample {
            gauges: [].into(),
            ..sample()
        };
        assert_eq!(failed(&gone), ["bugle_subscriptions"]);
    }
}
