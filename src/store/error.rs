//! Why a store did not do what it was asked.

use super::Full;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The subscription is not there, or has begun another life.
    #[error("no such subscription")]
    NoSubscription,
    /// The receipt subscription is not there, or has ended.
    #[error("no such receipt subscription")]
    NoReceiptSubscription,
    /// The change would go over a bound, or over somebody's share of one;
    /// nothing was changed.
    #[error("over the limit {}", .0.limit.setting())]
    Full(Full),
    /// The engine cannot do it now. What was asked may or may not have been
    /// done, and is not promised.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}
