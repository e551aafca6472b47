//! Accounts for every message: which was sent, and what became of it.
//!
//! What a service promises, and so what is wrong:
//!
//! - A message that was accepted is delivered, unless its TTL has passed, a
//!   later message replaced it by its topic, or it was withdrawn. Else it is
//!   *missing*. (With TTL 0 it may be dropped: *not stored*.) A TTL that passes
//!   while the user agent is there excuses nothing, if it has [`IN_TIME`].
//! - It is delivered once, but again on a later connection as long as its
//!   acknowledgement may not have arrived (*redelivered*). Else it is a
//!   *duplicate*: twice on one connection, or again after a connection that
//!   was left with a Close frame, which the acknowledgement went before.
//! - Of two messages for one user agent, the one that was accepted before the
//!   other was sent comes first. Else it is *out of order*. Messages with TTL 0
//!   are compared among themselves.
//! - It does not come after its TTL ([`LATE_AFTER`] is granted), else *late*.

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

/// How long after its TTL a message may arrive: the TTL is whole seconds, and
/// it may have been under way.
pub const LATE_AFTER: Duration = Duration::from_secs(2);

/// A message of this TTL or a longer one, for a user agent that is connected
/// all the while, has to arrive. A shorter TTL may pass in a busy service.
pub const IN_TIME: Duration = Duration::from_secs(10);

/// The accounts of one run.
#[derive(Debug)]
pub struct Ledger {
    logs: Vec<Mutex<Log>>,
    /// Sent, and neither delivered nor refused.
    open: AtomicU64,
    corrupted: AtomicU64,
    foreign: AtomicU64,
}

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The first, of a message that was to be sent at this moment.
    First {
        /// When it was to be sent.
        intended: Moment,
    },
    /// Again, as the service may.
    Again,
    /// Again, as the service may not.
    Duplicate,
    /// Nothing like it was sent.
    Unknown,
}

impl Ledger {
    /// For so many user agents, which are counted from 0.
    pub fn new(user_agents: u32) -> Self {
        Self {
            logs: (0..user_agents).map(|_| Mutex::default()).collect(),
            open: AtomicU64::new(0),
            corrupted: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
        }
    }

    /// A message is about to be sent at `now`, which the schedule wanted at
    /// `intended`. Returns its name.
    ///
    /// # Panics
    /// When there is no such user agent, or 2^32 messages were sent to it.
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

    /// The service took it: 201 or 202 came at `now`. `granted_ttl` is what the
    /// answer says, in seconds, if it does.
    pub fn accepted(&self, name: MessageName, granted_ttl: Option<u32>, now: Moment) {
        self.log(name.user_agent).change(name.number, |record| {
            record.answer = Answer::Accepted(now);
            record.terms.ttl = granted_ttl.unwrap_or(record.terms.ttl);
        });
    }

    /// The service refused it, with this status.
    pub fn refused(&self, name: MessageName, status: u16) {
        let was_open = self.log(name.user_agent).change(name.number, |record| {
            record.answer = Answer::Refused(status);
            record.first.is_none()
        });
        self.close_one(was_open == Some(true));
    }

    /// No answer came: it may be delivered or not.
    pub fn unanswered(&self, name: MessageName) {
        let was_open = self.log(name.user_agent).change(name.number, |record| {
            record.answer = Answer::Lost;
            record.first.is_none()
        });
        self.close_one(was_open == Some(true));
    }

    /// The service confirmed that it is withdrawn (DELETE, RFC 8030 §7.3).
    pub fn withdrawn(&self, name: MessageName) {
        let mut log = self.log(name.user_agent);
        log.change(name.number, |record| record.is_withdrawn = true);
    }

    /// A user agent has given its subscription back: what was sent to it need
    /// not arrive any more.
    pub fn abandoned(&self, user_agent: u32) {
        self.log(user_agent).abandon();
    }

    /// A user agent has a new connection. Returns its number, which counts the
    /// connections of that user agent.
    pub fn connected(&self, user_agent: u32) -> u32 {
        self.log(user_agent).connect()
    }

    /// The newest connection of a user agent is over; `clean`: by a Close frame
    /// that was answered, so that all that it said before has arrived.
    pub fn disconnected(&self, user_agent: u32, clean: bool, now: Moment) {
        self.log(user_agent).disconnect(clean, now);
    }

    /// A message arrived on the newest connection of its user agent.
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

    /// Its acknowledgement was written to the socket.
    pub fn acknowledged(&self, name: MessageName) {
        self.log(name.user_agent).acknowledge(name.number);
    }

    /// A message arrived whose contents were changed, that cannot be decrypted,
    /// or that is for another user agent.
    pub fn corrupted(&self) {
        self.corrupted.fetch_add(1, Ordering::Relaxed);
    }

    /// A message arrived that nobody here has sent.
    pub fn foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were sent and neither delivered nor refused: 0 means that
    /// nothing can be missing.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// All counts, as things stand at `now`.
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

    /// Shows each message with what became of it by `now`.
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

/// No change of a log is left half done, so a panic elsewhere leaves it whole.
fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
