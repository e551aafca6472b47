//! The periodic sweep: removes expired messages from the disk (RFC 8030 §5.2), ends unused
//! subscriptions, and frees token buckets of [`rates`](crate::gate::rates). Expired messages are
//! never delivered, even before they are removed.

use tokio::time::{MissedTickBehavior, interval};

use super::PushService;
use crate::gate::rates::Rates;

/// Sweeps every `expiry.every`, in steps of `limits.expire_batch`, so that requests wait only for
/// one step. Never returns; it is ended by cancellation.
pub async fn run(service: &PushService, rates: &Rates) {
    let mut ticks = interval(service.config().expiry.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while service.expire().await.is_ok_and(|more| more) {
            tokio::task::yield_now().await;
        }
        // One step per sweep, because ending unused subscriptions is not urgent. A
        // failure of the store is counted and logged there.
        let _ = service.end_unused().await;
        rates.sweep();
    }
}
