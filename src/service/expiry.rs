//! The sweep that takes expired messages off the disk (RFC 8030 §5.2). They
//! are never delivered anyway; this gives their space back. So it does for the
//! buckets of [`rates`](crate::gate::rates). Subscriptions that nobody uses end here
//! too.

use tokio::time::{MissedTickBehavior, interval};

use super::PushService;
use crate::gate::rates::Rates;

/// Sweeps every `expiry.every`, in steps of `limits.expire_batch` so that
/// nobody waits long, until it is cancelled.
pub async fn run(service: &PushService, rates: &Rates) {
    let mut ticks = interval(service.config().expiry.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        while service.expire().await.is_ok_and(|more| more) {
            tokio::task::yield_now().await;
        }
        // One step each time: nobody waits for the end of what is unused. A
        // failure of the store is counted and logged there.
        let _ = service.end_unused().await;
        rates.sweep();
    }
}
