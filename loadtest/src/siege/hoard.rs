//! Hostile clients that fill storage: messages, receipts and subscriptions. They follow the
//! protocol and request without end.

use std::sync::Arc;

use bugle::Clock;
use bugle_client::{
    ClientError, Dialer, Http2Connection, HttpUserAgent, UserAgent, new_channel_id, new_key_pair,
};
use bugle_protocol::headers::TTL;
use bugle_protocol::prefer::PREFER;
use bugle_protocol::{UnixTime, link};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, LINK};
use http::request::Builder;
use http::{HeaderMap, HeaderValue, Request};
use tokio::task::JoinSet;
use tokio::time::sleep;
use url::{Position, Url};

use super::strangers::{Kind, RETRY_PAUSE};
use super::tally::Shared;

/// Concurrent requests on each connection.
const CONCURRENT_REQUESTS: usize = 8;

/// Number of VAPID keys for the pushes, so that the share of an address fills before that
/// of a key.
const KEYS: usize = 64;

/// Number of subscriptions that receive messages, each of its own user agent, so that the
/// share of an address fills before that of a user agent.
const TARGETS: usize = 256;

/// A TTL of 30 days, in seconds.
const LONG: u32 = 30 * 24 * 3600;

/// The shared state of the hostile clients of one siege.
pub(super) struct Hoard {
    kind: Kind,
    dialer: Dialer,
    websocket: Url,
    http: Url,
    tally: Shared,
    /// The push resources.
    targets: Vec<String>,
    /// Values of `Authorization`, each signed by its own key.
    tokens: Vec<HeaderValue>,
    body: Bytes,
}

impl Hoard {
    /// Creates the subscriptions and tokens that the siege needs. Counts an error as
    /// failed.
    pub(super) async fn prepared(
        kind: Kind,
        dialer: Dialer,
        [websocket, http]: [Url; 2],
        tally: Shared,
    ) -> Self {
        let mut hoard = Self {
            kind,
            dialer,
            websocket,
            http,
            tally,
            targets: Vec::new(),
            tokens: Vec::new(),
            body: body(),
        };
        if hoard.prepare().await.is_err() {
            hoard.tally.failed();
        }
        hoard
    }

    async fn prepare(&mut self) -> Result<(), ClientError> {
        if self.kind == Kind::Stored {
            let user_agent = HttpUserAgent::connect(&self.dialer, self.http.as_str()).await?;
            while self.targets.len() < TARGETS {
                let made = user_agent.subscribe(None, None).await?;
                self.targets.push(made.push);
            }
        }
        let origin = match self.targets.first().and_then(|url| Url::parse(url).ok()) {
            Some(target) => target.origin(),
            None => self.http.origin(),
        };
        let origin = origin.ascii_serialization();
        let expires_at = UnixTime::from_secs(Clock::system().now().as_secs() + 12 * 3600);
        let signed = (0..KEYS).map(|_| new_key_pair().authorization(&origin, expires_at, None));
        self.tokens = signed.filter_map(|value| value.parse().ok()).collect();
        Ok(())
    }

    /// Sends requests on one connection until it fails.
    ///
    /// # Errors
    /// When the connection fails.
    pub(super) async fn ask(self: Arc<Self>) -> Result<(), ClientError> {
        let connection = self.connect().await?;
        if self.kind != Kind::Receipts {
            return self.ask_at_once(connection, None).await;
        }
        let mut user_agent = UserAgent::connect(&self.dialer, &self.websocket).await?;
        user_agent.hello(None).await?;
        let endpoint = user_agent.register(new_channel_id(), None).await?;
        let unacknowledged = async {
            loop {
                user_agent.receive().await?;
            }
        };
        tokio::select! {
            ended = Arc::clone(&self).ask_at_once(connection, Some(endpoint)) => ended,
            ended = unacknowledged => ended,
        }
    }

    async fn connect(&self) -> Result<Http2Connection, ClientError> {
        Http2Connection::open(&self.dialer, self.http.as_str()).await
    }

    async fn ask_at_once(
        self: Arc<Self>,
        connection: Http2Connection,
        endpoint: Option<String>,
    ) -> Result<(), ClientError> {
        let mut asking = JoinSet::new();
        for _ in 0..CONCURRENT_REQUESTS {
            let (hoard, connection) = (Arc::clone(&self), connection.clone());
            asking.spawn(hoard.ask_on(connection, endpoint.clone()));
        }
        // The first failure cancels the others.
        match asking.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Ok(()),
        }
    }

    /// Sends one request after the other and pauses after each refusal.
    async fn ask_on(
        self: Arc<Self>,
        connection: Http2Connection,
        endpoint: Option<String>,
    ) -> Result<(), ClientError> {
        let mut receipts = None;
        for nth in 0.. {
            let request = match (self.kind, &endpoint) {
                (Kind::Stored, _) => self.store()?,
                (_, Some(endpoint)) => {
                    let known = receipts.as_deref().filter(|_| nth % 2 == 1);
                    self.push_with_receipt(endpoint, known)?
                }
                _ => self.subscribe()?,
            };
            let answer = connection.send("a stranger", request).await;
            let answer = answer.inspect_err(|_| self.tally.failed())?;
            if self.tally.answered(&answer) {
                sleep(RETRY_PAUSE).await;
            }
            receipts = receipts.or_else(|| receipt_subscription(answer.headers()));
        }
        Ok(())
    }

    /// A request for a subscription of a new user agent.
    fn subscribe(&self) -> Result<Request<Bytes>, ClientError> {
        let url = format!("{}/subscribe", &self.http[..Position::BeforePath]);
        end(Request::post(url), Bytes::new())
    }

    /// A push that is stored for 30 days.
    fn store(&self) -> Result<Request<Bytes>, ClientError> {
        let push = self.push(any(&self.targets)?, LONG)?;
        end(push, self.body.clone())
    }

    /// A push whose receipt stays pending for a minute, because no user agent acknowledges
    /// it.
    fn push_with_receipt(
        &self,
        endpoint: &str,
        receipts: Option<&str>,
    ) -> Result<Request<Bytes>, ClientError> {
        let mut push = self.push(endpoint, 0)?.header(PREFER, "respond-async");
        if let Some(receipts) = receipts {
            push = push.header(LINK, link::print(receipts, link::RECEIPT));
        }
        end(push, Bytes::new())
    }

    fn push(&self, to: &str, ttl: u32) -> Result<Builder, ClientError> {
        let push = Request::post(to).header(TTL, ttl);
        let push = push.header(CONTENT_ENCODING, "aes128gcm");
        Ok(push.header(AUTHORIZATION, any(&self.tokens)?))
    }
}

/// A body with the header of an encrypted message (RFC 8188 §2.1) and the maximum length.
fn body() -> Bytes {
    let key = new_key_pair().public_key();
    let header = [&[7; 16][..], &4096_u32.to_be_bytes(), &[65]].concat();
    let mut body = [&header[..], key.as_bytes()].concat();
    body.resize(4096, b'x');
    body.into()
}

/// The receipt subscription in a response.
fn receipt_subscription(headers: &HeaderMap) -> Option<String> {
    link::find(headers, link::RECEIPT).ok().flatten()
}

/// A random element of a prepared list.
fn any<T>(prepared: &[T]) -> Result<&T, ClientError> {
    let missing = || ClientError::Protocol("nothing was prepared".to_owned());
    fastrand::choice(prepared).ok_or_else(missing)
}

fn end(request: Builder, body: Bytes) -> Result<Request<Bytes>, ClientError> {
    request
        .body(body)
        .map_err(|error| ClientError::Protocol(error.to_string()))
}
