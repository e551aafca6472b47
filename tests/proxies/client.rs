//! Both parties around a push, over whatever connection, from an address of
//! loopback of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::secrets;
use crate::service::{PATIENCE, Service};

const CHANNEL: &str = "acf30367-0632-4cc1-adef-fa15f40ef378";

/// What came back.
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

/// A connection from this address, another one than that of a proxy.
pub(crate) async fn connect(to: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from: Ipv4Addr = from.parse().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A connection to where clients reach a service, with TLS that speaks `alpn`.
pub(crate) async fn connect_tls(service: &Service, from: &str, alpn: &str) -> TlsStream<TcpStream> {
    let stream = connect(public(service), from).await;
    let mut config: ClientConfig = service.authority.client_config();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = stream.await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
    stream
}

/// Where clients reach a service.
pub(crate) fn public(service: &Service) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, service.public_port).into()
}

/// A request over HTTP/1.1, to whichever host the connection leads to.
pub(crate) async fn http1<S>(
    io: S,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io));
    let (mut client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let request = request(method, path, fields).header("host", "localhost");
    let request = request.body(Full::new(Bytes::copy_from_slice(body)));
    let reply = timeout(PATIENCE, client.send_request(request.unwrap()));
    let (parts, body) = reply.await.unwrap().unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    seen(parts, body)
}

/// The same over HTTP/2.
pub(crate) async fn http2<S>(
    io: S,
    method: &str,
    url: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = request(method, url, fields).body(()).unwrap();
    let (reply, mut stream) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream
            .send_data(Bytes::copy_from_slice(body), true)
            .unwrap();
    }
    read(timeout(PATIENCE, reply).await.unwrap().unwrap()).await
}

/// A WebSocket over HTTP/2, held for as long as the test; gives the status.
pub(crate) async fn extended_connect<S>(io: S, origin: &str) -> StatusCode
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, mut connection) = h2::client::handshake(io).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // The proxy's settings come before its answer.
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
    let reply = timeout(PATIENCE, reply).await.unwrap().unwrap();
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
    seen(parts, octets.into())
}

pub(crate) fn request(method: &str, url: &str, fields: &[(&str, &str)]) -> http::request::Builder {
    secrets::see(url);
    let request = Request::builder().method(method).uri(url);
    fields.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    })
}

fn seen(parts: http::response::Parts, body: Bytes) -> Reply {
    for value in parts.headers.values() {
        secrets::see(&String::from_utf8_lossy(value.as_bytes()));
    }
    Reply {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// A GET that is answered by events.
pub(crate) struct Events(Incoming);

impl Events {
    /// Asks for those of the subscription that was made.
    pub(crate) async fn get<S>(io: S, service: &Service, made: &Reply) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let url = made.headers["location"].to_str().unwrap();
        let path = url.strip_prefix(&service.origin()).unwrap();
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io));
        let (mut client, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let fields = [("host", "localhost"), ("accept", "text/event-stream")];
        let request = request("GET", path, &fields).body(Full::<Bytes>::default());
        let reply = timeout(PATIENCE, client.send_request(request.unwrap()));
        let reply = reply.await.unwrap().unwrap();
        assert_eq!(reply.status(), 200);
        Self(reply.into_body())
    }

    /// Waits until something with this text has come.
    pub(crate) async fn wait_for(&mut self, text: &str) {
        let mut heard = String::new();
        while !heard.contains(text) {
            let frame = timeout(PATIENCE, self.0.frame()).await;
            let frame = frame
                .expect("something comes")
                .expect("it goes on")
                .unwrap();
            heard += &String::from_utf8_lossy(&frame.into_data().unwrap());
        }
        secrets::see(&heard);
    }
}

/// A user agent.
pub(crate) struct UserAgent<S> {
    socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> UserAgent<S> {
    /// Says hello over a connection.
    pub(crate) async fn hello(io: S) -> Self {
        let mut this = Self::handshake(io).await.unwrap();
        this.say(json!({ "messageType": "hello", "use_webpush": true }))
            .await;
        let answer = this.hear().await;
        assert_eq!(
            (&answer["messageType"], &answer["status"]),
            (&json!("hello"), &json!(200))
        );
        this
    }

    /// Opens the WebSocket; the text of the refusal where it is refused.
    pub(crate) async fn handshake(io: S) -> Result<Self, (u16, String)> {
        let request = "wss://localhost/".into_client_request().unwrap();
        match timeout(PATIENCE, client_async(request, io)).await.unwrap() {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::Error::Http(refused)) => {
                let body = refused.body().clone().unwrap_or_default();
                let text = String::from_utf8_lossy(&body).into_owned();
                Err((refused.status().as_u16(), text))
            }
            Err(other) => panic!("{other}"),
        }
    }

    async fn say(&mut self, message: Value) {
        secrets::see(&message.to_string());
        let text = Message::text(message.to_string());
        self.socket.send(text).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.frame().await.expect("the connection is open") {
                secrets::see(&text);
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next frame; `None` at the end.
    async fn frame(&mut self) -> Option<Message> {
        let next = timeout(PATIENCE, self.socket.next()).await;
        next.expect("something comes")?.ok()
    }

    /// Subscribes, and gives the endpoint.
    pub(crate) async fn register(&mut self) -> String {
        self.say(json!({ "messageType": "register", "channelID": CHANNEL }))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["status"], 200, "{answer}");
        answer["pushEndpoint"].as_str().unwrap().to_owned()
    }

    /// Takes a notification with this body, and acknowledges it.
    pub(crate) async fn take(&mut self, body: &[u8]) {
        let message = self.hear().await;
        assert_eq!(message["messageType"], "notification", "{message}");
        let data = message["data"].as_str().unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(data).unwrap(), body);
        let update = json!({
            "channelID": message["channelID"],
            "version": message["version"],
            "code": 100,
        });
        self.say(json!({ "messageType": "ack", "updates": [update] }))
            .await;
    }

    /// Waits until it was pinged so often; says nothing but the answers.
    pub(crate) async fn is_pinged(&mut self, times: usize) {
        for _ in 0..times {
            let frame = self.frame().await.expect("the connection is open");
            assert!(frame.is_ping(), "{frame:?}");
        }
        // The last answer.
        self.socket.flush().await.unwrap();
    }

    /// Waits until somebody ends it, without having said anything.
    pub(crate) async fn is_cut(&mut self) {
        let frame = self.frame().await;
        assert_eq!(frame, None);
    }
}
