//! Reverse proxies: which are trusted to name the client, and reports of misconfigured ones.
//!
//! A proxy names the client in a header field of each request (`forwarded`), or in a PROXY header
//! at the start of a connection (`server::proxy_header`). An untrusted peer could claim any
//! address, so only `server.trusted_proxies` and the peers of `server.socket` are trusted.

mod forwarded;
mod mistakes;

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

use crate::config::{ForwardedHeader, Networks, ServerConfig};

pub use self::mistakes::{Mistake, Mistakes};

/// The address of a client on a unix socket that sends no forwarding header.
pub const ON_THIS_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The trusted proxies.
pub struct Proxies {
    trusted: Networks,
    field: ForwardedHeader,
}

/// The client that a trusted proxy named for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client, or the nearest hop to it that is known.
    pub address: IpAddr,
    /// Whether that differs from the proxy's own address.
    pub is_forwarded: bool,
    /// A misconfiguration that the headers show.
    pub mistake: Option<Mistake>,
}

impl Proxies {
    /// Applies `[server]`.
    pub fn new(config: &ServerConfig) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            field: config.forwarded_header,
        }
    }

    /// Whether the peer at this address is trusted.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.trusted.contain(address)
    }

    /// Finds the client of a request that the trusted proxy at `proxy` forwarded: the nearest
    /// address that is not a trusted proxy. Any client can forge the elements before it.
    pub fn origin(&self, proxy: IpAddr, headers: &HeaderMap) -> Origin {
        let mut origin = Origin {
            address: proxy,
            is_forwarded: false,
            mistake: None,
        };
        let mut hops = self.field.hops(headers).peekable();
        if hops.peek().is_none() {
            origin.mistake = Some(Mistake::NoAddress(self.field));
        }
        for hop in hops {
            let Some(address) = hop else {
                origin.mistake = Some(Mistake::NotAddresses(self.field));
                break;
            };
            origin.address = address;
            origin.is_forwarded = true;
            if !self.trust(address) {
                break;
            }
        }
        origin
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::sync::LazyLock;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::Config;
    use crate::config::Setting;

    const PROXY: &str = "10.0.0.1";

    fn proxies(header: ForwardedHeader) -> Proxies {
        let setting = Setting {
            name: "--it".to_owned(),
            section: "server".to_owned(),
            key: "trusted_proxies".to_owned(),
            value: "10.0.0.0/24, fd00::1".to_owned(),
        };
        let mut config = Config::load(None, [], &[setting]).unwrap();
        config.server.forwarded_header = header;
        Proxies::new(&config.server)
    }

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let name = HeaderName::from_static(name);
        let values = values.iter();
        values
            .map(|value| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn origin(header: ForwardedHeader, name: &'static str, values: &[&str]) -> Origin {
        proxies(header).origin(PROXY.parse().unwrap(), &headers(name, values))
    }

    #[track_caller]
    fn assert_is(found: Origin, address: &str, is_right: bool) {
        assert_eq!(found.address, address.parse::<IpAddr>().unwrap());
        assert_eq!(found.is_forwarded, address != PROXY);
        assert_eq!(found.mistake.is_none(), is_right, "{found:?}");
    }

    #[test]
    fn the_nearest_address_that_is_not_a_trusted_proxy_is_the_client() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        for (values, client, is_right) in [
            (&["192.0.2.7"][..], "192.0.2.7", true),
            // The client forged the first element.
            (&["203.0.113.9, 192.0.2.7"], "192.0.2.7", true),
            (&["203.0.113.9", "192.0.2.7"], "192.0.2.7", true),
            (&["<script>, 192.0.2.7"], "192.0.2.7", true),
            (&["192.0.2.7, 10.0.0.2,10.0.0.3"], "192.0.2.7", true),
            (&["2001:db8::7, fd00::1"], "2001:db8::7", true),
            (&["[2001:db8::7]:4711"], "2001:db8::7", true),
            (&["[2001:db8::7]"], "2001:db8::7", true),
            (&["192.0.2.7:4711"], "192.0.2.7", true),
            (&["::ffff:192.0.2.7"], "192.0.2.7", true),
            // All are trusted proxies: the farthest is the client.
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9", true),
            (&["unknown, 10.0.0.2"], "10.0.0.2", false),
            (&["unknown"], PROXY, false),
            (&[""], PROXY, false),
            (&["192.0.2.7, "], PROXY, false),
            (&[], PROXY, false),
        ] {
            let found = origin(XForwardedFor, "x-forwarded-for", values);
            assert_is(found, client, is_right);
        }
        for (values, client, is_right) in [
            (&["for=192.0.2.7"][..], "192.0.2.7", true),
            (
                &["For=\"192.0.2.7:80\";by=_x;proto=https"],
                "192.0.2.7",
                true,
            ),
            (
                &["for=203.0.113.9, for=192.0.2.7;host=a"],
                "192.0.2.7",
                true,
            ),
            (
                &["for=\"[2001:db8::7]:80\", for=\"[fd00::1]\""],
                "2001:db8::7",
                true,
            ),
            // A quote that the client left open hides nothing.
            (&["for=\"203.0.113.9, for=192.0.2.7"], "192.0.2.7", true),
            (&["for=unknown"], PROXY, false),
            (&["for=_hidden"], PROXY, false),
            (&["by=192.0.2.7"], PROXY, false),
            (&["192.0.2.7"], PROXY, false),
        ] {
            assert_is(origin(Forwarded, "forwarded", values), client, is_right);
        }
    }

    #[test]
    fn only_the_configured_forwarding_field_is_read() {
        let found = origin(
            ForwardedHeader::XForwardedFor,
            "forwarded",
            &["for=192.0.2.7"],
        );
        assert_is(found, PROXY, false);
        let found = origin(
            ForwardedHeader::Forwarded,
            "x-forwarded-for",
            &["192.0.2.7"],
        );
        assert_is(found, PROXY, false);
    }

    #[test]
    fn the_number_of_followed_proxies_is_bounded() {
        let long = ["192.0.2.7", &", 10.0.0.2".repeat(5000)].concat();
        let found = origin(ForwardedHeader::XForwardedFor, "x-forwarded-for", &[&long]);
        assert_is(found, "10.0.0.2", true);
    }

    proptest! {
        #[test]
        fn no_forwarding_field_panics(
            octets in proptest::collection::vec(0x20..=0xffu8, 0..64),
            text in "([0-9a-f:.\\[\\]\";=, ]|for=|unknown|_){0,40}",
        ) {
            static BOTH: LazyLock<[Proxies; 2]> = LazyLock::new(|| {
                [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded].map(proxies)
            });
            for octets in [&octets[..], text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(octets) else { continue };
                for proxies in &*BOTH {
                    let name = proxies.field.name();
                    let headers = HeaderMap::from_iter([(name, value.clone())]);
                    let found = proxies.origin(PROXY.parse().unwrap(), &headers);
                    prop_assert!(found.is_forwarded || found.mistake.is_some());
                }
            }
        }
    }
}
