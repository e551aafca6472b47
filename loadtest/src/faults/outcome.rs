//! The result of a fault run: JSON, and text for people.

use std::fmt;

use serde::Serialize;

use super::message::Fate;
use super::violation::Violations;

/// The result of a fault run.
#[derive(Clone, Debug, Serialize)]
pub struct FaultOutcome {
    /// `kill` or `power`.
    pub fault: String,
    /// The command of the service.
    pub command: Vec<String>,
    /// The seed of the random choices.
    pub seed: u64,
    /// User agents at the beginning.
    pub user_agents: usize,
    /// Application servers.
    pub senders: usize,
    /// Each round.
    pub rounds: Vec<Round>,
    /// The fates of all accepted messages.
    pub fates: Fates,
    /// What the service did wrong.
    pub violations: Violations,
    /// Whether the service kept every promise.
    pub kept: bool,
}

/// One fault and the check after it.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Counted from 1.
    pub number: usize,
    /// Milliseconds of load before the fault.
    pub load_ms: u64,
    /// Messages accepted since the previous fault.
    pub accepted: u64,
    /// Pushes without a response, or with one that promises nothing.
    pub in_doubt: u64,
    /// Milliseconds from the start of the process to its first response.
    pub start_ms: u64,
    /// Messages delivered in the round's check, including repeated ones.
    pub came: u64,
    /// Violations found in this round.
    pub violations: u64,
}

/// The fates of the accepted messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fates {
    /// All accepted messages; the sum of the following.
    pub accepted: u64,
    /// Acknowledged.
    pub delivered: u64,
    /// Expired.
    pub expired: u64,
    /// Replaced by a message with the same topic.
    pub replaced: u64,
    /// Withdrawn by the application server.
    pub withdrawn: u64,
    /// Delivered after the last fault but not acknowledged.
    pub pending: u64,
    /// Lost.
    pub missing: u64,
}

impl Fates {
    /// Counts them by kind.
    pub(super) fn of(fates: impl Iterator<Item = Option<Fate>>) -> Self {
        let mut counts = Self::default();
        for fate in fates {
            counts.accepted += 1;
            let count = match fate {
                None => &mut counts.pending,
                Some(Fate::Delivered) => &mut counts.delivered,
                Some(Fate::Expired) => &mut counts.expired,
                Some(Fate::Replaced) => &mut counts.replaced,
                Some(Fate::Withdrawn) => &mut counts.withdrawn,
                // An accepted message can only be absent because it was lost.
                Some(Fate::Missing | Fate::Absent) => &mut counts.missing,
            };
            *count += 1;
        }
        counts
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            load_ms,
            accepted,
            in_doubt,
            start_ms,
            came,
            violations,
        } = self;
        write!(
            f,
            "round {number:>3}: fault after {load_ms:>4} ms, {accepted:>5} accepted, \
             {in_doubt:>3} in doubt; back after {start_ms:>4} ms, {came:>5} came; "
        )?;
        match violations {
            0 => write!(f, "all accounted for"),
            count => write!(f, "{count} VIOLATIONS"),
        }
    }
}

impl fmt::Display for FaultOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fates {
            accepted,
            delivered,
            expired,
            replaced,
            withdrawn,
            pending,
            missing,
        } = self.fates;
        writeln!(
            f,
            "{} rounds of {}, seed {}: {accepted} accepted = {delivered} delivered + {expired} \
             expired + {replaced} replaced + {withdrawn} withdrawn + {pending} pending + {missing} \
             missing",
            self.rounds.len(),
            self.fault,
            self.seed,
        )?;
        if self.kept {
            return write!(f, "every promise was kept");
        }
        write!(f, "PROMISES WERE BROKEN:")?;
        for (violation, count) in &self.violations.counts {
            write!(f, "\n  {violation:?}: {count}")?;
        }
        for first in &self.violations.first {
            write!(f, "\n    {first}")?;
        }
        Ok(())
    }
}
