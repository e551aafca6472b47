//! What a service must not do, and how often it did.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::contents::MessageName;

/// How many are described one by one.
const DESCRIBED: usize = 20;

/// A promise that was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// A message that was answered 201 is gone, and nothing may have ended it.
    Missing,
    /// A message came after what ended it was durable.
    Again,
    /// A message came twice on one connection.
    Twice,
    /// A message came after one that was sent after it was accepted.
    OutOfOrder,
    /// A message came after its TTL.
    Late,
    /// Two messages with one topic were stored.
    TopicTwice,
    /// One message has two names, or two messages have one.
    Version,
    /// What came was not what was sent, or was sent to somebody else.
    Foreign,
    /// A user agent that had subscribed is not known any more.
    Forgotten,
    /// The service does not start, or does not serve.
    NotServing,
}

/// All violations of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Violations {
    /// How many, by kind.
    pub counts: BTreeMap<Violation, u64>,
    /// The first of them.
    pub first: Vec<String>,
}

impl Violations {
    /// Counts one.
    pub(super) fn add(&mut self, violation: Violation, name: MessageName) {
        let MessageName { user_agent, number } = name;
        let which = format!("message {number} for user agent {user_agent}");
        self.describe(violation, &which);
    }

    /// Counts one that has no message.
    pub(super) fn describe(&mut self, violation: Violation, what: &str) {
        *self.counts.entry(violation).or_default() += 1;
        if self.first.len() < DESCRIBED {
            self.first.push(format!("{violation:?}: {what}"));
        }
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
