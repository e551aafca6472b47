//! The admin API for operators, `/admin/v1/…` on the admin listener. `docs/openapi.yaml` describes
//! it, and the tests compare both.

use std::sync::Arc;

use bugle_protocol::UnixTime;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::app::peer::Remote;
use crate::http::body::{self, Content};
use crate::http::refusal::{Refusal, refuse};
use crate::http::{AdminRoutes, Answer, Reply, events, status};
use crate::observe::log::Log;

use self::access::{Access, Caller};
use self::audit::Audit;
use self::history::History;
use self::overview::Overview;

pub use self::error::AdminError;

pub mod access;
pub mod console;
pub mod history;

mod audit;
mod blocks;
mod broadcasts;
mod error;
mod log;
mod overview;
mod top;
mod trace;
mod user_agents;

/// The maximum number of open streams. Each uses a connection, and a few kilobytes per sample.
const STREAMS: usize = 32;

/// The admin API of a service.
pub struct Admin {
    app: Arc<App>,
    access: Access,
    audit: Audit,
    history: History,
    log: Log,
    streams: Arc<Semaphore>,
    started_at: UnixTime,
}

impl Admin {
    /// The API of `app`, whose process logs to `log` and started at `started_at`.
    pub fn new(app: Arc<App>, access: Access, log: Log, started_at: UnixTime) -> Self {
        Self {
            app,
            access,
            audit: Audit::default(),
            history: History::default(),
            log,
            streams: Arc::new(Semaphore::new(STREAMS)),
            started_at,
        }
    }

    /// The log of the process.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Ends the streams of the overview, which otherwise never end.
    pub fn end_streams(&self) {
        self.history.end();
    }

    /// The metrics. Requests that a foreign web page may have sent (DNS rebinding) are refused.
    fn metrics(&self, parts: &request::Parts, remote: Remote) -> Result<Reply, AdminError> {
        self.access.check_origin(parts, remote)?;
        Ok(status::metrics(&self.app, parts)?)
    }

    /// A file of the console, or a page that both listeners serve.
    async fn page(&self, parts: &request::Parts) -> Result<Reply, AdminError> {
        let public_url = self.app.service.public_url();
        match console::file(parts.uri.path(), public_url) {
            Some(file) => get(&parts.method).map(|()| file),
            None => Ok(status::page(&self.app, parts).await?),
        }
    }

    fn admit_stream(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        permit.map_err(|_| AdminError::Streams)
    }
}

impl AdminRoutes for Admin {
    fn answer<'r>(
        self: Arc<Self>,
        parts: &'r request::Parts,
        content: Content<'r>,
        remote: Remote,
    ) -> BoxFuture<'r, Answer> {
        Box::pin(async move {
            let path = parts.uri.path();
            let answered = match (path, path.strip_prefix("/admin/")) {
                (_, Some(path)) => route(&self, parts, path, content, remote).await,
                ("/metrics", _) => self.metrics(parts, remote).map(Answer::Reply),
                _ => self.page(parts).await.map(Answer::Reply),
            };
            answered.unwrap_or_else(|error| Answer::Reply(refuse(&self.app, &error)))
        })
    }
}

/// An authorized request to the admin API.
struct Request<'r> {
    admin: &'r Arc<Admin>,
    parts: &'r request::Parts,
    content: Content<'r>,
    caller: Caller,
}

/// Answers a request below `/admin/`; `path` is the rest of the path.
///
/// # Errors
/// All of [`AdminError`].
async fn route(
    admin: &Arc<Admin>,
    parts: &request::Parts,
    path: &str,
    content: Content<'_>,
    remote: Remote,
) -> Result<Answer, AdminError> {
    if path == "v1/openapi.yaml" {
        admin.access.check_origin(parts, remote)?;
        return get(&parts.method).map(|()| Answer::Reply(description()));
    }
    let caller = admin.access.caller(parts, remote)?;
    let request = Request {
        admin,
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
        let permit = admin.admit_stream()?;
        return Ok(Answer::Stream(overview::stream(admin, permit)));
    }
    answer(request, path).await.map(Answer::Reply)
}

async fn answer(request: Request<'_>, path: &str) -> Result<Reply, AdminError> {
    let (admin, method) = (request.admin, &request.parts.method);
    if let Some(id) = path.strip_prefix("v1/broadcasts/") {
        return broadcasts::resource(request, id).await;
    }
    if let Some(path) = path.strip_prefix("v1/blocks/") {
        return blocks::resource(request, path).await;
    }
    match path {
        "v1/session" => get(method).map(|()| session(&request.caller)),
        "v1/log" => log::resource(request).await,
        "v1/overview" => get(method).map(|()| json_reply(&Overview::of(admin))),
        "v1/top" => {
            get(method)?;
            top::show(request).await
        }
        "v1/history" => get(method).map(|()| history(admin)),
        "v1/audit" => get(method).map(|()| json_reply(&json!({ "entries": admin.audit.newest() }))),
        "v1/blocks" => get(method).map(|()| blocks::list(admin)),
        "v1/drain" => post(method).and_then(|()| drain(admin, &request.caller)),
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
        "v1/broadcasts" => get(method).map(|()| broadcasts::list(admin)),
        _ => Err(Refusal::NotFound.into()),
    }
}

impl Request<'_> {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`AdminError::NotJson`], [`AdminError::Body`], and the refusals of [`body::read`].
    async fn read<T: DeserializeOwned>(self) -> Result<T, AdminError> {
        let kind = self.parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        // A foreign web page can send other types without a CORS preflight.
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(AdminError::NotJson);
        }
        let limits = &self.admin.app.service.config().limits;
        let body = body::read(&self.parts.headers, self.content, limits).await?;
        serde_json::from_slice(&body).map_err(|error| AdminError::Body(error.to_string()))
    }
}

fn get(method: &Method) -> Result<(), AdminError> {
    allow(status::is_get(method), status::GET)
}

fn post(method: &Method) -> Result<(), AdminError> {
    allow(method == Method::POST, "POST")
}

fn allow(is_one: bool, methods: &'static str) -> Result<(), AdminError> {
    match is_one {
        true => Ok(()),
        false => Err(Refusal::MethodNotAllowed(methods).into()),
    }
}

fn session(caller: &Caller) -> Reply {
    json_reply(&json!({
        "role": caller.role,
        "via": caller.via,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Requests a shutdown, as SIGTERM does.
fn drain(admin: &Admin, caller: &Caller) -> Result<Reply, AdminError> {
    caller.may_change()?;
    admin
        .audit
        .note(caller, "drain", "", admin.app.service.wall_clock());
    admin.app.shutdown.request();
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = StatusCode::ACCEPTED;
    Ok(reply)
}

fn history(admin: &Admin) -> Reply {
    let interval = admin.app.service.config().admin.sample_every.as_millis();
    json_reply(&json!({
        "interval": u64::try_from(interval).unwrap_or(u64::MAX),
        "samples": admin.history.samples(),
    }))
}

fn description() -> Reply {
    let mut reply = Response::new(Full::from(include_str!("../../docs/openapi.yaml")));
    let kind = HeaderValue::from_static("application/yaml");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// A JSON response that no cache stores.
fn json_reply(answer: &impl Serialize) -> Reply {
    // The keys of all maps are strings, so this cannot fail.
    let answer = serde_json::to_value(answer).unwrap_or(Value::Null);
    let mut reply = Reply::new(Full::new(Bytes::from(answer.to_string())));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A response without content.
fn done() -> Reply {
    let mut reply = Reply::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}
