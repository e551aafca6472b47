//! The only place that reads clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bugle_protocol::UnixTime;

/// The time: the system's, or one that a test sets.
///
/// Tokio's timers (timeouts, intervals) do not follow a manual clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<Manual>>,
}

/// Both in milliseconds since the Unix epoch.
#[derive(Debug)]
struct Manual {
    wall: AtomicU64,
    elapsed: AtomicU64,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `start` until a test moves it.
    pub fn manual(start: UnixTime) -> Self {
        let start = || AtomicU64::new(start.as_millis());
        Self {
            manual: Some(Arc::new(Manual {
                wall: start(),
                elapsed: start(),
            })),
        }
    }

    /// The wall clock time. It jumps when the system clock is set.
    pub fn now(&self) -> UnixTime {
        match &self.manual {
            Some(manual) => UnixTime::from_millis(manual.wall.load(Ordering::SeqCst)),
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            None => SystemTime::now().into(),
        }
    }

    /// The time since a fixed but arbitrary moment. It never goes back, even if the wall clock is
    /// set, and it includes the time the machine is suspended.
    pub fn monotonic(&self) -> Duration {
        match &self.manual {
            Some(manual) => Duration::from_millis(manual.elapsed.load(Ordering::SeqCst)),
            None => system_monotonic(),
        }
    }

    /// Moves a manual clock and all its clones forward; has no effect on the system clock.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            manual.wall.fetch_add(by, Ordering::SeqCst);
            manual.elapsed.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock, as NTP does; the monotonic time stays.
    pub fn set(&self, time: UnixTime) {
        if let Some(manual) = &self.manual {
            manual.wall.store(time.as_millis(), Ordering::SeqCst);
        }
    }
}

/// Unlike `Instant`, `CLOCK_BOOTTIME` includes the time the machine is suspended.
#[cfg(target_os = "linux")]
fn system_monotonic() -> Duration {
    use rustix::time::{ClockId, clock_gettime};

    // It is never negative.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn system_monotonic() -> Duration {
    use std::sync::LazyLock;
    use std::time::Instant;

    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGIN.elapsed()
}
