//! Server-Sent Events: the same log for those who take no server pushes.
//!
//! `event: message` has the message's URL, its endpoint, its header fields and
//! its body in base64url; `event: receipt` the message's URL and a status.

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

/// A body that goes on.
pub type Events = UnsyncBoxBody<Bytes, Infallible>;

/// The reply that tells what the monitor reads, until it ends. A subscription
/// that is removed meanwhile ends it too: the next GET is answered 404.
pub fn reply(monitor: Monitor) -> Response<Events> {
    let first = once(ready(Ok(Frame::data(come_back().into()))));
    let events = unfold((monitor, None), |(mut monitor, told)| async move {
        if let Some(item) = told {
            // The engine took the last event and asks for another.
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

/// The header fields of an event stream. `X-Accel-Buffering` has nginx, and
/// others that know it, pass each event on as it comes.
pub fn describe(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    headers.insert(unbuffered, HeaderValue::from_static("no"));
}

/// The same, which holds the client's place for as long as it goes on.
pub fn hold(events: Events, place: Option<Box<Share>>) -> Events {
    match place {
        Some(place) => {
            let held = events.map_frame(move |frame| {
                let _ = &place;
                frame
            });
            held.boxed_unsync()
        }
        None => events,
    }
}

/// When an EventSource is to come back after the end, in milliseconds: each at
/// a moment of its own, so that not all meet a service that has just started.
fn come_back() -> String {
    let spread = u16::from_ne_bytes(random()) % 4000;
    format!("retry: {}\n\n", 1000 + spread)
}

fn event(service: &PushService, item: &Item) -> String {
    let (kind, data) = match item {
        Item::Message(uaid, message) => {
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
