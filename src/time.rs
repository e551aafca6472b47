//! The one place that reads the clocks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use bugle_protocol::UnixTime;

/// The time: the system's, or one that a test moves by hand.
///
/// Timers (time-outs, intervals) are tokio's and do not follow a manual clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `start` until it is moved.
    pub fn manual(start: UnixTime) -> Self {
        Self {
            manual: Some(Arc::new(AtomicU64::new(start.as_millis()))),
        }
    }

    /// The time.
    pub fn now(&self) -> UnixTime {
        match &self.manual {
            Some(millis) => UnixTime::from_millis(millis.load(Ordering::SeqCst)),
            #[expect(clippy::disallowed_methods, reason = "this is the one place")]
            None => SystemTime::now().into(),
        }
    }

    /// The time since some moment, the same for all; it never goes back, not
    /// even when somebody sets the wall clock.
    pub fn monotonic(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        match &self.manual {
            Some(millis) => Duration::from_millis(millis.load(Ordering::SeqCst)),
            None => BEGIN.elapsed(),
        }
    }

    /// Moves a manual clock forward, for all its clones; the system's stays.
    pub fn advance(&self, by: Duration) {
        if let Some(millis) = &self.manual {
            let later = (self.now() + by).as_millis();
            millis.store(later, Ordering::SeqCst);
        }
    }
}
