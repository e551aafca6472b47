//! What the accounts add up to.

use serde::{Deserialize, Serialize};

use super::record::{Answer, Fate, Record};

/// How many messages had which fate. Of those that were accepted, each is
/// counted once in `delivered` (with those that had no answer but arrived),
/// `expired`, `replaced`, `withdrawn`, `not_stored` or `missing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Pushes that were begun.
    pub sent: u64,
    /// Pushes that were answered 201 or 202.
    pub accepted: u64,
    /// Pushes that got another answer.
    pub refused: u64,
    /// Of those, pushes refused for another reason than load (429, 503) or a
    /// subscription that was given back. A fault.
    pub rejected: u64,
    /// Pushes without an answer. They may arrive or not.
    pub unanswered: u64,
    /// Messages that arrived, however often.
    pub delivered: u64,
    /// Messages whose acknowledgement was written to the socket.
    pub acknowledged: u64,
    /// Accepted, and did not arrive before their TTL had passed.
    pub expired: u64,
    /// Accepted, and replaced by another message of their topic.
    pub replaced: u64,
    /// Accepted, and withdrawn by their sender.
    pub withdrawn: u64,
    /// Accepted, and their subscription was given back before they arrived.
    pub abandoned: u64,
    /// Accepted with TTL 0, and dropped as RFC 8030 §5.2 allows.
    pub not_stored: u64,
    /// Arrived again on a later connection, as a service may do when the
    /// acknowledgement may be lost.
    pub redelivered: u64,
    /// Accepted, due, and not delivered. A fault.
    pub missing: u64,
    /// Arrived again without need. A fault.
    pub duplicate: u64,
    /// Arrived after a later message. A fault.
    pub out_of_order: u64,
    /// Arrived after their TTL. A fault.
    pub late: u64,
    /// Arrived changed, undecryptable, or at the wrong user agent. A fault.
    pub corrupted: u64,
    /// Arrived, and nobody here has sent them. A fault.
    pub foreign: u64,
}

impl Counts {
    pub(super) fn add(&mut self, record: &Record, fate: Fate) {
        self.sent += 1;
        match record.answer {
            Answer::Accepted(_) => self.accepted += 1,
            Answer::Refused(status) => {
                let has_excuse = matches!(status, 429 | 503) || record.is_abandoned;
                self.refused += 1;
                self.rejected += u64::from(!has_excuse);
            }
            Answer::Awaited | Answer::Lost => self.unanswered += 1,
        }
        self.acknowledged += u64::from(record.is_acknowledged);
        match fate {
            Fate::Delivered => self.delivered += 1,
            Fate::Withdrawn => self.withdrawn += 1,
            Fate::Abandoned => self.abandoned += 1,
            Fate::Replaced => self.replaced += 1,
            Fate::NotStored => self.not_stored += 1,
            Fate::Expired => self.expired += 1,
            Fate::Missing => self.missing += 1,
            Fate::Refused | Fate::Unanswered => {}
        }
    }

    /// What is wrong: the faults that were counted, in words.
    pub fn faults(&self) -> Vec<String> {
        let faults = [
            (self.missing, "missing"),
            (self.duplicate, "delivered twice"),
            (self.out_of_order, "out of order"),
            (self.late, "delivered after their TTL"),
            (self.corrupted, "corrupted"),
            (self.rejected, "rejected (see `answers`)"),
            (self.foreign, "that nobody here has sent"),
        ];
        let counted = faults.into_iter().filter(|(count, _)| *count > 0);
        counted
            .map(|(count, what)| format!("{count} messages {what}"))
            .collect()
    }
}
