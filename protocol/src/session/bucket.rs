//! How fast a user agent may send: a token bucket.

use std::time::{Duration, Instant};

use super::SessionSettings;

/// Frames and bytes are charged alike: a frame costs one token, and so does
/// each KiB that was read. Fragments, which are not counted one by one, are
/// bytes.
const BYTES_PER_TOKEN: u64 = 1024;

/// For how long at least an empty bucket is left to fill, so that a client at
/// its bound does not cost a wake-up for each of its frames.
const PAUSE: Duration = Duration::from_millis(20);

/// A token bucket, told by the one moment at which it will be full again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) const fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes out what this costs. The bucket may go below empty: what was read
    /// was read.
    pub(super) fn charge(
        &mut self,
        settings: &SessionSettings,
        frames: u64,
        bytes: usize,
        now: Instant,
    ) {
        if settings.frame_rate == 0 {
            return;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let units = frames.saturating_mul(BYTES_PER_TOKEN).saturating_add(bytes);
        let nanos = units.saturating_mul(1_000_000_000 / BYTES_PER_TOKEN);
        let cost = Duration::from_nanos(nanos / u64::from(settings.frame_rate));
        self.full_at = self.full_at.max(now) + cost;
    }

    /// Until when nothing more is to be read; `None` when there is a token.
    pub(super) fn empty_until(&self, settings: &SessionSettings, now: Instant) -> Option<Instant> {
        let capacity = match settings.frame_rate {
            0 => return None,
            rate => Duration::from_secs(settings.frame_burst.into()) / rate,
        };
        let filled_at = self.full_at.checked_sub(capacity)?;
        (filled_at > now).then(|| filled_at + PAUSE.min(capacity / 2))
    }
}
