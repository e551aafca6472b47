//! The log: which lines are written, shown and changed while the service runs.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{AdminError, Request, done, json_reply};
use crate::config::LogFilter;
use crate::error::Error;
use crate::http::Reply;
use crate::http::body::Content;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    filter: String,
}

/// Shows the filter, or sets it until the process ends.
pub(super) async fn resource(request: Request<'_, impl Content>) -> Result<Reply, Error> {
    let (site, caller) = (request.site, request.caller);
    let (log, configured) = (&site.admin.log, &site.service.config().log.filter);
    match request.parts.method {
        Method::GET | Method::HEAD => Ok(json_reply(&json!({
            "filter": log.filter().as_ref().unwrap_or(configured),
            "configured": configured,
        }))),
        Method::PUT => {
            caller.may_change()?;
            let Wanted { filter } = request.read().await?;
            let filter: LogFilter = filter.parse().map_err(AdminError::Filter)?;
            let subject = filter.as_str().to_owned();
            log.set_filter(filter);
            let now = site.service.wall_clock();
            site.admin.audit.note(&caller, "setLog", &subject, now);
            Ok(done())
        }
        _ => Err(Error::MethodNotAllowed("GET, HEAD, PUT")),
    }
}
