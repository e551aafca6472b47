//! HTTP/2 with server push: requests, and monitored resources (RFC 8030 §6).

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bugle_protocol::Urgency;
use bugle_protocol::headers::URGENCY;
use bytes::{Bytes, BytesMut};
use h2::client::{
    Builder, Connection, PushPromise, PushPromises, PushedResponseFuture, SendRequest,
};
use h2::{Ping, PingPong, RecvStream};
use http::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use url::Url;

use crate::target::http_url;
use crate::{ClientError, Dialer, PING_INTERVAL, Stream, TIMEOUT};

/// Maximum size of a body, in bytes; the same as over the WebSocket.
const MAX_BODY: usize = 1 << 20;

/// Maximum size of a header list, in bytes.
const MAX_HEADERS: u32 = 16 << 10;

/// Maximum number of unread pushes. The service keeps the messages of refused pushes.
const MAX_PUSHES: u32 = 1024;

/// Flow-control window of the connection: the unread bytes of all bodies together.
const CONNECTION_WINDOW: u32 = 2 << 20;

/// Minimum interval between two GETs for a monitored resource.
const MIN_GET_INTERVAL: Duration = Duration::from_secs(1);

/// An HTTP/2 connection that sends any number of concurrent requests. After [`PING_INTERVAL`]
/// without traffic, it pings the service.
#[derive(Clone)]
pub struct Http2Connection {
    sender: SendRequest<Bytes>,
    origin: Url,
}

impl Http2Connection {
    /// Connects to the host of `url` (`http` or `https`).
    ///
    /// # Errors
    /// When the connection or its HTTP/2 handshake fails.
    pub async fn open(dialer: &Dialer, url: &str) -> Result<Self, ClientError> {
        let url = http_url(url)?;
        let mut origin = url.join("/").map_err(|error| ClientError::Url {
            url: url.to_string(),
            problem: error.to_string(),
        })?;
        // User and password belong to one request and must not enter `:authority`. Removing
        // them cannot fail for a URL with a host.
        let _ = (origin.set_username(""), origin.set_password(None));
        Self::on_stream(dialer.dial_http2(&origin).await?, origin).await
    }

    /// Starts HTTP/2 on an open connection to `origin`.
    ///
    /// # Errors
    /// When the HTTP/2 handshake fails.
    pub async fn on_stream(stream: Stream, origin: Url) -> Result<Self, ClientError> {
        let mut settings = Builder::new();
        settings
            .enable_push(true)
            .max_concurrent_streams(MAX_PUSHES)
            .max_header_list_size(MAX_HEADERS)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, mut connection) = timeout(TIMEOUT, settings.handshake(stream))
            .await
            .map_err(|_| ClientError::Silence("the HTTP/2 handshake"))??;
        if let Some(ping) = connection.ping_pong() {
            tokio::spawn(drive(connection, ping));
        }
        Ok(Self { sender, origin })
    }

    /// Resolves a URL reference in a response of this service.
    ///
    /// # Errors
    /// When it is malformed or has another origin: a service speaks for its own origin
    /// only.
    pub(crate) fn resolve(&self, text: &str) -> Result<String, ClientError> {
        let url = self.origin.join(text).ok();
        let url = url.filter(|url| url.origin() == self.origin.origin());
        url.map(String::from).ok_or_else(|| {
            let (text, origin) = (text.escape_debug(), self.origin.origin());
            let origin = origin.ascii_serialization();
            ClientError::Protocol(format!("{text} is no URL of {origin}, which was asked"))
        })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When the connection fails, or no response arrives within [`TIMEOUT`]; the error
    /// then names `what`.
    pub async fn send(
        &self,
        what: &'static str,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        let exchange = async {
            let (head, body) = request.into_parts();
            let mut sender = self.sender.clone().ready().await?;
            let head = Request::from_parts(head, ());
            let (response, mut stream) = sender.send_request(head, body.is_empty())?;
            if !body.is_empty() {
                stream.send_data(body, true)?;
            }
            read(response.await?).await
        };
        let answer = timeout(TIMEOUT, exchange).await;
        answer.unwrap_or(Err(ClientError::Silence(what)))
    }

    /// Starts to monitor a resource; with an `urgency`, only for messages that are at least
    /// as urgent (RFC 8030 §5.3).
    pub(crate) fn monitor(&self, url: &str, urgency: Option<Urgency>) -> Monitor {
        Monitor {
            connection: self.clone(),
            url: url.to_owned(),
            urgency,
            held: None,
            ask_at: Instant::now(),
        }
    }
}

/// Drives a connection until it ends; its streams then return the error to their readers.
async fn drive(connection: Connection<Stream, Bytes>, mut ping: PingPong) {
    let alive = async {
        loop {
            sleep(PING_INTERVAL).await;
            let pong = timeout(TIMEOUT, ping.ping(Ping::opaque())).await;
            if !matches!(pong, Ok(Ok(_))) {
                return;
            }
        }
    };
    tokio::select! {
        _ = connection => {}
        () = alive => {}
    }
}

/// A monitored resource. Sends its GET again whenever the service ends it, which it may do
/// at any time.
pub(crate) struct Monitor {
    connection: Http2Connection,
    url: String,
    urgency: Option<Urgency>,
    held: Option<Held>,
    ask_at: Instant,
}

/// The GET that the service keeps open.
struct Held {
    pushes: PushPromises,
    answer: Pin<Box<dyn Future<Output = Result<StatusCode, ClientError>> + Send>>,
    /// The status of the response, once it has arrived.
    status: Option<StatusCode>,
}

impl Held {
    /// Returns the next promise; `None` when the service has ended the GET and all promises
    /// are read.
    async fn next(&mut self) -> Result<Option<PushPromise>, ClientError> {
        loop {
            // The end of the response does not wake a task that waits for promises.
            tokio::select! {
                biased;
                Some(promise) = self.pushes.push_promise() => return Ok(Some(promise?)),
                status = &mut self.answer, if self.status.is_none() => self.status = Some(status?),
                else => return Ok(None),
            }
        }
    }
}

impl Monitor {
    /// Waits without a limit for the next server push. Cancellation-safe.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if the resource does not exist; other errors when the
    /// connection ends.
    pub(crate) async fn next(&mut self) -> Result<Promise, ClientError> {
        loop {
            let held = match &mut self.held {
                Some(held) => held,
                None => {
                    sleep_until(self.ask_at).await;
                    self.ask_at = Instant::now() + MIN_GET_INTERVAL;
                    let held = self.ask().await?;
                    self.held.insert(held)
                }
            };
            if let Some(promise) = held.next().await? {
                return self.promise(promise);
            }
            match self.held.take().and_then(|held| held.status) {
                None | Some(StatusCode::OK | StatusCode::NO_CONTENT) => {}
                Some(StatusCode::NOT_FOUND | StatusCode::GONE) => return Err(ClientError::Gone),
                Some(status) => {
                    return Err(ClientError::Refused {
                        what: "be monitored",
                        status: status.as_u16(),
                    });
                }
            }
        }
    }

    async fn ask(&self) -> Result<Held, ClientError> {
        let mut request = Request::get(&self.url);
        if let Some(urgency) = self.urgency {
            request = request.header(URGENCY, urgency.as_str());
        }
        let request = request.body(()).map_err(|error| ClientError::Url {
            url: self.url.clone(),
            problem: error.to_string(),
        })?;
        let sender = timeout(TIMEOUT, self.connection.sender.clone().ready()).await;
        let mut sender = sender.map_err(|_| ClientError::Silence("a GET"))??;
        let (mut response, _) = sender.send_request(request, true)?;
        let pushes = response.push_promises();
        let answer = async { Ok(read(response.await?).await?.status()) };
        Ok(Held {
            pushes,
            answer: Box::pin(answer),
            status: None,
        })
    }

    fn promise(&self, promise: PushPromise) -> Result<Promise, ClientError> {
        let (request, response) = promise.into_parts();
        let url = self.connection.resolve(&request.uri().to_string())?;
        if request.method() != Method::GET {
            return Err(ClientError::Protocol(format!(
                "it pushed the answer to a {} request; only GET makes sense (RFC 8030 §6)",
                request.method()
            )));
        }
        Ok(Promise { url, response })
    }
}

/// A promised server push.
pub(crate) struct Promise {
    /// The URL of its message.
    pub(crate) url: String,
    response: PushedResponseFuture,
}

impl Promise {
    /// Reads the pushed response.
    ///
    /// # Errors
    /// When the connection fails, or the response does not arrive within [`TIMEOUT`].
    pub(crate) async fn response(self) -> Result<Response<Bytes>, ClientError> {
        let response = async { read(self.response.await?).await };
        let response = timeout(TIMEOUT, response).await;
        response.unwrap_or(Err(ClientError::Silence("a server push's promise")))
    }
}

async fn read(response: Response<RecvStream>) -> Result<Response<Bytes>, ClientError> {
    let (head, mut stream) = response.into_parts();
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        if body.len() + data.len() > MAX_BODY {
            let problem = format!("a body of more than {} KiB", MAX_BODY >> 10);
            return Err(ClientError::Protocol(problem));
        }
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Response::from_parts(head, body.freeze()))
}
