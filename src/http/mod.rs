//! HTTP: the one list of routes, and how a refusal is told. Knows no HTTP
//! engine: [`http1`] and [`http2`] put theirs in front of [`route`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode, request};
use http_body_util::Full;
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::admin::access::Remote;
use crate::admin::{self, Admin, AdminError};
use crate::admission::Admission;
use crate::config::Config;
use crate::error::Error;
use crate::limits::Limit;
use crate::proxies::{Mistakes, Proxies};
use crate::random::random;
use crate::rates::Rates;
use crate::readiness::Readiness;
use crate::server::Stopping;
use crate::service::PushService;
use crate::shares::{Place, Pool};
use crate::user_agent::monitor::Monitor;

use self::body::Content;
use self::places::Places;
use self::subscription::Held;

pub use self::events::Events;

pub mod body;
pub mod events;
pub mod http1;
pub mod http2;
pub mod status;

mod handshake;
mod hang_up;
mod message;
mod patient;
mod places;
mod promises;
mod push;
mod pushed;
mod subscription;
mod unread;
mod watched;

/// A response as every engine can send it.
pub type Reply = Response<Full<Bytes>>;

/// The answer to a request.
pub enum Answer {
    /// This.
    Reply(Reply),
    /// What the monitor reads, as server pushes (RFC 8030 §6).
    Pushes(Monitor),
    /// The same as Server-Sent Events in the body.
    Events(Monitor),
    /// A body that goes on.
    Stream(Response<Events>),
}

/// Stands in a request's extensions where its connection takes server pushes.
#[derive(Clone, Copy)]
pub struct TakesPushes;

/// What the routes need.
pub struct Site {
    /// The service.
    pub service: PushService,
    /// How far the service is on its way down.
    pub stopping: Stopping,
    /// What the admin API keeps.
    pub admin: Admin,
    /// Who may come in as a user agent.
    pub admission: Admission,
    /// How often each peer may ask.
    pub rates: Rates,
    /// The proxies that are believed.
    pub proxies: Proxies,
    /// Whether it can do its work.
    pub readiness: Readiness,
    /// What is told of those that are not as they have to be.
    pub mistakes: Mistakes,
    /// The connections to the public listener. Of the clients of a trusted
    /// proxy, their requests and WebSockets count in their shares.
    pub connections: Arc<Pool>,
    /// The places of requests and user agents.
    places: Places,
    /// What goes on when its client hangs up.
    effects: TaskTracker,
}

/// The most header fields of a request over HTTP/2: as many as hyper reads of one
/// over HTTP/1.1.
const HEADER_FIELDS: usize = 100;

/// The longest URL that means anything here has a token of 86 characters.
const LONGEST_PATH: usize = 256;

impl Site {
    /// The site of a service.
    pub fn new(service: PushService, admin: Admin) -> Self {
        let Config {
            admission,
            limits,
            server,
            ..
        } = service.config();
        let connections = Pool::new(Limit::Connections, limits.connections);
        let places = Places::new(limits);
        let rates = Rates::new(limits, service.clock());
        let admission = Admission::new(admission);
        let proxies = Proxies::new(server);
        let mistakes = Mistakes::new(service.clock());
        Self {
            service,
            stopping: Stopping::default(),
            admin,
            admission,
            rates,
            proxies,
            readiness: Readiness::default(),
            mistakes,
            connections,
            places,
            effects: TaskTracker::new(),
        }
    }

    /// Whether this address may ask now.
    ///
    /// # Errors
    /// [`Error::BlockedAddress`], [`Error::Rate`].
    pub fn admit_peer(&self, address: IpAddr) -> Result<(), Error> {
        self.service.blocks().check_address(address)?;
        self.rates.request(address)
    }

    /// Refuses a request to the public listener before its route is known, in a
    /// way that pages of other origins can read where the route could be.
    fn refuse_early(&self, parts: &request::Parts, error: &Error) -> Reply {
        let mut reply = self.refuse(error);
        if let Some(methods) = methods(self, parts.uri.path()) {
            share(&mut reply, methods);
        }
        reply
    }

    /// Runs an effect to its end, in a task of its own: over HTTP/1.1 a client
    /// that hangs up ends its request, which must not stop an effect half-way.
    ///
    /// # Errors
    /// What the effect says; [`Error::Unavailable`] when it panics.
    pub async fn finish<T: Send + 'static>(
        &self,
        effect: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let task = self.effects.spawn(effect);
        task.await.unwrap_or(Err(Error::Unavailable))
    }

    /// Waits until all effects have come to their end.
    pub async fn finished(&self) {
        self.effects.close();
        self.effects.wait().await;
    }

    /// Counts a refusal and says it.
    pub fn refuse(&self, error: &Error) -> Reply {
        self.service.metrics().refuse(error.label());
        // The words of the answer may repeat what the client wrote.
        let status = error.status().as_u16();
        tracing::debug!(
            status,
            reason = error.label(),
            detail = error.detail(),
            "refused"
        );
        refusal(error, &self.service.public_url().url("/errors"))
    }
}

/// The methods of the resource at a path of the public listener, as `Allow` and
/// CORS name them; `None` for a page, which no page of another origin calls.
fn methods(site: &Site, path: &str) -> Option<&'static str> {
    if site.admission.entrance(path) == Some(subscription::ENTRANCE) {
        return Some(subscription::SUBSCRIBE_METHODS);
    }
    let (kind, _) = path.strip_prefix('/').unwrap_or(path).split_once('/')?;
    match kind {
        "push" => Some(push::METHODS),
        "message" => Some(message::METHODS),
        "subscription" | "subscription-set" | "receipt-subscription" => Some(subscription::METHODS),
        _ => None,
    }
}

/// Answers a request to the public listener.
pub async fn route(
    site: &Arc<Site>,
    address: IpAddr,
    parts: &request::Parts,
    content: impl Content,
) -> Answer {
    let path = parts.uri.path();
    let answered = match site.begin(path, address) {
        _ if path.len() > LONGEST_PATH => Err(Error::NotFound),
        Ok(begun) => answer(site, address, parts, content, begun).await,
        Err(error) => Err(error),
    };
    let answer = answered.unwrap_or_else(|error| Answer::Reply(site.refuse(&error)));
    match (answer, methods(site, path)) {
        (Answer::Reply(mut reply), Some(methods)) => {
            share(&mut reply, methods);
            Answer::Reply(reply)
        }
        (answer, _) => answer,
    }
}

/// Answers a request that has `begun`: it holds a place until it is answered,
/// or gives that back while its body arrives.
async fn answer(
    site: &Arc<Site>,
    address: IpAddr,
    parts: &request::Parts,
    content: impl Content,
    begun: Option<Place>,
) -> Result<Answer, Error> {
    let path = parts.uri.path();
    let entrance = site.admission.entrance(path);
    let reply = match path.strip_prefix('/').unwrap_or(path).split_once('/') {
        _ if entrance == Some(subscription::ENTRANCE) => {
            subscription::subscribe(site, address, parts, content, begun).await?
        }
        Some(("push", token)) => {
            push::resource(site, address, parts, token, content, begun).await?
        }
        Some(("message", token)) => message::resource(site, parts, token).await?,
        Some(("subscription", token)) => {
            return subscription::held(site, address, parts, Held::Subscription(token)).await;
        }
        Some(("subscription-set", token)) => {
            return subscription::held(site, address, parts, Held::Set(token)).await;
        }
        Some(("receipt-subscription", token)) => {
            return subscription::held(site, address, parts, Held::Receipts(token)).await;
        }
        _ => status::page(site, parts).await?,
    };
    Ok(Answer::Reply(reply))
}

/// Answers a request to the admin listener.
pub async fn route_admin(
    site: &Arc<Site>,
    parts: &request::Parts,
    content: impl Content,
    remote: Remote,
) -> Answer {
    let path = parts.uri.path();
    let answered = match (path, path.strip_prefix("/admin/")) {
        (_, Some(path)) => admin::route(site, parts, path, content, remote).await,
        // A page elsewhere must not read the metrics by DNS rebinding either.
        ("/metrics", _) => match site.admin.check_origin(parts, remote) {
            Ok(()) => status::metrics(site, parts).map(Answer::Reply),
            Err(error) => Err(error.into()),
        },
        _ => match admin::console::file(path, site.service.public_url()) {
            Some(file) if status::is_get(&parts.method) => Ok(Answer::Reply(file)),
            Some(_) => Err(Error::MethodNotAllowed(status::GET)),
            None => {
                let page = status::page(site, parts).await;
                page.map(Answer::Reply)
            }
        },
    };
    answered.unwrap_or_else(|error| Answer::Reply(site.refuse(&error)))
}

/// A reply without a body.
fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = status;
    reply
}

/// A reply with a text.
pub fn text(content_type: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(Full::new(text.into()));
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Sets a header to a text that we made.
pub fn set<B>(reply: &mut Response<B>, name: HeaderName, value: impl ToString) {
    // What we make is visible ASCII; a sender's text is checked where it is read.
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        reply.headers_mut().insert(name, value);
    }
}

/// Lets pages of any origin call a resource and read its replies (WS-AS-1).
fn share<B>(reply: &mut Response<B>, methods: &'static str) {
    const READABLE: &str = "Location, Link, TTL, Retry-After, WWW-Authenticate";
    // Named one by one: `*` does not cover Authorization.
    const TAKEN: &str = "Content-Type, TTL, Urgency, Topic, Authorization, Content-Encoding, \
                         Encryption, Crypto-Key, Prefer, Link, traceparent, tracestate";
    set(reply, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(reply, ACCESS_CONTROL_EXPOSE_HEADERS, READABLE);
    if reply.status() == StatusCode::NO_CONTENT && reply.headers().contains_key(ALLOW) {
        set(reply, ACCESS_CONTROL_ALLOW_METHODS, methods);
        set(reply, ACCESS_CONTROL_ALLOW_HEADERS, TAKEN);
        set(reply, ACCESS_CONTROL_MAX_AGE, 3600);
    }
}

/// Answers OPTIONS.
fn options(methods: &'static str) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    set(&mut reply, ALLOW, methods);
    reply
}

/// Says a refusal: the status, and the JSON body that sender libraries parse
/// (WS-AS-2).
fn refusal(error: &Error, more_info: &str) -> Reply {
    const PASSWORD: &str = r#"Basic realm="user agents", charset="UTF-8""#;
    const GONE_FOR_GOOD: &str = "max-age=86400";
    let status = error.status();
    let mut body = json!({
        "code": status.as_u16(),
        "errno": error.errno(),
        "error": status.canonical_reason().unwrap_or_default(),
        "message": error.to_string(),
        "more_info": more_info,
    });
    if let Some(setting) = error.setting() {
        body["setting"] = setting.into();
        if let Some(limit) = setting.strip_prefix("limits.") {
            body["limit"] = limit.into();
        }
    }
    if let Some(holder) = error.holder() {
        body["share"] = holder.into();
    }
    let mut reply = text("application/json", body.to_string());
    *reply.status_mut() = status;
    match error {
        Error::MethodNotAllowed(allow) => set(&mut reply, ALLOW, allow),
        Error::Unauthorized => set(&mut reply, WWW_AUTHENTICATE, "vapid"),
        Error::Admin(AdminError::Unauthorized) => set(&mut reply, WWW_AUTHENTICATE, "Bearer"),
        Error::Password => set(&mut reply, WWW_AUTHENTICATE, PASSWORD),
        Error::Gone(_) => set(&mut reply, CACHE_CONTROL, GONE_FOR_GOOD),
        // RFC 6585 §4.
        Error::Limit(_) | Error::Full(_) | Error::Share { .. } | Error::Rate { .. } => {
            set(&mut reply, CACHE_CONTROL, "no-store")
        }
        Error::WebSocketVersion => {
            set(&mut reply, SEC_WEBSOCKET_VERSION, 13);
            set(&mut reply, UPGRADE, "websocket");
        }
        Error::Admin(_) => {}
        // RFC 9110 §12.5.3, §15.5.16, E-1: the coding that is always taken.
        _ if status == StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            set(&mut reply, ACCEPT_ENCODING, "aes128gcm");
        }
        _ => {}
    }
    if let Some(after) = error.retry_after() {
        set(&mut reply, RETRY_AFTER, jittered(after).as_secs());
    }
    reply
}

/// A moment from `after` to half as much later, so that those who were refused
/// together do not come back together.
fn jittered(after: Duration) -> Duration {
    after + after.mul_f64(f64::from(u16::from_ne_bytes(random())) / f64::from(u16::MAX) / 2.0)
}
