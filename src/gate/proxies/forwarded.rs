//! The header fields in which a proxy says where a request comes from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};

use crate::config::ForwardedHeader;

/// More proxies than stand one behind the other anywhere.
const MOST_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl ForwardedHeader {
    /// Its name.
    pub const fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => X_FORWARDED_FOR,
            Self::Forwarded => FORWARDED,
        }
    }

    /// Whether a request has one of the fields.
    pub fn any_in(headers: &HeaderMap) -> Option<Self> {
        let fields = [Self::XForwardedFor, Self::Forwarded];
        fields
            .into_iter()
            .find(|field| headers.contains_key(field.name()))
    }

    /// Who passed the request on, the nearest first; `None` for what is no
    /// address. Each proxy adds at the end, so it is split from there: a quote
    /// that a client has left open cannot hide what comes after it.
    pub fn hops(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let values = headers.get_all(self.name());
        let elements = values.iter().rev().flat_map(|value| {
            // What is not ASCII is no address.
            value.to_str().unwrap_or_default().rsplit(',')
        });
        elements
            .take(MOST_HOPS)
            .map(move |element| Some(self.address(element.trim())?.to_canonical()))
    }

    fn address(self, element: &str) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => address(element),
            // RFC 7239 §4, §6: the address may be hidden.
            Self::Forwarded => {
                let element = rfc7239::parse(element).next()?.ok()?;
                element.forwarded_for?.ip().copied()
            }
        }
    }
}

/// No standard says how it is written; some proxies add the port.
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
