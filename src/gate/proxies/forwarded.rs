//! The header fields in which a proxy names the client of a request.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use crate::config::ForwardedHeader;

/// Maximum number of proxies that are followed, more than any real chain has.
const MAX_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl ForwardedHeader {
    /// The header field's name.
    pub const fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => FORWARDED,
        }
    }

    /// Returns a forwarding header field of the request, if it has one.
    pub fn any_in(headers: &HeaderMap) -> Option<Self> {
        let fields = [Self::XForwardedFor, Self::Forwarded];
        fields
            .into_iter()
            .find(|field| headers.contains_key(field.name()))
    }

    /// The addresses that passed the request on, nearest first; `None` for an element that is not
    /// an address. Each proxy appends, so parsing starts at the end: a quote that the client left
    /// open cannot hide the elements after it.
    pub fn hops(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let values = headers.get_all(self.name());
        let elements = values.iter().rev().flat_map(|value| {
            // A value that is not ASCII is not an address.
            value.to_str().unwrap_or_default().rsplit(',')
        });
        elements
            .take(MAX_HOPS)
            .map(move |element| Some(self.address(element.trim())?.to_canonical()))
    }

    fn address(self, element: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => address(element),
            // RFC 7239 §4, §6: the address may be obfuscated.
            Self::Forwarded => {
                let element = rfc7239::parse(element).next()?.ok()?;
                element.forwarded_for?.ip().copied()
            }
        }
    }
}

/// No standard defines the format; some proxies append the port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    bare.parse().ok().or_else(with_port)
}

impl fmt::Display for ForwardedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XForwardedFor => "X-Forwarded-For",
            Self::Forwarded => "Forwarded",
        })
    }
}
