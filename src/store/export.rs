//! The export format, version 2: the content of a store as text that any program can read
//! (`docs/export-format.md`).
//!
//! One record per line, read and written one at a time. Each line begins with a running checksum of
//! all records up to its own, so a line that was changed, lost, moved or added is detected where it
//! is. The last line holds the number of records.

mod lines;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::days::{Day, Days};
use super::{NewMessage, Receipt, Subscription};
use crate::store::broadcasts::Label;

pub use self::reader::ExportReader;
pub use self::writer::ExportWriter;

/// The version that this program writes.
const VERSION: u32 = 2;
/// The oldest version that it reads. Version 1 lacks the days of last use, and is otherwise the
/// same.
const OLDEST: u32 = 1;

/// Maximum length of a line in bytes: more than a message with the largest body that the store
/// accepts.
const MAX_LINE: u64 = 512 << 20;

/// Digits of a checksum.
const CHECKSUM: usize = 8;

/// One record of an export. The kinds follow each other in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The keys that seal endpoints, in base64url; the current sealing key is first.
    EndpointKeys(Vec<String>),
    /// Greater than every message id that was ever given out.
    NextId(MessageId),
    /// The count of days of service.
    Days(Days),
    /// A subscription, and the last recorded day on which a message for it was accepted or its user
    /// agent connected.
    Subscription(Subscription, Option<Day>),
    /// A receipt subscription, and when it ends.
    ReceiptSubscription(ReceiptSubscriptionId, UnixTime),
    /// A broadcast and its version.
    Broadcast(Label, Label),
    /// A stored message.
    Message(Uaid, MessageId, NewMessage),
    /// A receipt of a receipt subscription, and when it expires.
    Receipt(ReceiptSubscriptionId, Receipt, UnixTime),
}

impl Record {
    /// Moves the times of the record by `by_ms` milliseconds, which may be negative.
    pub fn moved(self, by_ms: i64) -> Self {
        match self {
            Self::ReceiptSubscription(id, ends_at) => {
                Self::ReceiptSubscription(id, ends_at.moved(by_ms))
            }
            Self::Message(uaid, id, message) => {
                let message = NewMessage {
                    accepted_at: message.accepted_at.moved(by_ms),
                    expires_at: message.expires_at.moved(by_ms),
                    ..message
                };
                Self::Message(uaid, id, message)
            }
            Self::Receipt(id, receipt, expires_at) => {
                Self::Receipt(id, receipt, expires_at.moved(by_ms))
            }
            other => other,
        }
    }
}

/// Why an export cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The first line is not that of an export.
    #[error("this is not an export of a store: its first line is another")]
    NotAnExport,
    /// A newer version wrote it.
    #[error("the export has version {0}, and this program reads up to {VERSION}: use a later one")]
    Newer(u32),
    /// A checksum does not match.
    #[error("line {0} of the export is not what was written: take another copy of it")]
    Damaged(u64),
    /// A line is not a valid record.
    #[error("line {0} of the export: {1}")]
    Line(u64, String),
    /// The last line is missing.
    #[error("the export ends after line {0}, without its last line: take another copy of it")]
    Cut(u64),
}
