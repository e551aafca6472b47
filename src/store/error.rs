//! Why a store did not do what it was asked.

use super::Full;

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The subscription does not exist, or is in another life.
    #[error("no such subscription")]
    NoSubscription,
    /// The receipt subscription does not exist, or has ended.
    #[error("no such receipt subscription")]
    NoReceiptSubscription,
    /// The change would exceed a bound, or a holder's share of one. Nothing was changed.
    #[error("over the limit {}", .0.limit.setting())]
    Full(Full),
    /// The engine cannot do it now. The change may or may not have been made, and need not be
    /// durable.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}
