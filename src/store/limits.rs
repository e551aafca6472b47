//! The bounds of a store.

use std::time::Duration;

use super::{Limit, StoreError};
use crate::config::Config;

/// The bounds of a store; [`Limit`](super::Limit) names those that refuse a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Subscriptions of one user agent.
    pub subscriptions_per_user_agent: u32,
    /// Subscriptions of all user agents.
    pub subscriptions: u64,
    /// Stored messages of one user agent.
    pub messages_per_user_agent: u32,
    /// Bytes of the stored messages of one user agent.
    pub bytes_per_user_agent: u64,
    /// Bytes of all stored messages.
    pub stored_bytes: u64,
    /// Receipt subscriptions.
    pub receipt_subscriptions: u64,
    /// Receipts of one receipt subscription; the oldest is evicted.
    pub receipts_per_subscription: u32,
    /// Receipts, including those that stored messages will leave.
    pub receipts: u64,
    /// How long a receipt is kept.
    pub receipt_lifetime: Duration,
    /// Changes that wait for the disk at the same time.
    pub waiting_for_disk: usize,
    /// Broadcasts.
    pub broadcasts: usize,
}

impl StoreLimits {
    /// Admits one more subscription. Its user agent has `own`, and the store `all`.
    ///
    /// # Errors
    /// `Full` with the bound that it would exceed.
    pub(super) fn admit_subscription(&self, own: usize, all: u64) -> Result<(), StoreError> {
        if own >= self.subscriptions_per_user_agent as usize {
            return Err(StoreError::Full(Limit::SubscriptionsPerUserAgent.into()));
        }
        if all >= self.subscriptions {
            return Err(StoreError::Full(Limit::Subscriptions.into()));
        }
        Ok(())
    }
}

impl From<&Config> for StoreLimits {
    fn from(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            subscriptions_per_user_agent: limits.subscriptions_per_user_agent,
            subscriptions: limits.subscriptions,
            messages_per_user_agent: limits.messages_per_user_agent,
            bytes_per_user_agent: limits.bytes_per_user_agent,
            stored_bytes: limits.stored_bytes,
            receipt_subscriptions: limits.receipt_subscriptions,
            receipts_per_subscription: limits.receipts_per_subscription,
            receipts: limits.receipts,
            receipt_lifetime: config.push.receipt_lifetime,
            waiting_for_disk: limits.waiting_for_disk,
            broadcasts: limits.broadcasts,
        }
    }
}
