//! The console: the page at `/` of the admin listener, and its files under `/console/`. They are
//! plain files, compiled in. The page uses the admin API, and to try the service its public URL.

use http::HeaderName;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::config::PublicUrl;
use crate::http::reply::{Reply, set, text};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The file of the console at a path of the admin listener, if any.
pub fn file(path: &str, public_url: &PublicUrl) -> Option<Reply> {
    macro_rules! part {
        ($kind:expr, $name:literal) => {
            ($kind, include_str!(concat!("console/", $name)))
        };
    }
    let (kind, content) = match path.strip_prefix("/console/") {
        None if path == "/" => part!(HTML, "index.html"),
        None => return None,
        Some("style.css") => part!(CSS, "style.css"),
        Some("icon.svg") => part!(SVG, "icon.svg"),
        Some("api.js") => part!(SCRIPT, "api.js"),
        Some("app.js") => part!(SCRIPT, "app.js"),
        Some("dom.js") => part!(SCRIPT, "dom.js"),
        Some("manage.js") => part!(SCRIPT, "manage.js"),
        Some("overview.js") => part!(SCRIPT, "overview.js"),
        Some("plot.js") => part!(SCRIPT, "plot.js"),
        Some("top.js") => part!(SCRIPT, "top.js"),
        Some("trace.js") => part!(SCRIPT, "trace.js"),
        Some("try.js") => part!(SCRIPT, "try.js"),
        Some("user_agent.js") => part!(SCRIPT, "user_agent.js"),
        Some("webpush.js") => part!(SCRIPT, "webpush.js"),
        Some(_) => return None,
    };
    let mut reply = text(kind, content);
    let headers = reply.headers_mut();
    for (name, value) in HARDENING {
        headers.insert(name, HeaderValue::from_static(value));
    }
    set(&mut reply, CONTENT_SECURITY_POLICY, policy(public_url));
    Some(reply)
}

const HARDENING: [(HeaderName, &str); 4] = [
    // A new version of the program has a new page.
    (CACHE_CONTROL, "no-cache"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The content security policy: scripts, styles and images are files of the console. The page
/// connects to this listener and, to try the service, to its public URL.
fn policy(public_url: &PublicUrl) -> String {
    let service = public_url.origin();
    let push_server = public_url.websocket_url();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src \
         'self' {service} {push_server}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
