//! The push resource, `/push/{token}` (RFC 8030 §5).

use std::net::IpAddr;

use bugle_protocol::headers::TTL;
use bugle_protocol::link;
use bugle_protocol::prefer::{PREFERENCE_APPLIED, Prefer};
use bugle_protocol::push::PushHeaders;
use bugle_protocol::vapid::Unread;
use bugle_protocol::{PushEndpoint, ReceiptSubscriptionUrl, Resource, ResourcePath, Ttl};

use http::header::{LINK, LOCATION};
use http::{HeaderMap, Method, StatusCode, request};
use tokio::time::Instant;

use super::body::{self, Content};
use super::refusal::{self, Refusal};
use super::reply::{Reply, empty, options, set, text};
use crate::app::App;
use crate::gate::fairness::Slot;
use crate::observe::otel::Accept;
use crate::service::{Accepted, Error, compat};
use crate::store::Subscription;

/// The methods of the resource.
pub(super) const METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// The largest body that a Chromium delivers, in bytes. It confirms a larger one and drops it.
const CHROMIUM_BYTES: usize = 4096;

/// Answers a request to a push resource.
pub(super) async fn resource(
    app: &App,
    address: IpAddr,
    parts: &request::Parts,
    path: ResourcePath<'_>,
    content: Content<'_>,
    begun: Option<Slot>,
) -> Result<Reply, Refusal> {
    match parts.method {
        Method::POST => post(app, address, &parts.headers, path, content, begun).await,
        // Discovery for UnifiedPush (UPL-1), the same for every token.
        Method::GET | Method::HEAD => {
            Ok(text("application/json", r#"{"unifiedpush":{"version":1}}"#))
        }
        Method::OPTIONS => Ok(options(METHODS)),
        _ => Err(Refusal::MethodNotAllowed(METHODS)),
    }
}

/// Accepts a push message, and measures how long that takes.
async fn post(
    app: &App,
    address: IpAddr,
    headers: &HeaderMap,
    path: ResourcePath<'_>,
    content: Content<'_>,
    begun: Option<Slot>,
) -> Result<Reply, Refusal> {
    let (began, service) = (Instant::now(), &app.service);
    let span = service
        .traces()
        .accept(headers, began, || service.wall_clock());
    let request = Request {
        address,
        headers,
        path,
    };
    let accepted = accept(app, request, content, begun, span.as_deref()).await;
    let reply = accepted.map(|accepted| {
        service.metrics().accept.record(began.elapsed());
        created(app, accepted)
    });
    if let Some(span) = span {
        match &reply {
            Ok(reply) => span.end(reply.status(), None),
            Err(refused) => {
                let row = refusal::row(app, refused);
                span.end(row.status, Some(row.label));
            }
        }
    }
    reply
}

/// The header of a push request.
struct Request<'r> {
    address: IpAddr,
    headers: &'r HeaderMap,
    path: ResourcePath<'r>,
}

/// Checks and accepts a push message. The sender is authenticated before its headers are checked,
/// and the headers before the body is read (V-14): an unauthorized sender learns nothing else, and
/// an authorized one sends no body in vain.
///
/// The slot `begun` is freed while the body arrives, because the client decides how long that
/// takes.
async fn accept(
    app: &App,
    request: Request<'_>,
    content: Content<'_>,
    begun: Option<Slot>,
    span: Option<&Accept>,
) -> Result<Accepted, Refusal> {
    let (service, headers) = (&app.service, request.headers);
    let (subscription, is_lost) = subscription(app, request.path).await?;
    let checks = app.gate.rates.checks(request.address);
    let sender = service.authenticate(&subscription, Unread::new(headers), checks)?;
    let key = sender.as_ref().map(|sender| &sender.key);
    app.gate.rates.push(key, subscription.id)?;
    let tolerances = &service.compat().tolerances;
    let push = PushHeaders::parse(headers, tolerances)?;
    push.check_coding(body::announced(headers))?;
    let wanted = Prefer::parse(headers).respond_async;
    let receipt = service
        .receipt_request(wanted, receipts(app, headers)?)
        .await?;
    let arriving = app.gate.admit_body(key, request.address)?;
    drop(begun);
    let body = body::read(headers, content, &service.config().limits).await?;
    if subscription.registration.is_some() && body.len() > CHROMIUM_BYTES {
        return Err(Refusal::TooLargeForUserAgent(CHROMIUM_BYTES));
    }
    let checked = push.content(body, key, tolerances)?;
    let _request = app.gate.admit_push(key, request.address)?;
    drop(arriving);
    let needed = compat::needed(sender.as_ref(), &push, &checked);
    // A message that is not stored needs no turn at the store.
    let _turn = match push.ttl {
        Ttl::ZERO => None,
        _ => Some(app.gate.turn(key, request.address).await?),
    };
    if is_lost {
        service.revive(&subscription).await?;
    }
    let origin = service.origin(key, request.address);
    let accepted = service
        .push(&subscription, push, checked.content, receipt, origin, span)
        .await?;
    needed.for_each(|switch| service.metrics().tolerate(switch));
    Ok(accepted)
}

/// The subscription of an endpoint, and whether it is one of an earlier store.
async fn subscription(app: &App, path: ResourcePath<'_>) -> Result<(Subscription, bool), Error> {
    match app.service.endpoint(&endpoint(app, path)?).await {
        Err(Error::Gone) => Ok((app.service.lost(path.token).await?, true)),
        known => Ok((known?, false)),
    }
}

fn endpoint(app: &App, path: ResourcePath<'_>) -> Result<PushEndpoint, Error> {
    match app.service.open(path) {
        Some(Resource::Push(endpoint)) => Ok(endpoint),
        _ => Err(Error::UnknownEndpoint),
    }
}

/// The receipt subscription in the `Link` header, if any (8030-5.1-f).
fn receipts(app: &App, headers: &HeaderMap) -> Result<Option<ReceiptSubscriptionUrl>, Refusal> {
    let Some(url) = link::find(headers, link::RECEIPT)? else {
        return Ok(None);
    };
    match app.service.resource_at(&url) {
        Some(Resource::ReceiptSubscription(receipts)) => Ok(Some(receipts)),
        _ => Err(Error::NoReceipts.into()),
    }
}

/// The response with the URL of the message and the granted TTL (RFC 8030 §5).
fn created(app: &App, accepted: Accepted) -> Reply {
    let url = |resource: &Resource| app.service.url(resource);
    let mut reply = empty(StatusCode::CREATED);
    set(
        &mut reply,
        LOCATION,
        url(&Resource::Message(accepted.message)),
    );
    set(&mut reply, TTL, accepted.ttl);
    if let Some(receipts) = accepted.receipts {
        *reply.status_mut() = StatusCode::ACCEPTED;
        let receipts = url(&Resource::ReceiptSubscription(receipts));
        set(&mut reply, LINK, link::print(&receipts, link::RECEIPT));
        set(&mut reply, PREFERENCE_APPLIED, "respond-async");
    }
    reply
}
