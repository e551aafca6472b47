//! Violations of the promises, with their counts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::contents::MessageName;

/// Maximum number of violations to describe individually.
const DESCRIBED: usize = 20;

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// A promised message is gone, and nothing can have ended it.
    Missing,
    /// A message was delivered again although its end was durable.
    Again,
    /// A message was delivered twice on one connection.
    Twice,
    /// A message was delivered after one that was sent after this one was accepted.
    OutOfOrder,
    /// A message was delivered after its TTL had passed.
    Late,
    /// Two messages with the same topic were stored.
    TopicTwice,
    /// One message has two versions, or two messages share one.
    Version,
    /// A message was corrupted, or sent to another user agent.
    Foreign,
    /// The service has lost a subscribed user agent.
    Forgotten,
    /// The service does not start or does not respond.
    NotServing,
}

/// All violations of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Violations {
    /// Number of violations by kind.
    pub counts: BTreeMap<Violation, u64>,
    /// Descriptions of the first ones.
    pub first: Vec<String>,
}

impl Violations {
    /// Counts a violation of a message.
    pub(super) fn add(&mut self, violation: Violation, name: MessageName) {
        let MessageName { user_agent, number } = name;
        let which = format!("message {number} for user agent {user_agent}");
        self.describe(violation, &which);
    }

    /// Counts a violation with a description.
    pub(super) fn describe(&mut self, violation: Violation, what: &str) {
        *self.counts.entry(violation).or_default() += 1;
        if self.first.len() < DESCRIBED {
            self.first.push(format!("{violation:?}: {what}"));
        }
    }

    /// The total number.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
