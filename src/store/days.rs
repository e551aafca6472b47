//! Days of service: when something was last used, coarse enough that noting it
//! costs next to nothing.
//!
//! Pure: no disk, no clock, no lock.

use std::ops::AddAssign;

use bugle_protocol::{ChannelId, Uaid, UnixTime};
use serde::{Deserialize, Serialize};

/// Days for which a use that is noted stands for later ones: a user agent that
/// connects every hour is written once in this time.
pub(super) const NOTED_EVERY: u32 = 7;

const SECS_OF_A_DAY: u64 = 24 * 3600;

/// A day on which the service ran, counted from 0 since the count began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Day(pub(super) u32);

/// The count of days on which the service ran.
///
/// Calendar days on which it did not run are not counted, because nobody could
/// connect then, and a wall clock that jumps by years counts as one day. So
/// neither a long outage, nor an old copy of the data, nor a wrong clock makes
/// anything look unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// The day that it is.
    pub(super) today: Day,
    /// The date on which the count last went on, in days since 1970.
    pub(super) date: u32,
}

impl Days {
    /// A count that begins at `now`, with day 0.
    pub(super) fn begin(now: UnixTime) -> Self {
        Self {
            today: Day(0),
            date: date_of(now),
        }
    }

    /// The count as it is at `now`; `None` when it has not changed. A date
    /// before the last one is taken over, and counts no day.
    pub(super) fn at(self, now: UnixTime) -> Option<Self> {
        let (date, Day(today)) = (date_of(now), self.today);
        let days = u32::from(date > self.date);
        (date != self.date).then_some(Self {
            today: Day(today.saturating_add(days)),
            date,
        })
    }

    /// Whether a use today is to be noted where `used` is.
    pub(super) fn is_due(self, used: Option<Day>) -> bool {
        // A later day is left of a count that was lost.
        used.is_none_or(|used| used > self.today || self.since(used) >= NOTED_EVERY)
    }

    /// Whether what is noted as last used on `used` was not used on more than
    /// `days` days, also when later uses were not noted. What was never noted
    /// is older than the count: it counts as used on day 0.
    pub(super) fn is_unused(self, used: Option<Day>, days: u32) -> bool {
        self.since(used.unwrap_or(Day(0))) >= days.saturating_add(NOTED_EVERY)
    }

    fn since(self, used: Day) -> u32 {
        self.today.0.saturating_sub(used.0)
    }
}

fn date_of(now: UnixTime) -> u32 {
    u32::try_from(now.as_secs() / SECS_OF_A_DAY).unwrap_or(u32::MAX)
}

/// One step of the search for user agents that nobody uses any more.
#[derive(Clone, Copy)]
pub struct Sweep<'a> {
    /// The time.
    pub now: UnixTime,
    /// How many [`Day`]s without any use end a user agent; `None` ends none.
    pub unused_days: Option<u32>,
    /// How many user agents are looked at and subscriptions ended in this step,
    /// about.
    pub limit: usize,
    /// Whether anybody reads the log of a user agent, or of one of these
    /// channels of it.
    pub is_connected: &'a (dyn Fn(Uaid, &[ChannelId]) -> bool + Send + Sync),
}

/// What one step of that search ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unused {
    /// How many user agents.
    pub user_agents: usize,
    /// How many subscriptions they had.
    pub subscriptions: usize,
}

impl AddAssign for Unused {
    fn add_assign(&mut self, more: Self) {
        self.user_agents += more.user_agents;
        self.subscriptions += more.subscriptions;
    }
}

/// How far a search has come: it passes over all user agents once a day.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The last user agent that was looked at.
    pub(super) after: Option<Uaid>,
    done_on: Option<Day>,
}

impl Pass {
    pub(super) fn is_done(&self, today: Day) -> bool {
        self.done_on == Some(today)
    }

    /// Goes on behind `last`; without one, all were looked at.
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
        UnixTime::from_secs(date * SECS_OF_A_DAY + 5)
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
    fn a_use_is_noted_once_in_a_while_and_lasts_for_that_long_more() {
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
        // Noted on day 3, it may have been used on day 9 too.
        assert!(days.is_unused(Some(Day(3)), 10) && !days.is_unused(Some(Day(4)), 10));
        assert!(days.is_unused(None, 13) && !days.is_unused(None, 14));
        assert!(!days.is_unused(Some(Day(99)), 0));
    }
}
