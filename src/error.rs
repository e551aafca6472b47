//! Every refusal, and the one table from it to what is answered: HTTP status,
//! errno, words, and the status in a WebSocket message.

mod admin;
mod detail;
mod share;

use std::time::Duration;

use bugle_protocol::coding::CodingError;
use bugle_protocol::headers::HeaderError;
use bugle_protocol::link::LinkError;
use bugle_protocol::push::BodyError;
use bugle_protocol::vapid::VapidError;
use http::StatusCode;

use crate::config::{Holder, Limit};

pub use self::admin::{AdminError, LONGEST_SUBJECT};
pub use self::share::FullShare;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such path.
    #[error("there is nothing at this path, or no longer: check that the URL is whole")]
    NotFound,
    /// The set in the `Link` header is not there (8030-4.1-f).
    #[error("the subscription set in the Link header is not one of this service, or is gone")]
    Set,
    /// The receipt subscription in the `Link` header is not there (8030-5.1-i).
    #[error("the receipt subscription in the Link header is not one of this service, or is gone")]
    Receipts,
    /// A `Link` header that cannot be read.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// The body of a subscribe request (RFC 8292 §4.1, V-9).
    #[error(
        "the webpush-options are not a JSON object, or their vapid is not a P-256 key in base64url"
    )]
    Options,
    /// A held GET that cannot be answered by server pushes.
    #[error(
        "this is told by HTTP/2 server pushes, which this connection does not take: use HTTP/2 \
         with push enabled, or ask for events (Accept: text/event-stream)"
    )]
    ServerPush,
    /// The path has no such method; what it has is in the `Allow` header.
    #[error("this resource takes only {0}")]
    MethodNotAllowed(&'static str),
    /// The token in the path was not issued here.
    #[error("this service has never issued this endpoint: check that the URL is whole")]
    UnknownEndpoint,
    /// The subscription was issued here and is gone; with the status to tell
    /// so by (`compat.gone_status`).
    #[error("the subscription is gone: delete it, and let the user agent subscribe anew")]
    Gone(StatusCode),
    /// The message was delivered, expired, replaced or withdrawn, or never was.
    #[error("no such message: delivered, expired, replaced or withdrawn")]
    NoMessage,
    /// A restricted subscription, and no credentials (RFC 8292 §4.2).
    #[error(
        "the subscription is restricted to an application server key: sign the request by VAPID \
         (Authorization: vapid t=<token>, k=<key>, RFC 8292)"
    )]
    Unauthorized,
    /// A restricted subscription, and another application server.
    #[error(
        "the subscription is restricted to another application server key: sign with the key \
         that was given to subscribe() (applicationServerKey)"
    )]
    OtherKey,
    /// Credentials that are not valid (RFC 8292 §4.2).
    #[error("{0}")]
    Vapid(#[from] VapidError),
    /// The operator has blocked the application server.
    #[error("the operator of this service has blocked this application server key")]
    BlockedKey,
    /// The operator has blocked the address.
    #[error("the operator of this service has blocked this address")]
    BlockedAddress,
    /// Somebody who is not blocked.
    #[error("not blocked: GET /admin/v1/blocks shows who is")]
    NoBlock,
    /// A header field that is not valid.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// A body that is not valid.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A body over the limit.
    #[error("the body is larger than {0} octets (limits.body_bytes)")]
    TooLarge(usize),
    /// A body that ended early or broke its framing (RFC 8188 §4.2).
    #[error("the body did not arrive whole: nothing was accepted, send it again")]
    Incomplete,
    /// A body that took too long.
    #[error("the body did not arrive within {} s (limits.body_timeout): send it again", .0.as_secs())]
    BodyTimeout(Duration),
    /// More header fields than are read.
    #[error("a request has at most {0} header fields")]
    HeaderFields(usize),
    /// A request over HTTP/1.1 without a Host field, or with several
    /// (RFC 9112 §3.2).
    #[error("a request needs one Host field")]
    Host,
    /// A transfer coding over HTTP/1.1 that is not `chunked` alone: others on
    /// the way may see another end of the body (RFC 9112 §6.1, §11.2).
    #[error("the only transfer coding that is taken is chunked")]
    TransferCoding,
    /// A WebSocket handshake of another version than 13.
    #[error("WebSocket version 13 is needed (RFC 6455)")]
    WebSocketVersion,
    /// A WebSocket handshake that lacks something.
    #[error("not a WebSocket handshake: {0}")]
    Handshake(&'static str),
    /// An id that no broadcast can have.
    #[error("the id of a broadcast, in the path, is 1 to 128 characters of printable ASCII")]
    BroadcastId,
    /// A version that no broadcast can have.
    #[error(
        "the version of a broadcast, in the body, is 1 to 128 characters of printable ASCII, \
         without a line end"
    )]
    BroadcastVersion,
    /// The broadcast has no version.
    #[error("no such broadcast: GET /admin/v1/broadcasts shows those that are set")]
    NoBroadcast,
    /// What an operator was given names nothing here.
    #[error(
        "this names nothing here: it is to be a uaid, an endpoint, a subscription or message URL \
         of this service, a handle of 16 hex digits, or, for a trace, a VAPID public key in base64url"
    )]
    NotNamed,
    /// No such user agent.
    #[error("no such user agent: it is not connected and has no subscription")]
    NoUserAgent,
    /// The subscription is gone, or begun anew.
    #[error("no such subscription: it has ended, or was begun anew under another endpoint")]
    NoSubscription,
    /// A refusal of the admin API.
    #[error("{0}")]
    Admin(#[from] AdminError),
    /// User agents are not admitted from this address.
    #[error("this service takes no user agents from your address (admission.addresses)")]
    Address,
    /// A user agent without the token.
    #[error(
        "this service takes user agents that know its token: add ?token=TOKEN to the URL \
             (admission.token)"
    )]
    Token,
    /// A user agent without the password (RFC 7617 §2).
    #[error("this service asks user agents for user and password (admission.basic)")]
    Password,
    /// A bound is reached.
    #[error("over the limit {}: try again later", .0.setting())]
    Limit(Limit),
    /// A bound of what is stored is reached, or somebody's share of it.
    #[error("{0}")]
    Full(FullShare),
    /// One holder has its share of what a bound allows to all.
    #[error("{holder} holds its share of {}: try again when one of its others has ended", .limit.setting())]
    Share {
        /// The bound that all share.
        limit: Limit,
        /// Whose share is full.
        holder: Holder,
    },
    /// Too many requests in too short a time.
    #[error("more requests than {setting} allows: try again in {} s", whole_secs(*wait))]
    Rate {
        /// The setting that says how many.
        setting: &'static str,
        /// Until there is room for one more.
        wait: Duration,
    },
    /// A subscription without a key where `push.require_vapid` is on.
    #[error("this service needs an application server key for every subscription")]
    KeyRequired,
    /// The service cannot do it now.
    #[error("the service cannot do this now, try again later")]
    Unavailable,
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotFound
            | Self::UnknownEndpoint
            | Self::NoMessage
            | Self::NoBroadcast
            | Self::NotNamed
            | Self::NoUserAgent
            | Self::NoSubscription
            | Self::NoBlock => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Gone(status) => *status,
            Self::Address | Self::Token => StatusCode::FORBIDDEN,
            Self::Password | Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Vapid(VapidError::Repeated(_)) => StatusCode::BAD_REQUEST,
            Self::OtherKey | Self::BlockedKey | Self::BlockedAddress | Self::Vapid(_) => {
                StatusCode::FORBIDDEN
            }
            Self::Body(
                BodyError::Unencrypted
                | BodyError::Coding(CodingError::Unknown | CodingError::AesgcmNotTaken),
            ) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Header(_)
            | Self::Body(_)
            | Self::Incomplete
            | Self::Host
            | Self::Handshake(_)
            | Self::BroadcastId
            | Self::BroadcastVersion
            | Self::Set
            | Self::Receipts
            | Self::Link(_)
            | Self::Options
            | Self::ServerPush
            | Self::KeyRequired => StatusCode::BAD_REQUEST,
            Self::Admin(error) => error.status(),
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::HeaderFields(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::Limit(_) | Self::Full(_) | Self::Share { .. } | Self::Rate { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The number that sender libraries know a refusal by.
    pub fn errno(&self) -> u16 {
        match self {
            Self::NotFound | Self::UnknownEndpoint | Self::NoMessage => 102,
            Self::TooLarge(_) => 104,
            Self::Gone(_) => 106,
            Self::Address
            | Self::Token
            | Self::Password
            | Self::Unauthorized
            | Self::OtherKey
            | Self::BlockedKey
            | Self::Vapid(_)
            | Self::KeyRequired => 109,
            Self::Header(HeaderError::TtlMissing) => 111,
            Self::Header(HeaderError::TtlMalformed) => 112,
            Self::Header(HeaderError::Topic) => 113,
            Self::Header(HeaderError::Urgency) => 115,
            Self::Body(_) => 110,
            Self::Limit(_)
            | Self::Full(_)
            | Self::Share { .. }
            | Self::Rate { .. }
            | Self::Unavailable => 201,
            Self::MethodNotAllowed(_)
            | Self::Incomplete
            | Self::BodyTimeout(_)
            | Self::HeaderFields(_)
            | Self::Host
            | Self::TransferCoding
            | Self::WebSocketVersion
            | Self::Set
            | Self::Receipts
            | Self::Link(_)
            | Self::Options
            | Self::ServerPush
            | Self::Handshake(_)
            | Self::BroadcastId
            | Self::BroadcastVersion
            | Self::NoBroadcast
            | Self::NotNamed
            | Self::NoUserAgent
            | Self::NoSubscription
            | Self::NoBlock
            | Self::BlockedAddress
            | Self::Admin(_) => 999,
        }
    }

    /// A short name for metrics and logs.
    pub fn label(&self) -> &'static str {
        if let Some(setting) = self.setting() {
            return setting;
        }
        match self {
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::Set | Self::Receipts | Self::Link(_) => "link",
            Self::Options => "options",
            Self::ServerPush => "server_push",
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::Gone(_) => "gone",
            Self::NoMessage => "no_message",
            Self::Unauthorized => "unauthorized",
            Self::OtherKey => "other_key",
            Self::Vapid(_) => "vapid",
            Self::Header(_) => "header",
            Self::Body(_) => "body",
            Self::Incomplete => "incomplete",
            Self::HeaderFields(_) => "header_fields",
            Self::Host => "host",
            Self::TransferCoding => "transfer_coding",
            Self::WebSocketVersion | Self::Handshake(_) => "handshake",
            Self::BroadcastId | Self::BroadcastVersion | Self::NoBroadcast => "broadcast",
            Self::BlockedKey => "blocked_key",
            Self::BlockedAddress => "blocked_address",
            Self::NotNamed | Self::NoUserAgent | Self::NoSubscription | Self::NoBlock => "admin",
            Self::Admin(AdminError::Unauthorized) => "admin_unauthorized",
            Self::Admin(_) => "admin",
            // Those with a setting have its name.
            Self::TooLarge(_)
            | Self::BodyTimeout(_)
            | Self::Address
            | Self::Token
            | Self::Password
            | Self::Limit(_)
            | Self::Full(_)
            | Self::Share { .. }
            | Self::Rate { .. }
            | Self::KeyRequired => "limit",
            Self::Unavailable => "unavailable",
        }
    }

    /// When it makes sense to try again: senders back off by it (RFC 8030
    /// §8.4).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limit(limit) | Self::Share { limit, .. } => Some(limit.retry_after()),
            Self::Full(share) => Some(Duration::from_secs(whole_secs(share.retry_after()))),
            Self::Rate { wait, .. } => Some(Duration::from_secs(whole_secs(*wait))),
            Self::Unavailable => Some(Duration::from_secs(10)),
            _ => None,
        }
    }

    /// The setting that drew the line, where it was one.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Limit(limit) | Self::Share { limit, .. } => Some(limit.setting()),
            Self::Full(share) => Some(share.limit().setting()),
            Self::Rate { setting, .. } => Some(setting),
            Self::TooLarge(_) => Some("limits.body_bytes"),
            Self::BodyTimeout(_) => Some("limits.body_timeout"),
            Self::KeyRequired => Some("push.require_vapid"),
            Self::Address => Some("admission.addresses"),
            Self::Token => Some("admission.token"),
            Self::Password => Some("admission.basic"),
            _ => None,
        }
    }

    /// Whose share of the setting is full, where it was that.
    pub fn holder(&self) -> Option<&'static str> {
        match self {
            Self::Full(share) => Some(share.holder()),
            Self::Share { holder, .. } => Some(holder.word()),
            _ => None,
        }
    }

    /// The status in the answer to a `register` or `unregister`.
    pub fn user_agent_status(&self) -> u16 {
        match self {
            Self::Unavailable => 500,
            _ => self.status().as_u16(),
        }
    }
}

/// Whole seconds that are not over too early: 1 and more.
fn whole_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

impl From<Limit> for Error {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

#[cfg(test)]
mod tests;
