//! A push as an application server sends it (RFC 8030 §5), and as the service stores it.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::coding::{CodingError, ContentCoding, aesgcm_key};
use crate::headers::{HeaderError, TOPIC, TTL, Topic, Ttl, URGENCY, Urgency, single};
use crate::id::{ChannelId, MessageId, ReceiptSubscriptionId, SubscriptionId};
use crate::key::PublicKey;
use crate::time::UnixTime;
use crate::tolerances::Tolerances;

/// The valid header fields of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushHeaders {
    /// How long to keep the message.
    pub ttl: Ttl,
    /// Whether the service assumed the TTL (`Tolerances::missing_ttl`).
    pub ttl_is_assumed: bool,
    /// Normal if the field is absent.
    pub urgency: Urgency,
    /// The topic whose previous message this one replaces.
    pub topic: Option<Topic>,
    /// The content coding. An error counts only if there is a body: an empty body has no coding
    /// (E-4).
    pub coding: Result<Option<ContentCoding>, CodingError>,
    /// Content-Type, as sent.
    pub content_type: Option<String>,
}

/// A message body with the header fields that belong to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// `None` only if unencrypted bodies are tolerated (E-1); then the body may also differ from
    /// its coding.
    pub coding: Option<ContentCoding>,
    /// Visible only over HTTP.
    pub content_type: Option<String>,
    /// The bytes of the POST, unchanged.
    pub body: Vec<u8>,
}

/// An accepted push message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushMessage {
    /// Its position in the order of acceptance.
    pub id: MessageId,
    /// Its channel.
    pub channel: ChannelId,
    /// The life of the subscription that it was sent to.
    pub subscription: SubscriptionId,
    /// When the POST was accepted (`Last-Modified`, RFC 8030 §7.2).
    pub accepted_at: UnixTime,
    /// When it expires; it is not delivered afterwards (RFC 8030 §5.2).
    pub expires_at: UnixTime,
    /// Not sent to the user agent (RFC 8030 §5.3).
    pub urgency: Urgency,
    /// Not sent to the user agent (RFC 8030 §5.4).
    pub topic: Option<Topic>,
    /// `None`: a message without data.
    pub content: Option<Content>,
    /// The receipt subscription that gets its receipt (RFC 8030 §5.1); not sent to the user agent.
    pub receipt: Option<ReceiptSubscriptionId>,
}

/// The content of an accepted push, and the tolerances that it needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedContent {
    /// `None`: a message without data.
    pub content: Option<Content>,
    /// `Tolerances::unencrypted`: the body has no coding, or is not encrypted as its coding
    /// requires.
    pub unencrypted: bool,
    /// `Tolerances::wrong_record_size`.
    pub wrong_record_size: bool,
}

/// Why the body of a push is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The coding in the header fields is invalid.
    #[error("{0}")]
    Coding(#[from] CodingError),
    /// E-1: only encrypted bodies are accepted.
    #[error(
        "the body is not encrypted: encrypt it for the subscription's keys (RFC 8291) and send \
         Content-Encoding: aes128gcm"
    )]
    Unencrypted,
    /// RFC 8291 §4: a header of 86 bytes and at least 17 bytes of record.
    #[error("the aes128gcm body has {0} octets; the shortest possible one has 103 (RFC 8291 §4)")]
    TooShort(usize),
    /// RFC 8291 §4: the keyid must be the sender's public key.
    #[error("the keyid of the aes128gcm body is not a P-256 point of 65 octets (RFC 8291 §4)")]
    KeyId,
    /// RFC 8188 §2.1 and RFC 8291 §4: the record size must be at least 18, and there must be one
    /// record (E-2).
    #[error(
        "the record size of the aes128gcm body is {size}, but its one record has {record} octets: \
         write 4096, or a size from 18 that is not less than the record (RFC 8291 §4)"
    )]
    RecordSize {
        /// The `rs` field.
        size: u32,
        /// Number of bytes after the header.
        record: usize,
    },
    /// The aesgcm draft: two bytes of padding length and a tag of 16.
    #[error("the aesgcm body has {0} octets; the shortest possible one has 18")]
    AesgcmTooShort(usize),
    /// RFC 8292 §3.2: signing and encryption need different keys.
    #[error(
        "the message is encrypted with the VAPID key: use another key pair for each (RFC 8292 §3.2)"
    )]
    SameKey,
}

impl PushHeaders {
    /// Parses the header fields of a push.
    ///
    /// # Errors
    /// If the TTL is missing (RFC 8030 §5.2) and this is not tolerated, or if a field is malformed
    /// or repeated. [`content`](Self::content) reports errors of the coding.
    pub fn parse(headers: &HeaderMap, tolerances: &Tolerances) -> Result<Self, HeaderError> {
        let ttl = single(headers, &TTL).map_err(|_| HeaderError::TtlMalformed)?;
        let urgency = single(headers, &URGENCY).map_err(|_| HeaderError::Urgency)?;
        let topic = single(headers, &TOPIC).map_err(|_| HeaderError::Topic)?;
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        Ok(Self {
            ttl: match ttl {
                Some(ttl) => ttl.parse()?,
                None => tolerances.missing_ttl.ok_or(HeaderError::TtlMissing)?,
            },
            ttl_is_assumed: ttl.is_none(),
            urgency: urgency.map(str::parse).transpose()?.unwrap_or_default(),
            topic: topic.map(str::parse).transpose()?,
            coding: ContentCoding::parse(headers, tolerances),
            content_type: content_type.map(str::to_owned),
        })
    }

    /// Checks the coding before the body is read, so that no sender transmits a body in vain.
    /// `announced` is its length in bytes, if known; [`content`](Self::content) checks a body that
    /// may be empty.
    ///
    /// # Errors
    /// If the coding is unknown or its header fields are malformed.
    pub fn check_coding(&self, announced: Option<u64>) -> Result<(), BodyError> {
        match &self.coding {
            Err(error) if announced.is_some_and(|length| length > 0) => Err(error.clone().into()),
            _ => Ok(()),
        }
    }

    /// Checks the body. An empty body means no content, whatever its coding (E-4).
    ///
    /// Only the structure can be checked here.
    ///
    /// # Errors
    /// If the coding is unknown or its header fields are malformed; if the body is not encrypted,
    /// does not match its coding, or has a wrong record size, and this is not tolerated; if it is
    /// encrypted with the `vapid` key.
    pub fn content(
        &self,
        body: Vec<u8>,
        vapid: Option<&PublicKey>,
        tolerances: &Tolerances,
    ) -> Result<CheckedContent, BodyError> {
        if body.is_empty() {
            return Ok(CheckedContent::default());
        }
        let content = Content {
            coding: self.coding.clone()?,
            content_type: self.content_type.clone(),
            body,
        };
        let key = match content.encryption_key() {
            Ok(key) => key,
            Err(_) if tolerances.unencrypted => {
                return Ok(CheckedContent {
                    content: Some(content),
                    unencrypted: true,
                    wrong_record_size: false,
                });
            }
            Err(error) => return Err(error),
        };
        if Some(&key) == vapid {
            return Err(BodyError::SameKey);
        }
        let wrong = content.wrong_record_size();
        if let Some((size, record)) = wrong
            && !tolerances.wrong_record_size
        {
            return Err(BodyError::RecordSize { size, record });
        }
        Ok(CheckedContent {
            content: Some(content),
            unencrypted: false,
            wrong_record_size: wrong.is_some(),
        })
    }
}

impl Content {
    /// The sender's key from the encrypted body.
    ///
    /// # Errors
    /// If the structure of the body does not match its coding.
    fn encryption_key(&self) -> Result<PublicKey, BodyError> {
        match &self.coding {
            None => Err(BodyError::Unencrypted),
            Some(ContentCoding::Aes128gcm) => aes128gcm_key(&self.body),
            Some(ContentCoding::Aesgcm { .. }) if self.body.len() < 18 => {
                Err(BodyError::AesgcmTooShort(self.body.len()))
            }
            Some(ContentCoding::Aesgcm {
                encryption,
                crypto_key,
            }) => Ok(aesgcm_key(encryption, crypto_key)?),
        }
    }

    /// The record size of an aes128gcm body and the length of its record in bytes, if the size is
    /// less than the record or than the minimum (RFC 8188 §2.1, RFC 8291 §4). `None` if it is
    /// right, or there is none.
    fn wrong_record_size(&self) -> Option<(u32, usize)> {
        const MIN_RECORD_SIZE: u32 = 18;
        let (header, record) = self.body.split_at_checked(AES128GCM_HEADER)?;
        let size = u32::from_be_bytes(*header[16..].first_chunk()?);
        let fits =
            size >= MIN_RECORD_SIZE && usize::try_from(size).is_ok_and(|size| size >= record.len());
        let is_wrong = self.coding == Some(ContentCoding::Aes128gcm) && !fits;
        is_wrong.then_some((size, record.len()))
    }
}

/// Bytes before the record: salt (16), record size (4), keyid length (1), keyid (65).
const AES128GCM_HEADER: usize = 16 + 4 + 1 + 65;

/// The sender's key from the header of an aes128gcm body.
fn aes128gcm_key(body: &[u8]) -> Result<PublicKey, BodyError> {
    const MIN_LENGTH: usize = AES128GCM_HEADER + 17;
    match body.get(20) {
        Some(65) if body.len() >= MIN_LENGTH => {
            PublicKey::from_bytes(&body[21..AES128GCM_HEADER]).map_err(|_| BodyError::KeyId)
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

    /// Its size in the store and on a connection, in bytes, with an estimate for the fixed part.
    pub fn size(&self) -> usize {
        Self::size_with(self.content.as_ref())
    }

    /// The [`size`](Self::size) of a message with this content.
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::CONTENT_ENCODING;

    use super::*;

    /// 8030-5.2-b.
    #[test]
    fn a_missing_ttl_is_refused_or_assumed() {
        let assumed = Tolerances {
            missing_ttl: Some(Ttl::from_secs(60)),
            ..Tolerances::NONE
        };
        let mut headers = HeaderMap::new();
        let read = PushHeaders::parse(&headers, &Tolerances::NONE);
        assert_eq!(read, Err(HeaderError::TtlMissing));
        let read = PushHeaders::parse(&headers, &assumed).map(|h| (h.ttl, h.ttl_is_assumed));
        assert_eq!(read, Ok((Ttl::from_secs(60), true)));
        headers.insert(TTL, HeaderValue::from_static("0"));
        let read = PushHeaders::parse(&headers, &assumed).map(|h| (h.ttl, h.ttl_is_assumed));
        assert_eq!(read, Ok((Ttl::ZERO, false)));
        headers.insert(TTL, HeaderValue::from_static(""));
        let read = PushHeaders::parse(&headers, &assumed);
        assert_eq!(read, Err(HeaderError::TtlMalformed));
    }

    #[test]
    fn aesgcm_is_refused_unless_tolerated() {
        let mut headers = HeaderMap::new();
        headers.insert(TTL, HeaderValue::from_static("0"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("AESGCM"));
        let coding = PushHeaders::parse(&headers, &Tolerances::NONE).map(|read| read.coding);
        assert_eq!(coding, Ok(Err(CodingError::AesgcmNotTaken)));
    }
}
