//! The messages of the push WebSocket protocol, each a JSON object in a text frame. Both directions
//! can be parsed and printed, so clients and tests use the same code.

mod lenient;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::coding::ContentCoding;
use crate::headers::Urgency;
use crate::id::WireUaid;
use crate::push::PushMessage;

/// A message from a user agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first message of a connection.
    Hello(Hello),
    /// Requests a subscription.
    Register(Register),
    /// Removes a subscription.
    Unregister(Unregister),
    /// Requests broadcasts.
    BroadcastSubscribe(BroadcastSubscribe),
    /// Sets the minimum urgency of messages to deliver.
    Urgency(UrgencyFilter),
    /// Acknowledges messages.
    Ack(Ack),
    /// Reports that the page's handler failed after the ack.
    Nack(Nack),
    /// `{}`, or `{"messageType":"ping"}`.
    Ping,
}

/// `hello`. Older fields (`channelIDs`, `use_webpush`) are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The uaid from an earlier hello. Null, empty or malformed counts as absent (WS-H-9, WS-H-16).
    #[serde(
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub uaid: Option<WireUaid>,
    /// The broadcasts that the user agent wants, with the versions that it has. Anything but such a
    /// map counts as empty.
    #[serde(
        default,
        deserialize_with = "lenient::versions",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub broadcasts: BTreeMap<String, String>,
}

/// `register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The id of the channel, as sent: the response repeats it (WS-R-3).
    #[serde(rename = "channelID")]
    pub channel_id: String,
    /// The application server key, base64url with or without padding (WS-R-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `unregister`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unregister {
    /// The id of the channel, as sent.
    #[serde(rename = "channelID")]
    pub channel_id: String,
    /// The reason: 200 requested, 201 quota exceeded, 202 permission revoked (WS-U-5).
    #[serde(
        default,
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<u16>,
}

/// `broadcast_subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastSubscribe {
    /// The broadcasts that the user agent wants, with the versions that it has. Anything but such a
    /// map counts as empty: there is no response (WS-B-1) that could report an error.
    #[serde(default, deserialize_with = "lenient::versions")]
    pub broadcasts: BTreeMap<String, String>,
}

/// `urgency`: the filter of this connection from now on (RFC 8030 §5.3, A-19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrgencyFilter {
    /// The minimum urgency of messages to deliver; `None` if the value is not one of the four
    /// words.
    #[serde(
        default,
        deserialize_with = "lenient::text",
        serialize_with = "urgency_word"
    )]
    pub min: Option<Urgency>,
}

/// `ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// One entry per message. Entries without a version are ignored: closing the connection for one
    /// would redeliver all of them.
    #[serde(default, deserialize_with = "lenient::updates")]
    pub updates: Vec<AckUpdate>,
}

/// The acknowledgement of one message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckUpdate {
    /// The channel, as sent. Clients send it (WS-N-7); here the version alone identifies the
    /// message.
    #[serde(
        default,
        rename = "channelID",
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub channel_id: Option<String>,
    /// The `version` of the notification. Anything but a string identifies no message.
    #[serde(
        default,
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,
    /// 100 delivered, 101 not decrypted, 102 not delivered (WS-N-8). Absent or unknown counts as
    /// 100.
    #[serde(
        default,
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<u16>,
}

/// `nack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// 301 exception, 302 rejection, 303 internal (WS-N-16).
    #[serde(
        default,
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<u16>,
}

/// A message from the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "messageType", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The response to `hello`.
    Hello {
        /// The id of the user agent: 32 hex digits (WS-H-6).
        uaid: String,
        /// 200.
        status: u16,
        /// Always true: otherwise Firefox creates subscriptions without keys (WS-H-7).
        use_webpush: bool,
        /// The broadcasts whose version differs from the user agent's.
        broadcasts: BTreeMap<String, String>,
    },
    /// The response to `register`.
    Register {
        /// The id of the channel, as sent.
        #[serde(rename = "channelID")]
        channel_id: String,
        /// 200, or the reason for the refusal.
        status: u16,
        /// The push resource; absent on a refusal (WS-R-12).
        #[serde(rename = "pushEndpoint", skip_serializing_if = "Option::is_none")]
        push_endpoint: Option<String>,
    },
    /// The response to `unregister`.
    Unregister {
        /// The id of the channel, as sent.
        #[serde(rename = "channelID")]
        channel_id: String,
        /// 200, also for an unknown channel (WS-U-2).
        status: u16,
    },
    /// A push message.
    Notification {
        /// The channel of the message.
        #[serde(rename = "channelID")]
        channel_id: String,
        /// Identifies the message; the same on redelivery (WS-N-2).
        version: String,
        /// The body in base64url without padding; absent without a body.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        /// Absent without a body.
        #[serde(skip_serializing_if = "Option::is_none")]
        headers: Option<NotificationHeaders>,
    },
    /// New versions of broadcasts that the user agent requested (WS-B-2).
    Broadcast {
        /// Those whose version differs from the user agent's.
        broadcasts: BTreeMap<String, String>,
    },
    /// The response to `urgency`.
    Urgency {
        /// 200, or 400 if `min` is not one of the four words.
        status: u16,
    },
    /// `{}`, the response to a ping. Never sent otherwise (WS-P-1b).
    #[serde(skip)]
    Pong,
}

/// The header fields that a user agent needs to decrypt a notification (WS-N-5), and no others
/// (WS-N-6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationHeaders {
    /// Content-Encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Encryption, for aesgcm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Crypto-Key, for aesgcm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crypto_key: Option<String>,
}

/// Why a text frame is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// An object with fields, but without `messageType`.
    #[error("no messageType")]
    NoType,
    /// An unknown message type.
    #[error("unknown messageType")]
    UnknownType,
    /// A required field is missing or has the wrong type.
    #[error("malformed {0} message")]
    Malformed(&'static str),
}

fn urgency_word<S: Serializer>(min: &Option<Urgency>, to: S) -> Result<S::Ok, S::Error> {
    min.map(Urgency::as_str).serialize(to)
}

/// The message type: `Some("")` for `{}`.
fn message_type(text: &str) -> Result<String, MessageError> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "messageType")]
        message_type: Option<String>,
    }
    // Serde would accept an array as the fields of an object in order.
    if !text.trim_start().starts_with('{') {
        return Err(MessageError::NotAnObject);
    }
    let envelope: Envelope = serde_json::from_str(text).map_err(|_| MessageError::NotAnObject)?;
    match envelope.message_type {
        Some(message_type) => Ok(message_type),
        None => match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text) {
            Ok(fields) if fields.is_empty() => Ok("ping".to_owned()),
            Ok(_) => Err(MessageError::NoType),
            Err(_) => Err(MessageError::NotAnObject),
        },
    }
}

impl ClientMessage {
    /// Parses a text frame.
    ///
    /// # Errors
    /// If it is not a JSON object of a known type with the fields of that type. Unknown fields are
    /// ignored (WS-T-10).
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        fn body<T: DeserializeOwned>(kind: &'static str, text: &str) -> Result<T, MessageError> {
            serde_json::from_str(text).map_err(|_| MessageError::Malformed(kind))
        }
        match message_type(text)?.as_str() {
            "hello" => body("hello", text).map(Self::Hello),
            "register" => body("register", text).map(Self::Register),
            "unregister" => body("unregister", text).map(Self::Unregister),
            "broadcast_subscribe" => {
                body("broadcast_subscribe", text).map(Self::BroadcastSubscribe)
            }
            "urgency" => body("urgency", text).map(Self::Urgency),
            "ack" => body("ack", text).map(Self::Ack),
            "nack" => body("nack", text).map(Self::Nack),
            "ping" => Ok(Self::Ping),
            _ => Err(MessageError::UnknownType),
        }
    }

    /// Formats a text frame.
    pub fn print(&self) -> String {
        let (message_type, fields) = match self {
            Self::Hello(hello) => ("hello", serde_json::to_value(hello)),
            Self::Register(register) => ("register", serde_json::to_value(register)),
            Self::Unregister(unregister) => ("unregister", serde_json::to_value(unregister)),
            Self::BroadcastSubscribe(ids) => ("broadcast_subscribe", serde_json::to_value(ids)),
            Self::Urgency(filter) => ("urgency", serde_json::to_value(filter)),
            Self::Ack(ack) => ("ack", serde_json::to_value(ack)),
            Self::Nack(nack) => ("nack", serde_json::to_value(nack)),
            Self::Ping => return "{}".to_owned(),
        };
        let mut message = serde_json::Map::from_iter([("messageType".into(), message_type.into())]);
        if let Ok(Value::Object(fields)) = fields {
            message.extend(fields);
        }
        if message_type == "hello" {
            message.insert("use_webpush".into(), true.into());
        }
        Value::Object(message).to_string()
    }
}

impl ServerMessage {
    /// The response to an accepted `hello`; `broadcasts` are those whose version differs from the
    /// user agent's.
    pub fn hello(uaid: WireUaid, broadcasts: BTreeMap<String, String>) -> Self {
        Self::Hello {
            uaid: uaid.to_string(),
            status: 200,
            use_webpush: true,
            broadcasts,
        }
    }

    /// The notification of a push message, with this `version`.
    pub fn notification(message: &PushMessage, version: String) -> Self {
        let content = message.content.as_ref();
        Self::Notification {
            channel_id: message.channel.to_string(),
            version,
            data: content.map(|content| URL_SAFE_NO_PAD.encode(&content.body)),
            headers: content.map(|content| match &content.coding {
                Some(ContentCoding::Aesgcm {
                    encryption,
                    crypto_key,
                }) => NotificationHeaders {
                    encoding: Some("aesgcm".to_owned()),
                    encryption: Some(encryption.clone()),
                    crypto_key: Some(crypto_key.clone()),
                },
                coding => NotificationHeaders {
                    encoding: coding.as_ref().map(|coding| coding.as_str().to_owned()),
                    ..NotificationHeaders::default()
                },
            }),
        }
    }

    /// Parses a text frame.
    ///
    /// # Errors
    /// As [`ClientMessage::parse`].
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        match message_type(text)?.as_str() {
            "ping" => Ok(Self::Pong),
            "hello" | "register" | "unregister" | "notification" | "broadcast" | "urgency" => {
                serde_json::from_str(text).map_err(|_| MessageError::Malformed("server"))
            }
            _ => Err(MessageError::UnknownType),
        }
    }

    /// Formats a text frame.
    pub fn print(&self) -> String {
        // Only a skipped variant cannot be printed.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}
