//! Limits how often VAPID signature checks may fail for one address: a token bucket that counts
//! failures. A signature check is the most expensive part of a push, and any client can trigger
//! one.
//!
//! Only failures count, so an application server that signs correctly never reaches the limit; a
//! valid token that it sends again is not checked again.

use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::config::{Limit, Limits};
use crate::gate::Refusal;
use crate::gate::network::network;
use crate::time::Clock;

/// The setting for failures per second.
const LIMIT: Limit = Limit::FailedSignatureRate;

/// The bucket of each address, for as many addresses as the cache holds.
pub struct Failures {
    /// When the bucket of an address is full again.
    full_at: Cache<IpAddr, Duration>,
    /// How long the bucket takes to refill what one failure took.
    each: Duration,
    /// How long an empty bucket takes to refill.
    whole: Duration,
    clock: Clock,
}

/// The signature checks of one client address.
#[derive(Clone, Copy)]
pub struct Checks<'f> {
    failures: Option<&'f Failures>,
    from: IpAddr,
}

impl Failures {
    /// Applies `limits`, with all buckets full. Returns `None` if the rate is 0.
    pub fn new(limits: &Limits, clock: &Clock) -> Option<Self> {
        let each = Duration::from_secs(1).checked_div(limits.failed_signature_rate)?;
        Some(Self {
            full_at: Cache::new(limits.rate_buckets),
            each,
            whole: each.saturating_mul(limits.failed_signature_burst),
            clock: clock.clone(),
        })
    }

    /// Drops buckets that are full again.
    pub fn sweep(&self) {
        let now = self.clock.monotonic();
        self.full_at.retain(|_, full_at| *full_at > now);
    }

    /// How long `from` must wait before the bucket has room for another failure.
    fn wait(&self, from: &IpAddr) -> Duration {
        let full_at = self.full_at.get(from).unwrap_or_default();
        let missing = full_at.saturating_sub(self.clock.monotonic());
        (missing + self.each).saturating_sub(self.whole)
    }

    fn count(&self, from: &IpAddr) {
        let later = |full_at: Duration| full_at.max(self.clock.monotonic()) + self.each;
        let known = self.full_at.entry(from, None, |_, full_at| {
            *full_at = later(*full_at);
            EntryAction::Retain(())
        });
        if let EntryResult::Vacant(entry) = known {
            // Another task may have inserted meanwhile; its failure is not counted.
            let _ = entry.insert(later(Duration::ZERO));
        }
    }
}

impl<'f> Checks<'f> {
    /// The signature checks of the address `from`.
    pub fn new(failures: Option<&'f Failures>, from: IpAddr) -> Self {
        let from = network(from);
        Self { failures, from }
    }

    /// Call this before each signature check.
    ///
    /// # Errors
    /// [`Refusal::Rate`] if too many checks have failed.
    pub fn admit(self) -> Result<(), Refusal> {
        let wait = self.failures.map(|failures| failures.wait(&self.from));
        match wait.unwrap_or_default() {
            Duration::ZERO => Ok(()),
            wait => Err(Refusal::Rate { limit: LIMIT, wait }),
        }
    }

    /// Counts a failed check.
    pub fn failed(self) {
        if let Some(failures) = self.failures {
            failures.count(&self.from);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use bugle_protocol::UnixTime;

    use super::*;

    fn failures(rate: u32, burst: u32) -> (Option<Failures>, Clock) {
        let clock = Clock::manual(UnixTime::from_secs(1_000_000));
        let mut limits = crate::Config::default().limits;
        limits.failed_signature_rate = rate;
        limits.failed_signature_burst = burst;
        (Failures::new(&limits, &clock), clock)
    }

    #[test]
    fn an_address_is_refused_once_its_failure_bucket_is_empty() {
        let (failures, clock) = failures(2, 3);
        let from = |address: &str| Checks::new(failures.as_ref(), address.parse().unwrap());
        let one = from("2001:db8::1");
        for _ in 0..3 {
            one.admit().unwrap();
            one.failed();
        }
        let limit = LIMIT;
        let wait = Duration::from_millis(500);
        assert_eq!(one.admit(), Err(Refusal::Rate { limit, wait }));
        let neighbour = from("2001:db8::2");
        assert!(neighbour.admit().is_err(), "one customer has one bucket");
        from("2001:db8:1::1").admit().unwrap();
        clock.advance(wait);
        one.admit().unwrap();
        one.failed();
        assert!(one.admit().is_err());
    }

    #[test]
    fn full_failure_buckets_are_dropped() {
        let (failures, clock) = failures(10, 5);
        let failures = failures.unwrap();
        failures.count(&[192, 0, 2, 1].into());
        failures.sweep();
        assert_eq!(failures.full_at.len(), 1);
        clock.advance(Duration::from_millis(100));
        failures.sweep();
        assert_eq!(failures.full_at.len(), 0);
    }

    #[test]
    fn a_rate_of_zero_limits_nothing() {
        let (failures, _) = failures(0, 1);
        let checks = Checks::new(failures.as_ref(), [192, 0, 2, 1].into());
        for _ in 0..10_000 {
            checks.failed();
            checks.admit().unwrap();
        }
    }
}
