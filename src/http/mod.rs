//! HTTP: the routes of the public listener. They depend on no HTTP engine: [`http1`] and
//! [`http2`] each call [`route`].

use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::ResourcePath;
use bugle_protocol::resource::Kind;
use futures_util::future::BoxFuture;
use http::{Response, request};

use crate::app::App;
use crate::app::peer::Remote;
use crate::gate::fairness::Slot;
use crate::user_agent::monitor::Monitor;

use self::body::Content;
use self::refusal::{Refusal, refuse};
use self::reply::share;

pub use self::events::Events;
pub use self::reply::Reply;

pub mod body;
pub mod events;
pub mod http1;
pub mod http2;
pub mod refusal;
pub mod reply;
pub mod status;

mod chromium;
mod h2_guard;
mod handshake;
mod hang_up;
mod message;
mod push;
mod pushed;
mod subscription;
mod unread;
mod write_timeout;

/// The response to a request.
pub enum Answer {
    /// A complete response.
    Reply(Reply),
    /// The items of the monitor, as server pushes (RFC 8030 §6).
    Pushes(Monitor),
    /// The items of the monitor, as Server-Sent Events in the body.
    Events(Monitor),
    /// A response whose body is a stream of events.
    Stream(Response<Events>),
}

/// An extension of a request whose connection accepts server pushes.
#[derive(Clone, Copy)]
pub struct TakesPushes;

/// The set of routes that a listener serves.
#[derive(Clone)]
pub enum Site {
    /// The routes for user agents and application servers: [`route`].
    Public,
    /// The routes for operators.
    Admin(Arc<dyn AdminRoutes>),
}

/// The routes of the admin listener.
pub trait AdminRoutes: Send + Sync {
    /// Answers a request from `remote`.
    fn answer<'r>(
        self: Arc<Self>,
        parts: &'r request::Parts,
        content: Content<'r>,
        remote: Remote,
    ) -> BoxFuture<'r, Answer>;
}

/// The maximum number of header fields of a request over HTTP/2: hyper's own maximum over
/// HTTP/1.1.
const HEADER_FIELDS: usize = 100;

/// The maximum length of a path in bytes. The token of a registration has up to 602 characters, all
/// others have 86 at most.
const LONGEST_PATH: usize = 640;

/// The methods of the resource at a path of the public listener, for `Allow` and CORS. Returns
/// `None` for a page: CORS is not needed there.
fn methods(app: &App, path: &str) -> Option<&'static str> {
    if app.gate.admission.entrance(path) == Some(subscription::ENTRANCE) {
        return Some(subscription::SUBSCRIBE_METHODS);
    }
    Some(match resource_path(app, path)?.kind {
        Kind::Push => push::METHODS,
        Kind::Message => message::METHODS,
        Kind::Subscription | Kind::SubscriptionSet | Kind::ReceiptSubscription => {
            subscription::METHODS
        }
    })
}

/// The path of a resource with a token, as the service or a Chromium prints it.
fn resource_path<'p>(app: &App, path: &'p str) -> Option<ResourcePath<'p>> {
    let compiled_in = || {
        let is_on = app.service.config().chromium.enabled;
        is_on.then(|| ResourcePath::parse_compiled_in(path))?
    };
    ResourcePath::parse(path).or_else(compiled_in)
}

/// Answers a request to the public listener.
pub async fn route(
    app: &Arc<App>,
    address: IpAddr,
    parts: &request::Parts,
    content: Content<'_>,
) -> Answer {
    let path = parts.uri.path();
    let answered = match begin(app, path, address) {
        _ if path.len() > LONGEST_PATH => Err(Refusal::NotFound),
        Ok(begun) => answer(app, address, parts, content, begun).await,
        Err(error) => Err(error),
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) => {
            if let Some(refusal) = error.of_gate() {
                app.delay(refusal).await;
            }
            Answer::Reply(refuse(app, &error))
        }
    };
    match (answer, methods(app, path)) {
        (Answer::Reply(mut reply), Some(methods)) => {
            share(&mut reply, methods);
            Answer::Reply(reply)
        }
        (answer, _) => answer,
    }
}

/// Takes a slot for a new request. A health check needs none: it must be answered even when the
/// service is overloaded, and it costs nothing.
fn begin(app: &App, path: &str, address: IpAddr) -> Result<Option<Slot>, Refusal> {
    match status::is_health(path) {
        true => Ok(None),
        false => Ok(Some(app.gate.admit_request(address)?)),
    }
}

/// Answers a request. It holds the slot `begun` until it is answered, except while its body
/// arrives.
async fn answer(
    app: &Arc<App>,
    address: IpAddr,
    parts: &request::Parts,
    content: Content<'_>,
    begun: Option<Slot>,
) -> Result<Answer, Refusal> {
    let path = parts.uri.path();
    let entrance = app.gate.admission.entrance(path);
    if entrance == Some(subscription::ENTRANCE) {
        let reply = subscription::subscribe(app, address, parts, content, begun).await?;
        return Ok(Answer::Reply(reply));
    }
    if let Some(route) = chromium::Route::at(app, path) {
        let reply = route.answer(app, address, parts, content, begun).await?;
        return Ok(Answer::Reply(reply));
    }
    let Some(path) = resource_path(app, path) else {
        return Ok(Answer::Reply(status::page(app, parts).await?));
    };
    let reply = match path.kind {
        Kind::Push => push::resource(app, address, parts, path, content, begun).await?,
        Kind::Message => message::resource(app, parts, path).await?,
        Kind::Subscription | Kind::SubscriptionSet | Kind::ReceiptSubscription => {
            return subscription::held(app, address, parts, path).await;
        }
    };
    Ok(Answer::Reply(reply))
}
