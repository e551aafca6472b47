//! The wire protocol of a Web Push service, and nothing else.
//!
//! Parsers and printers for what application servers and user agents send: header fields
//! ([`headers`], [`coding`], [`push`]), VAPID ([`vapid`]), message encryption ([`encryption`]), URLs
//! and their tokens ([`resource`], [`endpoint`]), the push WebSocket protocol ([`websocket`],
//! [`session`], [`window`]), and the push protocol of Chromium ([`mcs`]).
//!
//! This crate deliberately has no sockets, clocks, storage or runtime: the time and all random
//! bytes are arguments.

pub mod accept;
pub mod coding;
pub mod encryption;
pub mod endpoint;
pub mod headers;
pub mod id;
pub mod key;
pub mod key_pair;
pub mod link;
pub mod mcs;
pub mod prefer;
pub mod push;
pub mod resource;
pub mod session;
pub mod time;
pub mod tolerances;
pub mod vapid;
pub mod websocket;
pub mod window;

mod base64url;
mod params;

pub use coding::ContentCoding;
pub use endpoint::{Keyring, MessageUrl, PushEndpoint, ReceiptSubscriptionUrl, SubscriptionSetUrl};
pub use headers::{Topic, Ttl, Urgency};
pub use id::{ChannelId, MessageId, ReceiptSubscriptionId, SubscriptionId, Uaid, WireUaid};
pub use key::PublicKey;
pub use key_pair::KeyPair;
pub use push::{Content, PushMessage};
pub use resource::{Resource, ResourcePath};
pub use time::UnixTime;
pub use tolerances::Tolerances;
