//! The one place where a refusal becomes a response.

use std::time::Duration;

use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use http::{StatusCode, request};
use serde_json::json;

use crate::app::App;
use crate::error::{AdminError, Error};
use crate::random::random;

use super::reply::{Reply, set, share, text};

/// Counts a refusal, logs it, and makes its response.
pub fn refuse(app: &App, error: &Error) -> Reply {
    app.service.metrics().refuse(error.label());
    // The words of the answer may repeat what the client wrote.
    let status = error.status().as_u16();
    tracing::debug!(
        status,
        reason = error.label(),
        detail = error.detail(),
        "refused"
    );
    refusal(error, &app.service.public_url().url("/errors"))
}

/// Refuses a request to the public listener before its route is known, in a
/// way that pages of other origins can read where the route could be.
pub(super) fn refuse_early(app: &App, parts: &request::Parts, error: &Error) -> Reply {
    let mut reply = refuse(app, error);
    if let Some(methods) = super::methods(app, parts.uri.path()) {
        share(&mut reply, methods);
    }
    reply
}

/// Says a refusal: the status, and the JSON body that sender libraries parse
/// (WS-AS-2).
fn refusal(error: &Error, more_info: &str) -> Reply {
    const PASSWORD: &str = r#"Basic realm="user agents", charset="UTF-8""#;
    const GONE_FOR_GOOD: &str = "max-age=86400";
    let status = error.status();
    let mut body = json!({
        "code": status.as_u16(),
        "errno": error.errno(),
        "error": status.canonical_reason().unwrap_or_default(),
        "message": error.to_string(),
        "more_info": more_info,
    });
    if let Some(setting) = error.setting() {
        body["setting"] = setting.into();
        if let Some(limit) = setting.strip_prefix("limits.") {
            body["limit"] = limit.into();
        }
    }
    if let Some(holder) = error.holder() {
        body["share"] = holder.into();
    }
    let mut reply = text("application/json", body.to_string());
    *reply.status_mut() = status;
    match error {
        Error::MethodNotAllowed(allow) => set(&mut reply, ALLOW, allow),
        Error::Unauthorized => set(&mut reply, WWW_AUTHENTICATE, "vapid"),
        Error::Admin(AdminError::Unauthorized) => set(&mut reply, WWW_AUTHENTICATE, "Bearer"),
        Error::Password => set(&mut reply, WWW_AUTHENTICATE, PASSWORD),
        Error::Gone(_) => set(&mut reply, CACHE_CONTROL, GONE_FOR_GOOD),
        // RFC 6585 §4.
        Error::Limit(_) | Error::Full(_) | Error::Share { .. } | Error::Rate { .. } => {
            set(&mut reply, CACHE_CONTROL, "no-store")
        }
        Error::WebSocketVersion => {
            set(&mut reply, SEC_WEBSOCKET_VERSION, 13);
            set(&mut reply, UPGRADE, "websocket");
        }
        Error::Admin(_) => {}
        // RFC 9110 §12.5.3, §15.5.16, E-1: the coding that is always taken.
        _ if status == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            set(&mut reply, ACCEPT_ENCODING, "aes128gcm");
        }
        _ => {}
    }
    if let Some(after) = error.retry_after() {
        set(&mut reply, RETRY_AFTER, jittered(after).as_secs());
    }
    reply
}

/// A moment from `after` to half as much later, so that those who were refused
/// together do not come back together.
fn jittered(after: Duration) -> Duration {
    after + after.mul_f64(f64::from(u16::from_ne_bytes(random())) / f64::from(u16::MAX) / 2.0)
}
