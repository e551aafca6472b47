//! HTTP: the one list of routes. Knows no HTTP engine: [`http1`] and [`http2`]
//! put theirs in front of [`route`].

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

mod h2_guard;
mod handshake;
mod hang_up;
mod message;
mod patient;
mod push;
mod pushed;
mod subscription;
mod unread;

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

/// Which routes a listener serves.
#[derive(Clone)]
pub enum Site {
    /// Those of user agents and application servers: [`route`].
    Public,
    /// Those of operators.
    Admin(Arc<dyn AdminRoutes>),
}

/// The routes of the admin listener.
pub trait AdminRoutes: Send + Sync {
    /// Answers a request that `remote` has sent.
    fn answer<'r>(
        self: Arc<Self>,
        parts: &'r request::Parts,
        content: Content<'r>,
        remote: Remote,
    ) -> BoxFuture<'r, Answer>;
}

/// The most header fields of a request over HTTP/2: as many as hyper reads of one
/// over HTTP/1.1.
const HEADER_FIELDS: usize = 100;

/// The longest URL that means anything here has a token of 86 characters.
const LONGEST_PATH: usize = 256;

/// The methods of the resource at a path of the public listener, as `Allow` and
/// CORS name them; `None` for a page, which no page of another origin calls.
fn methods(app: &App, path: &str) -> Option<&'static str> {
    if app.gate.admission.entrance(path) == Some(subscription::ENTRANCE) {
        return Some(subscription::SUBSCRIBE_METHODS);
    }
    Some(match ResourcePath::parse(path)?.kind {
        Kind::Push => push::METHODS,
        Kind::Message => message::METHODS,
        Kind::Subscription | Kind::SubscriptionSet | Kind::ReceiptSubscription => {
            subscription::METHODS
        }
    })
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
    let answer = answered.unwrap_or_else(|error| Answer::Reply(refuse(app, &error)));
    match (answer, methods(app, path)) {
        (Answer::Reply(mut reply), Some(methods)) => {
            share(&mut reply, methods);
            Answer::Reply(reply)
        }
        (answer, _) => answer,
    }
}

/// The place of a request at its beginning. One for health takes none: it must
/// be answered whatever the service does, and costs nothing.
fn begin(app: &App, path: &str, address: IpAddr) -> Result<Option<Slot>, Refusal> {
    match status::is_health(path) {
        true => Ok(None),
        false => Ok(Some(app.gate.admit_request(address)?)),
    }
}

/// Answers a request that has `begun`: it holds a place until it is answered,
/// or gives that back while its body arrives.
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
    let Some(path) = ResourcePath::parse(path) else {
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
