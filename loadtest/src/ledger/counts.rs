//! The sums over all messages.

use serde::{Deserialize, Serialize};

use super::record::{Answer, Fate, Record};

/// Number of messages by fate. Each accepted message counts once, in `delivered` (with
/// unanswered ones that arrived), `expired`, `replaced`, `withdrawn`, `abandoned`, `not_stored`
/// or `missing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Pushes sent.
    pub sent: u64,
    /// Pushes answered with 201 or 202.
    pub accepted: u64,
    /// Pushes answered with another status.
    pub refused: u64,
    /// Refused pushes whose status is neither explained by load (429, 503) nor by a removed
    /// subscription. A fault.
    pub rejected: u64,
    /// Pushes without a response. Their messages may arrive or not.
    pub unanswered: u64,
    /// Messages that arrived at least once.
    pub delivered: u64,
    /// Messages whose acknowledgement was written to the socket.
    pub acknowledged: u64,
    /// Accepted messages that did not arrive before their TTL had passed.
    pub expired: u64,
    /// Accepted messages that another message with the same topic replaced.
    pub replaced: u64,
    /// Accepted messages that their sender withdrew.
    pub withdrawn: u64,
    /// Accepted messages whose subscription was removed before they arrived.
    pub abandoned: u64,
    /// Accepted messages with TTL 0 that were dropped, as RFC 8030 §5.2 allows.
    pub not_stored: u64,
    /// Repeated deliveries on a later connection, which are allowed while the
    /// acknowledgement may have been lost.
    pub redelivered: u64,
    /// Accepted messages that are due and were not delivered. A fault.
    pub missing: u64,
    /// Repeated deliveries that are not allowed. A fault.
    pub duplicate: u64,
    /// Messages that arrived after a later one. A fault.
    pub out_of_order: u64,
    /// Messages that arrived after their TTL. A fault.
    pub late: u64,
    /// Messages that arrived changed, undecryptable, or at the wrong user agent. A fault.
    pub corrupted: u64,
    /// Messages that arrived but were not sent by this run. A fault.
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

    /// Describes each kind of fault that occurred.
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
