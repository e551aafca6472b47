//! Accounts for every message of a run.
//!
//! A service makes these promises; breaking one is a fault:
//!
//! - An accepted message is delivered, unless its TTL passes, a later message with its topic
//!   replaces it, or it is withdrawn. Otherwise it is *missing*. With TTL 0 the service may drop
//!   it (*not stored*). A TTL of at least [`MIN_RELIABLE_TTL`] that passes while the user agent is
//!   connected is no excuse.
//! - A message is delivered once. The service may deliver it again on a later connection while
//!   its acknowledgement may have been lost (*redelivered*). Any other repetition is a
//!   *duplicate*: on the same connection, or after a connection that ended with a Close frame
//!   behind the acknowledgement.
//! - If one message was accepted before another one for the same user agent was sent, it
//!   arrives first. Otherwise the other is *out of order*. Messages with TTL 0 are compared among
//!   themselves.
//! - A message does not arrive more than [`LATE_AFTER`] after its TTL. Otherwise it is *late*.

mod counts;
mod log;
mod record;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::contents::MessageName;

pub use counts::Counts;
use log::Log;
pub use record::{Answer, Fate, Record, Terms};

/// Grace period after the TTL, which is in whole seconds, for messages in flight.
pub const LATE_AFTER: Duration = Duration::from_secs(2);

/// Minimum TTL of a message that must reach a connected user agent. A busy service may let
/// a shorter TTL pass.
pub const MIN_RELIABLE_TTL: Duration = Duration::from_secs(10);

/// The ledger of one run.
#[derive(Debug)]
pub struct Ledger {
    logs: Vec<Mutex<Log>>,
    /// Messages sent, and neither delivered nor refused.
    open: AtomicU64,
    corrupted: AtomicU64,
    foreign: AtomicU64,
}

/// The kind of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The first delivery of the message.
    First {
        /// When the schedule intended to send it.
        intended: Moment,
    },
    /// A repetition that the service may make.
    Again,
    /// A repetition that the service must not make.
    Duplicate,
    /// No such message was sent.
    Unknown,
}

impl Ledger {
    /// A ledger for this many user agents, numbered from 0.
    pub fn new(user_agents: u32) -> Self {
        Self {
            logs: (0..user_agents).map(|_| Mutex::default()).collect(),
            open: AtomicU64::new(0),
            corrupted: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
        }
    }

    /// Records that a message is about to be sent at `now`; the schedule intended
    /// `intended`. Returns its name.
    ///
    /// # Panics
    /// When there is no such user agent, or it already has 2^32 messages.
    #[expect(clippy::expect_used, reason = "2^32 records do not fit into memory")]
    pub fn sent(
        &self,
        user_agent: u32,
        terms: Terms,
        intended: Moment,
        now: Moment,
    ) -> MessageName {
        let number = self.log(user_agent).send(Record::new(terms, intended, now));
        self.open.fetch_add(1, Ordering::Relaxed);
        MessageName {
            user_agent,
            number: u32::try_from(number).expect("fewer than 2^32 records"),
        }
    }

    /// Records a 201 or 202 at `now`. `granted_ttl` is the TTL in the response, in seconds,
    /// if it has one.
    pub fn accepted(&self, name: MessageName, granted_ttl: Option<u32>, now: Moment) {
        self.log(name.user_agent).change(name.number, |record| {
            record.answer = Answer::Accepted(now);
            record.terms.ttl = granted_ttl.unwrap_or(record.terms.ttl);
        });
    }

    /// Records another status.
    pub fn refused(&self, name: MessageName, status: u16) {
        let was_open = self.log(name.user_agent).change(name.number, |record| {
            record.answer = Answer::Refused(status);
            record.first.is_none()
        });
        self.close_one(was_open == Some(true));
    }

    /// Records that no response arrived: the message may be delivered or not.
    pub fn unanswered(&self, name: MessageName) {
        let was_open = self.log(name.user_agent).change(name.number, |record| {
            record.answer = Answer::Lost;
            record.first.is_none()
        });
        self.close_one(was_open == Some(true));
    }

    /// Records that the service confirmed the withdrawal (DELETE, RFC 8030 §7.3).
    pub fn withdrawn(&self, name: MessageName) {
        let mut log = self.log(name.user_agent);
        log.change(name.number, |record| record.is_withdrawn = true);
    }

    /// Records that a user agent removed its subscription: its outstanding messages need
    /// not arrive any more.
    pub fn abandoned(&self, user_agent: u32) {
        self.log(user_agent).abandon();
    }

    /// Records a new connection of a user agent. Returns its number, counted per user
    /// agent.
    pub fn connected(&self, user_agent: u32) -> u32 {
        self.log(user_agent).connect()
    }

    /// Records the end of a user agent's newest connection. `clean` means that the service
    /// answered its Close frame, so it has read everything sent before.
    pub fn disconnected(&self, user_agent: u32, clean: bool, now: Moment) {
        self.log(user_agent).disconnect(clean, now);
    }

    /// Records a delivery on the newest connection of the user agent.
    pub fn delivered(&self, name: MessageName, now: Moment) -> Delivery {
        let Some(log) = self.logs.get(name.user_agent as usize) else {
            self.foreign();
            return Delivery::Unknown;
        };
        let delivery = lock(log).deliver(name.number, now);
        match delivery {
            (Delivery::First { .. }, was_open) => self.close_one(was_open),
            (Delivery::Unknown, _) => self.foreign(),
            _ => {}
        }
        delivery.0
    }

    /// Records that the acknowledgement was written to the socket.
    pub fn acknowledged(&self, name: MessageName) {
        self.log(name.user_agent).acknowledge(name.number);
    }

    /// Records a message whose contents were changed, that cannot be decrypted, or that
    /// belongs to another user agent.
    pub fn corrupted(&self) {
        self.corrupted.fetch_add(1, Ordering::Relaxed);
    }

    /// Records a message that this run did not send.
    pub fn foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of messages that were sent and neither delivered nor refused. At 0, nothing
    /// can be missing.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// All counts as of `now`.
    pub fn settle(&self, now: Moment) -> Counts {
        let mut counts = Counts {
            corrupted: self.corrupted.load(Ordering::Relaxed),
            foreign: self.foreign.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for log in &self.logs {
            lock(log).count(now, &mut counts);
        }
        counts
    }

    /// Calls `show` for each message with its fate as of `now`.
    pub fn for_each(&self, now: Moment, mut show: impl FnMut(MessageName, &Record, Fate)) {
        for (user_agent, log) in (0..).zip(&self.logs) {
            lock(log).for_each(now, |number, record, fate| {
                show(MessageName { user_agent, number }, record, fate);
            });
        }
    }

    fn close_one(&self, was_open: bool) {
        if was_open {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn log(&self, user_agent: u32) -> MutexGuard<'_, Log> {
        lock(&self.logs[user_agent as usize])
    }
}

/// Locks a log. A poisoned lock is safe to use because no update stops halfway.
fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
