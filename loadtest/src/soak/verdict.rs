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

/// Compares the ends of the two parts, and of memory the first and the last
/// quarter of the time between them: a store fills one buffer after the other,
/// so that a single look says little. What may differ: an allocator and a cache
/// do not give back everything (a tenth, and 4 MiB); the system opens a handle
/// now and then; a store grows its file in steps (a tenth, and 32 MiB). A leak,
/// over an hour, is more.
pub(super) fn compare(before: &SoakSample, after: &SoakSample, curve: &[SoakSample]) -> Vec<Check> {
    let mib = |count: f64| count * 1024.0 * 1024.0;
    let octets = |octets: u64| octets as f64;
    let between = |sample: &&SoakSample| before.at < sample.at && sample.at < after.at;
    let memory: Vec<_> = curve
        .iter()
        .filter(between)
        .map(|sample| sample.memory)
        .collect();
    let quarter = memory.len().div_ceil(4);
    let first = octets(median(&memory[..quarter]).unwrap_or(before.memory));
    let last = octets(median(&memory[memory.len() - quarter..]).unwrap_or(after.memory));
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
    if let (Some(before), Some(after)) = (before.disk, after.disk) {
        let (before, after) = (octets(before), octets(after));
        let more = before / 10.0 + mib(32.0);
        checks.push(Check::new("disk, octets", before, after, more));
    }
    for (name, value) in &before.gauges {
        let more = match name.as_str() {
            "bugle_disk_bytes" => value / 10.0 + mib(32.0),
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
    fn a_gauge_that_is_gone_is_no_success() {
        let gone = SoakSample {
            gauges: [].into(),
            ..sample()
        };
        assert_eq!(failed(&gone), ["bugle_subscriptions"]);
    }
}
