//! The contents of a server push (RFC 8030 §6, §6.3): a promised request for the message, and its
//! response.

use bugle_protocol::link;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, LINK};
use http::{HeaderValue, Request, Response};

use super::message;
use crate::service::PushService;
use crate::user_agent::monitor::Item;

/// The promised request and the response to it.
pub(super) fn exchange(service: &PushService, item: &Item) -> (Request<()>, Response<Bytes>) {
    match item {
        Item::Message { uaid, message, .. } => {
            let mut promised = get(message::url(service, *uaid, message.id));
            let mut reply = message::head(message).map(|_| Bytes::new());
            if let Some(content) = &message.content {
                *reply.body_mut() = content.body.clone().into();
            }
            let length = HeaderValue::from(reply.body().len());
            reply.headers_mut().insert(CONTENT_LENGTH, length);
            // in the request and in the response.
            let push = link::print(&message::push_url(service, *uaid, message), link::PUSH);
            if let Ok(push) = HeaderValue::from_str(&push) {
                promised.headers_mut().insert(LINK, push.clone());
                reply.headers_mut().insert(LINK, push);
            }
            (promised, reply)
        }
        Item::Receipt(receipt) => {
            let mut reply = Response::new(Bytes::new());
            *reply.status_mut() = message::receipt_status(receipt.status);
            (
                get(message::url(service, receipt.uaid, receipt.message)),
                reply,
            )
        }
    }
}

fn get(url: String) -> Request<()> {
    let mut request = Request::new(());
    // The service built this URL, so parsing it cannot fail.
    *request.uri_mut() = url.parse().unwrap_or_default();
    request
}
