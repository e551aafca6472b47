//! The handshake of a WebSocket (RFC 6455 §4): to open one, or to see whatever is
//! answered.

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
use crate::{ClientError, Dialer, HttpConnection, PATIENCE, credentials};

/// What Firefox offers (WS-T-2).
const SUBPROTOCOL: &str = "push-notification";

/// No message of a service is larger, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// Opens a WebSocket to the service at `url` (`ws` or `wss`) on a connection that
/// is there already. For peers that choose each frame themselves; others take a
/// [`UserAgent`](crate::UserAgent).
///
/// # Errors
/// When the service does not take it.
pub async fn open_websocket<S>(stream: S, url: &Url) -> Result<WebSocketStream<S>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Small buffers, so that a process can hold very many of these. The sub-protocol
    // `push-notification` is not offered: a service need not take it (WS-T-2), and
    // tungstenite would then refuse the connection.
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
    let (socket, _) = timeout(PATIENCE, handshake)
        .await
        .map_err(|_| ClientError::Silence("the WebSocket handshake"))?
        .map_err(Box::new)?;
    Ok(socket)
}

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
