//! Shows, sets and removes broadcasts. An id is the rest of the path, including slashes;
//! characters that a path cannot contain are percent-encoded.

use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;

use super::audit::audited;
use super::{Admin, AdminError, Request, done, json_reply};
use crate::http::Reply;
use crate::http::refusal::Refusal;
use crate::store::broadcasts::Label;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    version: String,
}

/// Shows the version of each broadcast.
pub(super) fn list(admin: &Admin) -> Reply {
    let service = &admin.app.service;
    json_reply(&json!({
        "broadcasts": service.broadcasts().versions(),
        "limit": service.config().limits.broadcasts,
    }))
}

/// Sets a broadcast to the version in the body, or removes it.
pub(super) async fn resource(request: Request<'_>, id: &str) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    let method = &request.parts.method;
    if *method != Method::PUT && *method != Method::DELETE {
        return Err(Refusal::MethodNotAllowed("PUT, DELETE").into());
    }
    caller.may_change()?;
    let id = percent_decode_str(id).decode_utf8();
    let id = id.ok().and_then(|id| Label::new(&id));
    let id = id.ok_or(AdminError::BroadcastId)?;
    let (action, version) = if *method == Method::PUT {
        let Version { version } = request.read().await?;
        let version = Label::new(&version).ok_or(AdminError::BroadcastVersion)?;
        ("setBroadcast", Some(version))
    } else {
        ("removeBroadcast", None)
    };
    let subject = id.as_str().to_owned();
    audited(admin, &caller, action, &subject, |admin| async move {
        let is_removal = version.is_none();
        match admin.app.service.set_broadcast(id, version).await? {
            false if is_removal => Err(AdminError::NoBroadcast),
            _ => Ok(()),
        }
    })
    .await?;
    Ok(done())
}
