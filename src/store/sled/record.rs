//! Encoding and decoding of the tree's records.
//!
//! A record is `[version][CRC-32 of the rest][the rest]`. The rest is a value in postcard, followed
//! by the body of a message. Version 2 of a message adds its receipt subscription; version 2 of a
//! subscription and of a user agent adds the day of its last use. Version 3 of a subscription adds
//! the registration of a Chromium, and is written for those alone. All other records have version 1.

use bugle_protocol::{
    ChannelId, Content, ContentCoding, MessageId, PublicKey, ReceiptSubscriptionId, SubscriptionId,
    Topic, Uaid, UnixTime, Urgency,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sled::Tree;

use super::keys::{
    MessageKey, RECEIPT, RECEIPT_SUBSCRIPTION, parse_subscription_key, part_keys, split_key,
};
use crate::store::days::Day;
use crate::store::receipt_logs::StoredReceipt;
use crate::store::{
    NewMessage, Origin, Receipt, ReceiptId, ReceiptStatus, ReceiptTarget, StoreError, Subscription,
};

/// The version of a plain record.
const VERSION: u8 = 1;
/// The version of a message that can have a receipt.
const VERSION_WITH_RECEIPT: u8 = 2;
/// The version of a record with the day of its last use.
const VERSION_WITH_USE: u8 = 2;
/// The version of the subscription of a Chromium.
const VERSION_WITH_REGISTRATION: u8 = 3;
/// Length of the version and the checksum in bytes.
const HEAD: usize = 5;
/// Bytes of a message in one record. The engine writes pages larger than a quarter of its segment
/// to a file that it never syncs, and sometimes writes whole pages of up to about 20 records.
pub(super) const PART: usize = 5 * 1024;

/// The key or record is not one that the store has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

#[derive(Serialize, Deserialize)]
struct SubscriptionRecord {
    id: SubscriptionId,
    vapid_key: Option<Vec<u8>>,
}

/// The record of a user agent that has a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserAgent {
    /// The number of its subscriptions.
    pub(super) subscriptions: u32,
    /// The day on which a connection was last recorded.
    pub(super) connected: Option<Day>,
}

#[derive(Serialize, Deserialize)]
struct MessageRecord {
    channel: [u8; 16],
    subscription: SubscriptionId,
    accepted_at: UnixTime,
    expires_at: UnixTime,
    urgency: Urgency,
    topic: Option<Topic>,
    /// Describes the body, which follows the record.
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

/// Encodes a subscription. `used` is the day on which an accepted message was last recorded for it.
pub(super) fn encode_subscription(
    subscription: &Subscription,
    used: Option<Day>,
) -> Result<Vec<u8>, StoreError> {
    let record = SubscriptionRecord {
        id: subscription.id,
        vapid_key: subscription.vapid_key.map(|key| key.as_bytes().to_vec()),
    };
    match &subscription.registration {
        None => encode_as(VERSION_WITH_USE, &(record, used), &[]),
        Some(sealed) => encode_as(VERSION_WITH_REGISTRATION, &(record, used, sealed), &[]),
    }
}

/// Decodes a subscription. Version 1 has no day of last use.
pub(super) fn decode_subscription(
    key: &[u8],
    record: &[u8],
) -> Result<(Subscription, Option<Day>), Damaged> {
    let (uaid, channel) = parse_subscription_key(key)?;
    let (record, used, registration): (SubscriptionRecord, _, _) = match open(record)? {
        (VERSION, rest) => (take(rest)?.0, None, None),
        (VERSION_WITH_USE, rest) => {
            let ((record, used), _) = take(rest)?;
            (record, used, None)
        }
        (VERSION_WITH_REGISTRATION, rest) => {
            let ((record, used, sealed), _) = take(rest)?;
            (record, used, Some(sealed))
        }
        _ => return Err(Damaged),
    };
    // The checksum of the record protects the key.
    let key = record.vapid_key.map(|key| PublicKey::from_kept(&key));
    let subscription = Subscription {
        uaid,
        channel,
        id: record.id,
        vapid_key: key.transpose().map_err(|_| Damaged)?,
        registration,
    };
    Ok((subscription, used))
}

pub(super) fn encode_user_agent(user_agent: &UserAgent) -> Result<Vec<u8>, StoreError> {
    encode_as(VERSION_WITH_USE, user_agent, &[])
}

/// Decodes a user agent. Version 1 holds the number of subscriptions only.
pub(super) fn decode_user_agent(record: &[u8]) -> Result<UserAgent, Damaged> {
    match open(record)? {
        (VERSION, rest) => Ok(UserAgent {
            subscriptions: take(rest)?.0,
            connected: None,
        }),
        (VERSION_WITH_USE, rest) => take(rest).map(|(user_agent, _)| user_agent),
        _ => Err(Damaged),
    }
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
    let receipt = message.receipt.map(|target| target.id);
    let value = (MessageRecord::of(message), receipt);
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
        receipt: receipt.map(ReceiptTarget::existing),
        origin: Origin::default(),
    })
}

pub(super) fn encode_receipt(stored: &StoredReceipt) -> Result<Vec<u8>, StoreError> {
    encode(&ReceiptRecord {
        uaid: *stored.receipt.uaid.as_bytes(),
        message: stored.receipt.message,
        status: stored.receipt.status,
        expires_at: stored.expires_at,
    })
}

pub(super) fn decode_receipt(
    key: &[u8],
    record: &[u8],
) -> Result<(ReceiptSubscriptionId, StoredReceipt), Damaged> {
    let (subscription, id) = split_key(key, RECEIPT)?;
    let id = id.try_into().map_err(|_| Damaged)?;
    let record: ReceiptRecord = decode(record)?;
    let receipt = Receipt {
        id: ReceiptId::new(u64::from_be_bytes(id)),
        uaid: Uaid::from_bytes(record.uaid),
        message: record.message,
        status: record.status,
    };
    let stored = StoredReceipt {
        receipt,
        expires_at: record.expires_at,
    };
    Ok((ReceiptSubscriptionId::from_bytes(subscription), stored))
}

/// Decodes the id of a receipt subscription, and when it ends.
pub(super) fn decode_receipt_subscription(
    key: &[u8],
    record: &[u8],
) -> Result<(ReceiptSubscriptionId, UnixTime), Damaged> {
    match split_key(key, RECEIPT_SUBSCRIPTION)? {
        (id, []) => Ok((ReceiptSubscriptionId::from_bytes(id), decode(record)?)),
        _ => Err(Damaged),
    }
}

/// Encodes a plain value.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    encode_as(VERSION, value, &[])
}

/// Encodes a value, followed by `tail`.
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

/// Decodes a plain value.
pub(super) fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, Damaged> {
    match open(record)? {
        (VERSION, rest) => take(rest).map(|(value, _)| value),
        _ => Err(Damaged),
    }
}

/// Verifies the checksum, and returns the version and the checksummed rest.
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

/// Joins the parts of a message's record; `None` when a part is missing.
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

/// Returns how many parts a record is stored in.
///
/// # Errors
/// `Unavailable` when there would be more than 65,535.
pub(super) fn parts_of(record: &[u8]) -> Result<u16, StoreError> {
    u16::try_from(record.len().div_ceil(PART))
        .map_err(|_| StoreError::Unavailable("the message is too large for the store".to_owned()))
}

/// Wraps an error of the engine. Its text contains no key and no record.
pub(super) fn unavailable(error: &sled::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const RECEIPTS: ReceiptSubscriptionId = ReceiptSubscriptionId::from_bytes([6; 16]);

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
            receipt: Some(ReceiptTarget::existing(RECEIPTS)),
            origin: Origin::default(),
        }
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
    fn a_message_of_version_1_requests_no_receipt() {
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
    fn subscriptions_and_user_agents_of_version_1_have_no_day_of_use() {
        let key = crate::store::sled::keys::subscription_key(
            Uaid::from_bytes([1; 16]),
            ChannelId::from_bytes([2; 16]),
        );
        let old = SubscriptionRecord {
            id: SubscriptionId::from_bytes([3; 16]),
            vapid_key: None,
        };
        let (subscription, used) = decode_subscription(&key, &encode(&old).unwrap()).unwrap();
        assert_eq!((subscription.id, used), (old.id, None));
        let new = encode_subscription(&subscription, Some(Day(9))).unwrap();
        assert_eq!(new[0], VERSION_WITH_USE);
        let read = decode_subscription(&key, &new).unwrap();
        assert_eq!(read, (subscription.clone(), Some(Day(9))));
        let chromium = Subscription {
            registration: Some("sealed".to_owned()),
            ..subscription
        };
        let new = encode_subscription(&chromium, Some(Day(9))).unwrap();
        let read = decode_subscription(&key, &new);
        assert_eq!(read, Ok((chromium, Some(Day(9)))));

        let mut user_agent = UserAgent {
            subscriptions: 300,
            connected: None,
        };
        let old = encode(&300_u32).unwrap();
        assert_eq!(decode_user_agent(&old), Ok(user_agent));
        user_agent.connected = Some(Day(9));
        let new = encode_user_agent(&user_agent).unwrap();
        assert_eq!(decode_user_agent(&new), Ok(user_agent));
    }

    #[test]
    fn every_changed_or_missing_byte_is_detected() {
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
