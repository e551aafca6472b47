//! Keys and records of the tree.
//!
//! | key | record |
//! |---|---|
//! | `s` uaid channel | the subscription |
//! | `u` uaid | how many subscriptions it has |
//! | `m` uaid id | a message, or its first part |
//! | `m` uaid id part | a further part of it |
//! | `b` id | the version of a broadcast |
//! | `R` receipt subscription | when it ends |
//! | `r` receipt subscription, id | a receipt |
//! | `!ids` | the bound below which message ids are reserved |
//!
//! A record is `[version][CRC-32 of the rest][the rest]`, and the rest is in
//! postcard, followed by the body where there is one. Version 2 of a message
//! says who gets its receipt; the other records have version 1. Numbers in keys are big
//! endian, so that a log lies in the order of its ids, each message's parts
//! behind it.

use bugle_protocol::{
    ChannelId, Content, ContentCoding, MessageId, PublicKey, ReceiptSubscriptionId, SubscriptionId,
    Topic, Uaid, UnixTime, Urgency,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sled::Tree;

use crate::broadcasts::Label;
use crate::store::receipt_logs::Kept;
use crate::store::{NewMessage, Receipt, ReceiptId, ReceiptStatus, StoreError, Subscription};

/// The version that a record begins with.
const VERSION: u8 = 1;
/// The version of a message that can have a receipt.
const VERSION_WITH_RECEIPT: u8 = 2;
/// Version and checksum.
const HEAD: usize = 5;
/// Octets of a message in one record. The engine writes a page of more than a
/// quarter of its segment into a file that it never syncs, and now and then
/// writes whole pages, of up to some 20 records.
pub(super) const PART: usize = 5 * 1024;

/// Key of the record of reserved ids.
pub(super) const IDS_KEY: &[u8] = b"!ids";
/// First octet of a subscription's key.
pub(super) const SUBSCRIPTION: u8 = b's';
/// First octet of a message's key.
pub(super) const MESSAGE: u8 = b'm';
/// First octet of a broadcast's key.
pub(super) const BROADCAST: u8 = b'b';
/// First octet of a receipt subscription's key.
pub(super) const RECEIPT_SUBSCRIPTION: u8 = b'R';
/// First octet of a receipt's key.
pub(super) const RECEIPT: u8 = b'r';
const USER_AGENT: u8 = b'u';

/// The key of a message, or of its first part.
pub(super) type MessageKey = [u8; 25];

/// The record cannot be what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

pub(super) fn subscription_key(uaid: Uaid, channel: ChannelId) -> [u8; 33] {
    let mut key = [SUBSCRIPTION; 33];
    key[1..17].copy_from_slice(uaid.as_bytes());
    key[17..].copy_from_slice(channel.as_bytes());
    key
}

pub(super) fn user_agent_key(uaid: Uaid) -> [u8; 17] {
    let mut key = [USER_AGENT; 17];
    key[1..].copy_from_slice(uaid.as_bytes());
    key
}

pub(super) fn message_key(uaid: Uaid, id: MessageId) -> MessageKey {
    let mut key = [MESSAGE; 25];
    key[1..17].copy_from_slice(uaid.as_bytes());
    key[17..].copy_from_slice(&id.get().to_be_bytes());
    key
}

pub(super) fn broadcast_key(id: &Label) -> Vec<u8> {
    [&[BROADCAST], id.as_str().as_bytes()].concat()
}

/// Which broadcast a key names.
pub(super) fn parse_broadcast_key(key: &[u8]) -> Result<Label, Damaged> {
    let id = key.strip_prefix(&[BROADCAST]).ok_or(Damaged)?;
    let id = str::from_utf8(id).map_err(|_| Damaged)?;
    Label::new(id).ok_or(Damaged)
}

pub(super) fn receipt_subscription_key(id: ReceiptSubscriptionId) -> [u8; 17] {
    let mut key = [RECEIPT_SUBSCRIPTION; 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

pub(super) fn receipt_key(subscription: ReceiptSubscriptionId, id: ReceiptId) -> [u8; 25] {
    let mut key = [RECEIPT; 25];
    key[1..17].copy_from_slice(subscription.as_bytes());
    key[17..].copy_from_slice(&id.get().to_be_bytes());
    key
}

/// The keys of all parts of a message, in order.
pub(super) fn part_keys(key: MessageKey, parts: u16) -> impl Iterator<Item = Vec<u8>> {
    (0..parts).map(move |part| match part {
        0 => key.to_vec(),
        _ => [key.as_slice(), &u32::from(part).to_be_bytes()].concat(),
    })
}

/// Whose subscription a key names.
pub(super) fn parse_subscription_key(key: &[u8]) -> Result<(Uaid, ChannelId), Damaged> {
    let (uaid, channel) = split_key(key, SUBSCRIPTION)?;
    let channel = channel.try_into().map_err(|_| Damaged)?;
    Ok((Uaid::from_bytes(uaid), ChannelId::from_bytes(channel)))
}

/// Which message a key of 25 octets names.
pub(super) fn parse_message_key(key: &[u8]) -> Result<(Uaid, MessageId), Damaged> {
    let (uaid, id) = split_key(key, MESSAGE)?;
    let id = id.try_into().map_err(|_| Damaged)?;
    Ok((
        Uaid::from_bytes(uaid),
        MessageId::new(u64::from_be_bytes(id)),
    ))
}

/// The 16 octets that a key has behind its kind, and the rest.
fn split_key(key: &[u8], kind: u8) -> Result<([u8; 16], &[u8]), Damaged> {
    let rest = key.strip_prefix(&[kind]).ok_or(Damaged)?;
    let (id, rest) = rest.split_first_chunk().ok_or(Damaged)?;
    Ok((*id, rest))
}

#[derive(Serialize, Deserialize)]
struct SubscriptionRecord {
    id: SubscriptionId,
    vapid_key: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct MessageRecord {
    channel: [u8; 16],
    subscription: SubscriptionId,
    accepted_at: UnixTime,
    expires_at: UnixTime,
    urgency: Urgency,
    topic: Option<Topic>,
    /// What the body, which follows, is.
    content: Option<ContentRecord>,
}

#[derive(Serialize, Deserialize)]
struct ContentRecord {
    coding: Option<ContentCoding>,
    content_type: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ReceiptRecord {
    uaid: [u8; 16],
    message: MessageId,
    status: ReceiptStatus,
    expires_at: UnixTime,
}

pub(super) fn encode_subscription(subscription: &Subscription) -> Result<Vec<u8>, StoreError> {
    let record = SubscriptionRecord {
        id: subscription.id,
        vapid_key: subscription.vapid_key.map(|key| key.as_bytes().to_vec()),
    };
    encode(&record)
}

pub(super) fn decode_subscription(key: &[u8], record: &[u8]) -> Result<Subscription, Damaged> {
    let (uaid, channel) = parse_subscription_key(key)?;
    let record: SubscriptionRecord = decode(record)?;
    let key = record.vapid_key.map(|key| PublicKey::from_bytes(&key));
    Ok(Subscription {
        uaid,
        channel,
        id: record.id,
        vapid_key: key.transpose().map_err(|_| Damaged)?,
    })
}

impl MessageRecord {
    fn of(message: &NewMessage) -> Self {
        let content = message.content.as_ref();
        Self {
            channel: *message.channel.as_bytes(),
            subscription: message.subscription,
            accepted_at: message.accepted_at,
            expires_at: message.expires_at,
            urgency: message.urgency,
            topic: message.topic.clone(),
            content: content.map(|content| ContentRecord {
                coding: content.coding.clone(),
                content_type: content.content_type.clone(),
            }),
        }
    }
}

pub(super) fn encode_message(message: &NewMessage) -> Result<Vec<u8>, StoreError> {
    let value = (MessageRecord::of(message), message.receipt);
    let body = message.content.as_ref().map(|content| &content.body);
    encode_as(
        VERSION_WITH_RECEIPT,
        &value,
        body.map_or(&[], Vec::as_slice),
    )
}

pub(super) fn decode_message(record: &[u8]) -> Result<NewMessage, Damaged> {
    type WithReceipt = (MessageRecord, Option<ReceiptSubscriptionId>);
    let (version, rest) = open(record)?;
    let ((record, receipt), body) = match version {
        VERSION => {
            let (record, body) = take::<MessageRecord>(rest)?;
            ((record, None), body)
        }
        VERSION_WITH_RECEIPT => take::<WithReceipt>(rest)?,
        _ => return Err(Damaged),
    };
    Ok(NewMessage {
        channel: ChannelId::from_bytes(record.channel),
        subscription: record.subscription,
        accepted_at: record.accepted_at,
        expires_at: record.expires_at,
        urgency: record.urgency,
        topic: record.topic,
        content: record.content.map(|content| Content {
            coding: content.coding,
            content_type: content.content_type,
            body: body.to_vec(),
        }),
        receipt,
    })
}

pub(super) fn encode_receipt(kept: &Kept) -> Result<Vec<u8>, StoreError> {
    encode(&ReceiptRecord {
        uaid: *kept.receipt.uaid.as_bytes(),
        message: kept.receipt.message,
        status: kept.receipt.status,
        expires_at: kept.expires_at,
    })
}

pub(super) fn decode_receipt(
    key: &[u8],
    record: &[u8],
) -> Result<(ReceiptSubscriptionId, Kept), Damaged> {
    let (subscription, id) = split_key(key, RECEIPT)?;
    let id = id.try_into().map_err(|_| Damaged)?;
    let record: ReceiptRecord = decode(record)?;
    let receipt = Receipt {
        id: ReceiptId::new(u64::from_be_bytes(id)),
        uaid: Uaid::from_bytes(record.uaid),
        message: record.message,
        status: record.status,
    };
    let kept = Kept {
        receipt,
        expires_at: record.expires_at,
    };
    Ok((ReceiptSubscriptionId::from_bytes(subscription), kept))
}

/// Which receipt subscription it is, and when it ends.
pub(super) fn decode_receipt_subscription(
    key: &[u8],
    record: &[u8],
) -> Result<(ReceiptSubscriptionId, UnixTime), Damaged> {
    match split_key(key, RECEIPT_SUBSCRIPTION)? {
        (id, []) => Ok((ReceiptSubscriptionId::from_bytes(id), decode(record)?)),
        _ => Err(Damaged),
    }
}

/// The record of a plain value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    encode_as(VERSION, value, &[])
}

/// A record with what follows its value.
fn encode_as<T: Serialize>(version: u8, value: &T, tail: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut record = Vec::with_capacity(HEAD + 128 + tail.len());
    record.extend([version, 0, 0, 0, 0]);
    let mut record = postcard::to_extend(value, record)
        .map_err(|error| StoreError::Unavailable(format!("cannot encode a record: {error}")))?;
    record.extend_from_slice(tail);
    let checksum = crc32fast::hash(&record[HEAD..]);
    record[1..HEAD].copy_from_slice(&checksum.to_be_bytes());
    Ok(record)
}

/// The value of a record.
pub(super) fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, Damaged> {
    match open(record)? {
        (VERSION, rest) => take(rest).map(|(value, _)| value),
        _ => Err(Damaged),
    }
}

/// The version of a record, and what its checksum vouches for.
fn open(record: &[u8]) -> Result<(u8, &[u8]), Damaged> {
    let (head, rest) = record.split_first_chunk::<HEAD>().ok_or(Damaged)?;
    let [version, checksum @ ..] = *head;
    if u32::from_be_bytes(checksum) != crc32fast::hash(rest) {
        return Err(Damaged);
    }
    Ok((version, rest))
}

fn take<T: DeserializeOwned>(rest: &[u8]) -> Result<(T, &[u8]), Damaged> {
    postcard::take_from_bytes(rest).map_err(|_| Damaged)
}

/// The record of a message, put together again; `None` when a part is not
/// there.
pub(super) fn read_message(
    tree: &Tree,
    key: MessageKey,
    parts: u16,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut record = Vec::new();
    for key in part_keys(key, parts) {
        match tree.get(key).map_err(|error| unavailable(&error))? {
            Some(part) => record.extend_from_slice(&part),
            None => return Ok(None),
        }
    }
    Ok(Some(record))
}

/// In how many parts a record is kept.
///
/// # Errors
/// `Unavailable` when they would be too many.
pub(super) fn parts_of(record: &[u8]) -> Result<u16, StoreError> {
    u16::try_from(record.len().div_ceil(PART))
        .map_err(|_| StoreError::Unavailable("the message is too large for the store".to_owned()))
}

/// The engine's own words; they name no key and no record.
pub(super) fn unavailable(error: &sled::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const UAID: Uaid = Uaid::from_bytes([0xaa; 16]);

    fn message() -> NewMessage {
        NewMessage {
            channel: ChannelId::from_bytes([1; 16]),
            subscription: SubscriptionId::from_bytes([2; 16]),
            accepted_at: UnixTime::from_millis(3),
            expires_at: UnixTime::from_millis(4),
            urgency: Urgency::High,
            topic: "t".parse().ok(),
            content: Some(Content {
                coding: Some(ContentCoding::Aes128gcm),
                content_type: Some("text/plain".to_owned()),
                body: vec![5; 20],
            }),
            receipt: Some(ReceiptSubscriptionId::from_bytes([6; 16])),
        }
    }

    #[test]
    fn a_log_lies_in_the_order_of_ids_with_parts_behind_their_message() {
        let keys: Vec<_> = [1, 255, 256, u64::MAX]
            .into_iter()
            .flat_map(|id| part_keys(message_key(UAID, MessageId::new(id)), 300))
            .collect();
        assert!(keys.is_sorted());
        assert_eq!(
            parse_message_key(&keys[300]),
            Ok((UAID, MessageId::new(255)))
        );
        assert_eq!(parse_message_key(&keys[301]), Err(Damaged));
    }

    #[test]
    fn a_record_has_the_bytes_of_version_1() {
        let record = encode_as(VERSION, &300_u32, b"tail").unwrap();
        let checksum = crc32fast::hash(&[0xac, 0x02, b't', b'a', b'i', b'l']);
        assert_eq!(record[0], 1);
        assert_eq!(record[1..5], checksum.to_be_bytes());
        assert_eq!(record[5..], [0xac, 0x02, b't', b'a', b'i', b'l']);
    }

    #[test]
    fn a_message_of_version_1_wants_no_receipt() {
        let message = NewMessage {
            receipt: None,
            ..message()
        };
        let old = encode_as(VERSION, &MessageRecord::of(&message), b"body").unwrap();
        let read = decode_message(&old).unwrap();
        assert_eq!(
            read.content.map(|content| content.body),
            Some(b"body".into())
        );
        assert_eq!((read.receipt, read.topic), (None, message.topic));
    }

    #[test]
    fn every_changed_or_missing_octet_is_noticed() {
        let message = message();
        let record = encode_message(&message).unwrap();
        assert_eq!(decode_message(&record), Ok(message));
        for at in 0..record.len() {
            assert_eq!(decode_message(&record[..at]), Err(Damaged));
            let mut changed = record.clone();
            changed[at] ^= 0x10;
            assert_eq!(decode_message(&changed), Err(Damaged));
        }
    }
}
