//! The error for a limit that is reached: whose share is used up, and when there is room again.

use std::fmt;
use std::time::Duration;

use bugle_protocol::UnixTime;

use super::Error;
use crate::config::Limit;
use crate::gate::Refusal;
use crate::store::{Full, Scope, StoreError};

/// The minimum of `Retry-After`.
const SOONEST: Duration = Duration::from_secs(10);

/// The maximum of `Retry-After`. Nothing may expire until then, but there is room sooner if
/// messages are acknowledged.
const LATEST: Duration = Duration::from_secs(3600);

impl Error {
    /// Converts an error that the store returned at `now`.
    pub fn of_store(error: StoreError, now: UnixTime) -> Self {
        match error {
            StoreError::Full(full) => Self::Full(FullShare::new(full, now)),
            StoreError::NoSubscription => Self::Gone,
            StoreError::NoReceiptSubscription => Self::NoReceipts,
            StoreError::Unavailable(_) => Self::Unavailable,
        }
    }
}

/// A limit of which a holder has used up its share. `Display` is the message for the refused
/// client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullShare {
    limit: Limit,
    scope: Scope,
    /// The time until something expires, if known.
    wait: Option<Duration>,
}

impl FullShare {
    /// Converts an error that the store returned at `now`.
    pub fn new(full: Full, now: UnixTime) -> Self {
        Self {
            limit: full.limit,
            scope: full.scope,
            wait: full.until.map(|until| until.since(now)),
        }
    }

    /// The limit.
    pub const fn limit(&self) -> Limit {
        self.limit
    }

    /// The kind of holder whose share is used up; `None` if the limit has no shares.
    pub const fn holder(&self) -> Option<&'static str> {
        if !self.is_shared() {
            return None;
        }
        Some(match self.scope {
            Scope::All => "all",
            Scope::Subscription => "subscription",
            Scope::UserAgent => "user_agent",
            Scope::Sender => "sender",
            Scope::Address => "address",
        })
    }

    /// Whether holders share the limit. The other limits depend on the machine or the operator.
    const fn is_shared(&self) -> bool {
        !matches!(
            self.limit,
            Limit::WaitingForDisk | Limit::FreeSpace | Limit::Broadcasts
        )
    }

    /// The time after which to retry: when something expires, but at least 10 s and at most 1 h. If
    /// that is unknown, the default of the limit.
    pub fn retry_after(&self) -> Duration {
        match self.wait {
            Some(wait) => wait.clamp(SOONEST, LATEST),
            None => self.limit.retry_after(),
        }
    }

    /// The event that makes room, and the requests that need no room.
    const fn remedy(&self) -> (&'static str, &'static str) {
        match self.limit {
            Limit::MessagesPerUserAgent | Limit::BytesPerUserAgent => (
                "its user agent acknowledges messages, or they expire",
                "a message with TTL 0, and one that replaces another by its Topic, are taken \
                 meanwhile",
            ),
            Limit::StoredBytes => (
                "messages are acknowledged, or expire",
                "a message with TTL 0, and one that replaces another by its Topic, are taken \
                 meanwhile",
            ),
            Limit::Receipts => (
                "receipts are taken by a GET of their receipt subscription, or expire",
                "pushes without Prefer: respond-async are taken meanwhile",
            ),
            Limit::ReceiptSubscriptions => (
                "receipt subscriptions are deleted, or end",
                "use one for many pushes, by a Link header (RFC 8030 §5.1)",
            ),
            _ => ("subscriptions end", "what is subscribed stays so"),
        }
    }
}

impl fmt::Display for FullShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_shared() {
            return Refusal::Limit(self.limit).fmt(f);
        }
        let holder = match (self.scope, self.limit) {
            (Scope::All, _) => "all together have reached",
            (Scope::Subscription, _) => "this subscription holds its share of",
            (Scope::UserAgent, Limit::StoredBytes) => "this user agent holds its share of",
            (Scope::UserAgent, _) => "this user agent holds all of",
            (Scope::Sender, _) => "this application server key holds its share of",
            (Scope::Address, _) => "this address holds its share of",
        };
        let (freed_when, meanwhile) = self.remedy();
        let setting = self.limit.setting();
        write!(f, "{holder} {setting}: there is room when {freed_when}")?;
        if let Some(wait) = self.wait {
            write!(f, ", which is in {} at the latest", RoundedUp(wait))?;
        }
        write!(f, "; {meanwhile}")
    }
}

/// Displays a duration in its largest unit, rounded up.
struct RoundedUp(Duration);

impl fmt::Display for RoundedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3600, "h"), (60, "min")];
        let secs = self.0.as_millis().div_ceil(1000);
        let unit = UNITS.iter().find(|(unit, _)| secs >= u128::from(2 * unit));
        let (unit, name) = unit.copied().unwrap_or((1, "s"));
        write!(f, "{} {name}", secs.div_ceil(u128::from(unit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(limit: Limit, scope: Scope, wait: Option<u64>) -> FullShare {
        let now = UnixTime::from_secs(1000);
        let until = wait.map(|wait| now + Duration::from_secs(wait));
        let full = Full {
            limit,
            scope,
            until,
        };
        FullShare::new(full, now)
    }

    #[test]
    fn the_error_names_the_full_share_and_when_to_retry() {
        let full = share(
            Limit::MessagesPerUserAgent,
            Scope::Subscription,
            Some(2_500_000),
        );
        assert_eq!(
            full.to_string(),
            "this subscription holds its share of limits.messages_per_user_agent: there is room \
             when its user agent acknowledges messages, or they expire, which is in 29 d at the \
             latest; a message with TTL 0, and one that replaces another by its Topic, are taken \
             meanwhile"
        );
        assert_eq!(full.holder(), Some("subscription"));
    }

    #[test]
    fn a_limit_of_the_machine_has_no_shares() {
        let full = share(Limit::FreeSpace, Scope::All, None);
        assert_eq!(
            full.to_string(),
            "over the limit store.min_free: try again later"
        );
        assert_eq!(full.holder(), None);
    }

    #[test]
    fn times_are_rounded_up_in_their_unit() {
        let words = [0, 1, 119, 120, 121, 7200, 172_800].map(|secs| {
            let rough = RoundedUp(Duration::from_secs(secs));
            rough.to_string()
        });
        let expected = ["0 s", "1 s", "119 s", "2 min", "3 min", "2 h", "2 d"];
        assert_eq!(words, expected);
    }

    #[test]
    fn retry_after_is_between_10_s_and_1_h() {
        let after = |wait| share(Limit::StoredBytes, Scope::Sender, wait).retry_after();
        assert_eq!(after(Some(0)), SOONEST);
        assert_eq!(after(Some(99)), Duration::from_secs(99));
        assert_eq!(after(Some(2_500_000)), LATEST);
        assert_eq!(after(None), Duration::from_secs(60));
    }
}
