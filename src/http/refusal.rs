//! The one place where a refusal becomes a response.

mod table;

#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use bugle_protocol::headers::HeaderError;
use bugle_protocol::link::LinkError;
use bugle_protocol::push::BodyError;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{StatusCode, request};
use serde_json::json;

use super::reply::{Reply, set, share, text};
use crate::app::App;
use crate::app::refusal::Row;
use crate::gate;
use crate::gate::refusal::NOT_HERE;
use crate::random::random;
use crate::service;

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The gate does not let it through.
    #[error(transparent)]
    Gate(#[from] gate::Refusal),
    /// The service does not do it.
    #[error(transparent)]
    Service(#[from] service::Error),
    /// No such path.
    #[error("{}", NOT_HERE)]
    NotFound,
    /// The path has no such method; what it has is in the `Allow` header.
    #[error("this resource takes only {0}")]
    MethodNotAllowed(&'static str),
    /// A `Link` header that cannot be read.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// The body of a subscribe request (RFC 8292 §4.1, V-9).
    #[error(
        "the webpush-options are not a JSON object, or their vapid is not a P-256 key in base64url"
    )]
    Options,
    /// A held GET that cannot be answered by server pushes (A-3).
    #[error(
        "this is told by HTTP/2 server pushes, which this connection does not take: use HTTP/2 \
         with push enabled, or ask for events (Accept: text/event-stream)"
    )]
    ServerPush,
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
}

/// What can be answered by [`refuse`].
pub trait Refused: Error {
    /// Its row in the table, where a subscription that is gone is answered `gone`
    /// (`compat.gone_status`).
    fn row(&self, gone: StatusCode) -> Row;

    /// Sets the header fields that go with it, besides `Retry-After`.
    fn describe(&self, reply: &mut Reply);
}

impl Refused for Refusal {
    fn row(&self, gone: StatusCode) -> Row {
        Row::of_http(self, gone)
    }

    fn describe(&self, reply: &mut Reply) {
        const PASSWORD: &str = r#"Basic realm="user agents", charset="UTF-8""#;
        const GONE_FOR_GOOD: &str = "max-age=86400";
        use gate::Refusal::Password;
        use service::Error::{Gone, Refused, Unauthorized};
        match self {
            Self::MethodNotAllowed(allow) => set(reply, ALLOW, allow),
            Self::Gate(Password) | Self::Service(Refused(Password)) => {
                set(reply, WWW_AUTHENTICATE, PASSWORD);
            }
            Self::Service(Unauthorized) => set(reply, WWW_AUTHENTICATE, "vapid"),
            Self::Service(Gone) => set(reply, CACHE_CONTROL, GONE_FOR_GOOD),
            Self::WebSocketVersion => {
                set(reply, SEC_WEBSOCKET_VERSION, 13);
                set(reply, UPGRADE, "websocket");
            }
            // RFC 6585 §4.
            _ if reply.status() == StatusCode::TOO_MANY_REQUESTS => {
                set(reply, CACHE_CONTROL, "no-store");
            }
            // RFC 9110 §12.5.3, §15.5.16, E-1: the coding that is always taken.
            _ if reply.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                set(reply, ACCEPT_ENCODING, "aes128gcm");
            }
            _ => {}
        }
    }
}

/// The row of a refusal here.
pub(super) fn row(app: &App, error: &impl Refused) -> Row {
    error.row(app.service.compat().gone_status.status())
}

/// Counts a refusal, logs it, and makes its response.
pub fn refuse(app: &App, error: &impl Refused) -> Reply {
    let row = row(app, error);
    app.service.metrics().refuse(row.label);
    // The words of the answer may repeat what the client wrote.
    let status = row.status.as_u16();
    tracing::debug!(status, reason = row.label, detail = row.detail, "refused");
    refusal(error, &row, &app.service.public_url().url("/errors"))
}

/// Refuses a request to the public listener before its route is known, in a
/// way that pages of other origins can read where the route could be.
pub(super) fn refuse_early(app: &App, parts: &request::Parts, error: &Refusal) -> Reply {
    let mut reply = refuse(app, error);
    if let Some(methods) = super::methods(app, parts.uri.path()) {
        share(&mut reply, methods);
    }
    reply
}

/// Says a refusal: the status, and the JSON body that sender libraries parse
/// (WS-AS-2).
fn refusal(error: &impl Refused, row: &Row, more_info: &str) -> Reply {
    let mut body = json!({
        "code": row.status.as_u16(),
        "errno": row.errno,
        "error": row.status.canonical_reason().unwrap_or_default(),
        "message": error.to_string(),
        "more_info": more_info,
    });
    if let Some(setting) = row.setting {
        body["setting"] = setting.into();
        if let Some(limit) = setting.strip_prefix("limits.") {
            body["limit"] = limit.into();
        }
    }
    if let Some(share) = row.share {
        body["share"] = share.into();
    }
    let mut reply = text("application/json", body.to_string());
    *reply.status_mut() = row.status;
    error.describe(&mut reply);
    if let Some(after) = row.retry_after {
        set(&mut reply, RETRY_AFTER, jittered(after).as_secs());
    }
    reply
}

/// A moment from `after` to half as much later, so that those who were refused
/// together do not come back together.
fn jittered(after: Duration) -> Duration {
    after + after.mul_f64(f64::from(u16::from_ne_bytes(random())) / f64::from(u16::MAX) / 2.0)
}
