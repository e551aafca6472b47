//! Turns every refusal into a response.

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

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The gate refuses it.
    #[error(transparent)]
    Gate(#[from] gate::Refusal),
    /// The service refuses it.
    #[error(transparent)]
    Service(#[from] service::Error),
    /// There is no such path.
    #[error("{}", NOT_HERE)]
    NotFound,
    /// The path has no such method. The `Allow` header lists its methods.
    #[error("this resource takes only {0}")]
    MethodNotAllowed(&'static str),
    /// A malformed or repeated `Link` header.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// An invalid body of a subscribe request (RFC 8292 §4.1, V-9).
    #[error(
        "the webpush-options are not a JSON object, or their vapid is not a P-256 key in base64url"
    )]
    Options,
    /// A malformed or incomplete check-in of a Chromium.
    #[error("this is not a check-in of a Chromium")]
    Checkin,
    /// A check-in with credentials that this service has not issued.
    #[error("this service has not issued the credentials of this device")]
    UnknownDevice,
    /// A body over the limit of the user agent, in bytes.
    #[error(
        "the user agent drops messages larger than {0} octets: send less, or where to find the rest"
    )]
    TooLargeForUserAgent(usize),
    /// A held GET whose client accepts neither server push nor SSE (A-3).
    #[error(
        "the messages come as HTTP/2 server pushes, which this connection does not accept: use HTTP/2 \
         with push enabled, or ask for events (Accept: text/event-stream)"
    )]
    ServerPush,
    /// An invalid header field.
    #[error("{0}")]
    Header(#[from] HeaderError),
    /// An invalid body.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A body over the limit, in bytes.
    #[error("the body is larger than {0} octets (limits.body_bytes)")]
    TooLarge(usize),
    /// A body that ended early or broke its framing (RFC 8188 §4.2).
    #[error("the body did not arrive whole: nothing was accepted, send it again")]
    Incomplete,
    /// A body that did not arrive in time.
    #[error("the body did not arrive within {} s (limits.body_timeout): send it again", .0.as_secs())]
    BodyTimeout(Duration),
    /// More header fields than the maximum.
    #[error("a request has at most {0} header fields")]
    HeaderFields(usize),
    /// A request over HTTP/1.1 without a Host field, or with several
    /// (RFC 9112 §3.2).
    #[error("a request needs one Host field")]
    Host,
    /// A transfer coding over HTTP/1.1 other than `chunked` alone: another hop may see another end
    /// of the body (RFC 9112 §6.1, §11.2).
    #[error("the only transfer coding that is taken is chunked")]
    TransferCoding,
    /// A WebSocket handshake with a version other than 13.
    #[error("WebSocket version 13 is needed (RFC 6455)")]
    WebSocketVersion,
    /// An incomplete WebSocket handshake.
    #[error("not a WebSocket handshake: {0}")]
    Handshake(&'static str),
}

impl Refusal {
    /// The refusal of the gate, if it is one.
    pub(super) const fn of_gate(&self) -> Option<&gate::Refusal> {
        match self {
            Self::Gate(refusal) | Self::Service(service::Error::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }
}

/// An error that [`refuse`] turns into a response.
pub trait Refused: Error {
    /// Its row in the table. `gone` is the status for an ended subscription (`compat.gone_status`).
    fn row(&self, gone: StatusCode) -> Row;

    /// Sets its header fields, except `Retry-After`.
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
            // RFC 9110 §12.5.3, §15.5.16, E-1: the coding that is always accepted.
            _ if reply.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                set(reply, ACCEPT_ENCODING, "aes128gcm");
            }
            _ => {}
        }
    }
}

/// The row of a refusal, with the configured `compat.gone_status`.
pub(super) fn row(app: &App, error: &impl Refused) -> Row {
    error.row(app.service.compat().gone_status.status())
}

/// Counts a refusal, logs it, and makes its response.
pub fn refuse(app: &App, error: &impl Refused) -> Reply {
    let row = row(app, error);
    app.count_refusal(&row);
    // The message may quote the client and stays out of the log.
    let status = row.status.as_u16();
    tracing::debug!(status, reason = row.label, detail = row.detail, "refused");
    refusal(error, &row, &app.service.public_url().url("/errors"))
}

/// Refuses a request to the public listener before it is routed. Sets the CORS headers if its path
/// may have a resource.
pub(super) fn refuse_early(app: &App, parts: &request::Parts, error: &Refusal) -> Reply {
    let mut reply = refuse(app, error);
    if let Some(methods) = super::methods(app, parts.uri.path()) {
        share(&mut reply, methods);
    }
    reply
}

/// Builds the response: the status, and the JSON body that sender libraries parse (WS-AS-2).
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

/// Adds a random delay of up to half of `after`, so that clients refused together do not retry
/// together.
fn jittered(after: Duration) -> Duration {
    after + after.mul_f64(f64::from(u16::from_ne_bytes(random())) / f64::from(u16::MAX) / 2.0)
}
