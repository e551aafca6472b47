//! The trace of messages: the recorded events of each message, and the state that follows from
//! them.

use bugle_protocol::{PublicKey, PushEndpoint, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::user_agents::bounded;
use super::{AdminError, Request, json_reply};
use crate::http::Reply;
use crate::observe::message_log::{Event, Journey, Wanted};
use crate::service::PushService;
use crate::service::operating::Subject;

/// The maximum number of messages in a response.
const MAX_MESSAGES: usize = 1000;
/// The number of messages in a response, unless the request sets `limit`.
const DEFAULT_MESSAGES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    subject: String,
    /// An integer, which JSON may also write as 100.0.
    limit: Option<f64>,
}

/// A message in the response.
#[derive(Debug, Serialize)]
struct MessageView {
    message: String,
    user_agent: String,
    subscription: String,
    signed: bool,
    accepted_at: u64,
    expires_at: u64,
    urgency: &'static str,
    size: usize,
    state: &'static str,
    events: Vec<EventView>,
}

#[derive(Debug, Serialize)]
struct EventView {
    at: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl EventView {
    /// Converts `at` from service time to the wall clock.
    fn new(service: &PushService, at: UnixTime, event: &'static str) -> Self {
        Self {
            at: service.time().wall_at(at).as_millis(),
            event,
            code: None,
        }
    }
}

/// Shows the traces of the messages that the `subject` identifies.
pub(super) async fn find(request: Request<'_>) -> Result<Reply, AdminError> {
    let service = &request.admin.app.service;
    let Query { subject, limit } = request.read().await?;
    let (kind, wanted) = wanted(service, bounded(&subject)?)?;
    let limit = match limit {
        None => DEFAULT_MESSAGES,
        Some(limit) => (1..=MAX_MESSAGES)
            .find(|whole| *whole as f64 == limit)
            .ok_or_else(|| AdminError::Body(format!("limit is 1 to {MAX_MESSAGES}")))?,
    };
    let found = service.trace().find(wanted, limit);
    let (journeys, since) = found.ok_or(AdminError::TraceOff)?;
    let mut messages = Vec::with_capacity(journeys.len());
    for journey in &journeys {
        messages.push(view(service, journey).await?);
    }
    let since = service.time().wall_at(since).as_millis();
    Ok(json_reply(
        &json!({ "kind": kind, "since": since, "messages": messages }),
    ))
}

fn wanted(service: &PushService, subject: &str) -> Result<(&'static str, Wanted), AdminError> {
    if let Ok(key) = PublicKey::from_base64url(subject.trim()) {
        return Ok(("key", Wanted::Key(key)));
    }
    match service
        .subject_of(subject)
        .ok_or(AdminError::UnknownSubject)?
    {
        Subject::Subscription(endpoint) => {
            Ok(("endpoint", Wanted::Subscription(endpoint.subscription)))
        }
        Subject::Message(message) => Ok(("message", Wanted::Message(message.id))),
        Subject::UserAgent(_) => Err(AdminError::UnknownSubject),
    }
}

async fn view(service: &PushService, journey: &Journey) -> Result<MessageView, AdminError> {
    let it = &journey.accepted;
    let endpoint = PushEndpoint {
        uaid: it.uaid,
        channel: it.channel,
        subscription: it.subscription,
    };
    let mut events = vec![EventView::new(service, it.accepted_at, "accepted")];
    events.extend(it.stored_at.map(|at| EventView::new(service, at, "stored")));
    let mut state = if it.stored_at.is_some() {
        "waiting"
    } else {
        "dropped"
    };
    for (at, event) in &journey.events {
        let view = event_view(service, *at, *event, state);
        state = if view.event == "delivered" {
            "sent"
        } else {
            view.event
        };
        events.push(view);
    }
    if state == "waiting" || (state == "sent" && it.stored_at.is_some()) {
        let end = end(service, journey).await?;
        state = end.as_ref().map_or(state, |(state, _)| state);
        events.extend(end.and_then(|(state, at)| Some(EventView::new(service, at?, state))));
    }
    Ok(MessageView {
        message: it.id.get().to_string(),
        user_agent: service.handle(it.uaid),
        subscription: service.subscription_handle(&endpoint),
        signed: it.is_signed(),
        accepted_at: service.time().wall_at(it.accepted_at).as_millis(),
        expires_at: service.time().wall_at(it.expires_at).as_millis(),
        urgency: it.urgency.as_str(),
        size: it.size,
        state,
        events,
    })
}

fn event_view(service: &PushService, at: UnixTime, event: Event, state: &str) -> EventView {
    let name = match event {
        Event::Delivered => "delivered",
        // An RFC 8030 user agent acknowledges by a DELETE.
        Event::Withdrawn if state == "sent" => "acknowledged",
        Event::Acknowledged(_) => "acknowledged",
        Event::Withdrawn => "withdrawn",
        Event::Dropped => "dropped",
    };
    let mut view = EventView::new(service, at, name);
    if let Event::Acknowledged(code) = event {
        view.code = Some(code);
    }
    view
}

/// The end of a message that no event recorded, if it has ended.
async fn end(
    service: &PushService,
    journey: &Journey,
) -> Result<Option<(&'static str, Option<UnixTime>)>, AdminError> {
    let (it, now) = (&journey.accepted, service.now());
    match journey.replaced_at {
        Some(at) if at < it.expires_at => return Ok(Some(("replaced", Some(at)))),
        _ if it.expires_at <= now => return Ok(Some(("expired", Some(it.expires_at)))),
        _ => {}
    }
    let stored = service.is_stored(it.uaid, it.id).await?;
    Ok((!stored).then_some(("removed", None)))
}
