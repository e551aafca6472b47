//! The opening handshake of a WebSocket (RFC 6455 §4.2).

use std::net::IpAddr;

use http::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, StatusCode, request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::refusal::Refusal;
use super::reply::{Reply, empty, set};
use crate::config::PublicUrl;
use crate::gate::admission::Admission;

/// The subprotocol that Firefox offers (WS-T-2).
const SUBPROTOCOL: &str = "push-notification";

/// The path of the WebSocket.
pub(super) const ENTRANCE: &str = "/";

/// Whether a request asks for a WebSocket, at a path that offers one.
pub(super) fn is_wanted(parts: &request::Parts, admission: &Admission) -> bool {
    let path = parts.uri.path();
    parts.method == Method::GET
        && (path == ENTRANCE || admission.entrance(path) == Some(ENTRANCE))
        && lists(&parts.headers, &UPGRADE, "websocket")
}

/// Whether a request is a WebSocket handshake whose hop-by-hop fields a proxy has removed (RFC 9110
/// §7.6.1). Over HTTP/2, which offers no WebSocket here, a proxy has translated it from HTTP/1.1.
pub(super) fn is_cut(parts: &request::Parts, admission: &Admission) -> bool {
    let path = parts.uri.path();
    let headers = &parts.headers;
    headers.contains_key(SEC_WEBSOCKET_KEY)
        && (path == ENTRANCE || admission.entrance(path) == Some(ENTRANCE))
        && !(lists(headers, &UPGRADE, "websocket") && lists(headers, &CONNECTION, "upgrade"))
}

/// The refusal of such a handshake.
pub(super) const CUT: Refusal = Refusal::Handshake(
    "Upgrade: websocket or Connection: Upgrade is missing; a proxy in front has to pass both on, \
     over HTTP/1.1",
);

/// Whether a request names the host of the public URL. All loopback names and addresses are
/// equivalent.
pub(super) fn is_for(url: &PublicUrl, parts: &request::Parts) -> bool {
    let field = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let Some(named) = field.and_then(|host| Authority::try_from(host).ok()) else {
        return false;
    };
    let host = url.host();
    named.host().eq_ignore_ascii_case(host) || (is_here(named.host()) && is_here(host))
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let ip = bare.parse::<IpAddr>();
    ip.map_or(host.eq_ignore_ascii_case("localhost"), |ip| {
        ip.is_loopback()
    })
}

/// The response that switches the connection to the WebSocket protocol.
///
/// # Errors
/// [`Refusal::WebSocketVersion`] (WS-6455-c), [`Refusal::Handshake`].
pub(super) fn accept(headers: &HeaderMap) -> Result<Reply, Refusal> {
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(Refusal::WebSocketVersion);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key = key.ok_or(Refusal::Handshake(
        "Sec-WebSocket-Key is not 16 octets in base64",
    ))?;
    let mut reply = empty(StatusCode::SWITCHING_PROTOCOLS);
    set(&mut reply, CONNECTION, "Upgrade");
    set(&mut reply, UPGRADE, "websocket");
    set(
        &mut reply,
        SEC_WEBSOCKET_ACCEPT,
        derive_accept_key(key.as_bytes()),
    );
    if lists(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        set(&mut reply, SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    }
    Ok(reply)
}

/// Whether a comma-separated field contains a word.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let texts = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    texts
        .flat_map(|text| text.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(word))
}
