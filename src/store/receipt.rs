//! What becomes of a message whose sender wants to know (RFC 8030 §5.1, §6.3).

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid};
use serde::{Deserialize, Serialize};

/// A receipt's place in the log of its receipt subscription. Ids of one log
/// only grow; after a restart they go on above those that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptId(u64);

impl ReceiptId {
    /// From the store's count.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The store's count.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptStatus {
    /// The user agent acknowledged the message: 204 (RFC 8030 §6.3).
    Delivered,
    /// The service gave the message up: 410 (RFC 8030 §6.3).
    Failed,
}

/// The end of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the log.
    pub id: ReceiptId,
    /// In whose log the message was.
    pub uaid: Uaid,
    /// The message.
    pub message: MessageId,
    /// What became of it.
    pub status: ReceiptStatus,
}

/// Why a message leaves the store, and so which receipt it leaves, if one is
/// wanted. A message that another one replaces leaves none (RFC 8030 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The user agent acknowledged it: `Delivered`.
    Delivered,
    /// The user agent could not decrypt it (code 101): `Failed`.
    NotDecrypted,
    /// The user agent had no use for it (code 102). Given out once, it is
    /// `Failed`; given out again, it most likely came twice: `Delivered`
    /// (WS-N-17).
    NotWanted,
    /// Its URL was deleted, which both sides can do. Never given out, it is
    /// cancelled, without a receipt; else it is `Delivered`.
    Withdrawn,
    /// Its time is over, its subscription gone, or a limit dropped it:
    /// `Failed` (RFC 8030 §6.2, §7.2, A-8).
    GivenUp,
}

impl Removal {
    /// The receipt of a message that was given out `attempts` times.
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

/// What a change took out of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// How many messages.
    pub(super) messages: usize,
    /// The receipt subscriptions that have something new, each once.
    pub(super) receipts: Vec<ReceiptSubscriptionId>,
}

/// What one step of the sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many messages it removed.
    pub messages: usize,
    /// Whether it stopped at its limit: there may be more to remove.
    pub more: bool,
}
