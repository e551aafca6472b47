//! Clients for both peers of a push service.
//!
//! A user agent receives pushes: [`UserAgent`] over the push WebSocket protocol
//! of Firefox, [`McsUserAgent`] over that of Chromium, [`HttpUserAgent`] over HTTP/2 as RFC 8030
//! describes it. An
//! [`ApplicationServer`] makes the requests that push, encrypted by RFC 8291 and
//! signed by RFC 8292; [`HttpConnection`] and [`Http2Connection`] post them, and
//! [`Receipts`] or an [`EventStream`] reports the fate of the messages. A [`Dialer`] opens the connections and
//! verifies certificates.
//!
//! The commands of `bugle`, the load tester and the tests use this crate. It depends on the
//! wire protocols only, not on the service.
//!
//! Every wait for a response ends after [`TIMEOUT`], and every buffer has a limit.

pub mod certificate;
pub mod random;

mod application_server;
mod dialer;
mod events;
mod greeting;
mod http2;
mod http_user_agent;
mod mcs;
mod receipts;
mod target;
mod upgrade;
mod user_agent;

#[cfg(test)]
mod http2_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bugle_protocol::encryption::{DecryptError, EncryptError, SubscriptionKeys, UserAgentKeys};
use bugle_protocol::{ChannelId, KeyPair};
use http::{HeaderValue, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite;
use url::Url;

use crate::random::random;

pub use application_server::{ApplicationServer, HttpConnection, Push, ReceiptRequest};
pub use dialer::{Dialer, ReadWrite, Stream};
pub use events::{Event, EventStream};
pub use greeting::Greeting;
pub use http_user_agent::{HttpUserAgent, Subscription};
pub use http2::Http2Connection;
pub use mcs::{McsDevice, McsRegistration, McsUserAgent};
pub use receipts::{Receipt, Receipts};
pub use target::Target;
pub use upgrade::{ask_for_websocket, open_websocket};
pub use user_agent::{Notification, UserAgent};

/// Timeout of a connection attempt and of a response.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum size of a response over HTTP/1.1, in bytes; the largest of the admin API fits.
const MAX_ANSWER: usize = 4 << 20;

/// A user agent pings the service after this time without a push.
pub const PING_INTERVAL: Duration = Duration::from_secs(4 * 60);

/// What a web page sends to its application server: `JSON.stringify` of a PushSubscription.
/// Other members, such as `expirationTime`, are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// The push resource.
    pub endpoint: String,
    /// The public key and secret for the encryption of messages.
    pub keys: SubscriptionKeys,
}

/// Why a client operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The text is not a URL, or its scheme is not supported.
    #[error("cannot use the URL {url:?}: {problem}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file of trusted certificates cannot be used.
    #[error("cannot read certificates in PEM from {}: {problem}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The TCP connection or its TLS handshake failed.
    #[error("cannot connect to {host}: {error}")]
    Connect {
        /// Host and port.
        host: String,
        /// The cause.
        error: io::Error,
    },
    /// The certificate of the service is not trusted.
    #[error(
        "the certificate of {host} is not trusted ({problem}); if a private authority made it, \
         name the authority's certificate by --ca FILE"
    )]
    Untrusted {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The WebSocket failed, or the service did not accept it.
    #[error("the WebSocket connection failed: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// The service closed the WebSocket.
    #[error("the service closed the connection ({})", closing(*code, reason))]
    Closed {
        /// The close code, if there was a Close frame with one.
        code: Option<u16>,
        /// The reason of the Close frame.
        reason: String,
    },
    /// HTTP/1.1 failed before a response was complete.
    #[error("the HTTP request failed: {0}")]
    Http(#[from] hyper::Error),
    /// HTTP/2 failed before a response was complete.
    #[error("the HTTP/2 connection failed: {0}")]
    Http2(#[from] h2::Error),
    /// The response cannot be read, or is larger than the limit.
    #[error("the answer cannot be read, or has more than {most} MiB: {0}", most = MAX_ANSWER >> 20)]
    Answer(String),
    /// No response within [`TIMEOUT`].
    #[error("no answer to {0} within {wait} s", wait = TIMEOUT.as_secs())]
    Silence(&'static str),
    /// The service responded with an error status.
    #[error("the service refused to {what}: status {status}")]
    Refused {
        /// The operation.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// The service refused a registration of a Chromium.
    #[error("the service refused the registration: {0}")]
    Registration(String),
    /// The monitored resource does not exist, or no longer (RFC 8030 §7.3).
    #[error("the service no longer has the subscription")]
    Gone,
    /// The service breaks the protocol.
    #[error("the service broke the protocol: {0}")]
    Protocol(String),
    /// The message cannot be encrypted.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
}

impl ClientError {
    /// The HTTP response with which the service rejected a WebSocket, if it sent one.
    pub fn refused(&self) -> Option<&Response<Option<Vec<u8>>>> {
        match self {
            Self::WebSocket(error) => match &**error {
                tungstenite::Error::Http(answer) => Some(&**answer),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The Basic credentials in a URL such as `wss://user:password@push.example.org/` (RFC 7617
/// §2).
fn credentials(url: &Url) -> Option<HeaderValue> {
    let password = url.password()?;
    let given = [url.username(), ":", password].into_iter();
    let given: Vec<u8> = given.flat_map(percent_decode_str).collect();
    let basic = format!("Basic {}", STANDARD.encode(given));
    let mut field = HeaderValue::from_str(&basic).ok()?;
    field.set_sensitive(true);
    Some(field)
}

fn closing(code: Option<u16>, reason: &str) -> String {
    match code {
        None => "without saying why".to_owned(),
        Some(code) if reason.is_empty() => format!("code {code}"),
        Some(code) => format!("code {code}: {}", reason.escape_debug()),
    }
}

/// Why the data of a notification cannot be decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// `data` is not base64url (WS-N-4).
    #[error("its data is not base64url")]
    Encoding,
    /// Data without a content coding could come from anyone (RFC 8188 §4.1).
    #[error("its data is not encrypted, so nothing says who sent it")]
    NotEncrypted,
    /// A content coding other than aes128gcm and aesgcm.
    #[error("its content coding is not known")]
    UnknownCoding,
    /// The message is encrypted for other keys, or corrupted.
    #[error(transparent)]
    Decrypt(#[from] DecryptError),
}

/// A new key pair for VAPID, or for the encryption of one message.
pub fn new_key_pair() -> KeyPair {
    loop {
        // One draw in 2^32 is not a valid key.
        if let Ok(pair) = KeyPair::from_bytes(&random()) {
            return pair;
        }
    }
}

/// New keys of a user agent for one subscription.
pub fn new_user_agent_keys() -> UserAgentKeys {
    loop {
        if let Ok(keys) = UserAgentKeys::from_random(&random(), random()) {
            return keys;
        }
    }
}

/// A new channel id: a random UUID (RFC 9562 §5.4).
pub fn new_channel_id() -> ChannelId {
    let mut octets: [u8; 16] = random();
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    ChannelId::from_bytes(octets)
}
