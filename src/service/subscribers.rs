//! Counts the subscriptions of each address, so that none uses all of `limits.subscriptions`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::Limit;
use crate::gate::network::network;
use crate::store::headroom::Headroom;
use crate::store::{Full, Scope};

/// The maximum number of networks counted. Beyond it, the small ones are forgotten: only large ones
/// are ever refused.
const MAX_NETWORKS: usize = 65_536;

/// The number of subscriptions that each [`network`] has made since the start, minus those ended
/// from there.
///
/// A subscription does not store the address that made it: there may be millions. So one that ends
/// by itself still counts, and an address that ends the subscriptions of another lowers its own
/// count. Either way, the sum of the counts is never less than the number of subscriptions that
/// were made since the start and still exist.
pub(super) struct Subscribers {
    made: Mutex<HashMap<IpAddr, u64>>,
    bound: u64,
}

impl Subscribers {
    /// Creates empty counts for at most `bound` subscriptions in all.
    pub(super) fn new(bound: u64) -> Self {
        Self {
            made: Mutex::default(),
            bound,
        }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<IpAddr, u64>> {
        // No panic can leave the counts inconsistent.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more subscription from an address, while all addresses have `used`.
    ///
    /// # Errors
    /// `Full` if the address has made more than are left. The store enforces the limit itself.
    pub(super) fn admit(&self, address: IpAddr, used: u64) -> Result<(), Full> {
        let network = network(address);
        let mut made = self.made();
        let held = made.get(&network).copied().unwrap_or(0);
        let headroom = Headroom::after(self.bound, used, 1, 0);
        if headroom.is_some_and(|headroom| !headroom.admits(held)) {
            return Err(Full {
                limit: Limit::Subscriptions,
                scope: Scope::Address,
                until: None,
            });
        }
        if held == 0 && made.len() >= MAX_NETWORKS {
            forget_small(&mut made);
        }
        *made.entry(network).or_default() += 1;
        Ok(())
    }

    /// Counts one subscription less: it was not made after all, or was ended from the address.
    pub(super) fn give_back(&self, address: IpAddr) {
        let (network, mut made) = (network(address), self.made());
        if let Some(held) = made.get_mut(&network) {
            *held -= 1;
            if *held == 0 {
                made.remove(&network);
            }
        }
    }
}

/// Keeps the networks above the average.
fn forget_small(made: &mut HashMap<IpAddr, u64>) {
    let average = made.values().sum::<u64>() / made.len().max(1) as u64;
    made.retain(|_, held| *held > average);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn fill(subscribers: &Subscribers, address: IpAddr, used: &mut u64) -> u64 {
        let before = *used;
        while subscribers.admit(address, *used).is_ok() && *used < subscribers.bound {
            *used += 1;
        }
        *used - before
    }

    #[test]
    fn one_address_leaves_a_share_for_the_subscriptions_of_others() {
        let subscribers = Subscribers::new(100);
        let (one, same): (IpAddr, IpAddr) = (
            Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 1).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 2).into(),
        );
        let mut used = 0;
        assert_eq!(fill(&subscribers, one, &mut used), 50);
        assert_eq!(fill(&subscribers, same, &mut used), 0);
        assert_eq!(fill(&subscribers, [192, 0, 2, 1].into(), &mut used), 25);
        for _ in 0..10 {
            subscribers.give_back(same);
            used -= 1;
        }
        // The first network still has 40, more than are left.
        assert_eq!(fill(&subscribers, one, &mut used), 0);
        assert_eq!(fill(&subscribers, [192, 0, 2, 2].into(), &mut used), 18);
    }

    #[test]
    fn many_addresses_take_a_bounded_memory_and_large_ones_stay_counted() {
        let subscribers = Subscribers::new(1_000_000);
        let large = IpAddr::from([192, 0, 2, 1]);
        for used in 0..100 {
            assert_eq!(subscribers.admit(large, used), Ok(()));
        }
        for n in 0..200_000_u32 {
            let address = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            assert_eq!(subscribers.admit(address, 100), Ok(()));
        }
        assert!(subscribers.made().len() <= MAX_NETWORKS);
        assert_eq!(subscribers.made().get(&large), Some(&100));
        subscribers.give_back([203, 0, 113, 1].into());
    }
}
