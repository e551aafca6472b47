//! An application server: makes push requests and posts them.

use std::time::Duration;

use bugle_protocol::headers::{TOPIC, TTL, URGENCY};
use bugle_protocol::prefer::PREFER;
use bugle_protocol::{KeyPair, Topic, Ttl, UnixTime, Urgency, link};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, LINK};
use http::request::Builder;
use http::{Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::random::random;
use crate::target::http_url;
use crate::{
    ClientError, Dialer, MAX_ANSWER, PushSubscription, Stream, TIMEOUT, Target, new_key_pair,
};

/// How long a VAPID token is valid. RFC 8292 §2 allows at most 24 hours; half of that
/// tolerates clock skew.
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
    /// The request to post to a push resource, with a body that is already encrypted in place of
    /// `text`, and the value of `Authorization` (RFC 8292 §3).
    ///
    /// # Errors
    /// When the receipt subscription is not a URL that can be sent.
    pub fn request(
        &self,
        target: &Target,
        version: Version,
        authorization: Option<HeaderValue>,
        body: Option<Vec<u8>>,
    ) -> Result<Request<Bytes>, ClientError> {
        let mut request = self.describe(target.request(Method::POST, version));
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_ENCODING, "aes128gcm");
        }
        target.complete(request, body.unwrap_or_default().into())
    }

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
        let target = Target::new(&subscription.endpoint)?;
        let authorization = self.authorization(&target, now);
        let encrypt = |text: &Vec<u8>| subscription.keys.encrypt(text, &new_key_pair(), random());
        let body = push.text.as_ref().map(encrypt).transpose()?;
        let request = push.request(&target, Version::HTTP_11, authorization, body)?;
        Ok(request.map(Full::new))
    }

    /// A new signature for requests to the origin of `target`.
    fn authorization(&self, target: &Target, now: UnixTime) -> Option<HeaderValue> {
        let vapid = self.vapid.as_ref()?;
        let origin = target.url().origin().ascii_serialization();
        let expires_at = now + TOKEN_LIFETIME;
        let value = vapid.authorization(&origin, expires_at, self.subject.as_deref());
        // A token in base64url is always a valid field value.
        HeaderValue::from_str(&value).ok()
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
    /// When the connection fails, or no response arrives within [`TIMEOUT`].
    pub async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, ClientError> {
        let exchange = async {
            let (head, body) = self.begin(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| ClientError::Answer(error.to_string()))?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer = timeout(TIMEOUT, exchange).await;
        answer.unwrap_or(Err(ClientError::Silence("the request")))
    }

    /// Sends a request and reads the head of the response.
    ///
    /// # Errors
    /// When the connection fails, or no response arrives within [`TIMEOUT`].
    pub(crate) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let exchange = async {
            self.sender.ready().await?;
            Ok(self.sender.send_request(request).await?)
        };
        let answer = timeout(TIMEOUT, exchange).await;
        answer.unwrap_or(Err(ClientError::Silence("the request")))
    }
}
