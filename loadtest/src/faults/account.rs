//! Accounts for every message of a fault run, from what application servers and user agents
//! observe.
//!
//! A message whose push was answered with 201 is *promised*. It may be missing only if its TTL
//! may have passed, if its acknowledgement or withdrawal was sent, or if a later message with
//! its topic may have replaced it. It may be delivered again only while the crash may have
//! undone what ended it:
//!
//! * An acknowledgement is *done* when the service has responded to a later request on the same
//!   connection, because a service responds in order. A withdrawal is done when the service has
//!   responded to it.
//! * A done step is *durable* when a push that began later is promised: one sync makes
//!   everything durable that was applied before it. Until then, a crash may undo the step.
//! * A push without a 201 may be stored or not. Once it is delivered after a crash, it counts
//!   as promised.
//!
//! The account does no I/O; the order of the calls is the order of events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bugle_protocol::UnixTime;

use super::message::{Fate, Message, Promise, Stamp, Step};
use super::violation::{Violation, Violations};
use crate::contents::MessageName;

/// Grace period for a message that was sent before it expired, because this machine may be
/// busy. A connection that was opened after the expiry must not deliver the message at all.
const DELIVERY_GRACE: Duration = Duration::from_secs(30);

/// The state of all messages of a run.
#[derive(Debug, Default)]
pub(super) struct Account {
    clock: Stamp,
    logs: Vec<Log>,
    /// When the last promised push of this process of the service began.
    synced: Stamp,
    pub(super) violations: Violations,
}

/// The messages for one user agent.
#[derive(Debug, Default)]
struct Log {
    messages: Vec<Message>,
    versions: HashMap<String, u32>,
    /// Messages whose fate is not yet known.
    open: Vec<u32>,
}

/// What a user agent has received on one connection.
#[derive(Debug)]
pub(super) struct Connection {
    user_agent: u32,
    begun: Stamp,
    opened: UnixTime,
    /// The connection is the first since a crash, so no message of an earlier one can still
    /// arrive.
    after_crash: bool,
    /// The latest start of a push among the received messages.
    newest: Stamp,
    received: HashSet<u32>,
}

impl Connection {
    /// Whether this message arrived.
    pub(super) fn has(&self, name: MessageName) -> bool {
        name.user_agent == self.user_agent && self.received.contains(&name.number)
    }

    /// The number of messages that arrived.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }
}

impl Account {
    /// Adds a subscribed user agent and returns its number.
    pub(super) fn add_user_agent(&mut self) -> u32 {
        self.logs.push(Log::default());
        u32::try_from(self.logs.len() - 1).unwrap_or(u32::MAX)
    }

    /// Records that a push is about to be sent.
    pub(super) fn begin_push(
        &mut self,
        user_agent: u32,
        topic: Option<String>,
        ttl: Duration,
        now: UnixTime,
    ) -> MessageName {
        let begun = self.clock.next();
        let log = &mut self.logs[user_agent as usize];
        let number = u32::try_from(log.messages.len()).unwrap_or(u32::MAX);
        log.open.push(number);
        log.messages.push(Message {
            begun,
            ended: None,
            promise: Promise::Asked,
            accepted: false,
            topic,
            ttl,
            earliest: now + ttl,
            latest: now + ttl,
            version: None,
            acknowledged: Step::Not,
            withdrawn: Step::Not,
            replaced: Step::Not,
            fate: None,
        });
        MessageName { user_agent, number }
    }

    /// Records a 201: the push is promised.
    pub(super) fn accepted(&mut self, name: MessageName, now: UnixTime) {
        let stamp = self.clock.next();
        let message = self.message(name);
        message.ended = Some(stamp);
        message.promise = Promise::Given;
        message.accepted = true;
        message.latest = now + message.ttl;
        let begun = message.begun;
        self.synced = self.synced.max(begun);
        for earlier in self.chain(name) {
            let earlier = self.message(earlier);
            if earlier.begun < begun && !matches!(earlier.replaced, Step::Done(_)) {
                earlier.replaced = Step::Done(stamp);
            }
        }
    }

    /// Records a push without a response, or with one that promises nothing. The service
    /// may still process it, ahead of later pushes, so it counts as over only after the crash.
    pub(super) fn not_accepted(&mut self, name: MessageName, now: UnixTime) {
        let message = self.message(name);
        message.promise = Promise::Open;
        message.latest = now + message.ttl;
    }

    /// Records that a withdrawal is about to be sent.
    pub(super) fn begin_withdrawal(&mut self, name: MessageName) {
        let message = self.message(name);
        if message.withdrawn == Step::Not {
            message.withdrawn = Step::Asked;
        }
    }

    /// Records the response to a withdrawal: `done`, or the message did not exist.
    pub(super) fn withdrawal_answered(&mut self, name: MessageName, done: bool) {
        let stamp = self.clock.next();
        let message = self.message(name);
        message.withdrawn = if done { Step::Done(stamp) } else { Step::Not };
    }

    /// Records that a user agent is about to send `hello`; `after_crash` on its first
    /// connection since a crash.
    pub(super) fn connect(
        &mut self,
        user_agent: u32,
        after_crash: bool,
        now: UnixTime,
    ) -> Connection {
        Connection {
            user_agent,
            begun: self.clock.next(),
            opened: now,
            after_crash,
            newest: Stamp::default(),
            received: HashSet::new(),
        }
    }

    /// Records a delivery. Returns whether the message was sent to this user agent.
    pub(super) fn delivered(
        &mut self,
        connection: &mut Connection,
        name: MessageName,
        version: &str,
        now: UnixTime,
    ) -> bool {
        let sent = self.logs[connection.user_agent as usize].messages.len();
        if name.user_agent != connection.user_agent || name.number as usize >= sent {
            self.violations.add(Violation::Foreign, name);
            return false;
        }
        if !connection.received.insert(name.number) {
            self.violations.add(Violation::Twice, name);
            return true;
        }
        self.check_version(name, version);
        let message = self.message(name);
        let (begun, ended) = (message.begun, message.ended);
        let is_over = message.promise != Promise::Asked;
        let latest = message.latest;
        let is_late = is_over && (connection.opened > latest || now > latest + DELIVERY_GRACE);
        let has_ended = message.ended_before(connection.begun).is_some();
        if connection.after_crash && message.acknowledged == Step::Asked {
            // The service crashed before it read the acknowledgement, or lost it.
            message.acknowledged = Step::Not;
        }
        if is_late {
            self.violations.add(Violation::Late, name);
        }
        if has_ended {
            self.violations.add(Violation::Again, name);
        }
        if ended.is_some_and(|ended| ended < connection.newest) {
            self.violations.add(Violation::OutOfOrder, name);
        }
        connection.newest = connection.newest.max(begun);
        true
    }

    /// Records that an acknowledgement is about to be sent.
    pub(super) fn begin_ack(&mut self, name: MessageName) {
        let message = self.message(name);
        if message.acknowledged == Step::Not {
            message.acknowledged = Step::Asked;
        }
    }

    /// Records that the service has responded to a request that followed these
    /// acknowledgements on the same connection.
    pub(super) fn acks_confirmed(&mut self, names: &[MessageName]) {
        let stamp = self.clock.next();
        for name in names {
            let message = self.message(*name);
            if message.acknowledged == Step::Asked {
                message.acknowledged = Step::Done(stamp);
            }
        }
    }

    /// Records a crash: the service lost everything that was not durable.
    pub(super) fn crashed(&mut self) {
        let now = self.clock.next();
        let synced = std::mem::take(&mut self.synced);
        for log in &mut self.logs {
            let Log { messages, open, .. } = log;
            open.retain(|number| {
                let message = &mut messages[*number as usize];
                message.after_crash(now, synced);
                message.fate.is_none()
            });
        }
    }

    /// Settles the fates of a user agent's messages once it has received everything stored
    /// for it on this connection. Nothing but acknowledgements and withdrawals may have
    /// happened since the crash.
    pub(super) fn settle(&mut self, connection: &Connection, now: UnixTime) {
        let log = &self.logs[connection.user_agent as usize];
        let mut chains: BTreeMap<(Option<&str>, u32), Vec<u32>> = BTreeMap::new();
        for number in &log.open {
            let topic = log.messages[*number as usize].topic.as_deref();
            // Each message without a topic is a chain of its own.
            let key = topic.map_or((None, *number), |topic| (Some(topic), 0));
            chains.entry(key).or_default().push(*number);
        }
        let chains: Vec<Vec<u32>> = chains.into_values().collect();
        for chain in chains {
            self.settle_chain(connection, &chain, now);
        }
        let Log { messages, open, .. } = &mut self.logs[connection.user_agent as usize];
        open.retain(|number| messages[*number as usize].fate.is_none());
    }

    /// Settles messages that replace each other, oldest first. Exactly one must be stored:
    /// the last promised one, or a later one in doubt.
    fn settle_chain(&mut self, connection: &Connection, chain: &[u32], now: UnixTime) {
        let user_agent = connection.user_agent;
        let name = |number| MessageName { user_agent, number };
        let is_there = |number: &&u32| connection.received.contains(*number);
        let mut there = chain.iter().filter(is_there).rev();
        let last = there.next().copied();
        for other in there {
            self.violations.add(Violation::TopicTwice, name(*other));
        }
        let may_be_gone = chain.iter().any(|number| {
            let message = self.message(name(*number));
            message.may_be_gone(now)
        });
        for number in chain {
            let message = self.message(name(*number));
            if Some(*number) == last {
                message.is_there();
            } else if last.is_none() && message.promise == Promise::Given && !may_be_gone {
                message.fate = Some(Fate::Missing);
                self.violations.add(Violation::Missing, name(*number));
            } else {
                message.is_gone(now);
            }
        }
    }

    /// Records that the service has lost a user agent: its stored messages will never
    /// arrive.
    pub(super) fn forgotten(&mut self, user_agent: u32, now: UnixTime) {
        let nothing = self.connect(user_agent, true, now);
        self.settle(&nothing, now);
        let who = format!("user agent {user_agent}");
        self.violations.describe(Violation::Forgotten, &who);
    }

    /// The number of accepted pushes, and of the others.
    pub(super) fn answers(&self) -> (u64, u64) {
        let messages = || self.logs.iter().flat_map(|log| &log.messages);
        let accepted = messages().filter(|message| message.accepted).count();
        (accepted as u64, (messages().count() - accepted) as u64)
    }

    /// The fates of the accepted messages; `None` means still pending.
    pub(super) fn fates(&self) -> impl Iterator<Item = Option<Fate>> {
        let messages = self.logs.iter().flat_map(|log| &log.messages);
        let accepted = messages.filter(|message| message.accepted);
        let end = self.clock.after();
        accepted.map(move |message| message.ended_before(end))
    }

    fn check_version(&mut self, name: MessageName, version: &str) {
        let log = &mut self.logs[name.user_agent as usize];
        let known = log
            .versions
            .entry(version.to_owned())
            .or_insert(name.number);
        let mine = &mut log.messages[name.number as usize].version;
        let is_mine = mine.get_or_insert_with(|| version.to_owned()) == version;
        if *known != name.number || !is_mine {
            self.violations.add(Violation::Version, name);
        }
    }

    /// The open messages with the same topic, including this one.
    fn chain(&self, name: MessageName) -> Vec<MessageName> {
        let log = &self.logs[name.user_agent as usize];
        let topic = &log.messages[name.number as usize].topic;
        if topic.is_none() {
            return Vec::new();
        }
        let of_topic = |number: &&u32| log.messages[**number as usize].topic == *topic;
        let user_agent = name.user_agent;
        let named = |number: &u32| MessageName {
            user_agent,
            number: *number,
        };
        log.open.iter().filter(of_topic).map(named).collect()
    }

    fn message(&mut self, name: MessageName) -> &mut Message {
        &mut self.logs[name.user_agent as usize].messages[name.number as usize]
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
