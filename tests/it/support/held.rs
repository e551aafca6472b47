//! A client for held GETs: HTTP/2 with server push (RFC 8030 §6), or Server-Sent Events.

use bugle_client::{EventStream, Target};
use bytes::Bytes;
use futures_util::FutureExt;
use h2::RecvStream;
use h2::client::{Builder, PushPromise, PushPromises, ResponseFuture, SendRequest};
use http::{Request, Response};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http::{Reply, read};
use super::secrets;
use super::server::Server;
use super::user_agent::TIMEOUT;

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
            None => timeout(TIMEOUT, self.promise_or_end())
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
            None => timeout(TIMEOUT, self.response)
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
pub struct Events(EventStream);

impl Events {
    /// Sends a GET with these header fields.
    pub async fn get(server: &Server, url: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        let target = Target::new(url).unwrap();
        let events = EventStream::get(Box::new(stream), &target, headers).await;
        Self(events.unwrap())
    }

    /// Returns the type and the data of the next event; `None` when the body has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        let event = timeout(TIMEOUT, self.0.next()).await;
        let event = event.expect("an event comes").unwrap()?;
        secrets::see(&event.data);
        Some((event.kind, serde_json::from_str(&event.data).unwrap()))
    }

    /// The reconnection time in milliseconds, once received.
    pub fn retry(&self) -> Option<u128> {
        self.0.retry().map(|wait| wait.as_millis())
    }
}
