//! Application servers: take what is due from a schedule, and post it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bugle::client::{ClientError, Http2Connection, HttpConnection};
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::contents::MessageName;
use crate::meters::{Measure, count};
use crate::run::Run;
use crate::schedule::{Due, Schedule};
use crate::subscription::{Letter, Subscription};

/// How long to wait when a service says 429 or 503 and not for how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// No `Retry-After` is waited for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long to wait before connecting again.
const RECONNECT: Duration = Duration::from_millis(200);

/// Which message a push of a schedule is: for whom, and what it asks for.
pub type Plan = dyn Fn(Due) -> (u32, Letter) + Send + Sync;

/// Sends what is on the schedule, from all application servers of the run,
/// until it is at its end or `until` is cancelled. What was not begun then is
/// counted as unsent.
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
                    let (user_agent, letter) = plan(due);
                    sender.send(user_agent, &letter, due.intended).await;
                }
            });
        }
    }
    while workers.join_next().await.is_some() {}
    let unsent = &run.meters.totals.unsent;
    unsent.fetch_add(schedule.left(), Ordering::Relaxed);
}

/// One application server, with one push at a time.
pub struct Sender {
    run: Arc<Run>,
    connection: Connection,
}

impl Sender {
    /// With a connection of its own, which is opened when it is needed.
    pub fn new(run: &Arc<Run>) -> Self {
        Self {
            run: Arc::clone(run),
            connection: Connection::new(run),
        }
    }

    /// Sends a message to a user agent, again after 429 and 503 as often as the
    /// run allows. Returns the answer that counted, with the message's name;
    /// `None` when there was none, or the user agent has no subscription.
    pub async fn send(
        &mut self,
        user_agent: u32,
        letter: &Letter,
        intended: Moment,
    ) -> Option<(MessageName, Response<Bytes>)> {
        let run = Arc::clone(&self.run);
        let Some(subscription) = run.subscriptions.get(user_agent) else {
            count(&run.meters.totals.unsent);
            return None;
        };
        let name = run
            .ledger
            .sent(user_agent, letter.terms, intended, run.now());
        count(&run.meters.totals.sent);
        for attempt in 0.. {
            match self
                .connection
                .post(&run, &subscription, name, letter)
                .await
            {
                Err(error) => {
                    run.ledger.unanswered(name);
                    count(&run.meters.totals.refused);
                    run.meters
                        .reason(format!("push without an answer: {error}"));
                    return None;
                }
                Ok(answer) => {
                    run.meters.answered(answer.status().as_u16());
                    let tries_again = attempt < run.setup.retries && is_busy(answer.status());
                    if !tries_again || !run.sleep(retry_after(answer.headers())).await {
                        self.account(name, &answer, intended);
                        return Some((name, answer));
                    }
                }
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

/// A connection to a service, opened when it is needed and again when it broke.
#[derive(Clone)]
enum Connection {
    /// Its sender's own.
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

    async fn post(
        &mut self,
        run: &Run,
        to: &Subscription,
        name: MessageName,
        letter: &Letter,
    ) -> Result<Response<Bytes>, ClientError> {
        match self {
            Self::Http1(connection) => {
                let mut connection = connection.lock().await;
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => open_http1(run, to).await?,
                };
                let request = run.writer.http1_request(to, name, letter)?;
                let answer = open.send(request).await;
                if answer.is_ok() {
                    *connection = Some(open);
                }
                answer
            }
            Self::Http2(shared) => {
                let mut connection = shared.lock().await;
                let open = match &*connection {
                    Some(open) => open.clone(),
                    None => connection.insert(open_http2(run, to).await?).clone(),
                };
                drop(connection);
                let request = run.writer.request(to, name, letter, true)?;
                let answer = open.send("the push", request).await;
                if answer.is_err() {
                    shared.lock().await.take();
                }
                answer
            }
        }
    }
}

async fn open_http1(run: &Run, to: &Subscription) -> Result<HttpConnection, ClientError> {
    loop {
        match HttpConnection::open(&run.dialer, to.endpoint.as_str()).await {
            Err(error) if !run.sleep(RECONNECT).await => return Err(error),
            Err(_) => {}
            Ok(open) => return Ok(open),
        }
    }
}

async fn open_http2(run: &Run, to: &Subscription) -> Result<Http2Connection, ClientError> {
    loop {
        match Http2Connection::open(&run.dialer, to.endpoint.as_str()).await {
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

/// Seconds; the other form, a date, is not worth reading here.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER);
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds
        .map_or(DEFAULT_WAIT, Duration::from_secs)
        .min(LONGEST_WAIT)
}
