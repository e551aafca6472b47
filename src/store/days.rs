//! Days of service, which record when something was last used. They are so coarse that recording
//! costs almost nothing.
//!
//! Pure: no disk, no clock, no lock.

use std::ops::AddAssign;

use bugle_protocol::{ChannelId, Uaid, UnixTime};
use serde::{Deserialize, Serialize};

/// How many days a recorded use covers: a user agent that connects every hour is written once in
/// this time.
pub(super) const RECORD_INTERVAL_DAYS: u32 = 7;

const SECS_PER_DAY: u64 = 24 * 3600;

/// A day on which the service ran. Day 0 is the first that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Day(pub(super) u32);

/// The count of days on which the service ran.
///
/// Calendar days on which the service did not run are not counted, because nobody could connect
/// then. A wall clock that jumps by years counts as one day. A long outage, an old copy of the
/// data, or a wrong clock therefore makes nothing look unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// The current day.
    pub(super) today: Day,
    /// The date of the last change of the count, in days since 1970.
    pub(super) date: u32,
}

impl Days {
    /// Starts a count at `now`, with day 0.
    pub(super) fn begin(now: UnixTime) -> Self {
        Self {
            today: Day(0),
            date: date_of(now),
        }
    }

    /// Returns the count at `now`; `None` when it has not changed. An earlier date replaces the
    /// last one, and does not count a day.
    pub(super) fn at(self, now: UnixTime) -> Option<Self> {
        let (date, Day(today)) = (date_of(now), self.today);
        let days = u32::from(date > self.date);
        (date != self.date).then_some(Self {
            today: Day(today.saturating_add(days)),
            date,
        })
    }

    /// Returns whether a use today must be recorded, given the last recorded one.
    pub(super) fn is_due(self, used: Option<Day>) -> bool {
        // A day in the future is left from a count that was lost.
        used.is_none_or(|used| used > self.today || self.since(used) >= RECORD_INTERVAL_DAYS)
    }

    /// Returns whether something was unused for more than `days` days, allowing for later uses that
    /// were not recorded. `used` is the last recorded use. Something without one is older than the
    /// count, and counts as used on day 0.
    pub(super) fn is_unused(self, used: Option<Day>, days: u32) -> bool {
        self.since(used.unwrap_or(Day(0))) >= days.saturating_add(RECORD_INTERVAL_DAYS)
    }

    fn since(self, used: Day) -> u32 {
        self.today.0.saturating_sub(used.0)
    }
}

fn date_of(now: UnixTime) -> u32 {
    u32::try_from(now.as_secs() / SECS_PER_DAY).unwrap_or(u32::MAX)
}

/// One step of the search for unused user agents.
#[derive(Clone, Copy)]
pub struct Sweep<'a> {
    /// The time.
    pub now: UnixTime,
    /// How many [`Day`]s without use end a user agent; `None` ends none.
    pub unused_days: Option<u32>,
    /// About how many user agents are examined and subscriptions ended in this step.
    pub limit: usize,
    /// Returns whether a connection reads the log of a user agent, or one of these channels.
    pub is_connected: &'a (dyn Fn(Uaid, &[ChannelId]) -> bool + Send + Sync),
}

/// What one step of the search ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// Number of user agents.
    pub user_agents: usize,
    /// Number of their subscriptions.
    pub subscriptions: usize,
}

impl AddAssign for Unused {
    fn add_assign(&mut self, more: Self) {
        self.user_agents += more.user_agents;
        self.subscriptions += more.subscriptions;
    }
}

/// The progress of the search, which visits all user agents once a day.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The last user agent that was examined.
    pub(super) after: Option<Uaid>,
    done_on: Option<Day>,
}

impl Pass {
    pub(super) fn is_done(&self, today: Day) -> bool {
        self.done_on == Some(today)
    }

    /// Continues after `last`; `None` ends the pass of `today`.
    pub(super) fn go_on(&mut self, last: Option<Uaid>, today: Day) {
        self.after = last;
        if last.is_none() {
            self.done_on = Some(today);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(date: u64) -> UnixTime {
        UnixTime::from_secs(date * SECS_PER_DAY + 5)
    }

    #[test]
    fn each_date_on_which_the_service_runs_is_one_day() {
        let mut days = Days::begin(on(100));
        for (date, today) in [
            (100, 0),
            (101, 1),
            (101, 1),
            (102, 2),
            (90_000, 3),
            (103, 3),
        ] {
            days = days.at(on(date)).unwrap_or(days);
            assert_eq!(days.today, Day(today), "{date}");
        }
        assert_eq!(days.at(on(103)), None);
        assert_eq!(days.at(on(104)).map(|days| days.today), Some(Day(4)));
    }

    #[test]
    fn a_use_is_recorded_once_a_week_and_counts_that_much_longer() {
        let days = Days {
            today: Day(20),
            date: 0,
        };
        let due = [
            None,
            Some(Day(13)),
            Some(Day(14)),
            Some(Day(20)),
            Some(Day(21)),
        ];
        let expected = [true, true, false, false, true];
        assert_eq!(due.map(|used| days.is_due(used)), expected);
        // Recorded on day 3, it may have been used on day 9 too.
        assert!(days.is_unused(Some(Day(3)), 10) && !days.is_unused(Some(Day(4)), 10));
        assert!(days.is_unused(None, 13) && !days.is_unused(None, 14));
        assert!(!days.is_unused(Some(Day(99)), 0));
    }
}
