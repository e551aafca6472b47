//! A user agent over HTTP/2, as RFC 8030 describes it.

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

use crate::application_server::http_url;
use crate::http2::{Http2Connection, Monitor};
use crate::{ClientError, Dialer, Notification, credentials};

/// The push service resource of Bugle.
const SUBSCRIBE: &str = "subscribe";

/// The media type of a restricted subscription (RFC 8292 §4.1).
const OPTIONS: &str = "application/webpush-options+json";

/// A push message subscription (RFC 8030 §4), by its URLs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The subscription. Whoever knows it receives its messages.
    pub url: String,
    /// The push resource: what an application server is given.
    pub push: String,
    /// The subscription set, if the service has such (RFC 8030 §4.1).
    pub set: Option<String>,
}

impl Subscription {
    /// What is monitored for its messages: the set, which brings those of all
    /// its subscriptions, or the subscription alone.
    pub fn monitored(&self) -> &str {
        self.set.as_ref().unwrap_or(&self.url)
    }
}

/// A connection of a user agent to its push service.
pub struct HttpUserAgent {
    connection: Http2Connection,
    /// The push service resource, with what the service asks of user agents.
    entrance: Url,
    monitor: Option<Monitor>,
}

impl HttpUserAgent {
    /// Connects to the service at `url` (`http` or `https`), which may carry what
    /// the service asks of user agents: a path, a query, user and password.
    ///
    /// # Errors
    /// When there is no connection, or no HTTP/2 on it.
    pub async fn connect(dialer: &Dialer, url: &str) -> Result<Self, ClientError> {
        let mut entrance = http_url(url)?;
        let path = format!("{}/{SUBSCRIBE}", entrance.path().trim_end_matches('/'));
        entrance.set_path(&path);
        Ok(Self {
            connection: Http2Connection::open(dialer, url).await?,
            entrance,
            monitor: None,
        })
    }

    /// Asks for a subscription; with a `key`, one that takes pushes signed by it
    /// alone, with a `set`, one that belongs to it.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service will not.
    pub async fn subscribe(
        &self,
        key: Option<&PublicKey>,
        set: Option<&str>,
    ) -> Result<Subscription, ClientError> {
        let (scheme, rest) = (
            &self.entrance[..Position::BeforeUsername],
            &self.entrance[Position::BeforeHost..],
        );
        let mut request = Request::post(format!("{scheme}{rest}"));
        if let Some(credentials) = credentials(&self.entrance) {
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

    /// From now on, receives what comes for `subscription`; with an `urgency`,
    /// what is at least as urgent. The service keeps the rest.
    pub fn monitor(&mut self, subscription: &Subscription, urgency: Option<Urgency>) {
        let url = subscription.monitored();
        self.monitor = Some(self.connection.monitor(url, urgency));
    }

    /// Waits for the next push message, for as long as it takes. One that is
    /// not acknowledged comes again, on another connection.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the subscription is; others
    /// when the connection ends, or nothing is monitored.
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
    /// [`ClientError::Refused`] when the service will not.
    pub async fn acknowledge(&self, notification: &Notification) -> Result<(), ClientError> {
        let request = Request::delete(&notification.version).body(Bytes::new());
        let request = request.map_err(|error| ClientError::Url {
            url: notification.version.clone(),
            problem: error.to_string(),
        })?;
        let answer = self.connection.send("an acknowledgement", request).await?;
        // Gone already: it expired, or its sender withdrew or replaced it.
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
