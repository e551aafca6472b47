//! Wall-clock time as the protocol counts it. Nothing here reads a clock.

use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::headers::Ttl;

/// Milliseconds since 1970-01-01T00:00:00Z.
///
/// A message's lifetime is kept as the absolute time of its end, so that
/// neither a restart nor a later step of the clock extends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixTime(u64);

impl UnixTime {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long it is from `earlier` to this time; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The time that is `duration` earlier; the epoch when that is before it.
    pub fn before(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl Add<Ttl> for UnixTime {
    type Output = Self;

    fn add(self, ttl: Ttl) -> Self {
        self + Duration::from_secs(u64::from(ttl.as_secs()))
    }
}

impl From<SystemTime> for UnixTime {
    /// A time before 1970 counts as 1970.
    fn from(time: SystemTime) -> Self {
        Self(0) + time.duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

impl From<UnixTime> for SystemTime {
    fn from(time: UnixTime) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}
