//! What is known of one message, and what that allows to become of it.

use std::time::Duration;

use bugle_protocol::UnixTime;
use serde::Serialize;

/// A place in the order of everything that happens in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp(u64);

impl Stamp {
    /// The next one, which is later than all before.
    pub(super) fn next(&mut self) -> Self {
        self.0 += 1;
        *self
    }

    /// Later than this one.
    pub(super) const fn after(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What the service has said of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// The POST is on its way.
    Asked,
    /// 201, or it came back after a crash: it is there until something ends it.
    Given,
    /// No answer, or one that promises nothing: it may be there or not.
    Open,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Acknowledged by its user agent.
    Delivered,
    /// Its TTL ran out.
    Expired,
    /// By a later message with its topic (RFC 8030 §5.4).
    Replaced,
    /// By its application server (RFC 8030 §6.2, A-6).
    Withdrawn,
    /// It should have come and did not.
    Missing,
    /// Never promised, and not there.
    Absent,
}

/// How far something has gone that ends a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Step {
    #[default]
    Not,
    /// The service was told, but it is not known to have heard.
    Asked,
    /// The service has done it, at this time at the latest. After a crash it
    /// may have forgotten that, if nothing was synced since.
    Done(Stamp),
}

impl Step {
    /// Forgotten in a crash, unless a push that began later was promised.
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
    /// 201 was answered.
    pub(super) accepted: bool,
    pub(super) topic: Option<String>,
    pub(super) ttl: Duration,
    /// Expires at this time at the earliest.
    pub(super) earliest: UnixTime,
    /// Has expired at this time.
    pub(super) latest: UnixTime,
    /// Under which name it was delivered.
    pub(super) version: Option<String>,
    pub(super) acknowledged: Step,
    pub(super) withdrawn: Step,
    pub(super) replaced: Step,
    pub(super) fate: Option<Fate>,
}

impl Message {
    /// Whether something may have ended it that a later message has nothing to
    /// do with.
    pub(super) fn may_be_gone(&self, now: UnixTime) -> bool {
        self.earliest <= now || self.acknowledged != Step::Not || self.withdrawn != Step::Not
    }

    /// Whether it had ended before `stamp`, as far as a service that has not
    /// crashed since knows.
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

    /// The service has crashed: decides what is certain. `now` is after the
    /// crash, `synced` when the last push began that was promised.
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

    /// It is not in the store, rightly: what must have become of it.
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

    /// It is in the store: whatever was asked before the crash was not done.
    pub(super) fn is_there(&mut self) {
        self.promise = Promise::Given;
        self.withdrawn = Step::Not;
    }

    /// What was never promised is not counted among what was.
    fn of_its_kind(&self, fate: Fate) -> Fate {
        match self.promise {
            Promise::Given => fate,
            Promise::Asked | Promise::Open => Fate::Absent,
        }
    }
}
