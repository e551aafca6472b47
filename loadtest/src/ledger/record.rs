//! What is known of one message.

use std::time::Duration;

use super::{IN_TIME, LATE_AFTER};
use crate::clock::Moment;

/// What the sender asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// TTL in seconds; once accepted, the one that was granted.
    pub ttl: u32,
    /// The topic, by a number.
    pub topic: Option<u32>,
}

/// What the service said to the push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing so far.
    Awaited,
    /// 201 or 202, which came at this moment.
    Accepted(Moment),
    /// Another status.
    Refused(u16),
    /// Nothing, and nothing will come: the connection broke or timed out.
    Lost,
}

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// TTL and topic.
    pub terms: Terms,
    /// When the schedule wanted it sent.
    pub intended: Moment,
    /// When it was about to be sent.
    pub sent: Moment,
    /// What the service said.
    pub answer: Answer,
    /// When it arrived first.
    pub first: Option<Moment>,
    /// The connection on which it arrived last, as counted by its user agent;
    /// before that, the one that was open when it was sent. 0 is none.
    pub connection: u32,
    /// Whether its TTL passed while the user agent was there for it.
    pub is_overdue: bool,
    /// Whether an acknowledgement was written to the socket.
    pub is_acknowledged: bool,
    /// Whether the service confirmed its withdrawal.
    pub is_withdrawn: bool,
    /// Whether the user agent has given its subscription back since.
    pub is_abandoned: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived, once or more.
    Delivered,
    /// The service would not take it.
    Refused,
    /// Nobody knows whether the service took it; it did not arrive.
    Unanswered,
    /// It was withdrawn before it arrived.
    Withdrawn,
    /// Its subscription was given back before it arrived.
    Abandoned,
    /// Another message of its topic was sent after it or with it.
    Replaced,
    /// It had TTL 0 and nobody was there for it.
    NotStored,
    /// Its TTL passed.
    Expired,
    /// It is accepted, to be delivered, and not here.
    Missing,
}

impl Record {
    /// A message that is about to be sent.
    pub const fn new(terms: Terms, intended: Moment, sent: Moment) -> Self {
        Self {
            terms,
            intended,
            sent,
            answer: Answer::Awaited,
            first: None,
            connection: 0,
            is_overdue: false,
            is_acknowledged: false,
            is_withdrawn: false,
            is_abandoned: false,
        }
    }

    /// When it was accepted; [`Moment::NEVER`] when that is not known.
    pub const fn accepted(&self) -> Moment {
        match self.answer {
            Answer::Accepted(at) => at,
            _ => Moment::NEVER,
        }
    }

    /// Whether the service may have taken it.
    pub const fn may_be_taken(&self) -> bool {
        !matches!(self.answer, Answer::Refused(_))
    }

    /// Whether it is too late at `now` to deliver it for the first time.
    pub fn is_late(&self, now: Moment) -> bool {
        let taken = match self.answer {
            Answer::Accepted(at) => at,
            _ => return false,
        };
        now > taken + Duration::from_secs(self.terms.ttl.into()) + LATE_AFTER
    }

    /// What became of it by `now`. `replaced`: another message of its topic was
    /// accepted after this one was sent.
    pub fn fate(&self, now: Moment, replaced: bool) -> Fate {
        if self.first.is_some() {
            return Fate::Delivered;
        }
        let accepted = match self.answer {
            Answer::Accepted(at) => at,
            Answer::Refused(_) => return Fate::Refused,
            Answer::Awaited | Answer::Lost => return Fate::Unanswered,
        };
        if self.is_withdrawn {
            Fate::Withdrawn
        } else if self.is_abandoned {
            Fate::Abandoned
        } else if replaced {
            Fate::Replaced
        } else if self.terms.ttl == 0 {
            Fate::NotStored
        } else if !self.is_overdue && self.has_expired(accepted, now) {
            Fate::Expired
        } else {
            Fate::Missing
        }
    }

    /// Whether the service may think that its TTL has passed: it counts from
    /// when the push arrived, between sending and acceptance.
    fn has_expired(&self, accepted: Moment, now: Moment) -> bool {
        let ttl = Duration::from_secs(self.terms.ttl.into());
        debug_assert!(self.sent <= accepted);
        now >= self.sent + ttl
    }

    /// Whether it should have arrived by `now`, for a user agent that was there
    /// all the while.
    pub fn has_no_excuse(&self, now: Moment) -> bool {
        let ttl = Duration::from_secs(self.terms.ttl.into());
        ttl >= IN_TIME && self.first.is_none() && now >= self.sent + ttl
    }
}
