//! What people and machines look at: the page at `/`, health, readiness,
//! version (also under their Dockerflow names), metrics.

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use http::{Method, StatusCode, request};
use serde_json::json;

use super::{Reply, Site, text};
use crate::error::Error;
use crate::telemetry::exposition::Format;

pub(super) const JSON: &str = "application/json";

/// What a page takes.
pub const GET: &str = "GET, HEAD";

/// The paths at which the process says that it answers.
const HEALTH: [&str; 2] = ["/health", "/__lbheartbeat__"];

/// Whether a path asks for no more than whether the process answers.
pub(super) fn is_health(path: &str) -> bool {
    HEALTH.contains(&path)
}

/// Answers a request for a page by its path.
pub(super) async fn page(site: &Site, method: &Method, path: &str) -> Result<Reply, Error> {
    let get = |reply| {
        if is_get(method) {
            Ok(reply)
        } else {
            Err(Error::MethodNotAllowed(GET))
        }
    };
    match path {
        "/" => get(home(site)),
        "/errors" => get(text(
            "text/plain; charset=utf-8",
            include_str!("../../docs/errors.md"),
        )),
        // The process answers: do not restart it.
        _ if is_health(path) => get(text(JSON, r#"{"status":"ok"}"#)),
        // It can do its work: send traffic here.
        "/ready" | "/__heartbeat__" => get(ready(site).await),
        "/version" | "/__version__" => get(text(JSON, version())),
        _ => Err(Error::NotFound),
    }
}

/// The metrics, in the format that is asked for.
pub(super) fn metrics(site: &Site, parts: &request::Parts) -> Result<Reply, Error> {
    if is_get(&parts.method) {
        let accept = parts.headers.get(ACCEPT);
        let format = Format::accepted(accept.and_then(|accept| accept.to_str().ok()));
        let count = |places| i64::try_from(places).unwrap_or(i64::MAX);
        let counters = site.service.metrics();
        counters.requests.set(count(site.in_progress()));
        counters.bodies.set(count(site.arriving()));
        let metrics = format.of(site.service.metrics_text());
        Ok(text(format.content_type(), metrics))
    } else {
        Err(Error::MethodNotAllowed(GET))
    }
}

/// Whether a method reads: HEAD is answered wherever GET is (RFC 9110 §9.1).
pub fn is_get(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

async fn ready(site: &Site) -> Reply {
    let store = if site.service.flush().await.is_ok() {
        "ok"
    } else {
        "error"
    };
    let draining = site.stopping.is_leaving();
    let ready = store == "ok" && !draining;
    let status = if ready { "ok" } else { "error" };
    let body = json!({ "status": status, "store": store, "draining": draining });
    let mut reply = text(JSON, body.to_string());
    if !ready {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    reply
}

fn version() -> String {
    json!({ "name": "bugle", "version": env!("CARGO_PKG_VERSION") }).to_string()
}

/// People open this page to see that the service is there, and to accept a
/// private certificate.
fn home(site: &Site) -> Reply {
    // First: Firefox reads it only when the other changes.
    const INSECURE: &str = "add <code>dom.push.testing.allowInsecureServerURL</code> as a boolean, \
                            <code>true</code>; then ";
    let public_url = site.service.public_url();
    // The page is for everybody; the secret is not.
    let websocket_url = match site.service.config().admission.has_secret() {
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
