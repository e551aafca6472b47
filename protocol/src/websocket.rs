//! The messages of the push WebSocket protocol, one JSON object in a text
//! frame each. Both kinds are read and printed, so that a client and a test
//! need no second copy.

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

/// What a user agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first message of a connection.
    Hello(Hello),
    /// Asks for a subscription.
    Register(Register),
    /// Gives a subscription back.
    Unregister(Unregister),
    /// Asks for broadcasts.
    BroadcastSubscribe(BroadcastSubscribe),
    /// Sets the urgency from which messages are wanted.
    Urgency(UrgencyFilter),
    /// Ends the delivery of messages.
    Ack(Ack),
    /// Says that the page's handler failed, after the ack.
    Nack(Nack),
    /// `{}`, or `{"messageType":"ping"}`.
    Ping,
}

/// `hello`. Older fields (`channelIDs`, `use_webpush`) are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// What the user agent was called before. Null, empty or malformed counts
    /// as absent (WS-H-9, WS-H-16).
    #[serde(
        default,
        deserialize_with = "lenient::text",
        skip_serializing_if = "Option::is_none"
    )]
    pub uaid: Option<WireUaid>,
    /// The broadcasts that the user agent wants, and the version of each that
    /// it has. What is no such map counts as empty.
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
    /// The name of the channel, as sent: the answer repeats it (WS-R-3).
    #[serde(rename = "channelID")]
    pub channel_id: String,
    /// The application server key, base64url with or without padding (WS-R-8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `unregister`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unregister {
    /// The name of the channel, as sent.
    #[serde(rename = "channelID")]
    pub channel_id: String,
    /// Why: 200 asked for, 201 quota exceeded, 202 permission revoked (WS-U-5).
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
    /// The broadcasts and the version of each that the user agent has. What is
    /// no such map counts as empty: nothing is answered (WS-B-1), so nothing
    /// could say what is wrong.
    #[serde(default, deserialize_with = "lenient::versions")]
    pub broadcasts: BTreeMap<String, String>,
}

/// `urgency`: what the user agent wants on this connection from now on
/// (RFC 8030 §5.3, A-19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrgencyFilter {
    /// The least urgency of a message that is to be sent, by its word; `None`
    /// when what was sent is none of the four.
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
    /// One entry for each message. Those that name none are left out: a
    /// connection that ended for one would bring all of them again.
    #[serde(default, deserialize_with = "lenient::updates")]
    pub updates: Vec<AckUpdate>,
}

/// One message that a user agent is done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckUpdate {
    /// The channel, as sent. Clients send it (WS-N-7); the version alone names
    /// the message here.
    #[serde(
        default,
        rename = "channelID",
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub channel_id: Option<String>,
    /// The `version` of the notification. What is no string names no message.
    #[serde(
        default,
        deserialize_with = "lenient::value",
        skip_serializing_if = "Option::is_none"
    )]
    pub version: Option<String>,
    /// 100 delivered, 101 not decrypted, 102 not delivered (WS-N-8). Absent or
    /// unknown counts as 100.
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

/// What the service says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "messageType", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to `hello`.
    Hello {
        /// What the user agent is called: 32 hex digits (WS-H-6).
        uaid: String,
        /// 200.
        status: u16,
        /// Always true: without it Firefox gives out subscriptions without
        /// keys (WS-H-7).
        use_webpush: bool,
        /// The broadcasts whose version differs from the user agent's.
        broadcasts: BTreeMap<String, String>,
    },
    /// The answer to `register`.
    Register {
        /// As sent.
        #[serde(rename = "channelID")]
        channel_id: String,
        /// 200, or why not.
        status: u16,
        /// The push resource; absent when refused (WS-R-12).
        #[serde(rename = "pushEndpoint", skip_serializing_if = "Option::is_none")]
        push_endpoint: Option<String>,
    },
    /// The answer to `unregister`.
    Unregister {
        /// As sent.
        #[serde(rename = "channelID")]
        channel_id: String,
        /// 200, also for a channel that was not there (WS-U-2).
        status: u16,
    },
    /// A push message.
    Notification {
        /// The channel it is for.
        #[serde(rename = "channelID")]
        channel_id: String,
        /// Names the message; the same when it is sent again (WS-N-2).
        version: String,
        /// The body in base64url without padding; absent without a body.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<String>,
        /// Absent without a body.
        #[serde(skip_serializing_if = "Option::is_none")]
        headers: Option<NotificationHeaders>,
    },
    /// New versions of broadcasts that the user agent has asked for (WS-B-2).
    Broadcast {
        /// Those whose version differs from the user agent's.
        broadcasts: BTreeMap<String, String>,
    },
    /// The answer to `urgency`.
    Urgency {
        /// 200, or 400 when `min` was none of the four words.
        status: u16,
    },
    /// `{}`, the answer to a ping. Never sent unasked (WS-P-1b).
    #[serde(skip)]
    Pong,
}

/// What a user agent needs to decrypt a notification (WS-N-5), and no more
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

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// An object with fields, but none that says which message it is.
    #[error("no messageType")]
    NoType,
    /// A kind of message that is not known here.
    #[error("unknown messageType")]
    UnknownType,
    /// A field that this kind of message needs is missing or of another type.
    #[error("malformed {0} message")]
    Malformed(&'static str),
}

fn urgency_word<S: Serializer>(min: &Option<Urgency>, to: S) -> Result<S::Ok, S::Error> {
    min.map(Urgency::as_str).serialize(to)
}

/// The kind of a message: `Some("")` for `{}`.
fn message_type(text: &str) -> Result<String, MessageError> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "messageType")]
        message_type: Option<String>,
    }
    // An array would be taken for the fields of an object in their order.
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
    /// Reads a text frame.
    ///
    /// # Errors
    /// When it is not one JSON object, of a known kind, with the fields of that
    /// kind. Fields that are not known are ignored (WS-T-10).
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

    /// Prints a text frame.
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
    /// The answer to a `hello` that was taken; `broadcasts` are those whose
    /// version differs from the user agent's.
    pub fn hello(uaid: WireUaid, broadcasts: BTreeMap<String, String>) -> Self {
        Self::Hello {
            uaid: uaid.to_string(),
            status: 200,
            use_webpush: true,
            broadcasts,
        }
    }

    /// A push message under the name `version`.
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

    /// Reads a text frame.
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

    /// Prints a text frame.
    pub fn print(&self) -> String {
        // A skipped variant is the one thing that cannot be printed.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}
