//! The page at `/`, and health, readiness, version (also under their Dockerflow names) and metrics.

use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use http::{Method, StatusCode, request};
use serde_json::json;

use super::refusal::Refusal;
use super::reply::{Reply, text};
use crate::app::App;
use crate::app::readiness;
use crate::observe::exposition::Format;

pub(super) const JSON: &str = "application/json";

/// The methods of a page.
pub const GET: &str = "GET, HEAD";

/// The paths of the health check.
const HEALTH: [&str; 2] = ["/health", "/__lbheartbeat__"];

/// Whether a path is a health check, which only shows that the process answers.
pub(super) fn is_health(path: &str) -> bool {
    HEALTH.contains(&path)
}

/// Answers a request for a page.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::MethodNotAllowed`].
pub async fn page(app: &App, parts: &request::Parts) -> Result<Reply, Refusal> {
    let method = &parts.method;
    let get = |reply| {
        if is_get(method) {
            Ok(reply)
        } else {
            Err(Refusal::MethodNotAllowed(GET))
        }
    };
    let path = parts.uri.path();
    match path {
        "/" => get(home(app)),
        "/errors" => get(text(
            "text/plain; charset=utf-8",
            include_str!("../../docs/errors.md"),
        )),
        // Liveness: the process answers, so do not restart it.
        _ if is_health(path) => get(text(JSON, r#"{"status":"ok"}"#)),
        // Readiness: the service works, so send traffic to it.
        "/ready" | "/__heartbeat__" if !is_get(method) => Err(Refusal::MethodNotAllowed(GET)),
        "/ready" | "/__heartbeat__" => Ok(ready(app, parts.uri.query()).await),
        "/version" | "/__version__" => get(text(JSON, version())),
        _ => Err(Refusal::NotFound),
    }
}

/// The metrics, in the format of the `Accept` header.
///
/// # Errors
/// [`Refusal::MethodNotAllowed`].
pub fn metrics(app: &App, parts: &request::Parts) -> Result<Reply, Refusal> {
    if is_get(&parts.method) {
        let format = Format::accepted(&parts.headers);
        let count = |slots| i64::try_from(slots).unwrap_or(i64::MAX);
        let counters = app.service.metrics();
        counters.requests.set(count(app.gate.in_progress()));
        counters.bodies.set(count(app.gate.arriving()));
        // Updates the gauges of the overload.
        readiness::overloaded(app);
        let metrics = app.service.metrics_text(format);
        Ok(text(format.content_type(), metrics))
    } else {
        Err(Refusal::MethodNotAllowed(GET))
    }
}

/// Whether a method is GET, or HEAD, which every page with GET answers too (RFC 9110 §9.1).
pub fn is_get(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Readiness, probed at most once per second. A service near a limit is still ready, because
/// otherwise a single service would get no traffic at all. A load balancer with several services
/// can change that with `?overloaded=fail`.
async fn ready(app: &App, query: Option<&str>) -> Reply {
    let seen = app.readiness.probe().await;
    let (store, overloaded) = match seen {
        // The probe may be a second old; a failure of the store is known at once.
        Some(seen) => (seen.store && app.service.store_is_well(), seen.overloaded),
        None => (false, Vec::new()),
    };
    let draining = app.shutdown.is_draining();
    let is_enough = overloaded.is_empty() || query != Some("overloaded=fail");
    let ready = store && !draining && is_enough;
    let word = |is_well| if is_well { "ok" } else { "error" };
    let body = json!({
        "status": word(ready),
        "store": word(store),
        "draining": draining,
        "overloaded": overloaded,
    });
    let mut reply = text(JSON, body.to_string());
    if !ready {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply
}

fn version() -> String {
    json!({ "name": "bugle", "version": env!("CARGO_PKG_VERSION") }).to_string()
}

/// The page that people open to see that the service runs, or to accept a private certificate.
fn home(app: &App) -> Reply {
    // This preference must be set first: Firefox reads it only when the server URL changes.
    const INSECURE: &str = "add <code>dom.push.testing.allowInsecureServerURL</code> as a boolean, \
                            <code>true</code>; then ";
    let public_url = app.service.public_url();
    // The page is public; the secret is not.
    let websocket_url = match app.service.config().admission.has_secret() {
        true => "the URL that the operator of this service gave you".to_owned(),
        false => public_url.websocket_url(),
    };
    let page = include_str!("page.html")
        .replace("{websocket_url}", &websocket_url)
        .replace(
            "{insecure}",
            if public_url.is_tls() { "" } else { INSECURE },
        )
        .replace("{version}", env!("CARGO_PKG_VERSION"));
    let mut reply = text("text/html; charset=utf-8", page);
    let headers = reply.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}
