//! The admin API, `/admin/v1/…` on the admin listener: what an operator sees
//! and does. `docs/openapi.yaml` describes it; the tests hold it to that.

use std::sync::Arc;

use bugle_protocol::UnixTime;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, NotAFilter};
use crate::error::Error;
use crate::http::body::{self, Content};
use crate::http::{Answer, Reply, Site, events, status};
use crate::telemetry::log::Log;

use self::access::{Access, Caller, Remote};
use self::audit::Audit;
use self::history::History;
use self::overview::Overview;

pub mod access;
pub mod console;
pub mod history;

mod audit;
mod blocks;
mod broadcasts;
mod log;
mod overview;
mod top;
mod trace;
mod user_agents;

/// How many streams may be open at one time: each takes a connection and, with
/// every sample, a few kilobytes.
const STREAMS: usize = 32;

/// What the admin API keeps.
pub struct Admin {
    access: Access,
    audit: Audit,
    history: History,
    log: Log,
    streams: Arc<Semaphore>,
    started_at: UnixTime,
}

/// Why a request to the admin API is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No token, or another one.
    #[error(
        "the admin API needs Authorization: Bearer with the token in the file admin-token of the \
         data folder (admin.token_file); `bugle admin` sends it by itself"
    )]
    Unauthorized,
    /// Another user at the unix socket.
    #[error(
        "admin.socket takes the service's own user and root without a token, and others as \
         admin.socket_others says: send Authorization: Bearer with a token"
    )]
    OtherUser,
    /// A change with the token that may only look.
    #[error("this token may only look: changes need the one in admin-token (admin.token_file)")]
    ReadOnly,
    /// A page of another origin has sent it.
    #[error("the admin API takes no requests from pages of another origin")]
    Origin,
    /// It came by a name that may be anybody's.
    #[error(
        "the admin API is reached by an IP address, by localhost, or by a name in admin.hosts: \
         add this host name there if it is yours"
    )]
    HostName,
    /// The body is not what is described.
    #[error("the body is not what docs/openapi.yaml describes: {0}")]
    Body(String),
    /// The body is something else than JSON.
    #[error("the body is to be JSON: send Content-Type: application/json")]
    NotJson,
    /// A subject that nothing can have.
    #[error("a subject is 1 to {} characters", user_agents::LONGEST)]
    Subject,
    /// Which subscription is meant is not said.
    #[error(
        "one subscription is named by its endpoint or its own URL alone, or by a uaid with the \
         channel, a UUID in lower case"
    )]
    Channel,
    /// A number of holders that cannot be listed.
    #[error("limit is a number from 1 to {0}")]
    Count(usize),
    /// Neither a key nor addresses.
    #[error(
        "a block is keys/KEY with a VAPID public key in base64url, or addresses/RANGE with an IP \
         address or a range such as 192.0.2.0/24"
    )]
    Blocked,
    /// Such lines there are none.
    #[error(transparent)]
    Filter(NotAFilter),
    /// Nothing is remembered.
    #[error("the trace is off: set trace.messages to how many messages it is to remember")]
    TraceOff,
    /// Too many streams are open.
    #[error("too many streams of the overview are open: close one, or ask for /admin/v1/overview")]
    Streams,
}

impl AdminError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::OtherUser | Self::ReadOnly | Self::Origin | Self::HostName => {
                StatusCode::FORBIDDEN
            }
            Self::Body(_)
            | Self::Filter(_)
            | Self::Subject
            | Self::Channel
            | Self::Count(_)
            | Self::Blocked => StatusCode::BAD_REQUEST,
            Self::TraceOff => StatusCode::CONFLICT,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Streams => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl Admin {
    /// Begins at `started_at`, over the log of the process.
    pub fn new(access: Access, log: Log, started_at: UnixTime) -> Self {
        Self {
            access,
            audit: Audit::default(),
            history: History::default(),
            log,
            streams: Arc::new(Semaphore::new(STREAMS)),
            started_at,
        }
    }

    /// # Errors
    /// When a token can be neither read nor made.
    pub fn open(
        config: &Config,
        log: Log,
        started_at: UnixTime,
    ) -> Result<Self, access::TokenError> {
        Access::open(config).map(|access| Self::new(access, log, started_at))
    }

    /// The log of the process.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Refuses a request that a web page of another origin may have sent.
    ///
    /// # Errors
    /// [`AdminError::Origin`], [`AdminError::HostName`].
    pub fn check_origin(&self, parts: &request::Parts, remote: Remote) -> Result<(), AdminError> {
        self.access.check_origin(parts, remote)
    }

    /// Ends the streams of the overview, which would go on for ever.
    pub fn end_streams(&self) {
        self.history.end();
    }

    fn admit_stream(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| AdminError::Streams)
    }
}

/// A request to the admin API, let in.
struct Request<'r, C> {
    site: &'r Arc<Site>,
    parts: &'r request::Parts,
    content: C,
    caller: Caller,
}

/// Answers a request below `/admin/`; `path` is what follows that.
///
/// # Errors
/// Every refusal; [`Error::Admin`] are those of the API itself.
pub async fn route(
    site: &Arc<Site>,
    parts: &request::Parts,
    path: &str,
    content: impl Content,
    remote: Remote,
) -> Result<Answer, Error> {
    if path == "v1/openapi.yaml" {
        site.admin.check_origin(parts, remote)?;
        return get(&parts.method).map(|()| Answer::Reply(description()));
    }
    let caller = site.admin.access.caller(parts, remote)?;
    let request = Request {
        site,
        parts,
        content,
        caller,
    };
    if path == "v1/overview/stream" {
        get(&parts.method)?;
        if parts.method == Method::HEAD {
            let mut header = Reply::new(Full::default());
            events::describe(header.headers_mut());
            return Ok(Answer::Reply(header));
        }
        let place = site.admin.admit_stream()?;
        return Ok(Answer::Stream(overview::stream(site, place)));
    }
    answer(request, path).await.map(Answer::Reply)
}

async fn answer(request: Request<'_, impl Content>, path: &str) -> Result<Reply, Error> {
    let (site, method) = (request.site, &request.parts.method);
    if let Some(id) = path.strip_prefix("v1/broadcasts/") {
        return broadcasts::resource(request, id).await;
    }
    if let Some(path) = path.strip_prefix("v1/blocks/") {
        return blocks::resource(request, path).await;
    }
    match path {
        "v1/session" => get(method).map(|()| session(&request.caller)),
        "v1/log" => log::resource(request).await,
        "v1/overview" => get(method).map(|()| json_reply(&Overview::of(site))),
        "v1/top" => {
            get(method)?;
            top::show(request).await
        }
        "v1/history" => get(method).map(|()| history(site)),
        "v1/audit" => {
            get(method).map(|()| json_reply(&json!({ "entries": site.admin.audit.newest() })))
        }
        "v1/blocks" => get(method).map(|()| blocks::list(site)),
        "v1/drain" => post(method).and_then(|()| drain(site, &request.caller)),
        "v1/trace" => {
            post(method)?;
            trace::find(request).await
        }
        "v1/user-agents/find" => {
            post(method)?;
            user_agents::find(request).await
        }
        "v1/user-agents/drop" => {
            post(method)?;
            user_agents::remove(request).await
        }
        "v1/subscriptions/drop" => {
            post(method)?;
            user_agents::remove_subscription(request).await
        }
        "v1/senders/drop" => {
            post(method)?;
            user_agents::remove_signed(request).await
        }
        "v1/receipt-subscriptions/drop" => {
            post(method)?;
            user_agents::remove_receipts(request).await
        }
        "v1/broadcasts" => get(method).map(|()| broadcasts::list(site)),
        _ => Err(Error::NotFound),
    }
}

impl<C: Content> Request<'_, C> {
    /// Reads the body.
    async fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let kind = self.parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        // A page can send other kinds without asking first.
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(AdminError::NotJson.into());
        }
        let limits = &self.site.service.config().limits;
        let body = body::read(&self.parts.headers, self.content, limits).await?;
        serde_json::from_slice(&body).map_err(|error| AdminError::Body(error.to_string()).into())
    }
}

fn get(method: &Method) -> Result<(), Error> {
    allow(status::is_get(method), status::GET)
}

fn post(method: &Method) -> Result<(), Error> {
    allow(method == Method::POST, "POST")
}

fn allow(is_one: bool, methods: &'static str) -> Result<(), Error> {
    match is_one {
        true => Ok(()),
        false => Err(Error::MethodNotAllowed(methods)),
    }
}

fn session(caller: &Caller) -> Reply {
    json_reply(&json!({
        "role": caller.role,
        "via": caller.via,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Asks the service to stop, as SIGTERM does.
fn drain(site: &Site, caller: &Caller) -> Result<Reply, Error> {
    caller.may_change()?;
    site.admin
        .audit
        .note(caller, "drain", "", site.service.wall_clock());
    site.stopping.ask();
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = StatusCode::ACCEPTED;
    Ok(reply)
}

fn history(site: &Site) -> Reply {
    let interval = site.service.config().admin.sample_every.as_millis();
    json_reply(&json!({
        "interval": u64::try_from(interval).unwrap_or(u64::MAX),
        "samples": site.admin.history.samples(),
    }))
}

fn description() -> Reply {
    let mut reply = Response::new(Full::from(include_str!("../../docs/openapi.yaml")));
    let kind = HeaderValue::from_static("application/yaml");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// A reply with an answer that no cache keeps.
fn json_reply(answer: &impl Serialize) -> Reply {
    // Maps of ours have texts for keys; nothing else can fail.
    let answer = serde_json::to_value(answer).unwrap_or(Value::Null);
    let mut reply = Reply::new(Full::new(Bytes::from(answer.to_string())));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// It is done, and there is nothing to say.
fn done() -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}
