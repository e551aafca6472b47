//! What one sender may hold at a time, so that nobody waits for one who sends
//! much.
//!
//! A sender may have as many requests in progress as places are free (the rule
//! of switches that share their buffer: Choudhury and Hahn, "Dynamic queue
//! length thresholds", 1998). One alone gets half of all places, two a third
//! each, and some are always free for who comes next. Of its requests, so many
//! are stored at one time as `limits.pushes_at_once` says, and the others wait
//! their turn: its queue is its own. Whoever does not send much meets neither
//! bound, and there is nothing to configure for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::PublicKey;
use dashmap::DashMap;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::addresses::network;
use crate::error::Error;
use crate::limits::Limit;

/// For how long a request waits its turn. Senders wait for an answer not much
/// longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose share a push counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The application server that has signed it.
    Key([u8; 65]),
    /// Nobody has signed it: the peer it came from.
    Peer(IpAddr),
}

impl Who {
    /// The sender of a push that came from `address`.
    pub fn new(key: Option<&PublicKey>, address: IpAddr) -> Self {
        match key {
            Some(key) => Self::Key(*key.as_bytes()),
            None => Self::Peer(network(address)),
        }
    }
}

/// What each sender holds. Those who hold nothing take no memory.
pub struct Shares {
    holders: DashMap<Who, Holder>,
    at_once: usize,
}

struct Holder {
    requests: usize,
    turns: Arc<Semaphore>,
}

/// A place of a request in progress among those of its sender.
pub struct Share<'s> {
    shares: &'s Shares,
    who: Who,
    turns: Arc<Semaphore>,
}

impl Shares {
    /// Nobody holds anything; of one sender, `at_once` requests have their turn
    /// at a time.
    pub fn new(at_once: usize) -> Self {
        Self {
            holders: DashMap::new(),
            at_once,
        }
    }

    /// One more request of a sender, of which `free` more can be in progress.
    ///
    /// # Errors
    /// [`Error::Share`] when the sender holds as many already.
    pub fn enter(&self, who: Who, free: usize) -> Result<Share<'_>, Error> {
        let turns = {
            let mut holder = self.holders.entry(who).or_insert_with(|| Holder {
                requests: 0,
                turns: Arc::new(Semaphore::new(self.at_once)),
            });
            // The first is always let in: it has a place already.
            if holder.requests > 0 && holder.requests >= free {
                return Err(Error::Share(Limit::Requests));
            }
            holder.requests += 1;
            Arc::clone(&holder.turns)
        };
        Ok(Share {
            shares: self,
            who,
            turns,
        })
    }
}

impl Share<'_> {
    /// Waits for a turn, which lasts until what is returned is dropped.
    ///
    /// # Errors
    /// [`Error::Share`] when it does not come in time.
    pub async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        match timeout(PATIENCE, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Error::Share(Limit::PushesAtOnce)),
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let holders = &self.shares.holders;
        holders.remove_if_mut(&self.who, |_, holder| {
            holder.requests -= 1;
            holder.requests == 0
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::cell::Cell;

    use futures_util::stream::FuturesUnordered;
    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::Notify;
    use tokio::task::unconstrained;

    use super::*;

    const HOG: Who = Who::Key([1; 65]);
    const OTHER: Who = Who::Key([2; 65]);

    /// As many shares as are given to a sender, of so many places.
    fn fill(shares: &Shares, who: Who, places: usize, taken: usize) -> Vec<Share<'_>> {
        let mut held = Vec::new();
        while let Ok(share) = shares.enter(who, (places - taken).saturating_sub(held.len() + 1)) {
            held.push(share);
        }
        held
    }

    #[test]
    fn one_gets_half_two_a_third_each_and_some_stay_free() {
        let shares = Shares::new(1);
        let hog = fill(&shares, HOG, 120, 0);
        assert_eq!(hog.len(), 60);
        let other = fill(&shares, OTHER, 120, 60);
        assert_eq!(other.len(), 30, "at once; more as the first goes");
        drop(hog);
        assert!(shares.enter(HOG, 0).is_ok(), "a first one is never refused");
        drop(other);
        assert!(shares.holders.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_its_own() {
        let shares = Shares::new(2);
        let hog: Vec<_> = (0..3).map(|_| shares.enter(HOG, 100).unwrap()).collect();
        let first = hog[0].turn().await.unwrap();
        let _second = hog[1].turn().await.unwrap();
        let other = shares.enter(OTHER, 100).unwrap();
        drop(other.turn().await.unwrap());
        assert_eq!(
            hog[2].turn().await.unwrap_err(),
            Error::Share(Limit::PushesAtOnce),
            "after a time of waiting"
        );
        drop(first);
        drop(hog[2].turn().await.unwrap());
    }

    /// A disk that syncs when it is told: whoever has a turn then is served.
    /// Says in which sync each was served.
    async fn served(shares: &Shares, queue: &[Who]) -> Vec<(Who, usize)> {
        let sync = Notify::new();
        let syncs = Cell::new(0);
        let mut pushes: FuturesUnordered<_> = queue
            .iter()
            .map(|who| async {
                let share = shares.enter(*who, usize::MAX).unwrap();
                let _turn = share.turn().await.unwrap();
                sync.notified().await;
                (*who, syncs.get())
            })
            .collect();
        let mut served = Vec::new();
        while !pushes.is_empty() {
            // All who can have a turn take it, and none is served yet.
            assert!(pushes.next().now_or_never().is_none());
            syncs.set(syncs.get() + 1);
            sync.notify_waiters();
            while let Some(Some(push)) = pushes.next().now_or_never() {
                served.push(push);
            }
        }
        served
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_times_the_share_delays_nobody_else() {
        let others: Vec<_> = (2..12).map(|key| Who::Key([key; 65])).collect();
        let shares = Shares::new(4);
        let mut queue = vec![HOG; 100];
        queue.extend(&others);
        let served = unconstrained(served(&shares, &queue)).await;
        assert_eq!(served.len(), 110);
        let first: Vec<_> = served.iter().filter(|(_, sync)| *sync == 1).collect();
        assert!(others.iter().all(|who| first.contains(&&(*who, 1))));
        assert_eq!(first.len(), 4 + others.len(), "the hog has its four turns");
        assert_eq!(served.last(), Some(&(HOG, 25)), "and waits behind itself");
    }
}
