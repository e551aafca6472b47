//! Both peers of a push, over any connection, from their own loopback address.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_client::{
    ClientError, Dialer, EventStream, Http2Connection, HttpConnection, Stream, Target,
    new_channel_id,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use url::Url;

use crate::secrets;
use crate::service::{Service, TIMEOUT};

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The target of the link with this relation type.
    pub(crate) fn link(&self, relation: &str) -> String {
        let relation = format!("rel=\"urn:ietf:params:{relation}\"");
        let links = self.headers.get_all("link").iter();
        let mut links = links.map(|link| link.to_str().unwrap());
        let link = links.find(|link| link.ends_with(&relation));
        let (_, url) = link.unwrap().split_once('<').unwrap();
        url.split_once('>').unwrap().0.to_owned()
    }

    /// Status and errno of a refusal.
    pub(crate) fn refusal(&self) -> (u16, u64) {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        (self.status.as_u16(), body["errno"].as_u64().unwrap())
    }
}

/// Opens a connection from this address, which differs from that of a proxy.
pub(crate) async fn connect(to: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from: Ipv4Addr = from.parse().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Opens a TLS connection with this ALPN to the public address of a service.
pub(crate) async fn connect_tls(service: &Service, from: &str, alpn: &str) -> Stream {
    let dialer = Dialer::new(Some(&service.authority.root())).unwrap();
    let dialer = dialer.connect_from(vec![from.parse().unwrap()]);
    let url = service.origin().parse().unwrap();
    let stream = match alpn {
        "h2" => dialer.dial_http2(&url).await,
        _ => dialer.dial(&url).await,
    };
    stream.unwrap()
}

/// The public address of a service.
pub(crate) fn public(service: &Service) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, service.public_port).into()
}

/// Sends a request over HTTP/1.1 on this connection.
pub(crate) async fn http1(
    stream: Stream,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut connection = HttpConnection::on_stream(stream).await.unwrap();
    let request = request(method, path, fields).header("host", "localhost");
    let request = request.body(Bytes::copy_from_slice(body).into()).unwrap();
    seen(connection.send(request).await.unwrap())
}

/// Sends a request over HTTP/2 on this connection.
pub(crate) async fn http2(
    stream: Stream,
    method: &str,
    url: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let origin: Url = url.parse().unwrap();
    let connection = Http2Connection::on_stream(stream, origin).await.unwrap();
    let request = request(method, url, fields);
    let request = request.body(Bytes::copy_from_slice(body)).unwrap();
    seen(connection.send("a request", request).await.unwrap())
}

/// Opens a WebSocket over HTTP/2 and keeps it for the test; returns the status.
pub(crate) async fn extended_connect(stream: Stream, origin: &str) -> StatusCode {
    let (client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // The pong shows that the proxy's settings have arrived.
    pings.ping(h2::Ping::opaque()).await.unwrap();
    let mut client = client.ready().await.unwrap();
    assert!(client.is_extended_connect_protocol_enabled());
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "push-notification"),
    ];
    let mut request = request("CONNECT", &format!("{origin}/"), &fields)
        .body(())
        .unwrap();
    let websocket = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(websocket);
    let (reply, stream) = client.send_request(request, false).unwrap();
    let reply = timeout(TIMEOUT, reply).await.unwrap().unwrap();
    let status = reply.status();
    tokio::spawn(async move {
        let _held = (client, stream, reply);
        std::future::pending::<()>().await;
    });
    status
}

pub(crate) async fn read(reply: Response<h2::RecvStream>) -> Reply {
    let (parts, mut body) = reply.into_parts();
    let mut octets = Vec::new();
    while let Some(chunk) = body.data().await {
        octets.extend_from_slice(&chunk.unwrap());
    }
    seen(Response::from_parts(parts, octets.into()))
}

pub(crate) fn request(method: &str, url: &str, fields: &[(&str, &str)]) -> http::request::Builder {
    secrets::see(url);
    let request = Request::builder().method(method).uri(url);
    fields.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    })
}

fn seen(answer: Response<Bytes>) -> Reply {
    let (parts, body) = answer.into_parts();
    for value in parts.headers.values() {
        secrets::see(&String::from_utf8_lossy(value.as_bytes()));
    }
    Reply {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// Requests the events of the created subscription over HTTP/1.1.
pub(crate) async fn events(stream: Stream, made: &Reply) -> EventStream {
    let url = made.headers["location"].to_str().unwrap();
    let target = Target::new(url).unwrap();
    EventStream::get(stream, &target, &[]).await.unwrap()
}

/// Waits for an event of this type.
pub(crate) async fn wait_for_event(events: &mut EventStream, kind: &str) {
    let event = timeout(TIMEOUT, events.next()).await;
    let event = event.expect("an event arrives").unwrap();
    let event = event.expect("the stream continues");
    secrets::see(&event.data);
    assert_eq!(event.kind, kind);
}

/// A user agent.
pub(crate) struct UserAgent(bugle_client::UserAgent);

impl UserAgent {
    /// Says hello on a connection.
    pub(crate) async fn hello(stream: Stream) -> Self {
        let mut this = Self::handshake(stream).await.unwrap();
        let uaid = this.0.hello(None).await.unwrap();
        secrets::see(&uaid.to_string());
        this
    }

    /// Opens the WebSocket; returns the status and text of a refusal.
    pub(crate) async fn handshake(stream: Stream) -> Result<Self, (u16, String)> {
        let url = "wss://localhost/".parse().unwrap();
        match bugle_client::UserAgent::on_stream(stream, &url).await {
            Ok(this) => Ok(Self(this)),
            Err(error) => {
                let refused = error.refused().unwrap_or_else(|| panic!("{error}"));
                let body = refused.body().as_deref().unwrap_or_default();
                let text = String::from_utf8_lossy(body).into_owned();
                Err((refused.status().as_u16(), text))
            }
        }
    }

    /// Subscribes and returns the endpoint.
    pub(crate) async fn register(&mut self) -> String {
        let channel = new_channel_id();
        secrets::see(&channel.to_string());
        let endpoint = self.0.register(channel, None).await.unwrap();
        secrets::see(&endpoint);
        endpoint
    }

    /// Receives a notification with this body and acknowledges it.
    pub(crate) async fn take(&mut self, body: &[u8]) {
        let notification = timeout(TIMEOUT, self.0.receive()).await;
        let notification = notification.expect("a notification arrives").unwrap();
        secrets::see(&notification.version);
        let data = notification.data.as_deref().unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(data).unwrap(), body);
        self.0.acknowledge(&notification, 100).await.unwrap();
    }

    /// Waits for this many pings and sends only pongs.
    pub(crate) async fn is_pinged(&mut self, times: usize) {
        for _ in 0..times {
            let pinged = timeout(TIMEOUT, self.0.next_ping()).await;
            pinged.expect("a ping arrives").unwrap();
        }
    }

    /// Waits until the connection ends without a message.
    pub(crate) async fn is_cut(&mut self) {
        let cut = timeout(TIMEOUT, self.0.receive()).await;
        let error = cut.expect("the connection ends").unwrap_err();
        assert!(
            matches!(error, ClientError::Closed { code: None, .. }),
            "{error}"
        );
    }
}
