//! Rate limits: token buckets for each application server key, subscription and address.
//!
//! Only buckets that are not full are stored: a full one equals a new one, and
//! [`sweep`](Rates::sweep) drops it. At most `limits.rate_buckets` of each kind are stored; beyond
//! that, the least used are evicted early and start full again. An attacker who wants to evict
//! others must send as often as all stored buckets allow.

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
use crate::config::{Limit, Limits};
use crate::gate::Refusal;
use crate::gate::failures::{Checks, Failures};
use crate::time::Clock;

/// The rate limits; a rate of 0 means no limit.
pub struct Rates {
    keys: Option<Buckets<PublicKey>>,
    subscriptions: Option<Buckets<SubscriptionId>>,
    addresses: Option<Buckets<IpAddr>>,
    failures: Option<Failures>,
}

impl Rates {
    /// Applies `limits`, with all buckets full.
    pub fn new(limits: &Limits, clock: &Clock) -> Self {
        let most = limits.rate_buckets;
        Self {
            keys: Buckets::new(
                Limit::KeyRate,
                limits.key_rate,
                limits.key_burst,
                most,
                clock,
            ),
            subscriptions: Buckets::new(
                Limit::SubscriptionRate,
                limits.subscription_rate,
                limits.subscription_burst,
                most,
                clock,
            ),
            addresses: Buckets::new(
                Limit::AddressRate,
                limits.address_rate,
                limits.address_burst,
                most,
                clock,
            ),
            failures: Failures::new(limits, clock),
        }
    }

    /// Counts a request to the public listener, before any other work for it.
    ///
    /// # Errors
    /// [`Refusal::Rate`]
    pub fn request(&self, from: IpAddr) -> Result<(), Refusal> {
        take(self.addresses.as_ref(), || network(from))
    }

    /// Counts a push whose signature is verified, so that nobody can empty the bucket of another
    /// sender's key.
    ///
    /// # Errors
    /// [`Refusal::Rate`]
    pub fn push(&self, key: Option<&PublicKey>, to: SubscriptionId) -> Result<(), Refusal> {
        if let Some(key) = key {
            take(self.keys.as_ref(), || *key)?;
        }
        take(self.subscriptions.as_ref(), || to)
    }

    /// The signature checks of an address.
    pub fn checks(&self, from: IpAddr) -> Checks<'_> {
        Checks::new(self.failures.as_ref(), from)
    }

    /// Drops buckets that are full again.
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

/// The buckets of one rate limit.
struct Buckets<K: Clone + Eq + Hash> {
    limit: Limit,
    clock: Clock,
    limiter: RateLimiter<K, Recent<K>, Clock, NoOpMiddleware<Duration>>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// Returns `None` if `rate` (requests per second) or `burst` is 0.
    fn new(limit: Limit, rate: u32, burst: u32, most: usize, clock: &Clock) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(rate)?);
        let quota = quota.allow_burst(NonZeroU32::new(burst)?);
        Some(Self {
            limit,
            clock: clock.clone(),
            limiter: RateLimiter::new(quota, Recent(Cache::new(most)), clock.clone()),
        })
    }

    fn take(&self, key: &K) -> Result<(), Refusal> {
        self.limiter.check_key(key).map_err(|full| Refusal::Rate {
            limit: self.limit,
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

/// When each bucket is full again, for as many buckets as the cache holds.
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
            EntryResult::Vacant(entry) => {
                let (outcome, full_at) = measure(None)?;
                // Another task may have inserted meanwhile; its request is not counted.
                let _ = entry.insert(full_at);
                Ok(outcome)
            }
            // Unreachable: the closure above retains the entry, and the wait has no timeout.
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
    fn a_bucket_refills_after_the_reported_wait() {
        let clock = clock();
        let buckets = Buckets::new(Limit::KeyRate, 2, 3, 10, &clock).unwrap();
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
    fn stored_buckets_are_bounded_and_full_ones_are_dropped() {
        let clock = clock();
        let buckets = Buckets::new(Limit::KeyRate, 1, 5, 100, &clock).unwrap();
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
