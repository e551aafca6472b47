//! Service time, which determines lifetimes: it advances with elapsed time, independent of changes
//! to the wall clock (docs/decisions/0008-time.md).
//!
//! A file keeps its offset from the wall clock, so that stored messages keep their lifetimes over a
//! restart.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bugle_protocol::UnixTime;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::PushService;
use crate::secrets;
use crate::time::Clock;

/// The minimum change of the wall clock against elapsed time that is reported as a step. Time
/// services make smaller ones all day.
pub const STEP: Duration = Duration::from_secs(5);

/// Smaller differences are ignored: they come from reading two clocks one after the other.
const NOISE: Duration = Duration::from_millis(50);

/// The minimum change of the offset that is written to the file.
const MIN_OFFSET_CHANGE: Duration = Duration::from_secs(1);

/// The interval at which the wall clock is compared with elapsed time.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum age of the file, so that the next start can detect a wall clock that is behind.
const WRITE_INTERVAL: Duration = Duration::from_secs(3600);

/// The name of the file in the data folder.
pub const FILE: &str = "clock.json";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// It exists and cannot be read.
    #[error("the clock file {}: {}", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// It is not the JSON of [`ClockFile`].
    #[error(
        "the clock file {}: {}; restore it from a copy, or remove it (if the wall clock was ever \
         set while the service ran, messages then expire earlier or later by as much)",
        .0.display(), .1
    )]
    Text(PathBuf, serde_json::Error),
}

/// The contents of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockFile {
    /// Service time minus wall clock, in milliseconds.
    pub offset_ms: i64,
    /// The service time when this was written.
    pub reached: UnixTime,
    /// The last step of the wall clock.
    pub step: Option<Step>,
}

/// A change of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The wall clock after the change.
    pub at: UnixTime,
    /// The change in milliseconds, negative if it was set back.
    pub by_ms: i64,
}

/// Service time, and the wall clock beside it.
pub struct ServiceClock {
    clock: Clock,
    file: PathBuf,
    /// Service time at the start, and the monotonic clock then.
    began: (UnixTime, Duration),
    state: Mutex<State>,
}

struct State {
    /// The offset at the last comparison.
    offset_ms: i64,
    step: Option<Step>,
    /// The contents of the file; `None` if it has not been written yet.
    written: Option<ClockFile>,
    /// Whether the last write failed, which has been logged.
    is_failing: bool,
}

impl ClockFile {
    /// Reads the file in the data folder. Returns `None` if there is none, because the service has
    /// not run there yet.
    ///
    /// # Errors
    /// If it cannot be read, or is invalid.
    pub fn read(file: &Path) -> Result<Option<Self>, ClockError> {
        match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| ClockError::Text(file.to_owned(), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ClockError::File(file.to_owned(), error)),
        }
    }
}

impl ServiceClock {
    /// Continues service time from the file: with the same offset from the wall clock, but not
    /// before the last service time in the file.
    ///
    /// # Errors
    /// If the file exists and cannot be used.
    pub fn open(clock: Clock, file: PathBuf) -> Result<Self, ClockError> {
        let written = ClockFile::read(&file)?;
        let (wall, elapsed) = (clock.now(), clock.monotonic());
        let expected = wall.moved(written.map_or(0, |written| written.offset_ms));
        let reached = written.map_or(expected, |written| written.reached);
        if reached.since(expected) >= STEP {
            tracing::warn!(
                "the clock of this machine shows {wall}, which is before this service last ran: \
                 right VAPID tokens are refused until it is set (timedatectl set-ntp true); \
                 messages keep their lifetimes"
            );
        }
        let now = expected.max(reached);
        Ok(Self {
            clock,
            file,
            began: (now, elapsed),
            state: Mutex::new(State {
                offset_ms: difference(now, wall),
                step: written.and_then(|written| written.step),
                written,
                is_failing: false,
            }),
        })
    }

    /// Service time. It advances with elapsed time alone.
    pub fn now(&self) -> UnixTime {
        let (time, elapsed) = self.began;
        time + self.clock.monotonic().saturating_sub(elapsed)
    }

    /// The wall clock: the time of tokens, certificates and logs.
    pub fn wall(&self) -> UnixTime {
        self.clock.now()
    }

    /// Converts a service time to the wall clock by the last known offset, for people to read.
    pub fn wall_at(&self, time: UnixTime) -> UnixTime {
        time.moved(-self.state().offset_ms)
    }

    /// The system clocks.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Compares the wall clock with elapsed time. Returns its change since the last call, if it is
    /// at least a [`STEP`].
    fn compare(&self) -> Option<Step> {
        let (wall, now) = (self.wall(), self.now());
        let offset_ms = difference(now, wall);
        let mut state = self.state();
        let by_ms = state.offset_ms.saturating_sub(offset_ms);
        if u128::from(by_ms.unsigned_abs()) < NOISE.as_millis() {
            return None;
        }
        state.offset_ms = offset_ms;
        if u128::from(by_ms.unsigned_abs()) < STEP.as_millis() {
            return None;
        }
        let step = Step { at: wall, by_ms };
        state.step = Some(step);
        Some(step)
    }

    /// The new contents of the file, if the old ones are wrong or outdated.
    fn due(&self) -> Option<ClockFile> {
        let contents = self.contents();
        let is_due = |before: ClockFile| contents.replaces(&before);
        self.state().written.is_none_or(is_due).then_some(contents)
    }

    fn contents(&self) -> ClockFile {
        let state = self.state();
        ClockFile {
            offset_ms: state.offset_ms,
            reached: self.now(),
            step: state.step,
        }
    }

    /// Writes the file. Blocks on the disk. A failure is logged once, and the write stays due.
    fn write(&self, contents: ClockFile) {
        let text = serde_json::to_string(&contents).map_err(io::Error::from);
        let written = text.and_then(|text| secrets::replace_private(&self.file, &text));
        let mut state = self.state();
        match written {
            Ok(()) => (state.written, state.is_failing) = (Some(contents), false),
            Err(error) => {
                if !state.is_failing {
                    let file = self.file.display();
                    tracing::error!(%file, %error, "the offset of the clock could not be kept");
                }
                state.is_failing = true;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No panic can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClockFile {
    /// Whether this differs enough from `before` to be written.
    fn replaces(&self, before: &Self) -> bool {
        let moved = u128::from(self.offset_ms.abs_diff(before.offset_ms));
        self.step != before.step
            || moved >= MIN_OFFSET_CHANGE.as_millis()
            || self.reached.since(before.reached) >= WRITE_INTERVAL
    }
}

/// `time` minus `from`, in milliseconds.
fn difference(time: UnixTime, from: UnixTime) -> i64 {
    let millis = |time: UnixTime| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    millis(time) - millis(from)
}

/// Checks every second whether the wall clock was changed. Logs, counts and stores each step. Never
/// returns; it is ended by cancellation.
pub async fn run(service: &PushService) {
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(step) = service.time().compare() {
            service.metrics().clock_steps.inc();
            tracing::warn!(
                by_ms = step.by_ms,
                now = %step.at,
                "the wall clock was set: VAPID tokens are judged by the new time, messages keep \
                 their lifetimes"
            );
        }
        if let Some(contents) = service.time().due() {
            write(service, contents).await;
        }
    }
}

/// Writes the offset and the current service time to the file, at the end of the service.
pub async fn keep_at_end(service: &PushService) {
    let time = service.time();
    time.compare();
    write(service, time.contents()).await;
}

async fn write(service: &PushService, contents: ClockFile) {
    let time = Arc::clone(&service.time);
    // If it panics, the write stays due.
    let _ = spawn_blocking(move || time.write(contents)).await;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const START: UnixTime = UnixTime::from_secs(1_767_225_600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn open(clock: &Clock, folder: &Path) -> ServiceClock {
        ServiceClock::open(clock.clone(), folder.join(FILE)).unwrap()
    }

    #[test]
    fn a_step_is_seen_once_and_lifetimes_do_not_follow_it() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let time = open(&clock, folder.path());
        for (by, by_ms) in [(2 * DAY, 172_800_000), (STEP, 5000)] {
            let before = time.now();
            clock.set(clock.now() + by);
            let step = Step {
                at: clock.now(),
                by_ms,
            };
            assert_eq!((time.compare(), time.compare()), (Some(step), None));
            assert_eq!(time.now(), before);
            clock.advance(MINUTE);
            assert_eq!((time.compare(), time.now()), (None, before + MINUTE));
        }
        clock.set(START);
        assert!(time.compare().unwrap().by_ms < 0);
        assert_eq!(time.now(), START + MINUTE + MINUTE);
        assert_eq!(time.wall_at(time.now()), START);
    }

    #[test]
    fn small_changes_are_no_steps() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let time = open(&clock, folder.path());
        clock.set(START + Duration::from_secs(4));
        assert_eq!(time.compare(), None);
        clock.set(START + Duration::from_secs(8));
        assert_eq!((time.compare(), time.now()), (None, START));
    }

    #[test]
    fn the_offset_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let time = open(&clock, folder.path());
        clock.set(START + 2 * DAY);
        time.compare();
        time.write(time.due().unwrap());
        clock.advance(MINUTE);
        let again = open(&clock, folder.path());
        assert_eq!(again.now(), START + MINUTE);
        // The time while the service was stopped counts.
        assert_eq!(
            (again.compare(), again.wall()),
            (None, START + 2 * DAY + MINUTE)
        );
    }

    #[test]
    fn time_never_goes_back_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let time = open(&clock, folder.path());
        time.write(time.contents());
        // Without a battery, the clock of the machine restarts two days back.
        let clock = Clock::manual(UnixTime::from_secs(START.as_secs() - 2 * DAY.as_secs()));
        let time = open(&clock, folder.path());
        assert_eq!(time.now(), START);
        clock.set(START + MINUTE);
        assert_eq!(time.compare().map(|step| step.by_ms), Some(172_860_000));
        assert_eq!(time.now(), START);
    }

    #[test]
    fn the_file_is_written_when_its_contents_change() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, file) = (Clock::manual(START), folder.path().join(FILE));
        let time = open(&clock, folder.path());
        let first = time.due().unwrap();
        time.write(first);
        assert_eq!(ClockFile::read(&file).unwrap(), Some(first));
        clock.advance(MINUTE);
        assert_eq!(time.due(), None);
        clock.advance(WRITE_INTERVAL);
        let reached = time.due().unwrap().reached;
        assert_eq!(reached, START + MINUTE + WRITE_INTERVAL);
        std::fs::write(&file, "{}").unwrap();
        let refused = ServiceClock::open(clock, file).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("clock.json"), "{refused}");
    }
}
