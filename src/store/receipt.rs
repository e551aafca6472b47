//! Receipts: the outcome of messages (RFC 8030 §5.1, §6.3).

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid};
use serde::{Deserialize, Serialize};

/// The position of a receipt in the log of its receipt subscription. Ids of a log only grow; after
/// a restart they continue above those that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptId(u64);

impl ReceiptId {
    /// Creates an id from the store's counter.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// Returns the store's counter.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The status that a receipt reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptStatus {
    /// The user agent acknowledged the message: 204 (RFC 8030 §6.3).
    Delivered,
    /// The service gave the message up: 410 (RFC 8030 §6.3).
    Failed,
}

/// The outcome of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its position in the log.
    pub id: ReceiptId,
    /// The user agent that the message was for.
    pub uaid: Uaid,
    /// The message.
    pub message: MessageId,
    /// Its outcome.
    pub status: ReceiptStatus,
}

/// Why a message leaves the store, which decides the receipt it leaves, if it has a receipt
/// subscription. A message that another one replaces leaves none (RFC 8030 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The user agent acknowledged it: `Delivered`.
    Delivered,
    /// The user agent could not decrypt it (code 101): `Failed`.
    NotDecrypted,
    /// The user agent did not want it (code 102). If it was given out once, `Failed`; if more than
    /// once, it was most likely a duplicate: `Delivered` (WS-N-17).
    NotWanted,
    /// Its URL was deleted, which both sides can do. If it was never given out, it is cancelled
    /// without a receipt; otherwise `Delivered`.
    Withdrawn,
    /// It expired, its subscription ended, or a limit dropped it: `Failed` (RFC 8030 §6.2, §7.2,
    ///
    GivenUp,
}

impl Removal {
    /// Returns the status of a message that was given out `attempts` times; `None` if it leaves no
    /// receipt.
    pub(super) fn status(self, attempts: u8) -> Option<ReceiptStatus> {
        match self {
            Self::Delivered => Some(ReceiptStatus::Delivered),
            Self::NotDecrypted | Self::GivenUp => Some(ReceiptStatus::Failed),
            Self::NotWanted if attempts <= 1 => Some(ReceiptStatus::Failed),
            Self::NotWanted => Some(ReceiptStatus::Delivered),
            Self::Withdrawn => (attempts > 0).then_some(ReceiptStatus::Delivered),
        }
    }
}

/// What a change removed from the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// Number of messages.
    pub(super) messages: usize,
    /// The receipt subscriptions with new receipts, each once.
    pub(super) receipts: Vec<ReceiptSubscriptionId>,
}

/// The result of one step of the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Number of removed messages.
    pub messages: usize,
    /// Whether it stopped at its limit, so that there may be more to remove.
    pub more: bool,
}
