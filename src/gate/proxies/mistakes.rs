//! Misconfigured proxies and clients: each sign of one is counted, and logged with its remedy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::ForwardedHeader;
use crate::observe::metrics::Metrics;
use crate::time::Clock;

/// Interval between two log lines of one kind; a misconfiguration usually shows in every request.
const SILENCE: Duration = Duration::from_secs(3600);

/// A sign of a misconfiguration. Its text says what `peer` did and how to fix it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A forwarding header field from an untrusted peer.
    #[error(
        "its {0} is not believed: if it is your proxy, name its address in server.trusted_proxies"
    )]
    NotTrusted(ForwardedHeader),
    /// A trusted proxy does not send the field.
    #[error(
        "this trusted proxy sends no {0}, so all its clients count as one: let it write the \
         field, or set server.forwarded_header to the one that it writes"
    )]
    NoAddress(ForwardedHeader),
    /// A trusted proxy sends a field that is not a list of addresses.
    #[error("this trusted proxy sends a {0} that is no list of addresses: let it write them")]
    NotAddresses(ForwardedHeader),
    /// An unexpected PROXY header at the start of a connection.
    #[error(
        "its connection began with a PROXY header and was closed: set server.proxy_protocol = \
         true and name the proxy in server.trusted_proxies, or let it send none"
    )]
    UnexpectedHeader,
    /// A connection from a trusted proxy lacks the required PROXY header.
    #[error(
        "the connection of this trusted proxy began without a PROXY header and was closed: let \
         it send one, or set server.proxy_protocol = false"
    )]
    NoHeader,
    /// The PROXY header is malformed.
    #[error(
        "the connection of this trusted proxy began with a PROXY header that cannot be read and \
         was closed: let it send version 1 or 2"
    )]
    BadHeader,
    /// A WebSocket handshake without the hop-by-hop fields: the proxy dropped them.
    #[error(
        "its WebSocket handshake came without Upgrade: websocket: let the proxy pass Upgrade and \
         Connection on, over HTTP/1.1"
    )]
    NoUpgrade,
    /// Clients reach the service under another host than `server.public_url`.
    #[error(
        "it asked for another host than server.public_url names, with which endpoints begin: set \
         that to what clients reach, or let the proxy pass Host on"
    )]
    OtherHost,
    /// A TLS handshake on a listener without a certificate.
    #[error(
        "it began with TLS, which is not set up: let the proxy speak http:// to this listener, or \
         set tls.cert_file and tls.key_file"
    )]
    UnexpectedTls,
    /// Plain HTTP on a listener with a certificate.
    #[error(
        "it began without TLS, and this listener speaks TLS alone: let the proxy speak https:// \
         to it, or leave tls.cert_file and tls.key_file empty"
    )]
    NoTls,
}

impl Mistake {
    const fn label(self) -> &'static str {
        match self {
            Self::NotTrusted(_) => "not_trusted",
            Self::NoAddress(_) => "no_address",
            Self::NotAddresses(_) => "not_addresses",
            Self::UnexpectedHeader => "unexpected_header",
            Self::NoHeader => "no_header",
            Self::BadHeader => "bad_header",
            Self::NoUpgrade => "no_upgrade",
            Self::OtherHost => "other_host",
            Self::UnexpectedTls => "unexpected_tls",
            Self::NoTls => "no_tls",
        }
    }
}

/// When each kind was last logged.
pub struct Mistakes {
    logged: Mutex<HashMap<&'static str, Duration>>,
    clock: Clock,
}

impl Mistakes {
    /// Nothing has been logged.
    pub fn new(clock: &Clock) -> Self {
        Self {
            logged: Mutex::default(),
            clock: clock.clone(),
        }
    }

    /// Counts the mistake of `peer`, and logs it at most once an hour per kind. Untrusted peers
    /// with public addresses are only counted: Internet scanners do all of this too.
    pub fn see(&self, mistake: Mistake, peer: IpAddr, is_trusted: bool, metrics: &Metrics) {
        let kind = mistake.label();
        metrics.mistake(kind);
        if (is_trusted || is_near(peer)) && self.is_time(kind) {
            let page = "docs/proxies.md";
            tracing::warn!(%peer, kind, page, "{mistake}");
        }
    }

    fn is_time(&self, kind: &'static str) -> bool {
        let now = self.clock.monotonic();
        // No code can panic while it holds this lock.
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = logged.get(kind);
        let is_time = last.is_none_or(|last| now.saturating_sub(*last) >= SILENCE);
        if is_time {
            logged.insert(kind, now);
        }
        is_time
    }
}

/// Whether an address is loopback, link-local or in a private network.
fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use bugle_protocol::UnixTime;

    use super::*;

    #[test]
    fn the_page_says_what_to_do_about_each_kind() {
        const PAGE: &str = include_str!("../../../docs/proxies.md");
        let field = ForwardedHeader::Forwarded;
        for mistake in [
            Mistake::NotTrusted(field),
            Mistake::NoAddress(field),
            Mistake::NotAddresses(field),
            Mistake::UnexpectedHeader,
            Mistake::NoHeader,
            Mistake::BadHeader,
            Mistake::NoUpgrade,
            Mistake::OtherHost,
            Mistake::UnexpectedTls,
            Mistake::NoTls,
        ] {
            let kind = mistake.label();
            assert!(PAGE.contains(&format!("\n| `{kind}` | ")), "{kind}");
        }
    }

    #[test]
    fn each_kind_is_logged_once_an_hour() {
        let clock = Clock::manual(UnixTime::from_secs(1_000_000));
        let mistakes = Mistakes::new(&clock);
        assert!(mistakes.is_time("a") && mistakes.is_time("b"));
        assert!(!mistakes.is_time("a"));
        clock.advance(SILENCE);
        assert!(mistakes.is_time("a") && !mistakes.is_time("a"));
    }

    #[test]
    fn only_peers_in_private_networks_count_as_near() {
        for (address, near) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:172.16.0.1", true),
            ("fd00::1", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_near(address.parse().unwrap()), near, "{address}");
        }
    }
}
