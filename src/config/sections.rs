//! The sections of the configuration. `config.default.toml` documents each key and why it has its
//! default; this file defines the ranges.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::{MAX_TTL, count, count_or_zero, duration, size, text};

/// `[admin]`: the listener for metrics, health and the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// `None`: no admin listener.
    #[serde(with = "text")]
    pub listen: Option<SocketAddr>,
    /// A unix socket for the same API; `None`: no socket.
    #[serde(with = "text")]
    pub socket: Option<PathBuf>,
    /// What other users may do over the socket.
    pub socket_others: SocketOthers,
    /// `None`: in the data folder; see
    /// [`Config::admin_token_file`](super::Config::admin_token_file).
    #[serde(with = "text")]
    pub token_file: Option<PathBuf>,
    /// `None`: in the data folder; see
    /// [`Config::admin_read_token_file`](super::Config::admin_read_token_file).
    #[serde(with = "text")]
    pub read_token_file: Option<PathBuf>,
    /// The host names under which the admin API may be reached.
    #[serde(with = "text")]
    pub hosts: HostNames,
    /// Interval between two samples of the overview.
    #[serde(with = "duration")]
    pub sample_every: Duration,
    /// Maximum open connections to the listener and the socket together.
    #[serde(deserialize_with = "count")]
    pub connections: usize,
    /// Maximum number of blocks.
    #[serde(deserialize_with = "count")]
    pub blocks: usize,
}

/// What users other than root and the service's own may do over `admin.socket` without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketOthers {
    /// Nothing.
    Refuse,
    /// Only read.
    ReadOnly,
}

/// Host names, separated by spaces; compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames(pub Vec<String>);

/// `[tls]`: certificate and key of the service. Use [`files`](Self::files) to read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain, PEM. Set exactly when `key_file` is.
    #[serde(with = "text")]
    pub cert_file: Option<PathBuf>,
    /// The private key, PEM. Set exactly when `cert_file` is.
    #[serde(with = "text")]
    pub key_file: Option<PathBuf>,
    /// Interval between two checks of the files for changes.
    #[serde(with = "duration")]
    pub check_every: Duration,
}

impl TlsConfig {
    /// Certificate chain and private key; `None` when the service speaks no TLS.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.cert_file.as_deref().zip(self.key_file.as_deref())
    }
}

/// `[store]`: the storage of subscriptions and messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The storage engine.
    pub engine: StoreEngine,
    /// Size of the page cache in bytes, from 1 MiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 1 << 20 }, _, _>"
    )]
    pub cache: u64,
    /// Free disk space to keep, in bytes; may be 0.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<0, _, _>"
    )]
    pub min_free: u64,
    /// Never sync writes to disk, so that a power-loss test can show that it detects the loss. Not
    /// a setting: only the hidden flag `--test-without-sync` sets it.
    #[serde(skip)]
    pub without_sync: bool,
}

/// A storage engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreEngine {
    /// On disk, in the data folder.
    Sled,
    /// In memory only, for trials.
    Memory,
}

/// `[keys]`: the keys that seal endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// `None`: in the data folder; see
    /// [`Config::endpoint_keys_file`](super::Config::endpoint_keys_file).
    #[serde(with = "text")]
    pub endpoint_keys_file: Option<PathBuf>,
}

/// `[push]`: what is accepted from application servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// Maximum TTL (RFC 8030 §5.2), from one second to 24855 days.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<1000, MAX_TTL, _>"
    )]
    pub max_ttl: Duration,
    /// Whether pushes without VAPID are rejected (RFC 8292 §4).
    pub require_vapid: bool,
    /// Tolerated deviation of a sender's clock, up to one hour.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 3600, _>"
    )]
    pub vapid_leeway: Duration,
    /// How long a receipt is kept for its application server, from one day to one year.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<{ 24 * 3600 * 1000 }, { duration::YEAR }, _>"
    )]
    pub receipt_lifetime: Duration,
}

/// `[user_agent]`: the handling of WebSocket connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserAgentConfig {
    /// From the handshake until `hello` has arrived.
    #[serde(with = "duration")]
    pub hello_timeout: Duration,
    /// From the last received frame to a WebSocket ping.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// From a ping to its pong.
    #[serde(with = "duration")]
    pub pong_timeout: Duration,
    /// Timeout of one write.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Maximum number of unacknowledged messages on one connection.
    #[serde(deserialize_with = "count")]
    pub window_messages: usize,
    /// Their maximum total size in bytes. One message is always allowed.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<1, _, _>"
    )]
    pub window_bytes: usize,
    /// How long a full window waits for an acknowledgement before it is reopened.
    #[serde(with = "duration")]
    pub window_patience: Duration,
    /// How long an unacknowledged message counts as sent.
    #[serde(with = "duration")]
    pub ack_patience: Duration,
    /// Minimum interval between two application pings; may be zero.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, { duration::YEAR }, _>"
    )]
    pub min_ping_interval: Duration,
    /// Maximum duration of a monitor (held GET).
    #[serde(with = "duration")]
    pub monitor_lifetime: Duration,
}

/// `[limits]`: limits per peer and in total. Counts range from 1 to 2^32 − 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open connections.
    #[serde(deserialize_with = "count")]
    pub connections: usize,
    /// Connected user agents: WebSockets and monitors.
    #[serde(deserialize_with = "count")]
    pub user_agents: usize,
    /// Open connections from one address; 0 disables this limit and all shares by address.
    #[serde(deserialize_with = "count_or_zero")]
    pub connections_per_address: usize,
    /// How long an address over one of its limits waits for the response; 0 disables this.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 60, _>"
    )]
    pub refusal_delay: Duration,
    /// From accept to the end of the TLS handshake and the first bytes; for HTTP/2, to the end of
    /// the client's preface.
    #[serde(with = "duration")]
    pub handshake_timeout: Duration,
    /// From the end of a request's header to the end of its body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// From the first bytes, or from a response, to the end of the next request's header.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Size of a request's header in bytes, from 8 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 8 << 10 }, _, _>"
    )]
    pub header_bytes: usize,
    /// Size of a push message's body in bytes, from 4096 (RFC 8030 §7.2).
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<4096, _, _>"
    )]
    pub body_bytes: usize,
    /// Bytes that are read and discarded after the last response of an HTTP/1.1 connection, from 4
    /// KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 4 << 10 }, _, _>"
    )]
    pub discard_bytes: usize,
    /// Size of a WebSocket message from a user agent in bytes, from 4 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 4 << 10 }, _, _>"
    )]
    pub frame_bytes: usize,
    /// Frames per second from one user agent; 0 means no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub frame_rate: u32,
    /// Burst of frames from one user agent.
    #[serde(deserialize_with = "count")]
    pub frame_burst: u32,
    /// Concurrent requests on one HTTP/2 connection.
    #[serde(deserialize_with = "count")]
    pub http2_streams: u32,
    /// Concurrent requests on all connections.
    #[serde(deserialize_with = "count")]
    pub requests: usize,
    /// Concurrent requests on all connections whose body is still arriving.
    #[serde(deserialize_with = "count")]
    pub bodies: usize,
    /// Pushes of one sender that are stored concurrently.
    #[serde(deserialize_with = "count")]
    pub pushes_at_once: usize,
    /// Pushes per second signed by one key; 0 means no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub key_rate: u32,
    /// Burst of pushes signed by one key.
    #[serde(deserialize_with = "count")]
    pub key_burst: u32,
    /// Pushes per second to one subscription; 0 means no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub subscription_rate: u32,
    /// Burst of pushes to one subscription.
    #[serde(deserialize_with = "count")]
    pub subscription_burst: u32,
    /// Requests per second from one address; 0 means no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub address_rate: u32,
    /// Burst of requests from one address.
    #[serde(deserialize_with = "count")]
    pub address_burst: u32,
    /// Failed VAPID signature checks per second from one address; 0 means no limit.
    #[serde(deserialize_with = "count_or_zero")]
    pub failed_signature_rate: u32,
    /// Burst of failed checks from one address.
    #[serde(deserialize_with = "count")]
    pub failed_signature_burst: u32,
    /// Number of token buckets kept for each of keys, subscriptions and addresses.
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
    /// Total size of one user agent's stored messages in bytes, from 64 KiB.
    #[serde(
        serialize_with = "size::serialize",
        deserialize_with = "size::deserialize::<{ 64 << 10 }, _, _>"
    )]
    pub bytes_per_user_agent: u64,
    /// Total size of all stored messages in bytes, from 1 MiB.
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
    /// Receipts of all receipt subscriptions, including those still expected.
    #[serde(deserialize_with = "count")]
    pub receipts: u64,
    /// Messages with TTL 0 that await an acknowledgement because their sender wants a receipt.
    #[serde(deserialize_with = "count")]
    pub live_receipts: usize,
    /// Changes that wait for the disk concurrently.
    #[serde(deserialize_with = "count")]
    pub waiting_for_disk: usize,
    /// Stored broadcasts.
    #[serde(deserialize_with = "count")]
    pub broadcasts: usize,
    /// Verified VAPID tokens that are cached.
    #[serde(deserialize_with = "count")]
    pub verified_tokens: usize,
    /// Messages with TTL 0 that wait for one connection.
    #[serde(deserialize_with = "count")]
    pub live_queue: usize,
    /// Expired messages removed per step.
    #[serde(deserialize_with = "count")]
    pub expire_batch: usize,
}

/// `[trace]`: the history of single messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceConfig {
    /// Number of messages kept; 0 turns it off.
    #[serde(deserialize_with = "count_or_zero")]
    pub messages: usize,
}
