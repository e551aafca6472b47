//! Fair sharing of slots: a pool has a global limit, and each holder has a share of it.
//!
//! A holder may take as many slots as are free (Choudhury and Hahn, "Dynamic queue length
//! thresholds", 1998, the rule of shared-memory switches). A single holder gets half of all slots,
//! two get a third each, and some always stay free for the next one. A holder of few slots meets
//! only the global limit, and the shares need no configuration.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::PublicKey;
use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Holder, Limit};
use crate::gate::Refusal;
use crate::gate::network::network;

/// Whose share a slot counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ShareHolder {
    /// The application server that signed the request.
    Key(Arc<PublicKey>),
    /// The peer that sent it, by its [`network`].
    Address(IpAddr),
}

impl ShareHolder {
    /// The application server with this key.
    pub fn key(key: &PublicKey) -> Self {
        Self::Key(Arc::new(*key))
    }

    /// The peer at this address.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(network(address))
    }

    /// What kind of holder an error names.
    pub const fn holder(&self) -> Holder {
        match self {
            Self::Key(_) => Holder::Key,
            Self::Address(_) => Holder::Address,
        }
    }
}

/// The slots of one limit, and their holders. A holder without a slot uses no memory.
pub struct Pool {
    limit: Limit,
    most: usize,
    slots: Arc<Semaphore>,
    holders: DashMap<ShareHolder, usize>,
}

/// A slot and the shares it counts against. Dropping it frees the slot.
pub struct Slot {
    // Dropped before the permit, so that a free slot is never counted as held.
    _shares: [Option<Share>; 2],
    _permit: OwnedSemaphorePermit,
}

/// One slot in the share of a holder, until it is dropped.
pub struct Share {
    pool: Arc<Pool>,
    owner: ShareHolder,
}

impl Pool {
    /// Creates the pool of `limit` with `most` free slots.
    pub fn new(limit: Limit, most: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            most,
            slots: Arc::new(Semaphore::new(most)),
            holders: DashMap::new(),
        })
    }

    /// Takes a slot that counts against the share of each of `holders`.
    ///
    /// # Errors
    /// [`Refusal::Limit`] if no slot is free, [`Refusal::Share`] if a holder already has as many as
    /// are free. Nothing is taken then.
    pub fn acquire(self: &Arc<Self>, holders: [Option<ShareHolder>; 2]) -> Result<Slot, Refusal> {
        let permit = Arc::clone(&self.slots).try_acquire_owned();
        let permit = permit.map_err(|_| Refusal::Limit(self.limit))?;
        let [one, other] = holders;
        let share = |owner| self.share(owner).map_err(|holder| self.full(holder));
        // If the second share is refused, dropping the first returns it.
        let one = one.map(share).transpose()?;
        let other = other.map(share).transpose()?;
        Ok(Slot {
            _shares: [one, other],
            _permit: permit,
        })
    }

    /// Waits for a slot that counts against no share yet. Never returns `None`: the semaphore is
    /// not closed.
    pub async fn acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Takes a slot that counts against no share yet, if one is free.
    pub fn try_acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Counts a slot that the caller already has against the share of `owner`.
    ///
    /// # Errors
    /// The kind of holder, if it has as many slots as are free. The first slot of a holder is
    /// always admitted.
    pub fn share(self: &Arc<Self>, owner: ShareHolder) -> Result<Share, Holder> {
        self.share_of(owner, self.free())
    }

    /// As [`share`](Self::share), with the limit `most` (at least 1) instead of the number of free
    /// slots.
    ///
    /// # Errors
    /// The kind of holder, if it already has `most`.
    pub fn share_of(self: &Arc<Self>, owner: ShareHolder, most: usize) -> Result<Share, Holder> {
        let mut held = self.holders.entry(owner.clone()).or_default();
        if *held > 0 && *held >= most {
            return Err(owner.holder());
        }
        *held += 1;
        Ok(Share {
            pool: Arc::clone(self),
            owner,
        })
    }

    /// Returns at most `most` holders with the most slots, largest first. It copies a number for
    /// each holder: only operators may call it.
    pub fn largest(&self, most: usize) -> Vec<(ShareHolder, usize)> {
        let held = self.holders.iter();
        let mut held: Vec<_> = held.map(|it| (it.key().clone(), *it.value())).collect();
        held.sort_unstable_by_key(|(_, slots)| Reverse(*slots));
        held.truncate(most);
        held
    }

    /// Number of free slots.
    pub fn free(&self) -> usize {
        self.slots.available_permits()
    }

    /// Number of slots in use.
    pub fn taken(&self) -> usize {
        self.most - self.free()
    }

    /// Number of slots in all.
    pub const fn most(&self) -> usize {
        self.most
    }

    fn full(&self, holder: Holder) -> Refusal {
        let limit = self.limit;
        Refusal::Share { limit, holder }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.holders.remove_if_mut(&self.owner, |_, held| {
            *held -= 1;
            *held == 0
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::iter;

    use super::*;

    fn key(of: u8) -> ShareHolder {
        ShareHolder::key(&PublicKey::from_kept(&[of; 65]).unwrap())
    }

    fn peer(last: u8) -> ShareHolder {
        ShareHolder::address([192, 0, 2, last].into())
    }

    fn fill(pool: &Arc<Pool>, holders: [Option<ShareHolder>; 2]) -> Vec<Slot> {
        iter::from_fn(|| pool.acquire(holders.clone()).ok()).collect()
    }

    #[test]
    fn one_holder_gets_half_of_the_slots_and_two_leave_some_free() {
        let pool = Pool::new(Limit::Requests, 120);
        let hog = fill(&pool, [Some(key(1)), None]);
        assert_eq!(hog.len(), 60);
        let other = fill(&pool, [Some(key(2)), None]);
        assert_eq!(other.len(), 30, "at once; more as the first goes");
        drop(hog);
        assert_eq!(pool.taken(), 30);
        drop(other);
        assert_eq!(pool.taken(), 0);
        assert!(pool.holders.is_empty());
    }

    #[test]
    fn many_keys_of_one_address_have_one_share() {
        let pool = Pool::new(Limit::Requests, 120);
        let held: Vec<_> = (0..120)
            .map_while(|of| pool.acquire([Some(key(of)), Some(peer(1))]).ok())
            .collect();
        assert_eq!(held.len(), 60);
        let refused = pool.acquire([Some(key(200)), Some(peer(1))]).err().unwrap();
        let (limit, holder) = (Limit::Requests, Holder::Address);
        assert_eq!(refused, Refusal::Share { limit, holder });
        assert_eq!(pool.taken(), 60, "a refusal holds nothing");
        assert!(!pool.holders.contains_key(&key(200)));
        pool.acquire([Some(key(200)), Some(peer(2))]).unwrap();
    }

    #[test]
    fn the_largest_holders_come_first() {
        let pool = Pool::new(Limit::Connections, 100);
        let slots = [1, 2, 2, 3, 2, 3].map(|of| pool.acquire([Some(peer(of)), None]).unwrap());
        assert_eq!(pool.largest(2), [(peer(2), 3), (peer(3), 2)]);
        assert_eq!(pool.largest(9).len(), 3);
        drop(slots);
        assert!(pool.largest(9).is_empty());
    }

    #[test]
    fn the_last_slot_is_for_a_holder_without_one() {
        let pool = Pool::new(Limit::UserAgents, 2);
        let _one = pool.acquire([Some(peer(1)), None]).unwrap();
        let two = pool.acquire([Some(peer(2)), None]).unwrap();
        let refused = pool.acquire([Some(peer(3)), None]).err().unwrap();
        assert_eq!(refused, Refusal::Limit(Limit::UserAgents));
        drop(two);
        pool.acquire([Some(peer(3)), None]).unwrap();
    }

    #[test]
    fn customers_of_one_network_have_one_share() {
        let pool = Pool::new(Limit::Connections, 8);
        let at = |address: &str| ShareHolder::address(address.parse().unwrap());
        let one = pool.share_of(at("2001:db8::1"), 1).ok();
        assert!(one.is_some());
        assert_eq!(
            pool.share_of(at("2001:db8::2"), 1).err(),
            Some(Holder::Address)
        );
        assert!(pool.share_of(at("2001:db8:0:1::1"), 1).is_ok());
    }
}
