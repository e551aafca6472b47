//! Shows and drops user agents and their subscriptions. The subject is a capability, so a request
//! has it in the body; a response identifies it by its handle.

use bugle_protocol::{ChannelId, PublicKey, PushEndpoint};
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::audited;
use super::error::LONGEST_SUBJECT;
use super::{AdminError, Request, json_reply};
use crate::http::Reply;
use crate::service::PushService;
use crate::service::operating::Subject;
use crate::store::Subscription;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    subject: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionQuery {
    subject: String,
    channel: Option<String>,
}

/// Shows a user agent.
pub(super) async fn find(request: Request<'_>) -> Result<Reply, AdminError> {
    let service = &request.admin.app.service;
    let Query { subject } = request.read().await?;
    let uaid = find_subject(service, &subject).await?.uaid();
    let found = service.user_agent(uaid).await?;
    let found = found.ok_or(AdminError::NoUserAgent)?;
    let shown = |subscription: &Subscription| -> Value {
        let endpoint = PushEndpoint {
            uaid,
            channel: subscription.channel,
            subscription: subscription.id,
        };
        json!({
            "handle": service.subscription_handle(&endpoint),
            "channel": subscription.channel.to_string(),
            "key": subscription.vapid_key.as_ref().map(PublicKey::to_base64url),
        })
    };
    Ok(json_reply(&json!({
        "handle": service.handle(uaid),
        "connected": found.connected,
        "waiting": { "messages": found.waiting.messages, "bytes": found.waiting.bytes },
        "subscriptions": found.subscriptions.iter().map(shown).collect::<Vec<_>>(),
    })))
}

/// Ends all subscriptions of a user agent.
pub(super) async fn remove(request: Request<'_>) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    caller.may_change()?;
    let service = &admin.app.service;
    let Query { subject } = request.read().await?;
    let uaid = find_subject(service, &subject).await?.uaid();
    let found = service.user_agent(uaid).await?;
    found.ok_or(AdminError::NoUserAgent)?;
    let handle = service.handle(uaid);
    let ended = audited(
        admin,
        &caller,
        "dropUserAgent",
        &handle,
        |admin| async move { Ok(admin.app.service.drop_user_agent(uaid).await?) },
    )
    .await?;
    Ok(json_reply(
        &json!({ "handle": handle, "subscriptions": ended }),
    ))
}

/// Ends one subscription.
pub(super) async fn remove_subscription(request: Request<'_>) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    caller.may_change()?;
    let service = &admin.app.service;
    let SubscriptionQuery { subject, channel } = request.read().await?;
    let channel = channel.map(|channel| channel.parse::<ChannelId>());
    let (uaid, channel, life) = match (find_subject(service, &subject).await?, channel) {
        (Subject::Subscription(it), None) => (it.uaid, it.channel, Some(it.subscription)),
        (Subject::UserAgent(uaid), Some(Ok(channel))) => (uaid, channel, None),
        _ => return Err(AdminError::Channel),
    };
    let handle = service.handle(uaid);
    audited(
        admin,
        &caller,
        "dropSubscription",
        &handle,
        |admin| async move {
            let service = &admin.app.service;
            let is_dropped = service.drop_subscription(uaid, channel, life).await?;
            is_dropped.then_some(()).ok_or(AdminError::NoSubscription)
        },
    )
    .await?;
    Ok(json_reply(&json!({ "handle": handle, "subscriptions": 1 })))
}

/// Ends a receipt subscription.
pub(super) async fn remove_receipts(request: Request<'_>) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    caller.may_change()?;
    let service = &admin.app.service;
    let Query { subject } = request.read().await?;
    let id = service.find_receipts(bounded(&subject)?).await?;
    let id = id.ok_or(AdminError::UnknownSubject)?;
    let handle = service.receipts_handle(id);
    audited(
        admin,
        &caller,
        "dropReceipts",
        &handle,
        |admin| async move {
            let is_dropped = admin.app.service.drop_receipts(id).await?;
            is_dropped.then_some(()).ok_or(AdminError::NoSubscription)
        },
    )
    .await?;
    Ok(json_reply(&json!({ "handle": handle })))
}

/// Removes the stored messages of an application server.
pub(super) async fn remove_signed(request: Request<'_>) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    caller.may_change()?;
    let service = &admin.app.service;
    let Query { subject } = request.read().await?;
    let key = service.find_key(bounded(&subject)?).await?;
    let key = key.ok_or(AdminError::UnknownSubject)?;
    let handle = service.key_handle(&key);
    let messages = audited(
        admin,
        &caller,
        "dropMessages",
        &handle,
        |admin| async move { Ok(admin.app.service.drop_signed(key).await?) },
    )
    .await?;
    Ok(json_reply(
        &json!({ "handle": handle, "messages": messages }),
    ))
}

/// Finds the object of a uaid, a URL of this service, or a handle.
async fn find_subject(service: &PushService, text: &str) -> Result<Subject, AdminError> {
    let found = service.find_subject(bounded(text)?).await?;
    found.ok_or(AdminError::UnknownSubject)
}

/// Checks the length of a subject.
pub(super) fn bounded(subject: &str) -> Result<&str, AdminError> {
    if (1..=LONGEST_SUBJECT).contains(&subject.len()) {
        Ok(subject)
    } else {
        Err(AdminError::Subject)
    }
}
