//! Complete responses and their header fields.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_TYPE, HeaderName,
    HeaderValue,
};
use http::{Response, StatusCode};
use http_body_util::Full;

/// A response with a complete body, which every engine can send.
pub type Reply = Response<Full<Bytes>>;

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// A response with a text.
pub fn text(content_type: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(Full::new(text.into()));
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Sets a header field to a value that the service made or has checked.
pub fn set<B>(reply: &mut Response<B>, name: HeaderName, value: impl ToString) {
    // The value is visible ASCII: text from senders is checked when it is received.
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        reply.headers_mut().insert(name, value);
    }
}

/// Sets the CORS headers: pages of any origin may call a resource and read its responses (WS-AS-1).
pub(super) fn share<B>(reply: &mut Response<B>, methods: &'static str) {
    const READABLE: &str = "Location, Link, TTL, Preference-Applied, Retry-After, \
                            WWW-Authenticate, Accept-Encoding";
    // Listed one by one, because `*` does not include Authorization.
    const ACCEPTED: &str = "Content-Type, TTL, Urgency, Topic, Authorization, Content-Encoding, \
                         Encryption, Crypto-Key, Prefer, Link, traceparent, tracestate";
    set(reply, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(reply, ACCESS_CONTROL_EXPOSE_HEADERS, READABLE);
    if reply.status() == StatusCode::NO_CONTENT && reply.headers().contains_key(ALLOW) {
        set(reply, ACCESS_CONTROL_ALLOW_METHODS, methods);
        set(reply, ACCESS_CONTROL_ALLOW_HEADERS, ACCEPTED);
        set(reply, ACCESS_CONTROL_MAX_AGE, 3600);
    }
}

/// Answers OPTIONS.
pub(super) fn options(methods: &'static str) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    set(&mut reply, ALLOW, methods);
    reply
}
