//! Round trips, and damage of every kind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bugle_client::new_key_pair;
use bugle_protocol::{ChannelId, Content, ContentCoding, KeyPair, SubscriptionId, Urgency};
use crc32fast::Hasher;

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
                registration: None,
            },
            Some(Day(4)),
        ),
        Record::Subscription(
            Subscription {
                uaid: UAID,
                channel: ChannelId::from_bytes([4; 16]),
                id: SubscriptionId::from_bytes([5; 16]),
                vapid_key: Some(key.public_key()),
                registration: Some("sealed".to_owned()),
            },
            None,
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
fn an_export_is_read_as_it_was_written() {
    let records = records();
    let export = written(&records);
    assert_eq!(read(&export).unwrap(), records);
    let first = export.split(|octet| *octet == b'\n').next().unwrap();
    let (_, first) = first.split_at(CHECKSUM + 1);
    let head = r#"{"export":{"version":2,"written_at":1000}}"#;
    assert_eq!(str::from_utf8(first).unwrap(), head);
}

#[test]
fn every_changed_missing_or_added_byte_is_detected() {
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
fn moved_and_repeated_lines_are_detected() {
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
fn version_1_has_no_days_of_use() {
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
