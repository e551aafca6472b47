//! The resources for user agents of RFC 8030: the push service resource `/subscribe` (§4),
//! subscriptions and subscription sets (§6, §7.3). Receipt subscriptions (§6.3) work in the same
//! way.

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::accept;
use bugle_protocol::headers::{HeaderError, URGENCY, Urgency};
use bugle_protocol::link;
use bugle_protocol::prefer::Prefer;
use bugle_protocol::resource::Kind;
use bugle_protocol::{
    PublicKey, PushEndpoint, ReceiptSubscriptionUrl, Resource, ResourcePath, SubscriptionSetUrl,
    Tolerances,
};
use http::header::{CONTENT_TYPE, LINK, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, request};
use serde::{Deserialize, Deserializer};

use super::body::{self, Content};
use super::refusal::Refusal;
use super::reply::{Reply, empty, options, set};
use super::{Answer, TakesPushes, events};
use crate::app::App;
use crate::gate::fairness::Slot;
use crate::service::Error;
use crate::service::compat::LOOSE_VAPID;
use crate::service::registry::Reader;
use crate::store::Filter;
use crate::user_agent::monitor::Monitor;

/// The path of the push service resource.
pub(super) const ENTRANCE: &str = "/subscribe";

/// The methods of the push service resource.
pub(super) const SUBSCRIBE_METHODS: &str = "POST, OPTIONS";
/// The methods of a subscription, a set and a receipt subscription.
pub(super) const METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// The media type of a restricted subscription (RFC 8292 §4.1).
const OPTIONS: &str = "application/webpush-options+json";

/// A resource that can be monitored.
#[derive(Clone, Copy)]
enum Monitored {
    Subscription(PushEndpoint),
    Set(SubscriptionSetUrl),
    Receipts(ReceiptSubscriptionUrl),
}

impl Monitored {
    /// The resource at a path.
    fn at(app: &App, path: ResourcePath<'_>) -> Result<Self, Error> {
        match app.service.open(path) {
            Some(Resource::Subscription(named)) => Ok(Self::Subscription(named)),
            Some(Resource::SubscriptionSet(named)) => Ok(Self::Set(named)),
            Some(Resource::ReceiptSubscription(named)) => Ok(Self::Receipts(named)),
            _ => Err(Error::NotFound),
        }
    }
}

/// Answers a request to the push service resource.
pub(super) async fn subscribe(
    app: &App,
    address: IpAddr,
    parts: &request::Parts,
    content: Content<'_>,
    begun: Option<Slot>,
) -> Result<Reply, Refusal> {
    match parts.method {
        Method::POST => app.gate.admission.check(parts, address, ENTRANCE)?,
        Method::OPTIONS => return Ok(options(SUBSCRIBE_METHODS)),
        _ => return Err(Refusal::MethodNotAllowed(SUBSCRIBE_METHODS)),
    }
    let ((vapid_key, is_loose), _request) = match is_options(&parts.headers) {
        true => {
            let arriving = app.gate.admit_body(None, address)?;
            drop(begun);
            let service = &app.service;
            let limits = &service.config().limits;
            let options = body::read(&parts.headers, content, limits).await?;
            let slot = app.gate.admit_request(address)?;
            drop(arriving);
            let key = vapid_key(&options, &service.compat().tolerances)?;
            (key, Some(slot))
        }
        false => ((None, false), begun),
    };
    let in_set = set_of(app, &parts.headers)?;
    let service = &app.service;
    let made = service.subscribe_in_set(in_set, vapid_key, address).await?;
    if is_loose {
        app.service.metrics().tolerate(LOOSE_VAPID);
    }
    Ok(created(app, made))
}

/// The response with the URLs of the subscription, its push resource and its set (RFC 8030 §4).
fn created(app: &App, made: PushEndpoint) -> Reply {
    let url = |resource: &Resource| app.service.url(resource);
    let mut reply = empty(StatusCode::CREATED);
    set(&mut reply, LOCATION, url(&Resource::Subscription(made)));
    let in_set = Resource::SubscriptionSet(SubscriptionSetUrl(made.uaid));
    for (resource, relation) in [(Resource::Push(made), link::PUSH), (in_set, link::SET)] {
        if let Ok(link) = HeaderValue::from_str(&link::print(&url(&resource), relation)) {
            reply.headers_mut().append(LINK, link);
        }
    }
    reply
}

/// The set in the `Link` header, if any (8030-4.1-f).
fn set_of(app: &App, headers: &HeaderMap) -> Result<Option<SubscriptionSetUrl>, Refusal> {
    let Some(url) = link::find(headers, link::SET)? else {
        return Ok(None);
    };
    match app.service.resource_at(&url) {
        Some(Resource::SubscriptionSet(set)) => Ok(Some(set)),
        _ => Err(Error::NoSet.into()),
    }
}

/// Whether the body is `webpush-options`, ignoring case and parameters (V-10).
fn is_options(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(OPTIONS))
}

/// The key in the options, and whether it needs `compat.loose_vapid`: `null` for no key, or padded
/// base64url (RFC 8292 §4.1; V-9).
fn vapid_key(
    options: &[u8],
    tolerances: &Tolerances,
) -> Result<(Option<PublicKey>, bool), Refusal> {
    #[derive(Deserialize)]
    struct Options {
        #[serde(default, deserialize_with = "present")]
        vapid: Option<Option<String>>,
    }
    // serde would accept an array as the members of the object in order.
    if !options.trim_ascii_start().starts_with(b"{") {
        return Err(Refusal::Options);
    }
    let options: Options = serde_json::from_slice(options).map_err(|_| Refusal::Options)?;
    let is_loose = match &options.vapid {
        None => false,
        Some(None) => true,
        Some(Some(key)) => key.ends_with('='),
    };
    if is_loose && !tolerances.loose_vapid {
        return Err(Refusal::Options);
    }
    let key = options.vapid.flatten();
    let key = key.map(|key| PublicKey::from_base64url(&key)).transpose();
    Ok((key.map_err(|_| Refusal::Options)?, is_loose))
}

/// Distinguishes a `null` member from an absent one.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Answers a request to a resource that can be monitored.
pub(super) async fn held(
    app: &Arc<App>,
    address: IpAddr,
    parts: &request::Parts,
    path: ResourcePath<'_>,
) -> Result<Answer, Refusal> {
    // Receipt subscriptions belong to application servers, which `admission` does not limit.
    if path.kind != Kind::ReceiptSubscription {
        app.gate.admission.check_address(address)?;
    }
    match parts.method {
        Method::GET | Method::HEAD => monitor(app, address, parts, path).await,
        Method::DELETE => {
            let ending = Arc::clone(app);
            let resource = Monitored::at(app, path)?;
            // Not cancelled with the request, which could leave half of a set.
            app.finish(async move {
                let service = &ending.service;
                match resource {
                    Monitored::Subscription(named) => {
                        service.end_subscription(&named, address).await
                    }
                    Monitored::Set(named) => service.end_set(named, address).await,
                    Monitored::Receipts(named) => service.end_receipts(named).await,
                }
            })
            .await?;
            Ok(Answer::Reply(empty(StatusCode::NO_CONTENT)))
        }
        Method::OPTIONS => Ok(Answer::Reply(options(METHODS))),
        _ => Err(Refusal::MethodNotAllowed(METHODS)),
    }
}

/// Starts a monitor: by Server-Sent Events if the client asks for them (`Accept:
/// text/event-stream`, A-3), otherwise by server pushes if the connection accepts them. A client
/// that accepts neither is refused before it supersedes a monitor. The response to HEAD has the
/// header fields alone; it supersedes and reads nothing.
async fn monitor(
    app: &Arc<App>,
    address: IpAddr,
    parts: &request::Parts,
    path: ResourcePath<'_>,
) -> Result<Answer, Refusal> {
    let (service, headers) = (&app.service, &parts.headers);
    let mut filter = Filter {
        min_urgency: urgency(headers)?,
        channel: None,
    };
    let reader = match Monitored::at(app, path)? {
        Monitored::Set(named) => Reader::UserAgent(service.set(named).await?),
        Monitored::Receipts(named) => Reader::Receipts(service.receipt_subscription(named).await?),
        Monitored::Subscription(named) => {
            let subscription = service.subscription(&named).await?;
            service.note_connected(subscription.uaid).await?;
            filter.channel = Some(subscription.channel);
            Reader::Channel(subscription.uaid, subscription.channel)
        }
    };
    let waits = !Prefer::parse(headers).wait_none;
    let by_events = accept::names(headers, "text/event-stream");
    let by_pushes = !by_events && parts.extensions.get::<TakesPushes>().is_some();
    if !by_pushes && !waits && service.has_nothing(reader, filter).await? {
        return Ok(Answer::Reply(empty(StatusCode::NO_CONTENT)));
    }
    if !by_pushes && !by_events {
        return Err(Refusal::ServerPush);
    }
    if parts.method == Method::HEAD {
        let mut reply = empty(StatusCode::NO_CONTENT);
        if by_events {
            *reply.status_mut() = StatusCode::OK;
            events::describe(reply.headers_mut());
        }
        return Ok(Answer::Reply(reply));
    }
    let monitor = Monitor::new(app, address, reader, filter.min_urgency, waits)?;
    Ok(match by_events {
        true => Answer::Events(monitor),
        false => Answer::Pushes(monitor),
    })
}

/// The minimum urgency of the messages that a user agent wants now (RFC 8030 §5.3).
fn urgency(headers: &HeaderMap) -> Result<Urgency, Refusal> {
    let mut fields = headers.get_all(URGENCY).iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(Urgency::VeryLow),
        (Some(field), None) => Ok(field.to_str().map_err(|_| HeaderError::Urgency)?.parse()?),
        _ => Err(HeaderError::Urgency.into()),
    }
}
