//! Time relative to the start of a run.

use std::ops::Add;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// Microseconds since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment(u64);

impl Moment {
    /// Later than any other moment.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment this many microseconds after the beginning.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the beginning.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Seconds since the beginning.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_micros(self.0).as_secs_f64()
    }

    /// Microseconds from `earlier` to this moment; 0 if `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts a run now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The current moment.
    pub fn now(&self) -> Moment {
        Moment::default() + self.0.elapsed()
    }

    /// The time left until `moment`.
    pub fn until(&self, moment: Moment) -> Duration {
        Duration::from_micros(moment.micros_since(self.now()))
    }
}
