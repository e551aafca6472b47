//! Accounts for every message of a fault run, from what application servers
//! and user agents see.
//!
//! A message that was answered 201 is *promised*. It may be missing only if
//! its TTL may have run out, its acknowledgement or its withdrawal was sent, or
//! a later message with its topic may have replaced it. It may come again only
//! as long as what ended it may have been forgotten in the crash:
//!
//! * An acknowledgement is *done* when an answer to something that its user
//!   agent asked later on the same connection is there, for a service answers
//!   in order. A withdrawal is done when it is answered.
//! * What is done is *durable* when a push that was begun later is promised:
//!   one sync makes all durable that was applied before it. Until then a crash
//!   may undo it.
//! * A push that was not answered 201 may be there or not. Once it has come
//!   after a crash, it is as good as promised.
//!
//! Nothing here does any I/O; the order of the calls is the order of events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bugle_protocol::UnixTime;

use super::message::{Fate, Message, Promise, Stamp, Step};
use super::violation::{Violation, Violations};
use crate::contents::MessageName;

/// How long after its end a message may come that was sent in time: this
/// machine may be busy. On a connection that was opened after its end it may
/// not come at all.
const ON_ITS_WAY: Duration = Duration::from_secs(30);

/// All that is known of the messages of a run.
#[derive(Debug, Default)]
pub(super) struct Account {
    clock: Stamp,
    logs: Vec<Log>,
    /// When the last push of this life of the service began that was promised.
    synced: Stamp,
    pub(super) violations: Violations,
}

/// The messages for one user agent.
#[derive(Debug, Default)]
struct Log {
    messages: Vec<Message>,
    versions: HashMap<String, u32>,
    /// Those whose fate is not known.
    open: Vec<u32>,
}

/// What one connection of a user agent has received.
#[derive(Debug)]
pub(super) struct Connection {
    user_agent: u32,
    begun: Stamp,
    opened: UnixTime,
    /// Nothing that was sent on an earlier one can be on its way still.
    after_crash: bool,
    /// The latest beginning of a push that it has received.
    newest: Stamp,
    received: HashSet<u32>,
}

impl Connection {
    /// Whether this message came.
    pub(super) fn has(&self, name: MessageName) -> bool {
        name.user_agent == self.user_agent && self.received.contains(&name.number)
    }

    /// How many messages came.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }
}

impl Account {
    /// Another user agent, which has subscribed: its number.
    pub(super) fn add_user_agent(&mut self) -> u32 {
        self.logs.push(Log::default());
        u32::try_from(self.logs.len() - 1).unwrap_or(u32::MAX)
    }

    /// A push is about to be sent.
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

    /// 201: the push is promised.
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

    /// The push got no answer, or one that is no promise. What application
    /// servers send next may come before it no more, so it counts as over only
    /// after the crash.
    pub(super) fn not_accepted(&mut self, name: MessageName, now: UnixTime) {
        let message = self.message(name);
        message.promise = Promise::Open;
        message.latest = now + message.ttl;
    }

    /// A withdrawal is about to be sent.
    pub(super) fn begin_withdrawal(&mut self, name: MessageName) {
        let message = self.message(name);
        if message.withdrawn == Step::Not {
            message.withdrawn = Step::Asked;
        }
    }

    /// The withdrawal was answered: done, or there is no such message.
    pub(super) fn withdrawal_answered(&mut self, name: MessageName, done: bool) {
        let stamp = self.clock.next();
        let message = self.message(name);
        message.withdrawn = if done { Step::Done(stamp) } else { Step::Not };
    }

    /// A user agent is about to say hello, for the first time after a crash or
    /// again.
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

    /// A message has come. Returns whether it is one of those that were sent to
    /// this user agent.
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
        let is_late = is_over && (connection.opened > latest || now > latest + ON_ITS_WAY);
        let has_ended = message.ended_before(connection.begun).is_some();
        if connection.after_crash && message.acknowledged == Step::Asked {
            // The service that crashed did not hear it, or forgot it.
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

    /// An acknowledgement is about to be sent.
    pub(super) fn begin_ack(&mut self, name: MessageName) {
        let message = self.message(name);
        if message.acknowledged == Step::Not {
            message.acknowledged = Step::Asked;
        }
    }

    /// The service has answered something that was asked on the same connection
    /// after these acknowledgements.
    pub(super) fn acks_heard(&mut self, names: &[MessageName]) {
        let stamp = self.clock.next();
        for name in names {
            let message = self.message(*name);
            if message.acknowledged == Step::Asked {
                message.acknowledged = Step::Done(stamp);
            }
        }
    }

    /// The service is gone, with all that it had not made durable.
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

    /// A user agent has received all that is stored for it, on this connection
    /// since the crash; nothing was sent to it meanwhile but what ends it.
    pub(super) fn settle(&mut self, connection: &Connection, now: UnixTime) {
        let log = &self.logs[connection.user_agent as usize];
        let mut chains: BTreeMap<(Option<&str>, u32), Vec<u32>> = BTreeMap::new();
        for number in &log.open {
            let topic = log.messages[*number as usize].topic.as_deref();
            // Without a topic, a message is the only one of its kind.
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

    /// Of the messages that replace each other, oldest first, one is there: the
    /// last that was promised, or one after it of which nobody knows.
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

    /// The service does not know this user agent any more: what is stored for
    /// it will never come.
    pub(super) fn forgotten(&mut self, user_agent: u32, now: UnixTime) {
        let nothing = self.connect(user_agent, true, now);
        self.settle(&nothing, now);
        let who = format!("user agent {user_agent}");
        self.violations.describe(Violation::Forgotten, &who);
    }

    /// How many pushes were accepted, and how many not, or are not answered.
    pub(super) fn answers(&self) -> (u64, u64) {
        let messages = || self.logs.iter().flat_map(|log| &log.messages);
        let accepted = messages().filter(|message| message.accepted).count();
        (accepted as u64, (messages().count() - accepted) as u64)
    }

    /// What became of the messages that were accepted; `None` is still pending.
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

    /// The open messages with its topic, itself among them.
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
