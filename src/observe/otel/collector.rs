//! Exports traces to the collector over HTTP/1.1, with or without TLS, with the HTTP client of the
//! commands.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bugle_client::{Dialer, HttpConnection};
use http::header::{HOST, HeaderValue};
use http_body_util::Full;
use hyper::Uri;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::environment::NotSent;

/// Timeout of one export attempt.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests to the collector, and logs when it starts and stops failing.
pub(super) struct Collector {
    dialer: Dialer,
    /// The SDK exports from a thread of its own, outside the runtime.
    runtime: Handle,
    fails: AtomicBool,
}

impl Collector {
    /// Trusts the system's certificates and those in `ca`.
    pub(super) fn new(ca: Option<&Path>) -> Result<Self, NotSent> {
        let not_sent = |error: String| NotSent::Exporter(error);
        Ok(Self {
            dialer: Dialer::new(ca).map_err(|error| not_sent(error.to_string()))?,
            runtime: Handle::try_current().map_err(|error| not_sent(error.to_string()))?,
            fails: AtomicBool::new(false),
        })
    }

    /// Logs only changes, so that a dead collector does not cause a line per batch.
    fn report(&self, problem: Option<&str>) {
        let failed = self.fails.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !failed => {
                tracing::warn!(problem, "the collector takes no traces; they are dropped");
            }
            None if failed => tracing::info!("the collector takes traces again"),
            _ => {}
        }
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = exchange(self.dialer.clone(), request);
        // The timeout needs the runtime too.
        let sent = async { timeout(EXPORT_TIMEOUT, exchange).await };
        let sent = self.runtime.spawn(sent).await;
        let answer: Result<Response<Bytes>, HttpError> = match sent {
            Ok(Ok(answer)) => answer,
            Ok(Err(late)) => Err(late.into()),
            Err(ended) => Err(ended.into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => self.report(None),
            Ok(answer) => self.report(Some(&format!("status {}", answer.status()))),
            Err(error) => self.report(Some(&error.to_string())),
        }
        answer
    }
}

async fn exchange(dialer: Dialer, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let url = head.uri.to_string();
    let authority = head.uri.authority().ok_or("the endpoint has no host")?;
    let host = authority
        .as_str()
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .to_owned();
    head.headers.insert(HOST, HeaderValue::from_str(&host)?);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse::<Uri>()?;
    let mut connection = HttpConnection::open(&dialer, &url).await?;
    let request = Request::from_parts(head, Full::new(body));
    Ok(connection.send(request).await?)
}
