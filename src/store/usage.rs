//! How much a store holds.

/// What a store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages not yet acknowledged, expired or replaced.
    pub messages: u64,
    /// Their size in bytes, as [`PushMessage::size`](bugle_protocol::PushMessage::size) counts it.
    pub live_bytes: u64,
    /// Receipt subscriptions.
    pub receipt_subscriptions: u64,
    /// Receipts that their application servers have not received yet.
    pub receipts: u64,
    /// Bytes on disk; 0 for an engine without one.
    pub disk_bytes: u64,
    /// Records that failed their checksum or could not be read, and were set aside.
    pub damaged: u64,
    /// Changes that wait for the disk; 0 for an engine without one.
    pub waiting: u64,
    /// Free bytes on the disk; 0 for an engine without one.
    pub free_bytes: u64,
    /// Whether the engine refuses changes now.
    pub failing: bool,
    /// How many times the engine was reopened after a failure.
    pub reopened: u64,
}

/// What a log holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Messages not yet acknowledged, expired ones until they are swept.
    pub messages: u64,
    /// Their size in bytes, as [`PushMessage::size`](bugle_protocol::PushMessage::size) counts it.
    pub bytes: u64,
}
