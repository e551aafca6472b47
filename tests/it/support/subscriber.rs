//! A user agent of RFC 8030: its subscriptions by URL.

use super::http::{self, Reply, Version};
use super::server::Server;

/// A subscription (RFC 8030 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub url: String,
    pub push: String,
    pub set: String,
}

/// The target of the link with this relation.
pub fn link(reply: &Reply, relation: &str) -> Option<String> {
    let wanted = format!("rel=\"{relation}\"");
    reply.headers.get_all("link").iter().find_map(|link| {
        let (target, rel) = link.to_str().unwrap().split_once("; ")?;
        let target = target.strip_prefix('<')?.strip_suffix('>')?;
        (rel == wanted).then(|| target.to_owned())
    })
}

/// Sends a request to subscribe.
pub async fn try_subscribe(
    server: &Server,
    version: Version,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let authority = server.authority();
    http::send(
        version,
        authority,
        "POST",
        "/subscribe",
        headers,
        body.as_bytes(),
    )
    .await
}

impl Subscription {
    /// Parses the response to a request to subscribe.
    pub fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 201, "{reply:?}");
        Self {
            url: reply.header("location").to_owned(),
            push: link(reply, "urn:ietf:params:push").unwrap(),
            set: link(reply, "urn:ietf:params:push:set").unwrap(),
        }
    }

    /// Creates a subscription in a new set.
    pub async fn new(server: &Server) -> Self {
        Self::of(&try_subscribe(server, Version::Http2, &[], "").await)
    }

    /// Creates another subscription in the same set.
    pub async fn another(&self, server: &Server) -> Self {
        let link = format!("<{}>; rel=\"urn:ietf:params:push:set\"", self.set);
        Self::of(&try_subscribe(server, Version::Http2, &[("link", &link)], "").await)
    }
}
