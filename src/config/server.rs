//! `[server]`: where the service listens, and whom it believes who its clients
//! are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PublicUrl;
use super::admission::Networks;
use super::values::{Text, duration, text};

/// `[server]`: where the service listens, is reached and keeps its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where user agents and application servers connect. Port 0 takes a free one.
    #[serde(with = "text")]
    pub listen: SocketAddr,
    /// A unix socket beside it; `None`: there is none.
    #[serde(with = "text")]
    pub socket: Option<PathBuf>,
    /// Who may connect to that.
    #[serde(with = "text")]
    pub socket_mode: FileMode,
    /// Whose word on where a client is counts; nobody's by default. A peer on
    /// the unix socket is always one of them.
    #[serde(with = "text")]
    pub trusted_proxies: Networks,
    /// Where they say it.
    pub forwarded_header: ForwardedHeader,
    /// Whether their connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// What endpoints begin with; see [`Config::public_url`](super::Config::public_url).
    #[serde(with = "text")]
    pub public_url: Option<PublicUrl>,
    /// The folder of the store and of the endpoint keys.
    #[serde(with = "text")]
    pub data: PathBuf,
    /// How long only `/ready` tells of a stop, up to an hour.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 3600, _>"
    )]
    pub stop_notice: Duration,
    /// Over how long a stop spreads the ends of user agents' connections, up to
    /// an hour.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, 3600, _>"
    )]
    pub close_window: Duration,
    /// The longest that the last requests of a stop may take; may be zero.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, { duration::YEAR }, _>"
    )]
    pub drain: Duration,
}

/// The header field in which proxies say where a client is.
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
