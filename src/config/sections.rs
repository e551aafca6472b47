//! The sections of the configuration. What each key is for, and why it has its
//! default, stands in `config.default.toml`; the ranges stand here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{MAX_TTL, count, count_or_zero, duration, size, text};

/// `[admin]`: the listener for metrics, health and the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// `None`: there is none.
    #[serde(with = "text")]
    pub listen: Option<SocketAddr>,
    /// A unix socket for the same; `None`: there is none.
    #[serde(with = "text")]
    pub socket: Option<PathBuf>,
    /// What its other users may do.
    pub socket_others: SocketOthers,
    /// `None`: in the data folder; see
    /// [`Config::admin_token_file`](super::Config::admin_token_file).
    #[serde(with = "text")]
    pub token_file: Option<PathBuf>,
    /// `None`: in the data folder; see
    /// [`Config::admin_read_token_file`](super::Config::admin_read_token_file).
    #[serde(with = "text")]
    pub read_token_file: Option<PathBuf>,
    /// Under which names the admin API may be reached.
    #[serde(with = "text")]
    pub hosts: HostNames,
    /// From one sample of the overview to the next.
    #[serde(with = "duration")]
    pub sample_every: Duration,
    /// Connections at one time, on the listener and the socket together.
    #[serde(deserialize_with = "count")]
    pub connections: usize,
    /// Blocks in all.
    #[serde(deserialize_with = "count")]
    pub blocks: usize,
}

/// What users that are neither the service's own nor root may do over
/// `admin.socket` without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketOthers {
    /// Nothing.
    Refuse,
    /// Look.
    ReadOnly,
}

/// Host names, separated by spaces; compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames(pub Vec<String>);

/// `[tls]`: certificate and key of the service. Read them by [`files`](Self::files).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain, PEM. Set exactly when `key_file` is.
    #[serde(with = "text")]
    pub cert_file: Option<PathBuf>,
    /// The private key, PEM. Set exactly when `cert_file` is.
    #[serde(with = "text")]
    pub key_file: Option<PathBuf>,
    /// How often the files are looked at for a change.
    #[serde(with = "duration")]
    pub check_every: Duration,
}

impl TlsConfig {
    /// Certificate chain and private key; `None` when the service speaks no TLS.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.cert_file.as_deref().zip(self.key_file.as_deref())
    }
}

/// `[store]`: where subscriptions and messages are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Which engine keeps them.
    pub engine: StoreEngine,
    /// Octets of memory for pages of the store, from 1 MiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 1 << 20 }, _, _>"
    )]
    pub cache: u64,
    /// Octets that are kept free on the disk; may be 0.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<0, _, _>"
    )]
    pub min_free: u64,
    /// Whether the disk is never asked to keep what was written, so that a test
    /// that cuts the power can show that it would notice. No setting: only the
    /// hidden flag `--test-without-sync` sets it.
    #[serde(skip)]
    pub without_sync: bool,
}

/// A storage engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreEngine {
    /// On disk, in the data folder.
    Sled,
    /// In memory alone, for trials.
    Memory,
}

/// `[keys]`: what endpoints are sealed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// `None`: in the data folder; see
    /// [`Config::endpoint_keys_file`](super::Config::endpoint_keys_file).
    #[serde(with = "text")]
    pub endpoint_keys_file: Option<PathBuf>,
}

/// `[push]`: what is taken from application servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The longest TTL granted (RFC 8030 §5.2), from a second to 24855 days.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<1000, MAX_TTL, _>"
    )]
    pub max_ttl: Duration,
    /// Whether pushes without VAPID are refused (RFC 8292 §4).
    pub require_vapid: bool,
    /// How far a sender's clock may be off, up to an hour.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 3600, _>"
    )]
    pub vapid_leeway: Duration,
    /// How long a receipt is kept for its application server, from a day to a
    /// year.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<{ 24 * 3600 * 1000 }, { duration::YEAR }, _>"
    )]
    pub receipt_lifetime: Duration,
}

/// `[user_agent]`: how WebSocket connections are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAgentConfig {
    /// From the handshake to the end of the hello.
    #[serde(with = "duration")]
    pub hello_timeout: Duration,
    /// From the last frame to a WebSocket ping.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// From a ping to its pong.
    #[serde(with = "duration")]
    pub pong_timeout: Duration,
    /// From the beginning of a write to its end.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Messages that may be unacknowledged on one connection.
    #[serde(deserialize_with = "count")]
    pub window_messages: usize,
    /// Octets of them. One message may always be on its way.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<1, _, _>"
    )]
    pub window_bytes: usize,
    /// How long a full window waits for an acknowledgement.
    #[serde(with = "duration")]
    pub window_patience: Duration,
    /// How long a message counts as sent without an acknowledgement.
    #[serde(with = "duration")]
    pub ack_patience: Duration,
    /// The least time between two application pings; may be zero.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, { duration::YEAR }, _>"
    )]
    pub min_ping_interval: Duration,
    /// How long a held GET goes on.
    #[serde(with = "duration")]
    pub monitor_lifetime: Duration,
}

/// `[limits]`: what one peer, and all together, may take. Counts go from 1 to
/// 2^32 − 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open connections.
    #[serde(deserialize_with = "count")]
    pub connections: usize,
    /// User agents that are connected by WebSocket at one time.
    #[serde(deserialize_with = "count")]
    pub user_agents: usize,
    /// Open connections from one address; 0 for no limit and no share by
    /// address.
    #[serde(deserialize_with = "count_or_zero")]
    pub connections_per_address: usize,
    /// From accept to the end of the TLS handshake and the first octets; of
    /// HTTP/2, to the end of the client's preface.
    #[serde(with = "duration")]
    pub handshake_timeout: Duration,
    /// From the end of a request's header to the end of its body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// From the first octets, or a response, to the end of the next request's
    /// header.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Octets of a request's header, from 8 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 8 << 10 }, _, _>"
    )]
    pub header_bytes: usize,
    /// Octets of a push message's body, from 4096 (RFC 8030 §7.2).
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<4096, _, _>"
    )]
    pub body_bytes: usize,
    /// Bytes that are read and dropped after the last answer of an HTTP/1.1
    /// connection, from 4 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 4 << 10 }, _, _>"
    )]
    pub discard_bytes: usize,
    /// Octets of a WebSocket message from a user agent, from 4 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 4 << 10 }, _, _>"
    )]
    pub frame_bytes: usize,
    /// Frames per second from one user agent; 0 for no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub frame_rate: u32,
    /// Frames from one user agent that may come at once.
    #[serde(deserialize_with = "count")]
    pub frame_burst: u32,
    /// Requests in progress on one HTTP/2 connection.
    #[serde(deserialize_with = "count")]
    pub http2_streams: u32,
    /// Requests in progress on all connections.
    #[serde(deserialize_with = "count")]
    pub requests: usize,
    /// Requests on all connections whose body is still arriving.
    #[serde(deserialize_with = "count")]
    pub bodies: usize,
    /// Pushes of one sender that are stored at one time.
    #[serde(deserialize_with = "count")]
    pub pushes_at_once: usize,
    /// Pushes a second signed by one key; 0 for no limit. Its bucket holds
    /// `key_burst`.
    #[serde(deserialize_with = "count_or_zero")]
    pub key_rate: u32,
    /// Pushes signed by one key that may come at once.
    #[serde(deserialize_with = "count")]
    pub key_burst: u32,
    /// Pushes a second to one subscription; 0 for no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub subscription_rate: u32,
    /// Pushes to one subscription that may come at once.
    #[serde(deserialize_with = "count")]
    pub subscription_burst: u32,
    /// Requests a second from one address; 0 for no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub address_rate: u32,
    /// Requests from one address that may come at once.
    #[serde(deserialize_with = "count")]
    pub address_burst: u32,
    /// Failed checks of VAPID signatures a second from one address; 0 for no
    /// limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub failed_signature_rate: u32,
    /// Failed checks from one address that may come at once.
    #[serde(deserialize_with = "count")]
    pub failed_signature_burst: u32,
    /// Keys, subscriptions and addresses, each so many, whose rate is
    /// remembered.
    #[serde(deserialize_with = "count")]
    pub rate_buckets: usize,
    /// Subscriptions of one user agent.
    #[serde(deserialize_with = "count")]
    pub subscriptions_per_user_agent: u32,
    /// Subscriptions of all user agents.
    #[serde(deserialize_with = "count")]
    pub subscriptions: u64,
    /// Stored messages of one user agent.
    #[serde(deserialize_with = "count")]
    pub messages_per_user_agent: u32,
    /// Octets of the stored messages of one user agent, from 64 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 64 << 10 }, _, _>"
    )]
    pub bytes_per_user_agent: u64,
    /// Octets of all stored messages, from 1 MiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 1 << 20 }, _, _>"
    )]
    pub stored_bytes: u64,
    /// Receipt subscriptions.
    #[serde(deserialize_with = "count")]
    pub receipt_subscriptions: u64,
    /// Receipts of one receipt subscription.
    #[serde(deserialize_with = "count")]
    pub receipts_per_subscription: u32,
    /// Receipts of all receipt subscriptions, with those still to come.
    #[serde(deserialize_with = "count")]
    pub receipts: u64,
    /// Messages with TTL 0 that wait for the acknowledgement of which their
    /// sender wants a receipt.
    #[serde(deserialize_with = "count")]
    pub live_receipts: usize,
    /// Changes that wait for the disk at one time.
    #[serde(deserialize_with = "count")]
    pub waiting_for_disk: usize,
    /// Broadcasts.
    #[serde(deserialize_with = "count")]
    pub broadcasts: usize,
    /// VAPID tokens remembered as verified.
    #[serde(deserialize_with = "count")]
    pub verified_tokens: usize,
    /// Messages with TTL 0 that wait for one socket.
    #[serde(deserialize_with = "count")]
    pub live_queue: usize,
    /// Expired messages removed in one step.
    #[serde(deserialize_with = "count")]
    pub expire_batch: usize,
}

/// `[trace]`: what is remembered of single messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceConfig {
    /// How many; 0 for none.
    #[serde(deserialize_with = "count_or_zero")]
    pub messages: usize,
}
