//! The rate limit of received frames: a token bucket.

use std::time::{Duration, Instant};

use super::SessionSettings;

/// Frames and bytes share one bucket: a frame costs one token, and so does each KiB read. Fragments
/// are not counted as frames, only as bytes.
const BYTES_PER_TOKEN: u64 = 1024;

/// Minimum pause of an empty bucket, so that a client at its limit does not cause a wake-up per
/// frame.
const PAUSE: Duration = Duration::from_millis(20);

/// A token bucket, represented by the time at which it is full again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// Creates a full bucket.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes the cost of frames and bytes. The bucket may become overdrawn, because they are
    /// already read.
    pub(crate) fn charge(
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

    /// Until when reading must pause; `None` if there is a token.
    pub(crate) fn empty_until(&self, settings: &SessionSettings, now: Instant) -> Option<Instant> {
        let capacity = match settings.frame_rate {
            0 => return None,
            rate => Duration::from_secs(settings.frame_burst.into()) / rate,
        };
        let filled_at = self.full_at.checked_sub(capacity)?;
        (filled_at > now).then(|| filled_at + PAUSE.min(capacity / 2))
    }
}
