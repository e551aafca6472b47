//! The question for a WebSocket, and whatever is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response};
use http_body_util::Full;
use url::{Position, Url};

use crate::random::random;
use crate::{ClientError, Dialer, HttpConnection, credentials};

/// What Firefox offers (WS-T-2).
const SUBPROTOCOL: &str = "push-notification";

/// Asks the service at `url` (`ws` or `wss`) for a WebSocket as Firefox does,
/// and ends the connection with the answer: 101, or what says why not.
///
/// # Errors
/// When there is no answer at all.
pub async fn ask_for_websocket(dialer: &Dialer, url: &Url) -> Result<Response<Bytes>, ClientError> {
    let origin = &url[..Position::BeforePath];
    // ws becomes http, wss becomes https.
    let mut connection = HttpConnection::open(dialer, &origin.replacen("ws", "http", 1)).await?;
    let mut request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, STANDARD.encode(random::<16>()))
        .header(SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    if let Some(credentials) = credentials(url) {
        request = request.header(AUTHORIZATION, credentials);
    }
    let request = request.body(Full::default());
    let request = request.map_err(|error| ClientError::Url {
        url: origin.to_owned(),
        problem: error.to_string(),
    })?;
    connection.send(request).await
}
