//! A client for held GETs: HTTP/2 with server push (RFC 8030 §6), or Server-Sent Events.

use bytes::Bytes;
use futures_util::FutureExt;
use h2::RecvStream;
use h2::client::{Builder, PushPromise, PushPromises, ResponseFuture, SendRequest};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::{Reply, read};
use super::secrets;
use super::server::Server;
use super::user_agent::PATIENCE;

/// A held GET and its server pushes.
pub struct Held {
    response: ResponseFuture,
    /// The response, once it has arrived.
    last: Option<Response<RecvStream>>,
    pushes: PushPromises,
    _client: SendRequest<Bytes>,
}

/// A server push: the promised request and the response.
#[derive(Debug)]
pub struct Pushed {
    pub request: Request<()>,
    pub reply: Reply,
}

impl Pushed {
    /// The URL of the promised request.
    pub fn url(&self) -> String {
        self.request.uri().to_string()
    }
}

impl Held {
    /// Sends a GET with these header fields.
    pub async fn get(server: &Server, url: &str, headers: &[(&str, &str)]) -> Self {
        Self::get_with(&Builder::new(), server, url, headers).await
    }

    /// Like `get`, with these HTTP/2 settings.
    pub async fn get_with(
        settings: &Builder,
        server: &Server,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Self {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        let (client, connection) = settings.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let mut request = Request::get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut response, _) = client
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let pushes = response.push_promises();
        Self {
            response,
            last: None,
            pushes,
            _client: client,
        }
    }

    /// Returns the next push; `None` when the GET has ended.
    pub async fn push(&mut self) -> Option<Pushed> {
        let promised = match self.last {
            Some(_) => self.pushes.push_promise().now_or_never()?,
            None => timeout(PATIENCE, self.promise_or_end())
                .await
                .expect("a push comes"),
        };
        let (request, response) = promised?.unwrap().into_parts();
        secrets::see(&request.uri().to_string());
        let reply = read(response.await.unwrap()).await;
        Some(Pushed { request, reply })
    }

    /// h2 does not wake a task that waits for pushes when the response ends, so wait for both.
    async fn promise_or_end(&mut self) -> Option<Result<PushPromise, h2::Error>> {
        tokio::select! {
            biased;
            promised = self.pushes.push_promise() => promised,
            ended = &mut self.response => {
                self.last = Some(ended.unwrap());
                self.pushes.push_promise().now_or_never().flatten()
            }
        }
    }

    /// Waits for the response.
    pub async fn ended(self) -> Reply {
        let last = match self.last {
            Some(last) => last,
            None => timeout(PATIENCE, self.response)
                .await
                .expect("it ends")
                .unwrap(),
        };
        read(last).await
    }
}

/// Sends a GET with `Prefer: wait=0`; returns the pushes and the final status.
pub async fn drain(server: &Server, url: &str) -> (Vec<Pushed>, u16) {
    let mut held = Held::get(server, url, &[("prefer", "wait=0")]).await;
    let mut pushes = Vec::new();
    while let Some(push) = held.push().await {
        pushes.push(push);
    }
    (pushes, held.ended().await.status.as_u16())
}

/// A GET whose response is a stream of events, over HTTP/1.1.
pub struct Events {
    body: Incoming,
    text: String,
    /// The reconnection time in milliseconds, once received.
    pub retry: Option<u64>,
}

/// The type and data of an event.
pub type Event = (String, Value);

impl Events {
    /// Sends a GET with these header fields.
    pub async fn get(server: &Server, url: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let path = url.strip_prefix(&server.origin()).unwrap();
        let mut request = Request::get(path).header("host", server.authority());
        request = request.header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response: Response<Incoming> = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body(),
            text: String::new(),
            retry: None,
        }
    }

    /// Returns the next event; `None` when the body has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event == ":" {
                    continue;
                }
                if let Some(millis) = event.strip_prefix("retry: ") {
                    self.retry = Some(millis.parse().unwrap());
                    continue;
                }
                let (kind, data) = event.split_once('\n').unwrap();
                let data = data.strip_prefix("data: ").unwrap();
                let kind = kind.strip_prefix("event: ").unwrap().to_owned();
                return Some((kind, serde_json::from_str(data).unwrap()));
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("an event comes")?;
            let data = frame.unwrap().into_data().unwrap();
            secrets::see(&String::from_utf8_lossy(&data));
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}
