//! The push resource, `/push/{token}` (RFC 8030 §5).

use std::net::IpAddr;

use bugle_protocol::Ttl;
use bugle_protocol::headers::TTL;
use bugle_protocol::link;
use bugle_protocol::prefer::PREFERENCE_APPLIED;
use bugle_protocol::push::PushHeaders;

use http::header::{LINK, LOCATION};
use http::{HeaderMap, Method, StatusCode, request};
use tokio::time::Instant;

use super::body::{self, Content};
use super::{Reply, Site, empty, options, set, text};
use crate::compat;
use crate::error::Error;
use crate::service::Accepted;
use crate::shares::Place;
use crate::telemetry::traces::Accept;

/// What the resource takes.
pub(super) const METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// Answers a request to a push resource.
pub(super) async fn resource(
    site: &Site,
    address: IpAddr,
    parts: &request::Parts,
    token: &str,
    content: impl Content,
    begun: Option<Place>,
) -> Result<Reply, Error> {
    match parts.method {
        Method::POST => post(site, address, &parts.headers, token, content, begun).await,
        // Discovery for UnifiedPush (UPL-1), the same for every token.
        Method::GET | Method::HEAD => {
            Ok(text("application/json", r#"{"unifiedpush":{"version":1}}"#))
        }
        Method::OPTIONS => Ok(options(METHODS)),
        _ => Err(Error::MethodNotAllowed(METHODS)),
    }
}

/// Takes a push message, and the time for it.
async fn post(
    site: &Site,
    address: IpAddr,
    headers: &HeaderMap,
    token: &str,
    content: impl Content,
    begun: Option<Place>,
) -> Result<Reply, Error> {
    let (began, service) = (Instant::now(), &site.service);
    let span = service
        .traces()
        .accept(headers, began, || service.wall_clock());
    let request = Request {
        address,
        headers,
        token,
    };
    let accepted = accept(site, request, content, begun, span.as_deref()).await;
    let reply = accepted.map(|accepted| {
        service.metrics().accept.record(began.elapsed());
        created(accepted)
    });
    if let Some(span) = span {
        span.end(reply.as_ref().map(Reply::status));
    }
    reply
}

/// A push at its beginning.
struct Request<'r> {
    address: IpAddr,
    headers: &'r HeaderMap,
    token: &'r str,
}

/// Whoever may not send here learns nothing about headers and bodies, and those
/// who may need not send a body in vain (V-14).
///
/// The place in which the request has `begun` is given back while its body
/// arrives, which takes as long as the client likes.
async fn accept(
    site: &Site,
    request: Request<'_>,
    content: impl Content,
    begun: Option<Place>,
    span: Option<&Accept>,
) -> Result<Accepted, Error> {
    let (service, headers) = (&site.service, request.headers);
    let subscription = service.endpoint(request.token).await?;
    let checks = site.rates.checks(request.address);
    let sender = service.authenticate(&subscription, headers, checks)?;
    let key = sender.as_ref().map(|sender| &sender.key);
    site.rates.push(key, subscription.id)?;
    let tolerances = &service.compat().tolerances;
    let push = PushHeaders::parse(headers, tolerances)?;
    push.check_coding(body::announced(headers))?;
    let wish = service.receipt_wish(headers).await?;
    let arriving = site.admit_body(key, request.address)?;
    drop(begun);
    let body = body::read(headers, content, &service.config().limits).await?;
    let taken = push.content(body, key, tolerances)?;
    let _request = site.admit_push(key, request.address)?;
    drop(arriving);
    let needed = compat::needed(sender.as_ref(), &push, &taken);
    // What is not stored waits for nothing.
    let _turn = match push.ttl {
        Ttl::ZERO => None,
        _ => Some(site.turn(key, request.address).await?),
    };
    let origin = service.origin(key, request.address);
    let accepted = service
        .push(&subscription, push, taken.content, wish, origin, span)
        .await?;
    needed.for_each(|switch| service.metrics().tolerate(switch));
    Ok(accepted)
}

/// Says where the message is, and what was granted (RFC 8030 §5).
fn created(accepted: Accepted) -> Reply {
    let mut reply = empty(StatusCode::CREATED);
    set(&mut reply, LOCATION, accepted.location);
    set(&mut reply, TTL, accepted.ttl);
    if let Some(receipts) = accepted.receipts {
        *reply.status_mut() = StatusCode::ACCEPTED;
        set(&mut reply, LINK, link::print(&receipts, link::RECEIPT));
        set(&mut reply, PREFERENCE_APPLIED, "respond-async");
    }
    reply
}
