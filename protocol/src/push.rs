//! A push, as an application server sends it (RFC 8030 §5) and as the service
//! keeps it.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::headers::{
    ContentCoding, HeaderError, TOPIC, TTL, Topic, Ttl, URGENCY, Urgency, single,
};
use crate::id::{ChannelId, MessageId, SubscriptionId};
use crate::key::PublicKey;
use crate::time::UnixTime;

/// The header fields of a push, read and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushHeaders {
    /// For how long to keep the message.
    pub ttl: Ttl,
    /// Normal when the field is absent.
    pub urgency: Urgency,
    /// Which message this one replaces.
    pub topic: Option<Topic>,
    /// How the body is encrypted.
    pub coding: Option<ContentCoding>,
    /// Content-Type, as sent.
    pub content_type: Option<String>,
}

/// A message body with the fields that travel with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// `None` only where unencrypted bodies are allowed (E-1).
    pub coding: Option<ContentCoding>,
    /// Shown on the HTTP interface alone.
    pub content_type: Option<String>,
    /// The octets of the POST, never changed.
    pub body: Vec<u8>,
}

/// A push message that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushMessage {
    /// Its place in the order of acceptance.
    pub id: MessageId,
    /// The channel it is for.
    pub channel: ChannelId,
    /// The life of the subscription it was sent to.
    pub subscription: SubscriptionId,
    /// When the POST was accepted (`Last-Modified`, RFC 8030 §7.2).
    pub accepted_at: UnixTime,
    /// From this time on it is not delivered (RFC 8030 §5.2).
    pub expires_at: UnixTime,
    /// Not shown to the user agent (RFC 8030 §5.3).
    pub urgency: Urgency,
    /// Not shown to the user agent (RFC 8030 §5.4).
    pub topic: Option<Topic>,
    /// `None`: a message without data.
    pub content: Option<Content>,
}

/// What is wrong with the body of a push.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// E-1: only encrypted bodies are relayed.
    #[error(
        "the body is not encrypted: encrypt it for the subscription's keys (RFC 8291) and send \
         Content-Encoding: aes128gcm"
    )]
    Unencrypted,
    /// RFC 8291 §4: header of 86 octets and at least 17 of a record.
    #[error("the aes128gcm body has {0} octets; the shortest possible one has 103 (RFC 8291 §4)")]
    TooShort(usize),
    /// RFC 8291 §4: the keyid is the sender's public key.
    #[error("the keyid of the aes128gcm body is not a P-256 point of 65 octets (RFC 8291 §4)")]
    KeyId,
    /// The aesgcm draft: two octets of padding length and a tag of 16.
    #[error("the aesgcm body has {0} octets; the shortest possible one has 18")]
    AesgcmTooShort(usize),
    /// RFC 8292 §3.2: different keys for signing and for encryption.
    #[error(
        "the message is encrypted with the VAPID key: use another key pair for each (RFC 8292 §3.2)"
    )]
    SameKey,
}

impl PushHeaders {
    /// Reads the header fields of a push.
    ///
    /// # Errors
    /// When TTL is missing (RFC 8030 §5.2), or a field breaks its grammar or
    /// stands twice.
    pub fn parse(headers: &HeaderMap) -> Result<Self, HeaderError> {
        let ttl = single(headers, &TTL)
            .map_err(|_| HeaderError::TtlMalformed)?
            .ok_or(HeaderError::TtlMissing)?;
        let urgency = single(headers, &URGENCY).map_err(|_| HeaderError::Urgency)?;
        let topic = single(headers, &TOPIC).map_err(|_| HeaderError::Topic)?;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Ok(Self {
            ttl: ttl.parse()?,
            urgency: urgency.map(str::parse).transpose()?.unwrap_or_default(),
            topic: topic.map(str::parse).transpose()?,
            coding: ContentCoding::parse(headers)?,
            content_type: content_type.map(str::to_owned),
        })
    }

    /// Takes the body: `None` when it is empty, whatever its coding (E-4).
    ///
    /// The structure is all that can be judged here; the record size is not
    /// (E-2: common senders get it wrong, and receivers may ignore it).
    ///
    /// # Errors
    /// When the body is not encrypted and may not be, cannot be what its
    /// coding says, or is encrypted with the `vapid` key.
    pub fn content(
        &self,
        body: Vec<u8>,
        vapid: Option<&PublicKey>,
        allow_unencrypted: bool,
    ) -> Result<Option<Content>, BodyError> {
        if body.is_empty() {
            return Ok(None);
        }
        let encryption_key = match &self.coding {
            None if allow_unencrypted => None,
            None => return Err(BodyError::Unencrypted),
            Some(ContentCoding::Aes128gcm) => Some(aes128gcm_key(&body)?),
            Some(ContentCoding::Aesgcm { .. }) if body.len() < 18 => {
                return Err(BodyError::AesgcmTooShort(body.len()));
            }
            Some(coding) => coding.dh(),
        };
        if vapid.is_some() && encryption_key.as_ref() == vapid {
            return Err(BodyError::SameKey);
        }
        let (coding, content_type) = (self.coding.clone(), self.content_type.clone());
        Ok(Some(Content {
            coding,
            content_type,
            body,
        }))
    }
}

/// The sender's key in the header of an aes128gcm body: salt (16), record size
/// (4), length of the keyid (1), keyid (65).
fn aes128gcm_key(body: &[u8]) -> Result<PublicKey, BodyError> {
    const SHORTEST: usize = 16 + 4 + 1 + 65 + 17;
    match body.get(20) {
        Some(65) if body.len() >= SHORTEST => {
            PublicKey::from_bytes(&body[21..86]).map_err(|_| BodyError::KeyId)
        }
        Some(length) if *length != 65 => Err(BodyError::KeyId),
        _ => Err(BodyError::TooShort(body.len())),
    }
}

impl PushMessage {
    /// Whether it may still be delivered (RFC 8030 §5.2).
    pub fn is_live(&self, now: UnixTime) -> bool {
        now < self.expires_at
    }

    /// Octets it takes in a store and on a connection, the fixed part
    /// estimated.
    pub fn size(&self) -> usize {
        Self::size_with(self.content.as_ref())
    }

    /// [`size`](Self::size) of a message with this content.
    pub fn size_with(content: Option<&Content>) -> usize {
        const FIXED: usize = 128;
        content.map_or(FIXED, |content| {
            let coding = match &content.coding {
                Some(ContentCoding::Aesgcm {
                    encryption,
                    crypto_key,
                }) => encryption.len() + crypto_key.len(),
                _ => 0,
            };
            let content_type = content.content_type.as_ref().map_or(0, String::len);
            FIXED + coding + content_type + content.body.len()
        })
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Content({} octets)", self.body.len())
    }
}
