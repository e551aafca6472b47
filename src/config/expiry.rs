//! `[expiry]`: when expired messages are removed and unused subscriptions end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::values::duration;

/// What expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpiryConfig {
    /// Interval between two sweeps.
    #[serde(with = "duration")]
    pub every: Duration,
    /// All subscriptions of a user agent end after this time without use, up to 10 years; 0
    /// disables this. Only days on which the service runs count.
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
