//! The WebSocket handshake (RFC 6455 §4): opens a WebSocket, or returns the response to the
//! request for one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::{Position, Url};

use crate::random::random;
use crate::{ClientError, Dialer, HttpConnection, TIMEOUT, credentials};

/// The subprotocol that Firefox offers (WS-T-2).
const SUBPROTOCOL: &str = "push-notification";

/// Maximum size of a message from the service, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Opens a WebSocket to the service at `url` (`ws` or `wss`) on an open connection. For
/// peers that choose each frame themselves; others use a [`UserAgent`](crate::UserAgent).
///
/// # Errors
/// When the service does not accept the WebSocket.
pub async fn open_websocket<S>(stream: S, url: &Url) -> Result<WebSocketStream<S>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Small buffers let a process hold many thousands of these. Do not offer the subprotocol
    // `push-notification`: a service need not select it (WS-T-2), and tungstenite would then
    // fail the connection.
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut request = url.as_str().into_client_request().map_err(Box::new)?;
    if let Some(credentials) = credentials(url) {
        request.headers_mut().insert(AUTHORIZATION, credentials);
    }
    let handshake = client_async_with_config(request, stream, Some(config));
    let (socket, _) = timeout(TIMEOUT, handshake)
        .await
        .map_err(|_| ClientError::Silence("the WebSocket handshake"))?
        .map_err(Box::new)?;
    Ok(socket)
}

/// Requests a WebSocket from the service at `url` (`ws` or `wss`) as Firefox does, and
/// closes the connection. Returns the response: 101, or one that says why not.
///
/// # Errors
/// When no response arrives.
pub async fn ask_for_websocket(dialer: &Dialer, url: &Url) -> Result<Response<Bytes>, ClientError> {
    let origin = &url[..Position::BeforePath];
    // Turns ws into http and wss into https.
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
