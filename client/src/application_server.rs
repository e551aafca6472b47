//! An application server: makes push requests and posts them.

use std::time::Duration;

use bugle_protocol::headers::{TOPIC, TTL, URGENCY};
use bugle_protocol::prefer::PREFER;
use bugle_protocol::{KeyPair, Topic, Ttl, UnixTime, Urgency, link};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LINK};
use http::request::Builder;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use url::{Position, Url};

use crate::random::random;
use crate::{ClientError, Dialer, MAX_ANSWER, PATIENCE, PushSubscription, Stream, new_key_pair};

/// How long a VAPID token is valid. RFC 8292 §2 allows at most 24 hours; half of that
/// leaves room for clock skew.
const TOKEN_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A message for a user agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// The plaintext, at most 3993 bytes; `None` sends a push without a body.
    pub text: Option<Vec<u8>>,
    /// How long the service should keep the message.
    pub ttl: Ttl,
    /// `None` omits the header, which means normal urgency (RFC 8030 §5.3).
    pub urgency: Option<Urgency>,
    /// Replaces the stored message with the same topic (RFC 8030 §5.4).
    pub topic: Option<Topic>,
    /// Whether, and where, the application server wants a receipt.
    pub receipt: Option<ReceiptRequest>,
}

/// Which receipt subscription to use (RFC 8030 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptRequest {
    /// The service creates a new one.
    New,
    /// The URL of one that an earlier push to the same service returned.
    At(String),
}

impl Push {
    /// Adds the header fields that control delivery.
    fn describe(&self, request: Builder) -> Builder {
        let mut request = request.header(TTL, self.ttl.as_secs());
        if let Some(urgency) = self.urgency {
            request = request.header(URGENCY, urgency.as_str());
        }
        if let Some(topic) = &self.topic {
            request = request.header(TOPIC, topic.as_str());
        }
        if let Some(receipt) = &self.receipt {
            request = request.header(PREFER, "respond-async");
            if let ReceiptRequest::At(url) = receipt {
                request = request.header(LINK, link::print(url, link::RECEIPT));
            }
        }
        request
    }
}

/// An application server.
#[derive(Clone, Debug, Default)]
pub struct ApplicationServer {
    /// The VAPID key pair; `None` sends requests without a signature.
    pub vapid: Option<KeyPair>,
    /// Contact for the service's operator, a `mailto:` or `https:` URI (RFC
    /// 8292 §2.1).
    pub subject: Option<String>,
}

impl ApplicationServer {
    /// Encrypts and signs `push`. Returns the request to post to the subscription's
    /// endpoint.
    ///
    /// # Errors
    /// When the endpoint is not an `http` or `https` URL, or the text is too long.
    pub fn request(
        &self,
        subscription: &PushSubscription,
        push: &Push,
        now: UnixTime,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let url = http_url(&subscription.endpoint)?;
        let request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, &url[Position::BeforeHost..Position::AfterPort]);
        let mut request = push.describe(request);
        if let Some(vapid) = &self.vapid {
            let origin = url.origin().ascii_serialization();
            let expires_at = now + TOKEN_LIFETIME;
            let value = vapid.authorization(&origin, expires_at, self.subject.as_deref());
            request = request.header(AUTHORIZATION, value);
        }
        let mut body = Bytes::new();
        if let Some(text) = &push.text {
            let ephemeral = new_key_pair();
            let salt = random();
            body = subscription.keys.encrypt(text, &ephemeral, salt)?.into();
            request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_ENCODING, "aes128gcm");
        }
        request
            .body(Full::new(body))
            .map_err(|error| ClientError::Url {
                url: subscription.endpoint.clone(),
                problem: error.to_string(),
            })
    }
}

/// An HTTP/1.1 connection that sends any number of requests, one after the other.
#[derive(Debug)]
pub struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
}

impl HttpConnection {
    /// Connects to the host of `url` (`http` or `https`).
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn open(dialer: &Dialer, url: &str) -> Result<Self, ClientError> {
        Self::on_stream(dialer.dial(&http_url(url)?).await?).await
    }

    /// Starts HTTP/1.1 on an open connection.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn on_stream(stream: Stream) -> Result<Self, ClientError> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // `send` returns the errors of the connection too.
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When the connection fails, or no response arrives within [`PATIENCE`].
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, ClientError> {
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| ClientError::Answer(error.to_string()))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer = timeout(PATIENCE, exchange).await;
        answer.unwrap_or(Err(ClientError::Silence("the request")))
    }
}

pub(crate) fn http_url(text: &str) -> Result<Url, ClientError> {
    let unusable = |problem: String| ClientError::Url {
        url: text.to_owned(),
        problem,
    };
    let url = Url::parse(text).map_err(|error| unusable(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(unusable("its scheme is neither http nor https".to_owned())),
    }
}
