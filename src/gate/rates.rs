//! How often somebody may ask: token buckets for each application server key,
//! subscription and address.
//!
//! A bucket that is not full is remembered; one that has filled up again is
//! like one that never was, and [`sweep`](Rates::sweep) forgets it. At most
//! `limits.rate_buckets` of each kind are remembered. Beyond that, those used
//! least are forgotten early and begin full again, which a stranger can bring
//! about only by asking as often as all of those buckets allow.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use bugle_protocol::{PublicKey, SubscriptionId};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};
use quick_cache::sync::{Cache, EntryAction, EntryResult};

use super::network::network;
use crate::config::Limits;
use crate::gate::Refusal;
use crate::gate::failures::{Checks, Failures};
use crate::time::Clock;

/// The rates that are limited; those set to 0 are not.
pub struct Rates {
    keys: Option<Buckets<[u8; 65]>>,
    subscriptions: Option<Buckets<SubscriptionId>>,
    addresses: Option<Buckets<IpAddr>>,
    failures: Option<Failures>,
}

impl Rates {
    /// What `limits` says, all buckets full.
    pub fn new(limits: &Limits, clock: &Clock) -> Self {
        let most = limits.rate_buckets;
        Self {
            keys: Buckets::new(
                "limits.key_rate",
                limits.key_rate,
                limits.key_burst,
                most,
                clock,
            ),
            subscriptions: Buckets::new(
                "limits.subscription_rate",
                limits.subscription_rate,
                limits.subscription_burst,
                most,
                clock,
            ),
            addresses: Buckets::new(
                "limits.address_rate",
                limits.address_rate,
                limits.address_burst,
                most,
                clock,
            ),
            failures: Failures::new(limits, clock),
        }
    }

    /// Counts a request to the public listener, before anything else is done
    /// for it.
    ///
    /// # Errors
    /// [`Refusal::Rate`]
    pub fn request(&self, from: IpAddr) -> Result<(), Refusal> {
        take(self.addresses.as_ref(), || network(from))
    }

    /// Counts a push by a sender whose signature is known to be good, so that
    /// nobody can empty the bucket of a key that is not theirs.
    ///
    /// # Errors
    /// [`Refusal::Rate`]
    pub fn push(&self, key: Option<&PublicKey>, to: SubscriptionId) -> Result<(), Refusal> {
        if let Some(key) = key {
            take(self.keys.as_ref(), || *key.as_bytes())?;
        }
        take(self.subscriptions.as_ref(), || to)
    }

    /// The checks of signatures that an address asks for.
    pub fn checks(&self, from: IpAddr) -> Checks<'_> {
        Checks::new(self.failures.as_ref(), from)
    }

    /// Forgets buckets that are full again.
    pub fn sweep(&self) {
        if let Some(failures) = &self.failures {
            failures.sweep();
        }
        if let Some(keys) = &self.keys {
            keys.limiter.retain_recent();
        }
        if let Some(subscriptions) = &self.subscriptions {
            subscriptions.limiter.retain_recent();
        }
        if let Some(addresses) = &self.addresses {
            addresses.limiter.retain_recent();
        }
    }
}

fn take<K: Clone + Eq + Hash>(
    buckets: Option<&Buckets<K>>,
    key: impl FnOnce() -> K,
) -> Result<(), Refusal> {
    buckets.map_or(Ok(()), |buckets| buckets.take(&key()))
}

/// The buckets of one kind.
struct Buckets<K: Clone + Eq + Hash> {
    setting: &'static str,
    clock: Clock,
    limiter: RateLimiter<K, Recent<K>, Clock, NoOpMiddleware<Duration>>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// `None` when `rate`, in requests a second, or `burst` is 0.
    fn new(
        setting: &'static str,
        rate: u32,
        burst: u32,
        most: usize,
        clock: &Clock,
    ) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(rate)?);
        let quota = quota.allow_burst(NonZeroU32::new(burst)?);
        Some(Self {
            setting,
            clock: clock.clone(),
            limiter: RateLimiter::new(quota, Recent(Cache::new(most)), clock.clone()),
        })
    }

    fn take(&self, key: &K) -> Result<(), Refusal> {
        self.limiter.check_key(key).map_err(|full| Refusal::Rate {
            setting: self.setting,
            wait: full.wait_time_from(self.clock.monotonic()),
        })
    }
}

impl governor::clock::Clock for Clock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.monotonic()
    }
}

/// When each bucket will be full again, of so many as the cache holds.
struct Recent<K>(Cache<K, Nanos>);

impl<K: Clone + Eq + Hash> StateStore for Recent<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let known = self.0.entry(key, None, |_, full_at| {
            let measured = measure(Some(*full_at)).map(|(outcome, later)| {
                *full_at = later;
                outcome
            });
            EntryAction::Retain(measured)
        });
        match known {
            EntryResult::Retained(measured) => measured,
            EntryResult::Vacant(place) => {
                let (outcome, full_at) = measure(None)?;
                // Another may have come between; its count is lost.
                let _ = place.insert(full_at);
                Ok(outcome)
            }
            // Neither removed nor replaced above, and waited for without end.
            _ => measure(None).map(|(outcome, _)| outcome),
        }
    }
}

impl<K: Clone + Eq + Hash> ShrinkableKeyedStateStore<K> for Recent<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.retain(|_, full_at| *full_at > drop_below);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use bugle_protocol::UnixTime;

    use super::*;

    fn clock() -> Clock {
        Clock::manual(UnixTime::from_secs(1_000_000))
    }

    fn wait(refused: Result<(), Refusal>) -> Duration {
        match refused.unwrap_err() {
            Refusal::Rate { wait, .. } => wait,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bucket_has_room_again_when_it_said() {
        let clock = clock();
        let buckets = Buckets::new("a", 2, 3, 10, &clock).unwrap();
        for _ in 0..3 {
            buckets.take(&1).unwrap();
        }
        let wait = wait(buckets.take(&1));
        assert_eq!(wait, Duration::from_millis(500));
        buckets.take(&2).unwrap();
        clock.advance(wait - Duration::from_millis(1));
        assert!(buckets.take(&1).is_err());
        clock.advance(Duration::from_millis(1));
        buckets.take(&1).unwrap();
        assert!(buckets.take(&1).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_swept() {
        let clock = clock();
        let buckets = Buckets::new("a", 1, 5, 100, &clock).unwrap();
        for key in 0..10_000 {
            buckets.take(&key).unwrap();
        }
        assert!((1..=100).contains(&buckets.limiter.len()));
        buckets.limiter.retain_recent();
        assert!(!buckets.limiter.is_empty(), "they are not full yet");
        clock.advance(Duration::from_secs(3));
        buckets.limiter.retain_recent();
        assert!(buckets.limiter.is_empty());
    }

    #[test]
    fn a_rate_of_zero_limits_nothing() {
        let mut limits = crate::Config::default().limits;
        limits.subscription_rate = 0;
        let rates = Rates::new(&limits, &clock());
        for _ in 0..100_000 {
            rates
                .push(None, SubscriptionId::from_bytes([1; 16]))
                .unwrap();
            rates.request([127, 0, 0, 1].into()).unwrap();
        }
    }
}
