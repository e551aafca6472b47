//! Server-Sent Events, for clients that do not accept server pushes.
//!
//! `event: message` has the message's URL, its endpoint, its header fields and its body in
//! base64url. `event: receipt` has the message's URL and a status.

use std::convert::Infallible;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::{once, unfold};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Map, Value, json};

use super::reply::share;
use super::{message, subscription};
use crate::gate::fairness::Share;
use crate::random::random;
use crate::service::PushService;
use crate::user_agent::monitor::{Item, Monitor, Next};

/// A body that is a stream of events.
pub type Events = UnsyncBoxBody<Bytes, Infallible>;

/// A response that sends the items of the monitor until it ends. It also ends when the subscription
/// is removed: the response to the next GET is 404.
pub fn reply(monitor: Monitor) -> Response<Events> {
    let first = once(ready(Ok(Frame::data(retry().into()))));
    let events = unfold((monitor, None), |(mut monitor, sent)| async move {
        if let Some(item) = sent {
            // The engine has taken the last event, because it polls for another.
            monitor.confirm(&item).await;
        }
        match monitor.next().await {
            Next::Item(item) => {
                let text = event(&monitor.app().service, &item);
                Some((Ok(Frame::data(text.into())), (monitor, Some(item))))
            }
            Next::Quiet => Some((Ok(Frame::data(":\n\n".into())), (monitor, None))),
            Next::Ended(_) => None,
        }
    });
    let mut reply = Response::new(StreamBody::new(first.chain(events)).boxed_unsync());
    describe(reply.headers_mut());
    share(&mut reply, subscription::METHODS);
    reply
}

/// Sets the header fields of an event stream. `X-Accel-Buffering` makes nginx and compatible
/// proxies forward each event at once.
pub fn describe(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    headers.insert(unbuffered, HeaderValue::from_static("no"));
}

/// Makes the stream hold the client's slot until it ends.
pub fn hold(events: Events, slot: Option<Box<Share>>) -> Events {
    match slot {
        Some(slot) => {
            let held = events.map_frame(move |frame| {
                let _ = &slot;
                frame
            });
            held.boxed_unsync()
        }
        None => events,
    }
}

/// The time after which an EventSource reconnects: 1 to 5 s at random, so that not all clients
/// reconnect at once after a restart.
fn retry() -> String {
    let spread = u16::from_ne_bytes(random()) % 4000;
    format!("retry: {}\n\n", 1000 + spread)
}

fn event(service: &PushService, item: &Item) -> String {
    let (kind, data) = match item {
        Item::Message { uaid, message, .. } => {
            let shown = message::head(message);
            let fields = shown.headers().iter().map(|(name, value)| {
                let value = value.to_str().unwrap_or_default();
                (name.to_string(), Value::from(value))
            });
            let body = message.content.as_ref().map(|content| &content.body);
            let data = json!({
                "message": message::url(service, *uaid, message.id),
                "push": message::push_url(service, *uaid, message),
                "headers": Map::from_iter(fields),
                "body": body.map(|body| URL_SAFE_NO_PAD.encode(body)),
            });
            ("message", data)
        }
        Item::Receipt(receipt) => {
            let url = message::url(service, receipt.uaid, receipt.message);
            let status = message::receipt_status(receipt.status).as_u16();
            ("receipt", json!({ "message": url, "status": status }))
        }
    };
    format!("event: {kind}\ndata: {data}\n\n")
}
