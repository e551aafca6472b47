//! The push resource, `/push/{token}` (RFC 8030 §5).

use bugle_protocol::headers::TTL;
use bugle_protocol::push::PushHeaders;
use bytes::Bytes;
use std::error::Error as StdError;

use http::header::{CONTENT_LENGTH, LOCATION};
use http::{HeaderMap, Method, StatusCode, request};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{Reply, Site, empty, options, set, text};
use crate::compat;
use crate::config::Limits;
use crate::error::Error;

/// What the resource takes.
pub(super) const METHODS: &str = "GET, POST, OPTIONS";

/// Answers a request to a push resource.
pub(super) async fn resource<B>(
    site: &Site,
    parts: &request::Parts,
    token: &str,
    body: B,
) -> Result<Reply, Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    match parts.method {
        Method::POST => post(site, &parts.headers, token, body).await,
        // Discovery for UnifiedPush (UPL-1), the same for every token.
        Method::GET => Ok(text("application/json", r#"{"unifiedpush":{"version":1}}"#)),
        Method::OPTIONS => Ok(options(METHODS)),
        _ => Err(Error::MethodNotAllowed(METHODS)),
    }
}

/// Takes a push message. Whoever may not send here learns nothing about
/// headers and bodies, and those who may need not send a body in vain (V-14).
async fn post<B>(site: &Site, headers: &HeaderMap, token: &str, body: B) -> Result<Reply, Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    let service = &site.service;
    let limits = &service.config().limits;
    let _request = site
        .requests
        .try_acquire()
        .map_err(|_| Error::Limit("limits.requests"))?;

    let subscription = service.endpoint(token).await?;
    let sender = service.authenticate(&subscription, headers)?;
    let tolerances = &service.compat().tolerances;
    let push = PushHeaders::parse(headers, tolerances)?;
    let body = read(headers, body, limits).await?;
    let key = sender.as_ref().map(|sender| &sender.key);
    let content = push.content(body, key, tolerances)?;
    let needed = compat::needed(sender.as_ref(), &push, content.as_ref());
    let accepted = service.push(&subscription, push, content).await?;
    needed.for_each(|switch| service.metrics().tolerate(switch));

    let mut reply = empty(StatusCode::CREATED);
    set(&mut reply, LOCATION, accepted.location);
    set(&mut reply, TTL, accepted.ttl);
    Ok(reply)
}

/// Reads a body whole, within `limits.body_bytes` and `limits.body_timeout`.
pub(super) async fn read<B>(headers: &HeaderMap, body: B, limits: &Limits) -> Result<Vec<u8>, Error>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>>,
{
    let most = limits.body_bytes;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most as u64) {
        return Err(Error::TooLarge(most));
    }
    let collected = timeout(limits.body_timeout, Limited::new(body, most).collect()).await;
    match collected.map_err(|_| Error::BodyTimeout(limits.body_timeout))? {
        // Copied: a slice would keep the whole read buffer alive.
        Ok(body) => Ok(body.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge(most)),
        Err(_) => Err(Error::Incomplete),
    }
}
