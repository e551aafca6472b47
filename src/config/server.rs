//! `[server]`: addresses, trusted proxies, the data folder and the shutdown.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PublicUrl;
use super::admission::Networks;
use super::chromium::Origins;
use super::values::{Text, duration, text};

/// `[server]`: addresses, trusted proxies, the data folder and the shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The public listener, for user agents and application servers. Port 0 picks a free port.
    #[serde(with = "text")]
    pub listen: SocketAddr,
    /// An additional unix socket; `None`: no socket.
    #[serde(with = "text")]
    pub socket: Option<PathBuf>,
    /// The permissions of that socket.
    #[serde(with = "text")]
    pub socket_mode: FileMode,
    /// Proxies that are trusted to name the client; none by default. Peers on the unix socket are
    /// always trusted.
    #[serde(with = "text")]
    pub trusted_proxies: Networks,
    /// The header field in which they name it.
    pub forwarded_header: ForwardedHeader,
    /// Whether their connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// The origin of endpoints; see [`Config::public_url`](super::Config::public_url).
    #[serde(with = "text")]
    pub public_url: Option<PublicUrl>,
    /// Other origins that VAPID tokens may name as their audience.
    #[serde(with = "text")]
    pub audiences: Origins,
    /// The folder of the store and the keys.
    #[serde(with = "text")]
    pub data: PathBuf,
    /// How long `/ready` returns 503 before the shutdown begins, up to one hour.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 3600, _>"
    )]
    pub stop_notice: Duration,
    /// Period over which a shutdown closes user agent connections, up to one hour.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 3600, _>"
    )]
    pub close_window: Duration,
    /// Maximum time for the last requests of a shutdown; may be zero.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, { duration::YEAR }, _>"
    )]
    pub drain: Duration,
}

/// The header field in which proxies name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses, separated by commas.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The permissions of a file, from 0 to 0o777.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Text for FileMode {
    fn expected() -> String {
        "file permissions in octal, such as \"0660\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let is_octal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok()?;
        (is_octal && mode <= 0o777).then_some(Self(mode))
    }

    fn print(&self) -> String {
        format!("{:04o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    #[test]
    fn permissions_are_octal() {
        for (text, mode) in [("0660", 0o660), ("666", 0o666), ("0", 0)] {
            assert_eq!(FileMode::parse(text), Some(FileMode(mode)), "{text}");
        }
        for text in ["", "0o660", "+660", "888", "1777", "rw-rw----"] {
            assert_eq!(FileMode::parse(text), None, "{text}");
        }
        let printed = FileMode(0o60).print();
        assert_eq!(FileMode::parse(&printed).unwrap(), FileMode(0o60));
    }
}
