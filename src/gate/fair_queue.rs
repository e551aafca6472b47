//! The fair queue of pushes: each sender has a queue of its own, so a sender with many pushes
//! delays only itself.
//!
//! The store writes at most `limits.pushes_at_once` pushes of one sender concurrently; its other
//! pushes wait for a turn.

use std::time::Duration;

use crate::config::Limit;
use crate::gate::Refusal;
use crate::gate::fairness::ShareHolder;
use crate::gate::keyed_semaphore::{KeyedPermit, KeyedSemaphore};

/// How long a push waits for its turn; senders do not wait much longer for a response.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The queue of each sender. A sender without a push uses no memory.
pub struct FairQueue(KeyedSemaphore<ShareHolder>);

/// A push's turn; dropping it ends the turn.
pub type Turn<'t> = KeyedPermit<'t, ShareHolder>;

impl FairQueue {
    /// Gives `at_once` concurrent turns to each sender.
    pub fn new(at_once: usize) -> Self {
        Self(KeyedSemaphore::new(at_once))
    }

    /// Waits for a turn. Cancellation-safe: dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Refusal::Share`] if the turn does not come in time.
    pub async fn take(&self, sender: ShareHolder) -> Result<Turn<'_>, Refusal> {
        let refused = Refusal::Share {
            limit: Limit::PushesAtOnce,
            holder: sender.holder(),
        };
        let turn = self.0.acquire(sender, 1, TURN_TIMEOUT).await;
        turn.ok_or(refused)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::cell::Cell;

    use bugle_protocol::PublicKey;
    use futures_util::stream::FuturesUnordered;
    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::Notify;
    use tokio::task::unconstrained;

    use super::*;
    use crate::config::Holder;

    fn key(of: u8) -> ShareHolder {
        ShareHolder::key(&PublicKey::from_kept(&[of; 65]).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_delays_only_its_own_sender() {
        let turns = FairQueue::new(2);
        let first = turns.take(key(1)).await.unwrap();
        let _second = turns.take(key(1)).await.unwrap();
        drop(turns.take(key(2)).await.unwrap());
        let late = turns.take(key(1)).await.err();
        let (limit, holder) = (Limit::PushesAtOnce, Holder::Key);
        assert_eq!(
            late,
            Some(Refusal::Share { limit, holder }),
            "after a time of waiting"
        );
        drop(first);
        drop(turns.take(key(1)).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_without_pushes_uses_no_memory() {
        let turns = FairQueue::new(1);
        let held = turns.take(key(1)).await.unwrap();
        assert!(turns.take(key(1)).now_or_never().is_none());
        drop(held);
        assert!(turns.0.is_unused());
    }

    /// Simulates a disk that syncs on request: a sync stores the pushes that have their turn.
    /// Returns each push with the number of the sync that stored it.
    async fn served(turns: &FairQueue, queue: &[ShareHolder]) -> Vec<(ShareHolder, usize)> {
        let sync = Notify::new();
        let syncs = Cell::new(0);
        let mut pushes: FuturesUnordered<_> = queue
            .iter()
            .map(|sender| async {
                let _turn = turns.take(sender.clone()).await.unwrap();
                sync.notified().await;
                (sender.clone(), syncs.get())
            })
            .collect();
        let mut served = Vec::new();
        while !pushes.is_empty() {
            // All possible turns are taken; no push is stored before the sync.
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
    async fn one_sender_with_a_hundred_pushes_delays_no_other_sender() {
        let (hog, others) = (key(1), (2..12).map(key).collect::<Vec<_>>());
        let turns = FairQueue::new(4);
        let mut queue = vec![hog.clone(); 100];
        queue.extend(others.clone());
        let served = unconstrained(served(&turns, &queue)).await;
        assert_eq!(served.len(), 110);
        let first: Vec<_> = served.iter().filter(|(_, sync)| *sync == 1).collect();
        assert!(
            others
                .iter()
                .all(|sender| first.contains(&&(sender.clone(), 1)))
        );
        assert_eq!(first.len(), 4 + others.len(), "the hog has its four turns");
        assert_eq!(served.last(), Some(&(hog, 25)), "and waits behind itself");
    }
}
