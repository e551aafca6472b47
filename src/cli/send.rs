//! `bugle send`

use std::path::PathBuf;

use bugle_protocol::{Topic, Ttl, Urgency};
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::{Failure, files, print, vapid};
use crate::client::{ApplicationServer, Dialer, HttpConnection, Push, PushSubscription};
use crate::time::Clock;

pub(super) const EXAMPLE: &str = "\
Example:
  bugle listen --subscription subscription.json
  bugle send subscription.json \"Hello\" --ttl 3600 --urgency high";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with the PushSubscription JSON; - for standard input
    subscription: PathBuf,
    /// What to say, at most 3993 octets; without it, a push without data
    text: Option<String>,
    /// How long the service may keep the message; 0: deliver now or never
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    ttl: Ttl,
    /// very-low, low, normal or high
    #[arg(long)]
    urgency: Option<Urgency>,
    /// Replaces the waiting message with the same topic; up to 32 of A-Z a-z 0-9 - _
    #[arg(long)]
    topic: Option<Topic>,
    /// VAPID key file; made when it is not there
    #[arg(long, value_name = "FILE", default_value = vapid::DEFAULT_FILE)]
    vapid: PathBuf,
    /// Contact for the operator of the service: mailto:… or https://…
    #[arg(long, value_name = "URI")]
    subject: Option<String>,
    /// Trust these certificates too (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print one JSON object: status, location, ttl
    #[arg(long)]
    json: bool,
}

/// Sends one push and says what came of it.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let text = files::read(&args.subscription)?;
    let subscription: PushSubscription = serde_json::from_str(&text).map_err(|error| {
        let file = files::name(&args.subscription);
        format!("{file} holds no PushSubscription (endpoint, keys.p256dh, keys.auth): {error}")
    })?;
    let server = ApplicationServer {
        vapid: Some(vapid::load_or_make(&args.vapid)?),
        subject: args.subject,
    };
    let push = Push {
        text: args.text.map(String::into_bytes),
        ttl: args.ttl,
        urgency: args.urgency,
        topic: args.topic,
        receipt: None,
    };
    let request = server.request(&subscription, &push, Clock::system().now())?;
    let dialer = Dialer::new(args.ca.as_deref())?;
    let mut connection = HttpConnection::open(&dialer, &subscription.endpoint).await?;
    let answer = Answer::of(&connection.send(request).await?);
    print(if args.json {
        answer.json()
    } else {
        answer.text()
    })?;
    answer.accepted().map_err(Failure::from)
}

/// What a push service says to a push.
struct Answer {
    status: http::StatusCode,
    location: Option<String>,
    /// Granted, in seconds.
    ttl: Option<u64>,
    retry_after: Option<String>,
    /// The JSON of a refusal; null when there is none.
    error: Value,
}

impl Answer {
    fn of(response: &Response<Bytes>) -> Self {
        let field = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let mut error = Value::Null;
        if !response.status().is_success() {
            error = serde_json::from_slice(response.body()).unwrap_or_default();
        }
        Self {
            status: response.status(),
            location: field("location"),
            ttl: field("ttl").and_then(|ttl| ttl.parse().ok()),
            retry_after: field("retry-after"),
            error,
        }
    }

    /// One object, without the members that have no value.
    fn json(&self) -> String {
        let mut json = json!({
            "status": self.status.as_u16(),
            "location": self.location,
            "ttl": self.ttl,
            "retryAfter": self.retry_after,
            "error": self.error,
        });
        if let Value::Object(members) = &mut json {
            members.retain(|_, value| !value.is_null());
        }
        json.to_string()
    }

    fn text(&self) -> String {
        let mut text = format!("Status: {}", self.status);
        if let Some(location) = &self.location {
            text += &format!("\nLocation: {location}");
        }
        if let Some(ttl) = self.ttl {
            text += &format!("\nTTL: {ttl}");
        }
        text
    }

    /// Says why, when the push was not taken.
    fn accepted(&self) -> Result<(), String> {
        if self.status.is_success() {
            return Ok(());
        }
        let message = self.error["message"].as_str();
        let message = message.unwrap_or("it does not say why").escape_debug();
        let retry = match &self.retry_after {
            Some(seconds) => format!(" (try again after {seconds} s)"),
            None => String::new(),
        };
        Err(format!(
            "the service refused the push with {}: {message}{retry}",
            self.status
        ))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn an_accepted_push() {
        let response = Response::builder()
            .status(201)
            .header("Location", "http://a/message/b");
        let answer = Answer::of(&response.header("TTL", "60").body(Bytes::new()).unwrap());
        assert_eq!(
            answer.text(),
            "Status: 201 Created\nLocation: http://a/message/b\nTTL: 60"
        );
        assert_eq!(
            answer.json(),
            r#"{"location":"http://a/message/b","status":201,"ttl":60}"#
        );
        assert_eq!(answer.accepted(), Ok(()));
    }

    #[test]
    fn a_refused_push() {
        let body = r#"{"code":429,"errno":201,"message":"too many\u001b messages"}"#;
        let response = Response::builder().status(429).header("Retry-After", "30");
        let answer = Answer::of(&response.body(body.into()).unwrap());
        let refusal = "the service refused the push with 429 Too Many Requests: too many\\u{1b} \
                       messages (try again after 30 s)";
        assert_eq!(answer.accepted().unwrap_err(), refusal);
        assert!(answer.json().contains("\"errno\":201"));
        let response = Response::builder()
            .status(502)
            .body("<html>".into())
            .unwrap();
        assert!(
            Answer::of(&response)
                .accepted()
                .unwrap_err()
                .ends_with("it does not say why")
        );
    }
}
