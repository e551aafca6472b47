//! A user agent over HTTP/2 (RFC 8030).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::headers::{CRYPTO_KEY, ENCRYPTION};
use bugle_protocol::link::{self, LinkError};
use bugle_protocol::websocket::NotificationHeaders;
use bugle_protocol::{PublicKey, Urgency};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LINK, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::{Position, Url};

use crate::http2::{Http2Connection, Monitor};
use crate::target::http_url;
use crate::{ClientError, Dialer, Notification, credentials};

/// The path of Bugle's push service resource.
const SUBSCRIBE: &str = "subscribe";

/// The media type of a request for a restricted subscription (RFC 8292 §4.1).
const OPTIONS: &str = "application/webpush-options+json";

/// The URLs of a push message subscription (RFC 8030 §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The subscription resource. It is a secret: it gives access to the messages.
    pub url: String,
    /// The push resource, for the application server.
    pub push: String,
    /// The subscription set, if the service supports sets (RFC 8030 §4.1).
    pub set: Option<String>,
}

impl Subscription {
    /// The resource to monitor: the set, which covers all of its subscriptions, or else the
    /// subscription.
    pub fn monitored(&self) -> &str {
        self.set.as_ref().unwrap_or(&self.url)
    }
}

/// A connection of a user agent to its push service.
pub struct HttpUserAgent {
    connection: Http2Connection,
    /// The push service resource, with the path, query and credentials that the service
    /// requires.
    push_service: Url,
    monitor: Option<Monitor>,
}

impl HttpUserAgent {
    /// Connects to the service at `url` (`http` or `https`). The path, query, user and
    /// password of the URL are sent with each request to subscribe.
    ///
    /// # Errors
    /// When the connection or its HTTP/2 handshake fails.
    pub async fn connect(dialer: &Dialer, url: &str) -> Result<Self, ClientError> {
        let mut push_service = http_url(url)?;
        let path = format!("{}/{SUBSCRIBE}", push_service.path().trim_end_matches('/'));
        push_service.set_path(&path);
        Ok(Self {
            connection: Http2Connection::open(dialer, url).await?,
            push_service,
            monitor: None,
        })
    }

    /// Requests a subscription. With a `key`, the service accepts only pushes signed by it;
    /// with a `set`, the subscription joins that set.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses.
    pub async fn subscribe(
        &self,
        key: Option<&PublicKey>,
        set: Option<&str>,
    ) -> Result<Subscription, ClientError> {
        let (scheme, rest) = (
            &self.push_service[..Position::BeforeUsername],
            &self.push_service[Position::BeforeHost..],
        );
        let mut request = Request::post(format!("{scheme}{rest}"));
        if let Some(credentials) = credentials(&self.push_service) {
            request = request.header(AUTHORIZATION, credentials);
        }
        if let Some(set) = set {
            request = request.header(LINK, link::print(set, link::SET));
        }
        let mut body = Bytes::new();
        if let Some(key) = key {
            request = request.header(CONTENT_TYPE, OPTIONS);
            body = json!({ "vapid": key.to_base64url() }).to_string().into();
        }
        let request = request.body(body).map_err(|error| ClientError::Url {
            url: set.unwrap_or(SUBSCRIBE).to_owned(),
            problem: error.to_string(),
        })?;
        let answer = self.connection.send("subscribe", request).await?;
        check(&answer, &[StatusCode::CREATED], "subscribe")?;
        self.subscription(answer.headers())
    }

    fn subscription(&self, headers: &HeaderMap) -> Result<Subscription, ClientError> {
        let missing = |what: &str| ClientError::Protocol(format!("a subscription without {what}"));
        let unreadable = |error: LinkError| ClientError::Protocol(error.to_string());
        let url = text(headers, LOCATION).ok_or_else(|| missing("Location"))?;
        let push = link::find(headers, link::PUSH).map_err(unreadable)?;
        let push = push.ok_or_else(|| missing("a link to its push resource"))?;
        let set = link::find(headers, link::SET).map_err(unreadable)?;
        Ok(Subscription {
            url: self.connection.resolve(&url)?,
            push: self.connection.resolve(&push)?,
            set: set.map(|set| self.connection.resolve(&set)).transpose()?,
        })
    }

    /// Starts to monitor `subscription`; with an `urgency`, only for messages that are at
    /// least as urgent. The service keeps the others.
    pub fn monitor(&mut self, subscription: &Subscription, urgency: Option<Urgency>) {
        let url = subscription.monitored();
        self.monitor = Some(self.connection.monitor(url, urgency));
    }

    /// Waits without a limit for the next push message. The service sends an unacknowledged
    /// message again on the next connection.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the subscription no longer exists; other errors when the
    /// connection ends or no subscription is monitored.
    pub async fn receive(&mut self) -> Result<Notification, ClientError> {
        let Some(monitor) = &mut self.monitor else {
            return Err(ClientError::Protocol("nothing is monitored".to_owned()));
        };
        let promise = monitor.next().await?;
        let message = promise.url.clone();
        let response = promise.response().await?;
        check(&response, &[StatusCode::OK], "deliver a message")?;
        Ok(notification(message, &response))
    }

    /// Acknowledges a message, which ends its delivery (RFC 8030 §6.2).
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses.
    pub async fn acknowledge(&self, notification: &Notification) -> Result<(), ClientError> {
        let request = Request::delete(&notification.version).body(Bytes::new());
        let request = request.map_err(|error| ClientError::Url {
            url: notification.version.clone(),
            problem: error.to_string(),
        })?;
        let answer = self.connection.send("an acknowledgement", request).await?;
        // 404 and 410: the message expired, or its sender withdrew or replaced it.
        let ended = [
            StatusCode::OK,
            StatusCode::NO_CONTENT,
            StatusCode::NOT_FOUND,
            StatusCode::GONE,
        ];
        check(&answer, &ended, "end the delivery of a message")
    }
}

fn notification(message: String, response: &Response<Bytes>) -> Notification {
    let headers = response.headers();
    let body = response.body();
    Notification {
        channel: link::find(headers, link::PUSH)
            .ok()
            .flatten()
            .unwrap_or_default(),
        version: message,
        data: (!body.is_empty()).then(|| URL_SAFE_NO_PAD.encode(body)),
        headers: NotificationHeaders {
            encoding: text(headers, CONTENT_ENCODING),
            encryption: text(headers, ENCRYPTION),
            crypto_key: text(headers, CRYPTO_KEY),
        },
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn check(
    answer: &Response<Bytes>,
    wanted: &[StatusCode],
    what: &'static str,
) -> Result<(), ClientError> {
    let status = answer.status();
    if wanted.contains(&status) {
        return Ok(());
    }
    Err(ClientError::Refused {
        what,
        status: status.as_u16(),
    })
}
