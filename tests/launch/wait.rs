//! Waiting for what other processes do, never longer than a limit.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes live by the real clock"
)]

use std::thread;
use std::time::{Duration, Instant};

/// How long a start or a stop of the service may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Tries until there is a value, for at most `limit`, and blocks the thread
/// meanwhile. `None` when the time is over.
pub fn wait_for<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// The same for a test.
///
/// # Panics
/// When the time is over; the message says `what` was waited for.
pub fn wait_until<T>(what: &str, limit: Duration, attempt: impl FnMut() -> Option<T>) -> T {
    wait_for(limit, attempt).unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}

/// Tries as [`wait_for`] does, and lets other tasks go on between the attempts.
pub async fn until<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let search = async {
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(limit, search).await.ok()
}
