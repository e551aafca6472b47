//! The message resource, `/message/{token}` (RFC 8030 §5, §6.2, A-6).

use std::sync::Arc;
use std::time::SystemTime;

use bugle_protocol::headers::{CRYPTO_KEY, ENCRYPTION};
use bugle_protocol::{
    ContentCoding, MessageId, MessageUrl, PushEndpoint, PushMessage, Resource, ResourcePath, Uaid,
};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LAST_MODIFIED};
use http::{Method, StatusCode, request};
use http_body_util::Full;

use super::refusal::Refusal;
use super::reply::{Reply, empty, options, set};
use crate::app::App;
use crate::service::{Error, PushService};
use crate::store::ReceiptStatus;

/// The methods of the resource.
pub(super) const METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// Answers a request to a message resource. Its URL is the capability to read and to withdraw the
/// message (RFC 8030 §8.3).
pub(super) async fn resource(
    app: &Arc<App>,
    parts: &request::Parts,
    path: ResourcePath<'_>,
) -> Result<Reply, Refusal> {
    match parts.method {
        Method::GET | Method::HEAD => {
            let message = app.service.message(message_url(app, path)?).await?;
            Ok(shown(message))
        }
        Method::DELETE => {
            let (withdrawing, message) = (Arc::clone(app), message_url(app, path)?);
            // Not cancelled with the request, which could lose its receipt.
            app.finish(async move { withdrawing.service.withdraw(message).await })
                .await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        Method::OPTIONS => Ok(options(METHODS)),
        _ => Err(Refusal::MethodNotAllowed(METHODS)),
    }
}

fn message_url(app: &App, path: ResourcePath<'_>) -> Result<MessageUrl, Error> {
    match app.service.open(path) {
        Some(Resource::Message(message)) => Ok(message),
        _ => Err(Error::NoMessage),
    }
}

/// A response with a message and the header fields that a user agent needs (8030-6-e): the body
/// unchanged, without urgency and topic.
fn shown(message: PushMessage) -> Reply {
    let mut reply = head(&message);
    if let Some(content) = message.content {
        *reply.body_mut() = Full::new(content.body.into());
    }
    reply
}

/// The same response without the body.
pub(super) fn head(message: &PushMessage) -> Reply {
    let mut reply = empty(StatusCode::OK);
    let accepted_at = SystemTime::from(message.accepted_at);
    set(
        &mut reply,
        LAST_MODIFIED,
        httpdate::fmt_http_date(accepted_at),
    );
    set(&mut reply, CACHE_CONTROL, "private");
    let Some(content) = &message.content else {
        return reply;
    };
    if let Some(coding) = &content.coding {
        set(&mut reply, CONTENT_ENCODING, coding.as_str());
        if let ContentCoding::Aesgcm {
            encryption,
            crypto_key,
        } = coding
        {
            set(&mut reply, ENCRYPTION, encryption);
            set(&mut reply, CRYPTO_KEY, crypto_key);
        }
    }
    if let Some(content_type) = &content.content_type {
        set(&mut reply, CONTENT_TYPE, content_type);
    }
    reply
}

/// The URL of a message (RFC 8030 §5).
pub(super) fn url(service: &PushService, uaid: Uaid, id: MessageId) -> String {
    service.url(&Resource::Message(MessageUrl { uaid, id }))
}

/// The URL of the push resource that received a message.
pub(super) fn push_url(service: &PushService, uaid: Uaid, message: &PushMessage) -> String {
    service.url(&Resource::Push(PushEndpoint {
        uaid,
        channel: message.channel,
        subscription: message.subscription,
    }))
}

/// The status of the message resource in a receipt (RFC 8030 §6.3).
pub(super) fn receipt_status(status: ReceiptStatus) -> StatusCode {
    match status {
        ReceiptStatus::Delivered => StatusCode::NO_CONTENT,
        ReceiptStatus::Failed => StatusCode::GONE,
    }
}
