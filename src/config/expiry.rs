//! `[expiry]`: when expired messages are removed, and unused subscriptions end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// What ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpiryConfig {
    /// From one sweep to the next.
    #[serde(with = "duration")]
    pub every: Duration,
    /// After this time without use all subscriptions of a user agent end, up to
    /// 10 years; 0 ends none. It counts days on which the service runs.
    #[serde(
        serialize_with = "duration::serialize",
        deserialize_with = "duration::range::<0, { 10 * duration::YEAR }, _>"
    )]
    pub unused: Duration,
}

impl ExpiryConfig {
    /// [`unused`](Self::unused) in whole days, rounded up; `None` for 0.
    pub fn unused_days(&self) -> Option<u32> {
        let days = self.unused.as_secs().div_ceil(24 * 3600);
        let days = u32::try_from(days).unwrap_or(u32::MAX);
        (!self.unused.is_zero()).then_some(days.max(1))
    }
}
