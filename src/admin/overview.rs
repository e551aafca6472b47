//! The overview: the current state of the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::unfold;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::Admin;
use super::history::Sample;
use crate::config::Limit;
use crate::http::{Events, events as event_stream};

/// The contents of the overview.
#[derive(Debug, Serialize)]
pub struct Overview {
    version: &'static str,
    public_url: String,
    started_at: u64,
    draining: bool,
    trace_messages: usize,
    now: Sample,
    totals: Totals,
    refusals: Vec<Refusals>,
    limits: Vec<Bound>,
}

/// The number of messages since the start.
#[derive(Debug, Serialize)]
struct Totals {
    accepted: u64,
    delivered: u64,
    acknowledged: u64,
    expired: u64,
    dropped: u64,
    refused: u64,
}

/// The number of refusals for one reason.
#[derive(Debug, Serialize)]
struct Refusals {
    reason: &'static str,
    total: u64,
    last_hour: u64,
}

/// The current use of a limit.
#[derive(Debug, Serialize)]
struct Bound {
    setting: &'static str,
    current: u64,
    limit: u64,
}

impl Overview {
    /// The overview of a service.
    pub fn of(admin: &Admin) -> Self {
        let service = &admin.app.service;
        let (metrics, history) = (service.metrics(), &admin.history);
        let refused = metrics.refusals();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            public_url: service.public_url().to_string(),
            started_at: admin.started_at.as_millis(),
            draining: admin.app.shutdown.is_draining(),
            trace_messages: service.config().trace.messages,
            now: history.newest(service),
            totals: Totals {
                accepted: metrics.accepted.get(),
                delivered: metrics.delivered.get(),
                acknowledged: metrics.acknowledgements(),
                expired: metrics.expired.get(),
                dropped: metrics.dropped.get(),
                refused: refused.values().sum(),
            },
            refusals: refusals(&refused, &history.refused()),
            limits: limits_in_use(admin),
        }
    }
}

fn refusals(
    total: &BTreeMap<&'static str, u64>,
    last_hour: &BTreeMap<&'static str, u64>,
) -> Vec<Refusals> {
    let mut refusals: Vec<_> = total
        .iter()
        .map(|(reason, total)| Refusals {
            reason,
            total: *total,
            last_hour: last_hour.get(reason).copied().unwrap_or(0),
        })
        .collect();
    refusals.sort_by_key(|refusal| std::cmp::Reverse((refusal.last_hour, refusal.total)));
    refusals
}

/// The use of each limit, the fullest first.
fn limits_in_use(admin: &Admin) -> Vec<Bound> {
    let service = &admin.app.service;
    let (limits, metrics, usage) = (&service.config().limits, service.metrics(), service.usage());
    let gauge = |value: i64| u64::try_from(value).unwrap_or(0);
    let mut bounds: Vec<_> = [
        (
            Limit::Connections,
            gauge(metrics.connections.get()),
            limits.connections as u64,
        ),
        (
            Limit::UserAgents,
            admin.app.gate.connected() as u64,
            limits.user_agents as u64,
        ),
        (
            Limit::Requests,
            admin.app.gate.in_progress() as u64,
            limits.requests as u64,
        ),
        (
            Limit::Subscriptions,
            usage.subscriptions,
            limits.subscriptions,
        ),
        (Limit::StoredBytes, usage.live_bytes, limits.stored_bytes),
        (
            Limit::ReceiptSubscriptions,
            usage.receipt_subscriptions,
            limits.receipt_subscriptions,
        ),
        (Limit::Receipts, usage.receipts, limits.receipts),
        (
            Limit::Broadcasts,
            service.broadcasts().len() as u64,
            limits.broadcasts as u64,
        ),
    ]
    .into_iter()
    .map(|(bound, current, limit)| Bound {
        setting: bound.setting(),
        current,
        limit,
    })
    .collect();
    let share = |bound: &Bound| bound.current as f64 / bound.limit.max(1) as f64;
    bounds.sort_by(|a, b| share(b).total_cmp(&share(a)));
    bounds
}

/// The overview as Server-Sent Events: one at once and one per sample, until [`History::end`].
///
/// [`History::end`]: super::history::History::end
pub fn stream(admin: &Arc<Admin>, permit: OwnedSemaphorePermit) -> Response<Events> {
    let mut samples = admin.history.watch();
    samples.mark_changed();
    let begin = (Arc::clone(admin), samples, permit);
    let events = unfold(begin, |(admin, mut samples, permit)| async move {
        let is_open = samples.changed().await.is_ok() && *samples.borrow_and_update();
        let overview = serde_json::to_string(&Overview::of(&admin)).ok();
        let event = overview.filter(|_| is_open)?;
        let frame = Frame::data(format!("event: overview\ndata: {event}\n\n").into());
        Some((Ok(frame), (admin, samples, permit)))
    });
    let mut reply = Response::new(StreamBody::new(events).boxed_unsync());
    event_stream::describe(reply.headers_mut());
    reply
}
