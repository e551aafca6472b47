//! The origin under which clients reach the service.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use bugle_protocol::vapid::Audience;
use url::Url;

/// The origin of the push service: a scheme (http or https), a host and a port; no path, query or
/// user name. Endpoint URLs begin with it, and VAPID tokens name it as their audience (RFC 8292
/// §2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicUrl {
    /// Without a trailing slash or a default port.
    origin: String,
}

/// The text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {}", Self::EXPECTED)]
pub struct NotAnOrigin;

impl NotAnOrigin {
    /// What the text may be.
    pub(super) const EXPECTED: &str = "an http or https URL of a host and an optional port, \
                                       without path, query or user name, such as \
                                       \"https://push.example.org\"";
}

impl PublicUrl {
    /// The origin of a service that listens at `address` without a proxy. An unspecified address
    /// (0.0.0.0 or ::) becomes the loopback address of its family, because clients cannot connect
    /// to it.
    pub fn of_listener(address: SocketAddr, is_tls: bool) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let (scheme, default_port) = if is_tls { ("https", 443) } else { ("http", 80) };
        // An IPv6 scope identifier has no place in a URL, so only address and port are taken.
        let host = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let origin = if address.port() == default_port {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", address.port())
        };
        Self { origin }
    }

    /// The origin in the form of RFC 6454 §6.2, such as `https://push.example.org`: no trailing
    /// slash, no default port.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        parts(&self.origin).1
    }

    /// The absolute URL of `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The audience that VAPID tokens for this service must name.
    pub fn audience(&self) -> Audience {
        let (scheme, host, port) = parts(&self.origin);
        let audience = Audience::new(scheme, host, port);
        let Ok(url) = Url::parse(&self.origin) else {
            return audience;
        };
        let in_unicode = url.origin().unicode_serialization();
        let (scheme, host, port) = parts(&in_unicode);
        audience.or_in_unicode(scheme, host, port)
    }

    /// Whether clients use TLS, to this service or to a proxy.
    pub fn is_tls(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// The URL for user agents, such as `wss://push.example.org/`.
    pub fn websocket_url(&self) -> String {
        // http becomes ws, https becomes wss.
        self.origin.replacen("http", "ws", 1) + "/"
    }
}

/// Scheme, host and port of an origin.
fn parts(origin: &str) -> (&str, &str, Option<u16>) {
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    // The colons of an IPv6 address stand within brackets.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (scheme, host, port.parse().ok()),
        _ => (scheme, authority, None),
    }
}

impl FromStr for PublicUrl {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let url = Url::parse(text).map_err(|_| NotAnOrigin)?;
        let is_origin = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if is_origin {
            let origin = url.origin().ascii_serialization();
            Ok(Self { origin })
        } else {
            Err(NotAnOrigin)
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn origins_are_accepted_and_normalised() {
        for (text, origin, websocket) in [
            (
                "https://push.example.org",
                "https://push.example.org",
                "wss://push.example.org/",
            ),
            (
                "https://PUSH.example.org:443/",
                "https://push.example.org",
                "wss://push.example.org/",
            ),
            (
                "http://127.0.0.1:8080/",
                "http://127.0.0.1:8080",
                "ws://127.0.0.1:8080/",
            ),
            ("http://[::1]:80", "http://[::1]", "ws://[::1]/"),
            (
                "https://bücher.example",
                "https://xn--bcher-kva.example",
                "wss://xn--bcher-kva.example/",
            ),
        ] {
            let url: PublicUrl = text.parse().unwrap();
            assert_eq!(url.origin(), origin);
            assert_eq!(url.websocket_url(), websocket);
            assert_eq!(url.is_tls(), text.starts_with("https"));
            assert_eq!(url.url("/push/abc"), format!("{origin}/push/abc"));
        }
    }

    /// V-4.
    #[test]
    fn the_audience_is_the_origin_in_ascii_and_in_unicode() {
        for (text, ascii, unicode) in [
            (
                "https://bücher.example:8443",
                ("https", "xn--bcher-kva.example", Some(8443)),
                ("https", "bücher.example", Some(8443)),
            ),
            (
                "https://push.example.org",
                ("https", "push.example.org", None),
                ("https", "push.example.org", None),
            ),
            (
                "http://[::1]:8080",
                ("http", "[::1]", Some(8080)),
                ("http", "[::1]", Some(8080)),
            ),
        ] {
            let expected = Audience::new(ascii.0, ascii.1, ascii.2);
            let expected = expected.or_in_unicode(unicode.0, unicode.1, unicode.2);
            assert_eq!(text.parse::<PublicUrl>().unwrap().audience(), expected);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "push.example.org",
            "ftp://push.example.org",
            "wss://push.example.org",
            "https://",
            "https://push.example.org/path",
            "https://push.example.org/?",
            "https://push.example.org/#a",
            "https://user@push.example.org",
            "https://user:secret@push.example.org",
            "https://push.example.org:99999",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(NotAnOrigin), "{text}");
        }
    }

    #[test]
    fn the_origin_of_a_listener_follows_its_address() {
        for (address, is_tls, origin) in [
            ("127.0.0.1:8080", false, "http://127.0.0.1:8080"),
            ("192.0.2.1:443", true, "https://192.0.2.1"),
            ("0.0.0.0:80", false, "http://127.0.0.1"),
            ("[::]:8443", true, "https://[::1]:8443"),
        ] {
            let url = PublicUrl::of_listener(address.parse().unwrap(), is_tls);
            assert_eq!(url.origin(), origin);
            assert_eq!(url.origin().parse(), Ok(url.clone()));
        }
    }
}
