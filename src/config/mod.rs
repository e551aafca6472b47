//! The configuration: one valid value for each key of `config.default.toml`.
//!
//! That file is compiled in and provides the defaults. A configuration file, the environment
//! (`BUGLE_SECTION__KEY`) and flags override them. An unknown key or an invalid value is an error,
//! never guessed at.

mod admission;
mod chromium;
mod compat;
mod expiry;
mod limit;
mod log;
mod public_url;
mod sections;
mod server;
mod sources;
mod unknown;
mod values;

#[cfg(test)]
mod documentation;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bugle_protocol::window::{WindowSettings, ack_frame_bytes, acks_in};
use serde::{Deserialize, Serialize};

pub use admission::{AdmissionConfig, Networks};
pub use chromium::{ChromiumConfig, Origins, Sites};
pub use compat::{CompatConfig, GoneStatus, Profile};
pub use expiry::ExpiryConfig;
pub use limit::{Holder, Limit};
pub use log::{LogConfig, LogFilter, LogFormat, NotAFilter};
pub use public_url::{NotAnOrigin, PublicUrl};
pub use sections::{
    AdminConfig, HostNames, KeysConfig, Limits, PushConfig, SocketOthers, StoreConfig, StoreEngine,
    TlsConfig, TraceConfig, UserAgentConfig,
};
pub use server::{FileMode, ForwardedHeader, ServerConfig};
pub use sources::{ConfigError, Setting};

/// The default file, with its comments.
pub const DEFAULTS: &str = include_str!("../../config.default.toml");

/// All settings. It holds the secrets of `admission`, which `Debug` hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses, the data folder and the shutdown.
    pub server: ServerConfig,
    /// The listener for metrics and health.
    pub admin: AdminConfig,
    /// The certificate and key of the service.
    pub tls: TlsConfig,
    /// The storage of subscriptions and messages.
    pub store: StoreConfig,
    /// The keys that seal endpoints.
    pub keys: KeysConfig,
    /// What is accepted from application servers.
    pub push: PushConfig,
    /// Deviations from the standards that are accepted.
    pub compat: CompatConfig,
    /// Restricts which user agents may connect.
    pub admission: AdmissionConfig,
    /// Chromium as a user agent.
    pub chromium: ChromiumConfig,
    /// The handling of WebSocket connections.
    pub user_agent: UserAgentConfig,
    /// Limits per peer and in total.
    pub limits: Limits,
    /// The history of single messages.
    pub trace: TraceConfig,
    /// When expired messages are removed and unused subscriptions end.
    pub expiry: ExpiryConfig,
    /// The log on standard error.
    pub log: LogConfig,
}

impl Config {
    /// Loads the defaults, then `file`, then the variables of `environment` named
    /// `BUGLE_SECTION__KEY` or `BUGLE_SECTION__KEY_FILE`, then `flags`; each overrides those before
    /// it.
    ///
    /// # Errors
    /// If a file cannot be read, a key does not exist, a value is invalid, or values contradict
    /// each other. The error names the place.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &[Setting],
    ) -> Result<Self, ConfigError> {
        let config = sources::read_file(file)?;
        let config = sources::apply(config, &sources::environment(environment)?)?;
        let config = sources::apply(config, flags)?;
        config.check_together()?;
        Ok(config)
    }

    /// The origin of endpoints: `server.public_url`, or else that of `listening_at`, the actual
    /// address of the listener (its configured port may be 0).
    pub fn public_url(&self, listening_at: SocketAddr) -> PublicUrl {
        let of_listener = || PublicUrl::of_listener(listening_at, self.tls.files().is_some());
        self.server.public_url.clone().unwrap_or_else(of_listener)
    }

    /// The file of the endpoint keys: `keys.endpoint_keys_file`, or
    /// `endpoint-keys` in the data folder.
    pub fn endpoint_keys_file(&self) -> PathBuf {
        self.or_in_data(self.keys.endpoint_keys_file.as_ref(), "endpoint-keys")
    }

    /// The file of the admin token with full access: `admin.token_file`, or `admin-token` in the
    /// data folder.
    pub fn admin_token_file(&self) -> PathBuf {
        self.or_in_data(self.admin.token_file.as_ref(), "admin-token")
    }

    /// The file of the read-only admin token: `admin.read_token_file`, or `admin-read-token` in the
    /// data folder.
    pub fn admin_read_token_file(&self) -> PathBuf {
        self.or_in_data(self.admin.read_token_file.as_ref(), "admin-read-token")
    }

    fn or_in_data(&self, named: Option<&PathBuf>, file: &str) -> PathBuf {
        named.map_or_else(|| self.server.data.join(file), PathBuf::clone)
    }

    /// The configuration as a complete file. It reads back as the same.
    #[expect(
        clippy::expect_used,
        reason = "sections hold texts, numbers and booleans alone"
    )]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is a TOML document")
    }

    #[expect(
        clippy::expect_used,
        reason = "sections hold texts, numbers and booleans alone"
    )]
    fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).expect("a configuration is a TOML table")
    }

    fn check_together(&self) -> Result<(), ConfigError> {
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            return Err(ConfigError::Conflict(
                "tls.cert_file and tls.key_file go together: set both, or neither",
            ));
        }
        let server = &self.server;
        if server.proxy_protocol && server.trusted_proxies.is_empty() && server.socket.is_none() {
            return Err(ConfigError::Conflict(
                "server.proxy_protocol needs server.trusted_proxies or server.socket: a PROXY \
                 header is taken from those alone",
            ));
        }
        let unused = self.expiry.unused;
        if !unused.is_zero() && unused < self.push.max_ttl {
            return Err(ConfigError::Conflict(
                "expiry.unused is less than push.max_ttl, so that messages would end before their \
                 time: set it to as much at least, or to \"0s\"",
            ));
        }
        let (window, frame) = (self.user_agent.window_messages, self.limits.frame_bytes);
        if window > acks_in(frame) {
            return Err(ConfigError::TooManyToAcknowledge {
                window,
                fit: acks_in(frame),
                needed: ack_frame_bytes(window),
            });
        }
        Ok(())
    }

    /// How much may be in flight on one connection of a user agent.
    pub fn window(&self) -> WindowSettings {
        let user_agent = &self.user_agent;
        WindowSettings {
            window_messages: user_agent.window_messages,
            window_bytes: user_agent.window_bytes,
            window_patience: user_agent.window_patience,
            unacknowledged: acks_in(self.limits.frame_bytes),
            ack_patience: user_agent.ack_patience,
        }
    }
}

impl Default for Config {
    /// The values of `config.default.toml`.
    #[expect(clippy::expect_used, reason = "the text is compiled in; tests read it")]
    fn default() -> Self {
        toml::from_str(DEFAULTS).expect("the default configuration is valid")
    }
}
