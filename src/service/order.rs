//! Orders the operations on one user agent: an operation that creates it or adds to it completes
//! before a drop, which then finds it, or starts after the drop. It is a fair read-write lock per
//! user agent, of which a drop is the writer.

use std::time::Duration;

use bugle_protocol::Uaid;

use super::Error;
use crate::gate::keyed_semaphore::{KeyedPermit, KeyedSemaphore};

/// The timeout for a turn: longer than the store waits for the disk.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of operations that share a turn.
const SHARES: u32 = 1 << 16;

/// The queue of each user agent with an operation in progress. Other user agents use no memory.
pub(super) struct Order(KeyedSemaphore<Uaid>);

/// A turn, until it is dropped.
pub(super) type Turn<'o> = KeyedPermit<'o, Uaid>;

impl Default for Order {
    fn default() -> Self {
        Self(KeyedSemaphore::new(SHARES as usize))
    }
}

impl Order {
    /// Waits for a shared turn, to connect a user agent or to subscribe one of its channels.
    /// Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if a drop takes longer than 10 s.
    pub(super) async fn share(&self, uaid: Uaid) -> Result<Turn<'_>, Error> {
        self.take(uaid, 1).await
    }

    /// Waits for an exclusive turn, to drop a user agent. Cancellation-safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if another operation takes longer than 10 s.
    pub(super) async fn alone(&self, uaid: Uaid) -> Result<Turn<'_>, Error> {
        self.take(uaid, SHARES).await
    }

    /// Grants turns in the order of the calls: a waiting drop precedes later operations.
    async fn take(&self, uaid: Uaid, shares: u32) -> Result<Turn<'_>, Error> {
        let turn = self.0.acquire(uaid, shares, TURN_TIMEOUT).await;
        turn.ok_or(Error::Unavailable)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const UAID: Uaid = Uaid::from_bytes([1; 16]);

    #[tokio::test(start_paused = true)]
    async fn a_drop_waits_for_earlier_operations_and_precedes_later_ones() {
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
        assert!(order.0.is_unused(), "no user agent takes memory");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_time_out() {
        let order = Order::default();
        let held = order.share(UAID).await.unwrap();
        assert_eq!(order.alone(UAID).await.err(), Some(Error::Unavailable));
        drop(held);
        assert!(order.0.is_unused());
    }
}
