//! The response of a push service to a push.

use bugle_protocol::link;
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

/// The response of a push service to a push.
pub(super) struct Answer {
    status: http::StatusCode,
    /// The URL of the message.
    pub(super) location: Option<String>,
    /// The TTL that the service granted, in seconds.
    pub(super) ttl: Option<u64>,
    /// The URL of its receipt subscription.
    pub(super) receipts: Option<String>,
    retry_after: Option<String>,
    /// The JSON body of an error; null if there is none.
    error: Value,
}

impl Answer {
    pub(super) fn of(response: &Response<Bytes>) -> Self {
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
            receipts: link::find(response.headers(), link::RECEIPT).unwrap_or_default(),
            retry_after: field("retry-after"),
            error,
        }
    }

    /// Formats it as one JSON object, without members that have no value.
    pub(super) fn json(&self) -> String {
        let mut json = json!({
            "status": self.status.as_u16(),
            "location": self.location,
            "ttl": self.ttl,
            "receiptSubscription": self.receipts,
            "retryAfter": self.retry_after,
            "error": self.error,
        });
        if let Value::Object(members) = &mut json {
            members.retain(|_, value| !value.is_null());
        }
        json.to_string()
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("Status: {}", self.status);
        if let Some(location) = &self.location {
            text += &format!("\nLocation: {location}");
        }
        if let Some(ttl) = self.ttl {
            text += &format!("\nTTL: {ttl}");
        }
        if let Some(receipts) = &self.receipts {
            text += &format!("\nReceipt subscription: {receipts}");
        }
        text
    }

    /// Returns the error if the push was not accepted.
    pub(super) fn accepted(&self) -> Result<(), String> {
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
    fn an_accepted_push_is_reported() {
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
    fn the_receipt_subscription_is_reported() {
        let link = link::print("http://a/receipt-subscription/c", link::RECEIPT);
        let response = Response::builder().status(202).header("Link", link);
        let answer = Answer::of(&response.body(Bytes::new()).unwrap());
        let url = "http://a/receipt-subscription/c";
        assert_eq!(answer.receipts.as_deref(), Some(url));
        let text = format!("Status: 202 Accepted\nReceipt subscription: {url}");
        assert_eq!(answer.text(), text);
        assert!(
            answer
                .json()
                .contains(&format!("\"receiptSubscription\":\"{url}\""))
        );
    }

    #[test]
    fn a_refused_push_is_reported() {
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
