//! How often the check of a VAPID signature may fail for one address: a token
//! bucket of failures. A check is the dearest part of a push, and a stranger has
//! it for the asking.
//!
//! Only failures are counted, so an application server that signs well never
//! meets the bound, and what it sends again is known to be good.

use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::{Cache, EntryAction, EntryResult};

use crate::config::Limits;
use crate::gate::Refusal;
use crate::gate::network::network;
use crate::time::Clock;

/// The setting that says how many there may be a second.
const SETTING: &str = "limits.failed_signature_rate";

/// The failures of each address, of so many addresses as the cache holds.
pub struct Failures {
    /// When the bucket of an address has filled up again.
    full_at: Cache<IpAddr, Duration>,
    /// How long it takes the bucket to get back what one failure took.
    each: Duration,
    /// How long it takes an empty bucket to fill up.
    whole: Duration,
    clock: Clock,
}

/// The checks that one address asks for.
#[derive(Clone, Copy)]
pub struct Checks<'f> {
    failures: Option<&'f Failures>,
    from: IpAddr,
}

impl Failures {
    /// What `limits` says, all buckets full; `None` when the rate is 0.
    pub fn new(limits: &Limits, clock: &Clock) -> Option<Self> {
        let each = Duration::from_secs(1).checked_div(limits.failed_signature_rate)?;
        Some(Self {
            full_at: Cache::new(limits.rate_buckets),
            each,
            whole: each.saturating_mul(limits.failed_signature_burst),
            clock: clock.clone(),
        })
    }

    /// Forgets buckets that are full again.
    pub fn sweep(&self) {
        let now = self.clock.monotonic();
        self.full_at.retain(|_, full_at| *full_at > now);
    }

    /// How long `from` has to wait until another failure has room.
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
        if let EntryResult::Vacant(place) = known {
            // Another may have come between; its failure is lost.
            let _ = place.insert(later(Duration::ZERO));
        }
    }
}

impl<'f> Checks<'f> {
    /// The checks that are asked for from this address.
    pub fn new(failures: Option<&'f Failures>, from: IpAddr) -> Self {
        let from = network(from);
        Self { failures, from }
    }

    /// To be asked before a signature is checked.
    ///
    /// # Errors
    /// [`Refusal::Rate`] when too many checks have failed.
    pub fn admit(self) -> Result<(), Refusal> {
        let wait = self.failures.map(|failures| failures.wait(&self.from));
        match wait.unwrap_or_default() {
            Duration::ZERO => Ok(()),
            wait => Err(Refusal::Rate {
                setting: SETTING,
                wait,
            }),
        }
    }

    /// Counts a check that has failed.
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
    fn an_address_has_as_many_failures_as_its_bucket_holds() {
        let (failures, clock) = failures(2, 3);
        let from = |address: &str| Checks::new(failures.as_ref(), address.parse().unwrap());
        let one = from("2001:db8::1");
        for _ in 0..3 {
            one.admit().unwrap();
            one.failed();
        }
        let setting = SETTING;
        let wait = Duration::from_millis(500);
        assert_eq!(one.admit(), Err(Refusal::Rate { setting, wait }));
        let neighbour = from("2001:db8::2");
        assert!(neighbour.admit().is_err(), "one customer has one bucket");
        from("2001:db8:1::1").admit().unwrap();
        clock.advance(wait);
        one.admit().unwrap();
        one.failed();
        assert!(one.admit().is_err());
    }

    #[test]
    fn what_has_filled_up_again_is_forgotten() {
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
