//! The order of what is done with one user agent: whatever makes it or adds to
//! it comes before a drop, which finds that, or after it.

use std::sync::Arc;
use std::time::Duration;

use bugle_protocol::Uaid;
use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Error;

/// How long a turn is waited for: longer than the store waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many share a turn.
const SHARES: u32 = 1 << 16;

/// The queue of each user agent with which something is done now. Others take no
/// memory.
#[derive(Default)]
pub(super) struct Order {
    queues: DashMap<Uaid, Queue>,
}

struct Queue {
    /// Those that wait or have their turn.
    users: usize,
    turns: Arc<Semaphore>,
}

/// A turn, until it is dropped.
pub(super) struct Turn<'o> {
    _permit: OwnedSemaphorePermit,
    _queued: Queued<'o>,
}

/// One in the queue of a user agent.
struct Queued<'o> {
    order: &'o Order,
    uaid: Uaid,
}

impl Order {
    /// Waits for a turn to connect a user agent or to subscribe one of its
    /// channels. Several have it at one time. Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when a drop is not done in time.
    pub(super) async fn share(&self, uaid: Uaid) -> Result<Turn<'_>, Error> {
        self.take(uaid, 1).await
    }

    /// Waits for the turn to drop a user agent, which nobody else has at the same
    /// time. Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when a register is not done in time.
    pub(super) async fn alone(&self, uaid: Uaid) -> Result<Turn<'_>, Error> {
        self.take(uaid, SHARES).await
    }

    /// In the order of the calls: a drop that waits goes before who comes later.
    async fn take(&self, uaid: Uaid, shares: u32) -> Result<Turn<'_>, Error> {
        let (turns, queued) = self.queue(uaid);
        match timeout(PATIENCE, turns.acquire_many_owned(shares)).await {
            Ok(Ok(permit)) => Ok(Turn {
                _permit: permit,
                _queued: queued,
            }),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable),
        }
    }

    fn queue(&self, uaid: Uaid) -> (Arc<Semaphore>, Queued<'_>) {
        let turns = {
            let mut queue = self.queues.entry(uaid).or_insert_with(|| Queue {
                users: 0,
                turns: Arc::new(Semaphore::new(SHARES as usize)),
            });
            queue.users += 1;
            Arc::clone(&queue.turns)
        };
        (turns, Queued { order: self, uaid })
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.order.queues.remove_if_mut(&self.uaid, |_, queue| {
            queue.users -= 1;
            queue.users == 0
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const UAID: Uaid = Uaid::from_bytes([1; 16]);

    #[tokio::test(start_paused = true)]
    async fn a_drop_waits_for_what_has_begun_and_goes_before_what_comes_later() {
        let order = Order::default();
        let first = order.share(UAID).await.unwrap();
        let second = order.share(UAID).await.unwrap();
        let mut alone = Box::pin(order.alone(UAID));
        assert!((&mut alone).now_or_never().is_none());
        let mut later = Box::pin(order.share(UAID));
        assert!((&mut later).now_or_never().is_none());
        drop(order.alone(Uaid::from_bytes([2; 16])).await.unwrap());
        drop(first);
        assert!((&mut alone).now_or_never().is_none());
        drop(second);
        let turn = alone.await.unwrap();
        assert!((&mut later).now_or_never().is_none());
        drop(turn);
        drop(later.await.unwrap());
        assert!(order.queues.is_empty(), "no user agent takes memory");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let order = Order::default();
        let held = order.share(UAID).await.unwrap();
        assert_eq!(order.alone(UAID).await.err(), Some(Error::Unavailable));
        drop(held);
        assert!(order.queues.is_empty());
    }
}
