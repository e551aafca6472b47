//! The lines of an export, as JSON.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::{ChannelId, Uaid};
use bugle_protocol::{
    Content, ContentCoding, MessageId, PublicKey, ReceiptSubscriptionId, SubscriptionId, UnixTime,
};
use serde::{Deserialize, Serialize};

use super::Record;
use crate::store::broadcasts::Label;
use crate::store::days::{Day, Days};
use crate::store::{
    NewMessage, Origin, Receipt, ReceiptId, ReceiptStatus, ReceiptTarget, Subscription,
};

/// One line. Times are milliseconds since 1970, random ids are 32 hex digits, and bytes are
/// base64url without padding.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Export { version: u32, written_at: UnixTime },
    EndpointKeys(Vec<String>),
    NextId(u64),
    Days { today: Day, date: u32 },
    Subscription(SubscriptionLine),
    ReceiptSubscription { id: String, ends_at: UnixTime },
    Broadcast { id: String, version: String },
    Message(Box<MessageLine>),
    Receipt(ReceiptLine),
    End { records: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionLine {
    uaid: String,
    channel: ChannelId,
    id: String,
    vapid_key: Option<String>,
    /// Absent in version 1.
    #[serde(default)]
    used_on: Option<Day>,
    /// Only of a Chromium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registration: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MessageLine {
    uaid: String,
    id: u64,
    channel: ChannelId,
    subscription: String,
    accepted_at: UnixTime,
    expires_at: UnixTime,
    urgency: String,
    topic: Option<String>,
    receipt_subscription: Option<String>,
    content: Option<ContentLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentLine {
    coding: Option<String>,
    encryption: Option<String>,
    crypto_key: Option<String>,
    content_type: Option<String>,
    body: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptLine {
    receipt_subscription: String,
    id: u64,
    uaid: String,
    message: u64,
    delivered: bool,
    expires_at: UnixTime,
}

impl Line {
    pub(super) fn head(version: u32, written_at: UnixTime) -> Self {
        Self::Export {
            version,
            written_at,
        }
    }

    pub(super) fn end(records: u64) -> Self {
        Self::End { records }
    }

    /// Returns the version in the first line; `None` for another line.
    pub(super) fn version(&self) -> Option<u32> {
        match self {
            Self::Export { version, .. } => Some(*version),
            _ => None,
        }
    }

    /// Returns the number of records in the last line; `None` for another line.
    pub(super) fn records(&self) -> Option<u64> {
        match self {
            Self::End { records } => Some(*records),
            _ => None,
        }
    }
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Self {
        match record {
            Record::EndpointKeys(keys) => Self::EndpointKeys(keys.clone()),
            Record::NextId(id) => Self::NextId(id.get()),
            Record::Days(days) => Self::Days {
                today: days.today,
                date: days.date,
            },
            Record::Subscription(subscription, used) => Self::Subscription(SubscriptionLine {
                uaid: hex(subscription.uaid.as_bytes()),
                channel: subscription.channel,
                id: hex(subscription.id.as_bytes()),
                vapid_key: subscription.vapid_key.map(|key| octets(key.as_bytes())),
                used_on: *used,
                registration: subscription.registration.clone(),
            }),
            Record::ReceiptSubscription(id, ends_at) => Self::ReceiptSubscription {
                id: hex(id.as_bytes()),
                ends_at: *ends_at,
            },
            Record::Broadcast(id, version) => Self::Broadcast {
                id: id.as_str().to_owned(),
                version: version.as_str().to_owned(),
            },
            Record::Message(uaid, id, message) => {
                Self::Message(Box::new(MessageLine::of(*uaid, *id, message)))
            }
            Record::Receipt(subscription, receipt, expires_at) => Self::Receipt(ReceiptLine {
                receipt_subscription: hex(subscription.as_bytes()),
                id: receipt.id.get(),
                uaid: hex(receipt.uaid.as_bytes()),
                message: receipt.message.get(),
                delivered: receipt.status == ReceiptStatus::Delivered,
                expires_at: *expires_at,
            }),
        }
    }
}

impl SubscriptionLine {
    fn read(self) -> Result<Record, String> {
        let subscription = Subscription {
            uaid: Uaid::from_bytes(from_hex(&self.uaid)?),
            channel: self.channel,
            id: SubscriptionId::from_bytes(from_hex(&self.id)?),
            vapid_key: match self.vapid_key {
                Some(key) => Some(PublicKey::from_bytes(&from_octets(&key)?).map_err(error_text)?),
                None => None,
            },
            registration: self.registration,
        };
        Ok(Record::Subscription(subscription, self.used_on))
    }
}

impl MessageLine {
    fn of(uaid: Uaid, id: MessageId, message: &NewMessage) -> Self {
        Self {
            uaid: hex(uaid.as_bytes()),
            id: id.get(),
            channel: message.channel,
            subscription: hex(message.subscription.as_bytes()),
            accepted_at: message.accepted_at,
            expires_at: message.expires_at,
            urgency: message.urgency.as_str().to_owned(),
            topic: message
                .topic
                .as_ref()
                .map(|topic| topic.as_str().to_owned()),
            receipt_subscription: message.receipt.map(|to| hex(to.id.as_bytes())),
            content: message.content.as_ref().map(ContentLine::of),
        }
    }

    fn read(self) -> Result<Record, String> {
        let message = NewMessage {
            channel: self.channel,
            subscription: SubscriptionId::from_bytes(from_hex(&self.subscription)?),
            accepted_at: self.accepted_at,
            expires_at: self.expires_at,
            urgency: self.urgency.parse().map_err(error_text)?,
            topic: self
                .topic
                .map(|topic| topic.parse())
                .transpose()
                .map_err(error_text)?,
            receipt: match self.receipt_subscription {
                Some(id) => {
                    let id = ReceiptSubscriptionId::from_bytes(from_hex(&id)?);
                    Some(ReceiptTarget::existing(id))
                }
                None => None,
            },
            content: self.content.map(ContentLine::read).transpose()?,
            origin: Origin::default(),
        };
        let uaid = Uaid::from_bytes(from_hex(&self.uaid)?);
        Ok(Record::Message(uaid, MessageId::new(self.id), message))
    }
}

impl ContentLine {
    fn of(content: &Content) -> Self {
        let (encryption, crypto_key) = match &content.coding {
            Some(ContentCoding::Aesgcm {
                encryption,
                crypto_key,
            }) => (Some(encryption.clone()), Some(crypto_key.clone())),
            _ => (None, None),
        };
        let coding = content.coding.as_ref();
        Self {
            coding: coding.map(|coding| coding.as_str().to_owned()),
            encryption,
            crypto_key,
            content_type: content.content_type.clone(),
            body: octets(&content.body),
        }
    }

    fn read(self) -> Result<Content, String> {
        let coding = match (self.coding.as_deref(), self.encryption, self.crypto_key) {
            (None, None, None) => None,
            (Some("aes128gcm"), None, None) => Some(ContentCoding::Aes128gcm),
            (Some("aesgcm"), Some(encryption), Some(crypto_key)) => Some(ContentCoding::Aesgcm {
                encryption,
                crypto_key,
            }),
            _ => return Err("the coding is not one, or lacks a field".to_owned()),
        };
        Ok(Content {
            coding,
            content_type: self.content_type,
            body: from_octets(&self.body)?,
        })
    }
}

impl TryFrom<Line> for Record {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        Ok(match line {
            Line::EndpointKeys(keys) => Self::EndpointKeys(keys),
            Line::NextId(id) => Self::NextId(MessageId::new(id)),
            Line::Days { today, date } => Self::Days(Days { today, date }),
            Line::Subscription(line) => line.read()?,
            Line::ReceiptSubscription { id, ends_at } => {
                let id = ReceiptSubscriptionId::from_bytes(from_hex(&id)?);
                Self::ReceiptSubscription(id, ends_at)
            }
            Line::Broadcast { id, version } => Self::Broadcast(label(&id)?, label(&version)?),
            Line::Message(line) => line.read()?,
            Line::Receipt(line) => {
                let status = match line.delivered {
                    true => ReceiptStatus::Delivered,
                    false => ReceiptStatus::Failed,
                };
                let receipt = Receipt {
                    id: ReceiptId::new(line.id),
                    uaid: Uaid::from_bytes(from_hex(&line.uaid)?),
                    message: MessageId::new(line.message),
                    status,
                };
                let subscription = from_hex(&line.receipt_subscription)?;
                let subscription = ReceiptSubscriptionId::from_bytes(subscription);
                Self::Receipt(subscription, receipt, line.expires_at)
            }
            Line::Export { .. } | Line::End { .. } => {
                return Err("a first or last line in the middle".to_owned());
            }
        })
    }
}

fn error_text(error: impl ToString) -> String {
    error.to_string()
}

fn label(text: &str) -> Result<Label, String> {
    Label::new(text).ok_or_else(|| "a broadcast is 1 to 128 printable characters".to_owned())
}

fn hex(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

fn from_hex(text: &str) -> Result<[u8; 16], String> {
    let is_hex = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
    id.map(u128::to_be_bytes)
        .ok_or_else(|| "an id is 32 hex digits".to_owned())
}

fn octets(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn from_octets(text: &str) -> Result<Vec<u8>, String> {
    let octets = URL_SAFE_NO_PAD.decode(text);
    octets.map_err(|_| "octets are base64url without padding".to_owned())
}
