//! Shows and changes the filter of the log while the service runs.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{AdminError, Request, done, json_reply};
use crate::config::LogFilter;
use crate::http::Reply;
use crate::http::refusal::Refusal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFilter {
    filter: String,
}

/// Shows the filter, or sets it until the process ends.
pub(super) async fn resource(request: Request<'_>) -> Result<Reply, AdminError> {
    let (admin, caller) = (request.admin, request.caller);
    let (log, configured) = (&admin.log, &admin.app.service.config().log.filter);
    match request.parts.method {
        Method::GET | Method::HEAD => Ok(json_reply(&json!({
            "filter": log.filter().as_ref().unwrap_or(configured),
            "configured": configured,
        }))),
        Method::PUT => {
            caller.may_change()?;
            let NewFilter { filter } = request.read().await?;
            let filter: LogFilter = filter.parse().map_err(AdminError::Filter)?;
            let subject = filter.as_str().to_owned();
            log.set_filter(filter);
            let now = admin.app.service.wall_clock();
            admin.audit.note(&caller, "setLog", &subject, now);
            Ok(done())
        }
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD, PUT").into()),
    }
}
