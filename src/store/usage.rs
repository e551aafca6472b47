//! How much a store holds.

/// What a store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages not yet acknowledged, expired or replaced.
    pub messages: u64,
    /// Octets of those messages, as [`PushMessage::size`] counts them.
    pub live_bytes: u64,
    /// Receipt subscriptions.
    pub receipt_subscriptions: u64,
    /// Receipts not yet taken by their application servers.
    pub receipts: u64,
    /// Octets on disk; 0 for an engine without one.
    pub disk_bytes: u64,
    /// Records that failed their checksum or could not be read, set aside.
    pub damaged: u64,
    /// Changes that wait for the disk; 0 for an engine without one.
    pub waiting: u64,
    /// Octets that are free on the disk; 0 for an engine without one.
    pub free_bytes: u64,
    /// Whether the engine takes no changes now.
    pub failing: bool,
    /// How often the engine went on after it had failed.
    pub reopened: u64,
}

/// What a log holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages not yet acknowledged, expired ones until they are swept.
    pub messages: u64,
    /// Octets of those messages, as [`PushMessage::size`] counts them.
    pub bytes: u64,
}
