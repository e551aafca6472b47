//! Explains an error response: from the service, which names the cause itself, or from a proxy in
//! front of it.

use bytes::Bytes;
use http::header::{LOCATION, SERVER};
use http::{HeaderName, Response, StatusCode};
use serde::Deserialize;

use super::report::Finding;

/// Maximum length of a quotation from the peer, in characters.
const LONGEST_WORD: usize = 240;

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// `GET /version`.
    Page,
    /// The upgrade to a WebSocket.
    WebSocket,
    /// A push.
    Push,
}

impl RequestKind {
    fn name(self) -> &'static str {
        match self {
            Self::Page => "GET /version",
            Self::WebSocket => "the WebSocket handshake",
            Self::Push => "the push",
        }
    }
}

/// The body of an error response (docs/errors.md).
#[derive(Deserialize)]
struct Words {
    #[serde(rename = "errno")]
    _errno: u64,
    message: String,
    setting: Option<String>,
}

/// Explains the error and how to fix it.
pub(super) fn explain(kind: RequestKind, answer: &Response<Bytes>) -> Finding {
    let finding = match serde_json::from_slice(answer.body()) {
        Ok(words) => by_service(kind, answer.status(), &words),
        Err(_) => by_another(kind, answer),
    };
    finding.with("status", answer.status().as_u16())
}

fn by_service(kind: RequestKind, status: StatusCode, words: &Words) -> Finding {
    let text = format!(
        "the service answers {} with {}: {}",
        kind.name(),
        status.as_u16(),
        short(&words.message)
    );
    let setting = words.setting.as_deref().map(short);
    let mend = match (kind, status.as_u16(), &setting) {
        (_, _, Some(setting)) if setting.starts_with("admission.") => format!(
            "give the URL as user agents have it, with what {setting} asks for (docs/admission.md)"
        ),
        (_, _, Some(setting)) => {
            format!("it is {setting} that draws the line: raise it, or wait until there is room")
        }
        (RequestKind::WebSocket, 404, None) => "the WebSocket is at /, or at the secret path of \
             admission.path: give that URL, and let a proxy leave the path as it is"
            .to_owned(),
        (RequestKind::WebSocket, 400 | 426, None) => upgrade_advice(),
        (_, 503, None) => "see the log of the service, and its /ready".to_owned(),
        _ => "docs/errors.md explains the answer".to_owned(),
    };
    Finding::fail(text, mend)
}

fn by_another(kind: RequestKind, answer: &Response<Bytes>) -> Finding {
    let status = answer.status();
    let name = kind.name();
    let who = header(answer, &SERVER);
    let who = who.map_or_else(String::new, |server| format!(" by {server}"));
    let code = format!("{name} is answered {}{who}", status.as_u16());
    match status.as_u16() {
        200..=299 if kind == RequestKind::WebSocket => Finding::fail(
            format!("{code}, with a page and no WebSocket"),
            upgrade_advice(),
        ),
        200..=299 => Finding::fail(
            format!("{code}, with a page of something else"),
            "let the proxy forward this host and path to the service, or correct the URL",
        ),
        300..=399 => {
            let to = header(answer, &LOCATION).unwrap_or_else(|| "nowhere".to_owned());
            Finding::fail(
                format!("{code}, a redirect to {to}"),
                "user agents and senders follow none: give them the URL it leads to, also in \
                 server.public_url, or let the proxy forward instead",
            )
        }
        401 | 403 | 407 => Finding::fail(
            format!("{code}: something before the service refuses"),
            "let the proxy pass these requests without a login of its own; the service has \
             [admission] for that (docs/admission.md)",
        ),
        400 | 426 if kind == RequestKind::WebSocket => Finding::fail(code, upgrade_advice()),
        404 => Finding::fail(
            format!("{code}, and not by the service"),
            "let the proxy forward this host and all its paths to the service, or correct the URL",
        ),
        502..=504 => Finding::fail(
            format!("{code}: the proxy has no answer of the service"),
            "start the service, and let the proxy forward to the address of server.listen, by \
             http:// unless tls.cert_file is set",
        ),
        _ => Finding::fail(
            format!("{code}, and not by the service"),
            "see the log of what stands before the service (docs/proxies.md)",
        ),
    }
}

/// The advice for a proxy that does not pass the upgrade on.
pub(super) fn upgrade_advice() -> String {
    "let the proxy pass the upgrade on: in nginx `proxy_http_version 1.1`, `proxy_set_header \
     Upgrade $http_upgrade` and `proxy_set_header Connection \"upgrade\"` (docs/proxies.md)"
        .to_owned()
}

fn header(answer: &Response<Bytes>, name: &HeaderName) -> Option<String> {
    let text = answer.headers().get(name)?.to_str().ok()?;
    Some(short(text))
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST_WORD).collect()
}
