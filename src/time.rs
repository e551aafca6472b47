//! The one place that reads the clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bugle_protocol::UnixTime;

/// The time: the system's, or one that a test moves by hand.
///
/// Timers (time-outs, intervals) are tokio's and do not follow a manual clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<Manual>>,
}

/// Both in milliseconds since the epoch.
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

    /// A clock that stands at `start` until it is moved.
    pub fn manual(start: UnixTime) -> Self {
        let start = || AtomicU64::new(start.as_millis());
        Self {
            manual: Some(Arc::new(Manual {
                wall: start(),
                elapsed: start(),
            })),
        }
    }

    /// What the wall clock shows. It jumps when somebody sets it.
    pub fn now(&self) -> UnixTime {
        match &self.manual {
            Some(manual) => UnixTime::from_millis(manual.wall.load(Ordering::SeqCst)),
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            None => SystemTime::now().into(),
        }
    }

    /// The time since some moment, the same for all; it never goes back, not
    /// even when somebody sets the wall clock, and goes on while the machine
    /// sleeps.
    pub fn monotonic(&self) -> Duration {
        match &self.manual {
            Some(manual) => Duration::from_millis(manual.elapsed.load(Ordering::SeqCst)),
            None => system_monotonic(),
        }
    }

    /// Moves a manual clock forward, for all its clones; the system's stays.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            manual.wall.fetch_add(by, Ordering::SeqCst);
            manual.elapsed.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock, as a time service does; no time
    /// passes by it.
    pub fn set(&self, time: UnixTime) {
        if let Some(manual) = &self.manual {
            manual.wall.store(time.as_millis(), Ordering::SeqCst);
        }
    }
}

/// Unlike `Instant`, `CLOCK_BOOTTIME` counts the time of a suspended machine.
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
