//! The state of one message, and the fates that it allows.

use std::time::Duration;

use bugle_protocol::UnixTime;
use serde::Serialize;

/// A position in the order of all events of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// Advances to the next position and returns it.
    pub(super) fn next(&mut self) -> Self {
        self.0 += 1;
        *self
    }

    /// The position after this one.
    pub(super) const fn after(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The response of the service to a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// The request is in progress.
    Asked,
    /// 201, or delivered after a crash: the message is stored until something ends it.
    Given,
    /// No response, or one that promises nothing: the message may be stored or not.
    Open,
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Its user agent acknowledged it.
    Delivered,
    /// Its TTL passed.
    Expired,
    /// A later message with its topic replaced it (RFC 8030 §5.4).
    Replaced,
    /// Its application server withdrew it (RFC 8030 §6.2, A-6).
    Withdrawn,
    /// It was not delivered although it was promised.
    Missing,
    /// It was never promised and is not stored.
    Absent,
}

/// The progress of a request that ends a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    Not,
    /// The request was sent; whether the service read it is unknown.
    Asked,
    /// The service has carried it out, at this position at the latest. A crash may undo it
    /// if no later sync is known.
    Done(Stamp),
}

impl Step {
    /// Returns the state after a crash, which undoes the step unless a push that began
    /// later was promised.
    fn after_crash(self, synced: Stamp) -> Self {
        match self {
            Self::Done(stamp) if stamp >= synced => Self::Asked,
            step => step,
        }
    }
}

#[derive(Debug)]
pub(super) struct Message {
    /// When its POST began.
    pub(super) begun: Stamp,
    /// When its POST was over.
    pub(super) ended: Option<Stamp>,
    pub(super) promise: Promise,
    /// Whether the service responded with 201.
    pub(super) accepted: bool,
    pub(super) topic: Option<String>,
    pub(super) ttl: Duration,
    /// The earliest time at which it may expire.
    pub(super) earliest: UnixTime,
    /// The time at which it has certainly expired.
    pub(super) latest: UnixTime,
    /// The version under which it was delivered.
    pub(super) version: Option<String>,
    pub(super) acknowledged: Step,
    pub(super) withdrawn: Step,
    pub(super) replaced: Step,
    pub(super) fate: Option<Fate>,
}

impl Message {
    /// Whether something other than a later message may have ended it.
    pub(super) fn may_be_gone(&self, now: UnixTime) -> bool {
        self.earliest <= now || self.acknowledged != Step::Not || self.withdrawn != Step::Not
    }

    /// How it ended before `stamp`, as a service that has not crashed since must know.
    pub(super) fn ended_before(&self, stamp: Stamp) -> Option<Fate> {
        let ends = [
            (self.acknowledged, Fate::Delivered),
            (self.withdrawn, Fate::Withdrawn),
            (self.replaced, Fate::Replaced),
        ];
        let ended = ends
            .into_iter()
            .find(|(step, _)| matches!(step, Step::Done(done) if *done < stamp));
        self.fate.or(ended.map(|(_, fate)| fate))
    }

    /// Applies a crash. `now` is the position after the crash, `synced` the start of the
    /// last promised push.
    pub(super) fn after_crash(&mut self, now: Stamp, synced: Stamp) {
        self.ended.get_or_insert(now);
        if self.promise == Promise::Asked {
            self.promise = Promise::Open;
        }
        self.acknowledged = self.acknowledged.after_crash(synced);
        self.withdrawn = self.withdrawn.after_crash(synced);
        if self.fate.is_none() {
            self.fate = self.ended_before(now).map(|fate| self.of_its_kind(fate));
        }
    }

    /// Records that the store rightly does not have it, and derives the fate.
    pub(super) fn is_gone(&mut self, now: UnixTime) {
        let fate = if self.acknowledged != Step::Not {
            Fate::Delivered
        } else if self.withdrawn != Step::Not {
            Fate::Withdrawn
        } else if self.earliest <= now {
            Fate::Expired
        } else {
            Fate::Replaced
        };
        self.fate = Some(self.of_its_kind(fate));
    }

    /// Records that the store has it: a withdrawal sent before the crash was not carried
    /// out.
    pub(super) fn is_there(&mut self) {
        self.promise = Promise::Given;
        self.withdrawn = Step::Not;
    }

    /// Messages that were never promised count as absent.
    fn of_its_kind(&self, fate: Fate) -> Fate {
        match self.promise {
            Promise::Given => fate,
            Promise::Asked | Promise::Open => Fate::Absent,
        }
    }
}
