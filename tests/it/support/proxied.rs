//! A service behind a proxy, and requests through the proxy.

use ::http::header::HeaderName;
use bugle::Config;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::http::{self, Reply, Version};
use super::server::Server;
use super::user_agent::{TIMEOUT, UserAgent};

/// Starts a service with settings such as `SERVER__PROXY_PROTOCOL`.
pub async fn server(settings: &[(&str, &str)]) -> Server {
    let settings = settings.iter().map(|(key, value)| {
        let name = format!("BUGLE_{key}");
        (name.into(), (*value).into())
    });
    let changed = Config::load(None, settings, &[]).unwrap();
    Server::start_with(|config| {
        let (listen, data) = (config.server.listen, config.server.data.clone());
        config.server = changed.server;
        (config.server.listen, config.server.data) = (listen, data);
        config.admission = changed.admission;
        config.limits = changed.limits;
    })
    .await
}

/// Opens a WebSocket with these header fields, or returns the status of the refusal.
pub async fn websocket<S>(io: S, fields: &[(&str, &str)]) -> Result<WebSocketStream<S>, u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://push.example/".into_client_request().unwrap();
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    match client_async(request, io).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// Opens a user agent's WebSocket with these header fields, or returns the status of the
/// refusal.
pub async fn handshake(server: &Server, fields: &[(&str, &str)]) -> Result<UserAgent, u16> {
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let socket = websocket(stream, fields).await?;
    let uaid = String::new();
    Ok(UserAgent { socket, uaid })
}

/// Requests a subscription with these header fields.
pub async fn subscribe(server: &Server, version: Version, fields: &[(&str, &str)]) -> Reply {
    http::send(
        version,
        server.authority(),
        "POST",
        "/subscribe",
        fields,
        b"",
    )
    .await
}

/// Sends bytes and returns what arrives until the service closes the connection.
pub async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, octets: &[&[u8]]) -> String {
    for part in octets {
        io.write_all(part).await.unwrap();
    }
    let mut answer = Vec::new();
    let read = timeout(TIMEOUT, io.read_to_end(&mut answer)).await;
    // A reset counts as an end.
    let _ = read.expect("the service closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// An HTTP/1.1 request that ends its connection.
pub fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: push.example\r\nConnection: close\r\n\r\n")
}

/// The number of counted proxy mistakes of this kind.
pub async fn mistakes(server: &Server, kind: &str) -> f64 {
    let name = format!("bugle_proxy_mistakes_total{{reason=\"{kind}\"}}");
    server.metric(&name).await
}
