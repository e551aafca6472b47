//! Counts what the hostile clients of a siege sent, and the responses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Response;
use serde::Serialize;
use serde_json::Value;

/// The counts of one siege.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Requests with a response.
    pub answered: u64,
    /// Accepted requests.
    pub accepted: u64,
    /// Refused requests by status, with the setting and the share that the response names.
    pub refused: BTreeMap<String, u64>,
    /// Requests and connections that failed without a response.
    pub failed: u64,
}

/// A tally that all hostile clients of a siege update.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared(Arc<Mutex<Tally>>);

impl Shared {
    /// The counts so far.
    pub(super) fn read(&self) -> Tally {
        self.with(|tally| tally.clone())
    }

    /// Counts a response. Returns whether it is a refusal.
    pub(super) fn answered(&self, answer: &Response<Bytes>) -> bool {
        let is_refusal = !answer.status().is_success();
        self.with(|tally| {
            tally.answered += 1;
            match is_refusal {
                true => *tally.refused.entry(refusal(answer)).or_default() += 1,
                false => tally.accepted += 1,
            }
        });
        is_refusal
    }

    /// Counts a failure without a response.
    pub(super) fn failed(&self) {
        self.with(|tally| tally.failed += 1);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The reason of a refusal, as far as the response gives it.
fn refusal(answer: &Response<Bytes>) -> String {
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let printed = |name: &str| body[name].as_str().map(str::to_owned);
    let mut refusal = answer.status().as_u16().to_string();
    if let Some(setting) = printed("setting") {
        refusal += &format!(" {setting}");
    }
    if let Some(share) = printed("share") {
        refusal += &format!(" ({share})");
    }
    refusal
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "strangers sent {}, {} accepted, {} without an answer",
            self.answered + self.failed,
            self.accepted,
            self.failed
        )?;
        for (refusal, count) in &self.refused {
            write!(f, ", {count} refused: {refusal}")?;
        }
        if self.refused.is_empty() {
            f.write_str(", none refused: no bound was reached")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    #[test]
    fn refusals_are_counted_by_status_setting_and_share() {
        let shared = Shared::default();
        let answer = |status: u16, body: &'static str| {
            let answer = Response::builder().status(status);
            answer.body(Bytes::from(body)).unwrap()
        };
        let full = r#"{"setting": "limits.stored_bytes", "share": "address"}"#;
        assert!(!shared.answered(&answer(201, "")));
        assert!(shared.answered(&answer(429, full)));
        assert!(shared.answered(&answer(429, full)));
        assert!(shared.answered(&answer(502, "<html>")));
        shared.failed();
        assert_eq!(
            shared.read().to_string(),
            "strangers sent 5, 1 accepted, 1 without an answer, \
             2 refused: 429 limits.stored_bytes (address), 1 refused: 502"
        );
    }
}
