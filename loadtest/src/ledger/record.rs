//! The record of one message.

use std::time::Duration;

use super::{LATE_AFTER, MIN_RELIABLE_TTL};
use crate::clock::Moment;

/// The terms that the sender asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// TTL in seconds; once accepted, the granted one.
    pub ttl: u32,
    /// The number of the topic.
    pub topic: Option<u32>,
}

/// The response to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None so far.
    Awaited,
    /// 201 or 202, and when it arrived.
    Accepted(Moment),
    /// Another status.
    Refused(u16),
    /// None, and none will arrive: the connection failed or timed out.
    Lost,
}

/// The record of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// TTL and topic.
    pub terms: Terms,
    /// When the schedule intended to send it.
    pub intended: Moment,
    /// When it was about to be sent.
    pub sent: Moment,
    /// The response.
    pub answer: Answer,
    /// When it first arrived.
    pub first: Option<Moment>,
    /// The number of the connection on which it last arrived, or, before its arrival, of
    /// the one open when it was sent. 0 means none.
    pub connection: u32,
    /// Whether its TTL passed while the user agent was connected.
    pub is_overdue: bool,
    /// Whether an acknowledgement was written to the socket.
    pub is_acknowledged: bool,
    /// Whether the service confirmed its withdrawal.
    pub is_withdrawn: bool,
    /// Whether the user agent has since removed its subscription.
    pub is_abandoned: bool,
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrived at least once.
    Delivered,
    /// The service refused it.
    Refused,
    /// It got no response and did not arrive; whether the service stored it is unknown.
    Unanswered,
    /// It was withdrawn before it arrived.
    Withdrawn,
    /// Its subscription was removed before it arrived.
    Abandoned,
    /// A message with the same topic, sent later or concurrently, replaced it.
    Replaced,
    /// It had TTL 0 and its user agent was not connected.
    NotStored,
    /// Its TTL passed.
    Expired,
    /// It was accepted and is due, but has not arrived.
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

    /// When it was accepted; [`Moment::NEVER`] if unknown.
    pub const fn accepted(&self) -> Moment {
        match self.answer {
            Answer::Accepted(at) => at,
            _ => Moment::NEVER,
        }
    }

    /// Whether the service may have accepted it.
    pub const fn may_be_taken(&self) -> bool {
        !matches!(self.answer, Answer::Refused(_))
    }

    /// Whether a first delivery at `now` is too late.
    pub fn is_late(&self, now: Moment) -> bool {
        let taken = match self.answer {
            Answer::Accepted(at) => at,
            _ => return false,
        };
        now > taken + Duration::from_secs(self.terms.ttl.into()) + LATE_AFTER
    }

    /// Its fate as of `now`. `replaced` means that another message with the same topic was
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

    /// Whether the service may consider it expired. It counts from the arrival of the push,
    /// at some time between sending and acceptance.
    fn has_expired(&self, accepted: Moment, now: Moment) -> bool {
        let ttl = Duration::from_secs(self.terms.ttl.into());
        debug_assert!(self.sent <= accepted);
        now >= self.sent + ttl
    }

    /// Whether it should have arrived by `now`, provided that the user agent was connected
    /// all the time.
    pub fn has_no_excuse(&self, now: Moment) -> bool {
        let ttl = Duration::from_secs(self.terms.ttl.into());
        ttl >= MIN_RELIABLE_TTL && self.first.is_none() && now >= self.sent + ttl
    }
}
