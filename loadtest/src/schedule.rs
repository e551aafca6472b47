//! Schedules of pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::{Moment, Stopwatch};

/// Minimum sleep of the pacing thread. Pushes that become due during it are sent together;
/// the latency of each still counts from its own time.
const PACE: Duration = Duration::from_micros(250);

/// A push that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number, counted from 0.
    pub number: u64,
    /// The scheduled time.
    pub intended: Moment,
}

/// Hands out due pushes to any number of senders.
#[derive(Debug)]
pub struct Schedule {
    stopwatch: Stopwatch,
    start: Moment,
    rate: Option<f64>,
    count: u64,
    next: AtomicU64,
    /// One permit per due push that no sender has taken.
    due: Semaphore,
}

impl Schedule {
    /// An open loop: `count` pushes at `rate` per second, regardless of the service. Its
    /// thread ends after the last push or when `cancel` is cancelled.
    pub fn paced(
        stopwatch: Stopwatch,
        rate: f64,
        count: u64,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let schedule = Arc::new(Self::new(stopwatch, Some(rate), count));
        let paced = Arc::clone(&schedule);
        thread::spawn(move || paced.pace(rate, &cancel));
        schedule
    }

    /// A closed loop: `count` pushes, each as soon as a sender is free.
    pub fn at_once(stopwatch: Stopwatch, count: u64) -> Arc<Self> {
        Arc::new(Self::new(stopwatch, None, count))
    }

    fn new(stopwatch: Stopwatch, rate: Option<f64>, count: u64) -> Self {
        Self {
            stopwatch,
            start: stopwatch.now(),
            rate,
            count,
            next: AtomicU64::new(0),
            due: Semaphore::new(0),
        }
    }

    /// The total number of pushes.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of pushes not yet handed out.
    pub fn left(&self) -> u64 {
        let given = self.next.load(Ordering::Relaxed);
        self.count.saturating_sub(given)
    }

    /// Waits for the next push; `None` at the end. Cancellation-safe.
    pub async fn next(&self) -> Option<Due> {
        if self.rate.is_some() {
            match self.due.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_closed) => return None,
            }
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count {
            self.due.close();
            return None;
        }
        let intended = match self.rate {
            Some(rate) => self.start + after(number, rate),
            None => self.stopwatch.now(),
        };
        Some(Due { number, intended })
    }

    /// Releases pushes when they are due. Runs on its own thread because the runtime's
    /// timers are too coarse (1 ms).
    fn pace(&self, rate: f64, cancel: &CancellationToken) {
        let mut released = 0;
        while released < self.count && !cancel.is_cancelled() {
            let wait = self.stopwatch.until(self.start + after(released, rate));
            thread::sleep(wait.clamp(PACE, Duration::from_millis(100)));
            while released < self.count && self.is_due(released, rate) {
                self.due.add_permits(1);
                released += 1;
            }
        }
        match cancel.is_cancelled() {
            true => self.due.close(),
            // One extra permit wakes a sender, which then finds the end.
            false => self.due.add_permits(1),
        }
    }

    fn is_due(&self, number: u64, rate: f64) -> bool {
        self.start + after(number, rate) <= self.stopwatch.now()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds need no more than 2^53"
)]
fn after(number: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pushes_are_due_at_their_own_times_until_the_end() {
        let schedule = Schedule::paced(Stopwatch::start(), 1e6, 3, CancellationToken::new());
        let mut last = None;
        for number in 0..3 {
            let due = schedule.next().await;
            assert_eq!(due.map(|due| due.number), Some(number));
            let intended = due.map(|due| due.intended.as_micros());
            assert!(intended > last, "{intended:?} after {last:?}");
            last = intended;
        }
        // Both of two senders see the end.
        assert_eq!(schedule.next().await, None);
        assert_eq!(schedule.next().await, None);
        assert_eq!(schedule.left(), 0);
    }

    #[tokio::test]
    async fn a_closed_loop_has_no_pauses() {
        let schedule = Schedule::at_once(Stopwatch::start(), 2);
        assert_eq!(schedule.next().await.map(|due| due.number), Some(0));
        assert_eq!(schedule.left(), 1);
        assert_eq!(schedule.next().await.map(|due| due.number), Some(1));
        assert_eq!(schedule.next().await, None);
    }
}
