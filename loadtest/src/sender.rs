//! Application servers, which take due pushes from a schedule and post them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bugle_client::{ClientError, Http2Connection, HttpConnection, Target};
use bytes::Bytes;
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::contents::MessageName;
use crate::meters::{Measure, count};
use crate::run::Run;
use crate::schedule::{Due, Schedule};
use crate::subscription::PushSpec;

/// Pause after a 429 or 503 without `Retry-After`.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// Maximum pause for a `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Pause before reconnecting.
const RECONNECT: Duration = Duration::from_millis(200);

/// The properties of a scheduled push.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    /// The recipient.
    pub user_agent: u32,
    /// Its message.
    pub spec: PushSpec,
    /// Whether to withdraw the message once it is accepted.
    pub withdraw: bool,
}

/// Chooses the push for a due time.
pub type Plan = dyn Fn(Due) -> Push + Send + Sync;

/// Sends the pushes of the schedule from all application servers of the run, until its end
/// or until `until` is cancelled. Counts the remaining pushes as unsent.
pub async fn send_all(
    run: &Arc<Run>,
    schedule: Arc<Schedule>,
    plan: Arc<Plan>,
    until: &CancellationToken,
) {
    let mut workers = JoinSet::new();
    for _ in 0..run.setup.senders {
        let connection = Connection::new(run);
        let streams = if run.setup.http2 {
            run.setup.streams
        } else {
            1
        };
        for _ in 0..streams {
            let mut sender = Sender {
                run: Arc::clone(run),
                connection: connection.clone(),
            };
            let (schedule, plan, until) = (Arc::clone(&schedule), Arc::clone(&plan), until.clone());
            workers.spawn(async move {
                while let Some(Some(due)) = until.run_until_cancelled(schedule.next()).await {
                    sender.play(&plan(due), due.intended).await;
                }
            });
        }
    }
    while workers.join_next().await.is_some() {}
    let unsent = &run.meters.totals.unsent;
    unsent.fetch_add(schedule.left(), Ordering::Relaxed);
}

/// An application server that sends one push at a time.
pub struct Sender {
    run: Arc<Run>,
    connection: Connection,
}

impl Sender {
    /// Creates one with its own connection, opened on first use.
    pub fn new(run: &Arc<Run>) -> Self {
        Self {
            run: Arc::clone(run),
            connection: Connection::new(run),
        }
    }

    async fn play(&mut self, push: &Push, intended: Moment) {
        let answer = self.send(push.user_agent, &push.spec, intended).await;
        if let Some((name, answer)) = answer.filter(|_| push.withdraw) {
            self.withdraw(name, &answer).await;
        }
    }

    /// Withdraws a message at the URL that the response to its push gave (RFC 8030 §7.3).
    /// Returns whether the service confirmed it; it does not if the message was already
    /// delivered.
    pub async fn withdraw(&mut self, name: MessageName, accepted: &Response<Bytes>) -> bool {
        let run = Arc::clone(&self.run);
        let location = accepted.headers().get(LOCATION);
        let subscription = run.subscriptions.get(name.user_agent);
        let Some((location, subscription)) = location.zip(subscription) else {
            return false;
        };
        let Some(message) = location
            .to_str()
            .ok()
            .and_then(|url| subscription.target.resolve(url))
        else {
            return false;
        };
        let delete = |version| {
            let request = message.request(Method::DELETE, version);
            message.complete(request, Bytes::new())
        };
        let answer = self.connection.exchange(&run, &message, delete).await;
        let is_withdrawn = answer.is_ok_and(|answer| answer.status().is_success());
        if is_withdrawn {
            run.ledger.withdrawn(name);
        }
        is_withdrawn
    }

    /// Sends a message to a user agent and retries after 429 and 503 as often as the run
    /// allows. Returns the final response with the message's name; `None` if there was no
    /// response, or if the user agent has no subscription at the moment.
    pub async fn send(
        &mut self,
        user_agent: u32,
        spec: &PushSpec,
        intended: Moment,
    ) -> Option<(MessageName, Response<Bytes>)> {
        let run = Arc::clone(&self.run);
        let subscription = run.subscriptions.get(user_agent)?;
        let name = run.ledger.sent(user_agent, spec.terms, intended, run.now());
        count(&run.meters.totals.sent);
        for attempt in 0.. {
            let push = |version| run.pushes.request(&subscription, name, spec, version);
            let target = &subscription.target;
            let answer = self.connection.exchange(&run, target, push).await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    run.ledger.unanswered(name);
                    count(&run.meters.totals.refused);
                    run.meters
                        .reason(format!("push without an answer: {error}"));
                    return None;
                }
            };
            run.meters.answered(answer.status().as_u16());
            let tries_again = attempt < run.setup.retries && is_busy(answer.status());
            if !tries_again || !run.sleep(retry_after(answer.headers())).await {
                self.account(name, &answer, intended);
                return Some((name, answer));
            }
        }
        None
    }

    fn account(&self, name: MessageName, answer: &Response<Bytes>, intended: Moment) {
        let run = &self.run;
        let now = run.now();
        match answer.status() {
            StatusCode::CREATED | StatusCode::ACCEPTED => {
                let ttl = answer.headers().get("ttl");
                let ttl = ttl.and_then(|ttl| ttl.to_str().ok()?.parse().ok());
                run.ledger.accepted(name, ttl, now);
                run.meters.record(Measure::Acceptance, intended, now);
                count(&run.meters.totals.accepted);
            }
            status => {
                run.ledger.refused(name, status.as_u16());
                count(&run.meters.totals.refused);
            }
        }
    }
}

/// A connection to a service, opened on demand and reopened after a failure.
#[derive(Clone)]
enum Connection {
    /// Owned by one sender.
    Http1(Arc<Mutex<Option<HttpConnection>>>),
    /// Shared by the streams.
    Http2(Arc<Mutex<Option<Http2Connection>>>),
}

impl Connection {
    fn new(run: &Run) -> Self {
        match run.setup.http2 {
            true => Self::Http2(Arc::default()),
            false => Self::Http1(Arc::default()),
        }
    }

    /// Sends a request and reads its response. Builds the request for the version of HTTP,
    /// and again if the connection has been closed.
    async fn exchange(
        &self,
        run: &Run,
        to: &Target,
        request: impl Fn(Version) -> Result<Request<Bytes>, ClientError>,
    ) -> Result<Response<Bytes>, ClientError> {
        match self {
            Self::Http1(own) => {
                let mut own = own.lock().await;
                loop {
                    let is_used = own.is_some();
                    let mut open = match own.take() {
                        Some(open) => open,
                        None => open_http1(run, to).await?,
                    };
                    match open.send(request(Version::HTTP_11)?.map(Full::new)).await {
                        // The service closed an idle connection before anything was sent.
                        Err(error) if is_used && was_not_sent(&error) => {}
                        Err(error) => return Err(error),
                        Ok(answer) => {
                            *own = Some(open);
                            return Ok(answer);
                        }
                    }
                }
            }
            Self::Http2(shared) => {
                let mut connection = shared.lock().await;
                let open = match &*connection {
                    Some(open) => open.clone(),
                    None => connection.insert(open_http2(run, to).await?).clone(),
                };
                drop(connection);
                let answer = open.send("the push", request(Version::HTTP_2)?).await;
                if answer.is_err() {
                    shared.lock().await.take();
                }
                answer
            }
        }
    }
}

fn was_not_sent(error: &ClientError) -> bool {
    matches!(error, ClientError::Http(error) if error.is_canceled() || error.is_closed())
}

async fn open_http1(run: &Run, to: &Target) -> Result<HttpConnection, ClientError> {
    loop {
        match HttpConnection::open(&run.dialer, to.url().as_str()).await {
            Err(error) if !run.sleep(RECONNECT).await => return Err(error),
            Err(_) => {}
            Ok(open) => return Ok(open),
        }
    }
}

async fn open_http2(run: &Run, to: &Target) -> Result<Http2Connection, ClientError> {
    loop {
        match Http2Connection::open(&run.dialer, to.url().as_str()).await {
            Err(error) if !run.sleep(RECONNECT).await => return Err(error),
            Err(_) => {}
            Ok(open) => return Ok(open),
        }
    }
}

fn is_busy(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Parses the delay in seconds; ignores the date format.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds
        .map_or(DEFAULT_WAIT, Duration::from_secs)
        .min(LONGEST_WAIT)
}
