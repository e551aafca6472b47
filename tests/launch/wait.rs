//! Waiting for other processes, with a limit.

#![expect(
    clippy::disallowed_methods,
    reason = "other processes live by the real clock"
)]

use std::thread;
use std::time::{Duration, Instant};

/// Timeout of a start or stop of the service.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Repeats `attempt` until it returns a value, at most for `limit`, and blocks the thread.
/// `None` after the limit.
pub fn wait_for<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Like [`wait_for`], for tests.
///
/// # Panics
/// After the limit, with a message that contains `what`.
pub fn wait_until<T>(what: &str, limit: Duration, attempt: impl FnMut() -> Option<T>) -> T {
    wait_for(limit, attempt).unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}

/// Like [`wait_for`], without blocking the thread.
pub async fn until<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let search = async {
        loop {
            if let Some(value) = attempt() {
                return value;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(limit, search).await.ok()
}
