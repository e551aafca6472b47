//! Broadcasts on the admin listener: `/broadcasts` shows all, and
//! `/broadcasts/{id}` sets or removes one. An id is the rest of the path, with
//! its slashes; what a path cannot hold is percent-encoded.

use http::{Method, StatusCode, request};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::body::{self, Content};
use super::status::{JSON, is_get};
use super::{Reply, Site, empty, text};
use crate::broadcasts::Label;
use crate::error::Error;

/// Shows the version of each broadcast.
pub(super) fn list(site: &Site, method: &Method) -> Result<Reply, Error> {
    if !is_get(method) {
        return Err(Error::MethodNotAllowed("GET"));
    }
    let broadcasts = site.service.broadcasts();
    Ok(text(JSON, json!(broadcasts.versions()).to_string()))
}

/// Sets a broadcast to the version in the body, or removes it.
pub(super) async fn resource(
    site: &Site,
    parts: &request::Parts,
    id: &str,
    content: impl Content,
) -> Result<Reply, Error> {
    let service = &site.service;
    let id = percent_decode_str(id).decode_utf8();
    let id = id.ok().and_then(|id| Label::new(&id));
    let id = id.ok_or(Error::BroadcastId)?;
    match parts.method {
        Method::PUT => {
            let body = body::read(&parts.headers, content, &service.config().limits).await?;
            let version = str::from_utf8(&body).ok().and_then(Label::new);
            let version = version.ok_or(Error::BroadcastVersion)?;
            service.set_broadcast(id, Some(version)).await?;
        }
        Method::DELETE => {
            if !service.set_broadcast(id, None).await? {
                return Err(Error::NoBroadcast);
            }
        }
        _ => return Err(Error::MethodNotAllowed("PUT, DELETE")),
    }
    Ok(empty(StatusCode::NO_CONTENT))
}
