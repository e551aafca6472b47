//! What became of messages: the journeys that the trace remembers, told with
//! what follows from them.

use bugle_protocol::{PublicKey, PushEndpoint, UnixTime};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::user_agents::bounded;
use super::{AdminError, Request, json_reply};
use crate::http::Reply;
use crate::observe::message_log::{Event, Journey, Wanted};
use crate::service::PushService;
use crate::service::operating::Named;

/// The most messages of one answer.
const MOST: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    subject: String,
    /// A whole number, which JSON may write as 100.0.
    limit: Option<f64>,
}

/// How many messages an answer has where the request does not say.
const USUAL: usize = 100;

/// A message as it is told.
#[derive(Debug, Serialize)]
struct Told {
    message: String,
    user_agent: String,
    subscription: String,
    signed: bool,
    accepted_at: u64,
    expires_at: u64,
    urgency: &'static str,
    size: usize,
    state: &'static str,
    events: Vec<ToldEvent>,
}

#[derive(Debug, Serialize)]
struct ToldEvent {
    at: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl ToldEvent {
    /// `at` is service time; what is told is the wall clock.
    fn new(service: &PushService, at: UnixTime, event: &'static str) -> Self {
        Self {
            at: service.time().wall_at(at).as_millis(),
            event,
            code: None,
        }
    }
}

/// Tells what became of the messages that a text names.
pub(super) async fn find(request: Request<'_>) -> Result<Reply, AdminError> {
    let service = &request.admin.app.service;
    let Asked { subject, limit } = request.read().await?;
    let (kind, wanted) = wanted(service, bounded(&subject)?)?;
    let limit = match limit {
        None => USUAL,
        Some(limit) => (1..=MOST)
            .find(|whole| *whole as f64 == limit)
            .ok_or_else(|| AdminError::Body(format!("limit is 1 to {MOST}")))?,
    };
    let found = service.trace().find(wanted, limit);
    let (journeys, since) = found.ok_or(AdminError::TraceOff)?;
    let mut messages = Vec::with_capacity(journeys.len());
    for journey in &journeys {
        messages.push(tell(service, journey).await?);
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
    match service.named(subject).ok_or(AdminError::NotNamed)? {
        Named::Subscription(endpoint) => {
            Ok(("endpoint", Wanted::Subscription(endpoint.subscription)))
        }
        Named::Message(message) => Ok(("message", Wanted::Message(message.id))),
        Named::UserAgent(_) => Err(AdminError::NotNamed),
    }
}

async fn tell(service: &PushService, journey: &Journey) -> Result<Told, AdminError> {
    let it = &journey.accepted;
    let endpoint = PushEndpoint {
        uaid: it.uaid,
        channel: it.channel,
        subscription: it.subscription,
    };
    let mut events = vec![ToldEvent::new(service, it.accepted_at, "accepted")];
    events.extend(it.stored_at.map(|at| ToldEvent::new(service, at, "stored")));
    let mut state = if it.stored_at.is_some() {
        "waiting"
    } else {
        "dropped"
    };
    for (at, event) in &journey.events {
        let told = told(service, *at, *event, state);
        state = if told.event == "delivered" {
            "sent"
        } else {
            told.event
        };
        events.push(told);
    }
    if state == "waiting" || (state == "sent" && it.stored_at.is_some()) {
        let end = end(service, journey).await?;
        state = end.as_ref().map_or(state, |(state, _)| state);
        events.extend(end.and_then(|(state, at)| Some(ToldEvent::new(service, at?, state))));
    }
    Ok(Told {
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

fn told(service: &PushService, at: UnixTime, event: Event, state: &str) -> ToldEvent {
    let name = match event {
        Event::Delivered => "delivered",
        // How an RFC 8030 user agent acknowledges.
        Event::Withdrawn if state == "sent" => "acknowledged",
        Event::Acknowledged(_) => "acknowledged",
        Event::Withdrawn => "withdrawn",
        Event::Dropped => "dropped",
    };
    let mut told = ToldEvent::new(service, at, name);
    if let Event::Acknowledged(code) = event {
        told.code = Some(code);
    }
    told
}

/// How a message ended of which nobody said so; `None` when it has not ended.
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
