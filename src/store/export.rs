//! The export format, version 2: the content of a store as text that any program can read
//! (`docs/export-format.md`).
//!
//! One record per line, read and written one at a time. Each line begins with a running checksum of
//! all records up to its own, so a line that was changed, lost, moved or added is detected where it
//! is. The last line holds the number of records.

mod lines;

use std::io::{self, BufRead, Read, Write};

use crc32fast::Hasher;

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use self::lines::Line;
use super::days::{Day, Days};
use super::{NewMessage, Receipt, Subscription};
use crate::store::broadcasts::Label;

/// The version that this program writes.
const VERSION: u32 = 2;
/// The oldest version that it reads. Version 1 lacks the days of last use, and is otherwise the
/// same.
const OLDEST: u32 = 1;

/// Maximum length of a line in bytes: more than a message with the largest body that the store
/// accepts.
const LONGEST: u64 = 512 << 20;

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

/// Writes an export.
pub struct ExportWriter<W> {
    to: W,
    checksum: Hasher,
    records: u64,
}

impl<W: Write> ExportWriter<W> {
    /// Starts an export, and writes its first line.
    ///
    /// # Errors
    /// The writer's error.
    pub fn begin(to: W, written_at: UnixTime) -> io::Result<Self> {
        let mut writer = Self {
            to,
            checksum: Hasher::new(),
            records: 0,
        };
        writer.line(&Line::head(VERSION, written_at))?;
        Ok(writer)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The writer's error.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.records += 1;
        self.line(&Line::from(record))
    }

    /// Writes the last line, and returns the writer.
    ///
    /// # Errors
    /// The writer's error.
    pub fn end(mut self) -> io::Result<W> {
        self.line(&Line::end(self.records))?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let text = serde_json::to_string(line)?;
        self.checksum.update(text.as_bytes());
        let checksum = self.checksum.clone().finalize();
        writeln!(self.to, "{checksum:0width$x} {text}", width = CHECKSUM)
    }
}

/// Reads an export, one record at a time.
pub struct ExportReader<R> {
    from: R,
    checksum: Hasher,
    lines: u64,
    records: u64,
    line: Vec<u8>,
}

impl<R: BufRead> ExportReader<R> {
    /// Starts to read an export, and checks its first line.
    ///
    /// # Errors
    /// Fails when this is not an export, or one of a newer version.
    pub fn begin(from: R) -> Result<Self, ExportError> {
        let mut reader = Self {
            from,
            checksum: Hasher::new(),
            lines: 0,
            records: 0,
            line: Vec::new(),
        };
        match reader.line() {
            Ok(line) => match line.version() {
                Some(OLDEST..=VERSION) => Ok(reader),
                Some(other) => Err(ExportError::Newer(other)),
                None => Err(ExportError::NotAnExport),
            },
            Err(ExportError::Io(error)) => Err(error.into()),
            Err(_) => Err(ExportError::NotAnExport),
        }
    }

    /// Returns the next record; `None` after a valid last line.
    ///
    /// # Errors
    /// Fails when a line is damaged, missing, or not a valid record.
    pub fn next(&mut self) -> Result<Option<Record>, ExportError> {
        let line = self.line()?;
        match line.records() {
            None => {
                self.records += 1;
                let record = Record::try_from(line);
                record.map(Some).map_err(|why| self.wrong(&why))
            }
            Some(records) if records != self.records => Err(self.wrong(&format!(
                "it says that there are {records} records, and there are {}",
                self.records
            ))),
            Some(_) if !self.from.fill_buf()?.is_empty() => {
                Err(self.wrong(&"this is to be the last line, and there are more"))
            }
            Some(_) => Ok(None),
        }
    }

    /// Returns the number of the last line read, from 1.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    fn line(&mut self) -> Result<Line, ExportError> {
        self.line.clear();
        let read = self
            .from
            .by_ref()
            .take(LONGEST)
            .read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Err(ExportError::Cut(self.lines));
        }
        self.lines += 1;
        let damaged = ExportError::Damaged(self.lines);
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(damaged);
        };
        let Some((checksum, [b' ', text @ ..])) = line.split_first_chunk::<CHECKSUM>() else {
            return Err(damaged);
        };
        self.checksum.update(text);
        let expected = format!("{:0CHECKSUM$x}", self.checksum.clone().finalize());
        if checksum != expected.as_bytes() {
            return Err(damaged);
        }
        serde_json::from_slice(text).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, why: &dyn ToString) -> ExportError {
        ExportError::Line(self.lines, why.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use bugle_client::new_key_pair;
    use bugle_protocol::{ChannelId, Content, ContentCoding, KeyPair, SubscriptionId, Urgency};

    use super::*;
    use crate::store::{Origin, ReceiptId, ReceiptStatus, ReceiptTarget};

    const UAID: Uaid = Uaid::from_bytes([1; 16]);
    const RECEIPTS: ReceiptSubscriptionId = ReceiptSubscriptionId::from_bytes([0xf; 16]);

    fn message(coding: Option<ContentCoding>, body: Option<Vec<u8>>) -> NewMessage {
        NewMessage {
            channel: ChannelId::from_bytes([2; 16]),
            subscription: SubscriptionId::from_bytes([3; 16]),
            accepted_at: UnixTime::from_millis(4),
            expires_at: UnixTime::from_millis(5),
            urgency: Urgency::VeryLow,
            topic: body.as_ref().and_then(|_| "t".parse().ok()),
            content: body.map(|body| Content {
                coding,
                content_type: Some("text/\"plain\"".to_owned()),
                body,
            }),
            receipt: Some(ReceiptTarget::existing(RECEIPTS)),
            origin: Origin::default(),
        }
    }

    fn records() -> Vec<Record> {
        let key: KeyPair = new_key_pair();
        let aesgcm = ContentCoding::Aesgcm {
            encryption: "salt=a".to_owned(),
            crypto_key: "dh=b".to_owned(),
        };
        let receipt = Receipt {
            id: ReceiptId::new(u64::MAX),
            uaid: UAID,
            message: MessageId::new(7),
            status: ReceiptStatus::Failed,
        };
        vec![
            Record::EndpointKeys(vec!["k".to_owned()]),
            Record::NextId(MessageId::new(9)),
            Record::Days(Days::begin(UnixTime::from_secs(100 * 24 * 3600))),
            Record::Subscription(
                Subscription {
                    uaid: UAID,
                    channel: ChannelId::from_bytes([2; 16]),
                    id: SubscriptionId::from_bytes([3; 16]),
                    vapid_key: Some(key.public_key()),
                },
                Some(Day(4)),
            ),
            Record::ReceiptSubscription(RECEIPTS, UnixTime::from_millis(u64::MAX)),
            Record::Broadcast(Label::new("a b").unwrap(), Label::new("\"").unwrap()),
            Record::Message(UAID, MessageId::new(7), message(None, None)),
            Record::Message(
                UAID,
                MessageId::new(8),
                message(Some(aesgcm), Some(vec![0])),
            ),
            Record::Receipt(RECEIPTS, receipt, UnixTime::from_millis(0)),
        ]
    }

    fn written(records: &[Record]) -> Vec<u8> {
        let mut writer = ExportWriter::begin(Vec::new(), UnixTime::from_secs(1)).unwrap();
        for record in records {
            writer.write(record).unwrap();
        }
        writer.end().unwrap()
    }

    fn read(export: &[u8]) -> Result<Vec<Record>, ExportError> {
        let mut reader = ExportReader::begin(export)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn what_is_written_is_read() {
        let records = records();
        let export = written(&records);
        assert_eq!(read(&export).unwrap(), records);
        let first = export.split(|octet| *octet == b'\n').next().unwrap();
        let (_, first) = first.split_at(CHECKSUM + 1);
        let head = r#"{"export":{"version":2,"written_at":1000}}"#;
        assert_eq!(str::from_utf8(first).unwrap(), head);
    }

    #[test]
    fn every_changed_missing_or_added_octet_is_noticed() {
        let export = written(&records());
        for at in 0..export.len() {
            assert!(read(&export[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut changed = export.clone();
                changed[at] ^= 1 << bit;
                assert!(read(&changed).is_err(), "bit {bit} of {at}");
            }
        }
        assert!(read(&[&export[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn moved_and_repeated_lines_are_noticed() {
        let export = written(&records());
        let lines: Vec<_> = export.split_inclusive(|octet| *octet == b'\n').collect();
        let mut moved = lines.clone();
        moved.swap(4, 5);
        assert!(matches!(
            read(&moved.concat()),
            Err(ExportError::Damaged(5))
        ));
        let repeated = [&lines[..4], &lines[3..]].concat().concat();
        assert!(matches!(read(&repeated), Err(ExportError::Damaged(5))));
        let without_one = [&lines[..4], &lines[5..]].concat().concat();
        assert!(matches!(read(&without_one), Err(ExportError::Damaged(5))));
    }

    #[test]
    fn other_files_and_versions_are_refused() {
        assert!(matches!(read(b""), Err(ExportError::NotAnExport)));
        assert!(matches!(read(b"{}\n"), Err(ExportError::NotAnExport)));
        let newer = r#"{"export":{"version":3,"written_at":0}}"#;
        assert!(matches!(read(&lines(&[newer])), Err(ExportError::Newer(3))));
    }

    #[test]
    fn version_1_does_not_say_when_a_subscription_was_used() {
        let subscription = concat!(
            r#"{"subscription":{"uaid":"01010101010101010101010101010101","#,
            r#""channel":"02020202-0202-0202-0202-020202020202","#,
            r#""id":"03030303030303030303030303030303","vapid_key":null}}"#
        );
        let head = r#"{"export":{"version":1,"written_at":0}}"#;
        let old = lines(&[head, subscription, r#"{"end":{"records":1}}"#]);
        let read = read(&old).unwrap();
        assert!(matches!(read[..], [Record::Subscription(_, None)]));
    }

    /// Builds an export of these lines.
    fn lines(texts: &[&str]) -> Vec<u8> {
        let mut checksum = Hasher::new();
        let lines = texts.iter().map(|text| {
            checksum.update(text.as_bytes());
            format!("{:08x} {text}\n", checksum.clone().finalize())
        });
        lines.collect::<String>().into_bytes()
    }
}
